//! A node as operators have them: systemd is process 1, and everything of the bundle is done by it.
//!
//! It is a container of this machine's own files, under an overlay, with a PID namespace of its
//! own: services start, fail and end there as they do on a node. The agent does not see the
//! processes of the node, which the log says; what it accelerates is tested elsewhere.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::bundle::unpacked;
use crate::tool::{both, run, tool};

/// How long systemd may take to be up, and a service to be what is expected.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running systemd. It ends with this value, and leaves nothing.
struct Node {
    nspawn: Child,
    /// Process 1 of the container, as it is called here.
    first: u32,
    cgroup: PathBuf,
    _folder: TempDir,
}

impl Node {
    fn boot() -> Node {
        let folder = tempfile::tempdir().expect("make a folder");
        // systemd makes cgroups below the one that it is started in.
        let cgroup = tcp_shunt::host::cgroup::root()
            .expect("cgroup v2")
            .join(format!("shunt-node-{}", std::process::id()));
        fs::create_dir(&cgroup).expect("make a cgroup");
        // Mounts of its own: the container does not take / itself. systemd-nspawn has its own idea
        // of what it is allowed on a machine with both versions of cgroups.
        let script = "mount --bind / \"$1\" && echo $$ > \"$2/cgroup.procs\" && exec systemd-nspawn --directory=\"$1\" \
             --volatile=overlay --boot --register=no --keep-unit --capability=all --link-journal=no \
             --system-call-filter='bpf perf_event_open' --console=pipe --bind-ro=\"$3\":/mnt/bundle \
             -- --unit=basic.target";
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("make a folder");
        let log = fs::File::create(folder.path().join("log")).expect("make a log");
        tool("systemd-nspawn", "apt-get install systemd-container dbus");
        let nspawn = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .args([&root, &cgroup])
            .arg(unpacked())
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the same log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("start a container");
        let mut node = Node { nspawn, first: 0, cgroup, _folder: folder };
        node.first = node.eventually("systemd is process 1", |node| {
            let children = format!("/proc/{0}/task/{0}/children", node.nspawn.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            let is_systemd = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| comm == "systemd\n")
            };
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_systemd)
        });
        node.eventually("systemd is up", |node| {
            let state = both(&node.sh("systemctl is-system-running"));
            ["running\n", "degraded\n"].contains(&state.as_str()).then_some(())
        });
        // As systemd does on a machine.
        node.does("mount -t bpf bpf /sys/fs/bpf");
        node
    }

    /// Runs a script in there.
    fn sh(&self, script: &str) -> Output {
        let target = self.first.to_string();
        run(Command::new("nsenter")
            .args([
                "--target", &target, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "sh", "-c", script,
            ])
            .stdin(Stdio::null()))
    }

    /// The same, which has to succeed: what it printed.
    fn does(&self, script: &str) -> String {
        let output = self.sh(script);
        assert!(output.status.success(), "{script}: {}\n{}", both(&output), self.journal());
        both(&output)
    }

    fn journal(&self) -> String {
        both(&self.sh("journalctl --unit shunt --no-pager | tail -n 40"))
    }

    /// The agent's process, once an instance is at work that is not the one of `before`.
    fn agent(&self, before: Option<u64>) -> u64 {
        self.eventually("an agent runs", |node| {
            let status = node.sh("/usr/local/bin/shunt status --json");
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            let instance = &status["instances"][0];
            (instance["state"] == "running").then_some(())?;
            instance["pid"].as_u64().filter(|pid| Some(*pid) != before)
        })
    }

    fn eventually<T>(&self, what: &str, holds: impl Fn(&Node) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = holds(self) {
                return value;
            }
            if begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
                panic!("not after {PATIENCE:?}: {what}\n{log}\n{}", self.journal());
            }
            sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // With process 1 goes everything in the container.
        let first = Pid::from_raw(self.first.cast_signed());
        if self.first != 0 {
            let _ = kill(first, Signal::SIGKILL);
        }
        let begun = Instant::now();
        while self.nspawn.try_wait().is_ok_and(|ended| ended.is_none()) {
            if self.first == 0 || begun.elapsed() > Duration::from_secs(10) {
                let _ = self.nspawn.kill();
            }
            sleep(Duration::from_millis(50));
        }
        let removed = || {
            let script = "find \"$1\" -depth -type d -exec rmdir {} + 2>/dev/null; [ ! -e \"$1\" ]";
            Command::new("sh")
                .args(["-c", script, "sh"])
                .arg(&self.cgroup)
                .status()
                .is_ok_and(|status| status.success())
        };
        let begun = Instant::now();
        while !removed() && begun.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn the_service_starts_restarts_reloads_recovers_is_upgraded_and_goes_under_a_real_systemd() {
    let node = Node::boot();
    node.does("/mnt/bundle/install.sh");
    let installed = node.agent(None);
    assert_eq!(
        node.does("systemctl is-active shunt; systemctl is-enabled shunt"),
        "active\nenabled\n"
    );

    node.does("systemctl restart shunt");
    let restarted = node.agent(Some(installed));

    node.does("sed -i 's/^\\[exclude\\]/&\\nports = [5432]/' /etc/shunt/shunt.toml");
    node.does("systemctl reload shunt");
    node.eventually("the rules are read", |node| {
        node.journal().contains("reloaded /etc/shunt/shunt.toml").then_some(())
    });
    node.does("echo 'port = [1]' >> /etc/shunt/shunt.toml");
    let refused = node.sh("systemctl reload shunt");
    assert!(!refused.status.success(), "a broken file is reloaded: {}", node.journal());
    assert!(node.journal().contains("unknown field `port`"), "{}", node.journal());
    assert_eq!(node.agent(None), restarted, "a broken file has stopped the agent");
    node.does("sed -i '$d' /etc/shunt/shunt.toml");

    node.does("systemctl kill --signal=SIGKILL shunt");
    let recovered = node.agent(Some(restarted));
    node.does("/mnt/bundle/install.sh");
    node.agent(Some(recovered));
    assert!(
        node.does("cat /etc/shunt/shunt.toml").contains("5432"),
        "the operator's file is replaced"
    );

    // A name of its own, and a datapath that outlives the agent: nothing is left all the same.
    let first = "name = \"mine\"\\nkeep = true\\nmetrics = \"unix:/run/shunt/metrics\"";
    node.does(&format!("sed -i '1i {first}' /etc/shunt/shunt.toml"));
    node.does("systemctl restart shunt");
    let probe = "curl --silent --unix-socket /run/shunt/metrics http://shunt/livez";
    assert_eq!(node.does(probe), "ok\n");
    node.does("ls -d /sys/fs/bpf/shunt/mine");
    node.does("/mnt/bundle/uninstall.sh --purge");
    let left = "ls -d /sys/fs/bpf/shunt/shunt /sys/fs/bpf/shunt/mine /usr/local/bin/shunt /etc/shunt /etc/systemd/system/shunt.service 2>/dev/null";
    assert_eq!(both(&node.sh(left)), "");
    assert_eq!(both(&node.sh("systemctl is-active shunt")), "inactive\n");
}
