//! One file is the whole installation.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path as Directory;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chdir, chroot};
use tcp_shunt::bed::Bed;
use tcp_shunt::host::cgroup;

use testkit::SetOnDrop;
use testkit::agent::{binary, name_prefix, run};
use testkit::eventually;
use testkit::isolation::isolated;
use testkit::node::Pair;
use testkit::path::{VETH, ready_for_tests};
use testkit::report::Stats;
use testkit::traffic::{exchange, small_talk};

#[test]
fn the_binary_asks_for_no_dynamic_loader() {
    let content = fs::read(binary()).expect("read the binary");
    let file = Elf(&content);
    assert_eq!(&content[..5], b"\x7fELF\x02", "a 64-bit ELF file");
    const PT_LOAD: u64 = 1;
    const PT_INTERP: u64 = 3;
    let kinds: Vec<u64> = file.segment_kinds().collect();
    assert!(kinds.contains(&PT_LOAD), "{kinds:?}");
    assert!(
        !kinds.contains(&PT_INTERP),
        "{} is dynamically linked: was it built with another target or RUSTFLAGS?",
        binary()
    );
}

/// A little-endian `Elf64_Ehdr` and what follows (elf.h).
struct Elf<'a>(&'a [u8]);

impl Elf<'_> {
    fn segment_kinds(&self) -> impl Iterator<Item = u64> {
        let (table, entry, count) = (self.number(32, 8), self.number(54, 2), self.number(56, 2));
        (0..count).map(move |index| self.number((table + index * entry) as usize, 4))
    }

    fn number(&self, offset: usize, length: usize) -> u64 {
        self.0[offset..offset + length]
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

#[test]
fn the_binary_runs_in_a_root_that_holds_only_itself_and_the_kernels_file_systems() {
    isolated(|| {
        let bed = Bed::new().expect("make a bed (as root, with cgroup v2)");
        let below = bed
            .cgroup()
            .path()
            .strip_prefix(cgroup::root().expect("cgroup v2"))
            .expect("below the root")
            .to_owned();
        let root = tempfile::tempdir().expect("make a directory");
        let cgroup_inside = Directory::new("/sys/fs/cgroup").join(below);
        fs::copy(binary(), root.path().join("shunt")).expect("copy the binary");
        let name = format!("{}empty", name_prefix(std::process::id()));
        let (tell_ready, ready) = mpsc::channel();
        let done = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Root and mount table of this thread only, and of what it starts.
            let (name, cgroup_inside, root) = (&name, &cgroup_inside, root.path());
            scope.spawn(move || {
                enter_empty_root(root);
                let mut agent = Command::new("/shunt")
                    .args(["run", "--name", name, "--cgroup"])
                    .arg(cgroup_inside)
                    .env_clear()
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("start /shunt in the empty root");
                let mut lines =
                    BufReader::new(agent.stdout.take().expect("a piped stdout")).lines();
                let first = lines.next().expect("a line").expect("read it");
                assert!(first.starts_with("ready"), "{first}");
                tell_ready.send(()).expect("tell that it is ready");
                // Also when something below fails: the traffic ends with it.
                let done = SetOnDrop(done);
                eventually("the connection is direct", || {
                    let mut stats = Command::new("/shunt");
                    // There is no /dev/null here.
                    stats.args(["stats", "--json", "--name", name]).stdin(Stdio::inherit());
                    let output = stats.output().expect("start /shunt");
                    assert!(output.status.success(), "{output:?}");
                    let stats: Stats = serde_json::from_slice(&output.stdout).expect("JSON");
                    (stats.counter("paired") == 1 && stats.counter("direct_messages") >= 100)
                        .then_some(())
                });
                drop(done);

                kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGTERM)
                    .expect("send SIGTERM");
                let status = agent.wait().expect("wait for the agent");
                assert_eq!(status.code(), Some(0), "{status}");
            });
            ready.recv().expect("the agent is ready");
            let listener =
                bed.in_server(|| VETH.bind()).expect("enter the server").expect("listen");
            let target = VETH.target(&listener).expect("an address");
            let client = bed
                .in_client(|| TcpStream::connect(target))
                .expect("enter the client")
                .expect("connect");
            let (server, _) = listener.accept().expect("accept");
            for end in [&client, &server] {
                ready_for_tests(end).expect("set its options");
            }
            let pair = Pair { client, server };
            while !done.load(Ordering::Relaxed) {
                small_talk(&pair);
            }
            exchange(&pair, 60, 1000, 1000);
        });
    });
}

#[test]
fn the_doctor_finds_this_machine_able_and_one_without_privileges_unable() {
    let able = run(&["doctor", "--json"]);
    assert_eq!(able.status.code(), Some(0), "{able:?}");
    let report: serde_json::Value = serde_json::from_slice(&able.stdout).expect("JSON");
    let answers = report["behaviours"].as_array().expect("behaviours");
    assert_eq!(answers.len(), tcp_shunt::probe::Behaviour::all().count());
    assert!(
        answers
            .iter()
            .all(|found| found["meaning"].as_str().is_some_and(|meaning| !meaning.is_empty())),
        "{report}"
    );

    let mut command = Command::new(binary());
    // Nobody, without any capability.
    let unable = command.arg("doctor").uid(65_534).gid(65_534).output().expect("start it");
    assert_eq!(unable.status.code(), Some(69), "{unable:?}");
    let text = String::from_utf8_lossy(&unable.stdout);
    assert!(text.contains("missing  capabilities") && text.contains("run it as root"), "{text}");
    assert!(!text.contains('\x1b') && text.lines().all(|line| line.chars().count() < 80), "{text}");
}

#[test]
fn the_demo_needs_nothing_and_shows_messages_that_went_directly() {
    let shown = run(&["demo", "--seconds", "2", "--json"]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let report: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert!(report["messages_direct"].as_u64() > Some(100), "{report}");
}

fn enter_empty_root(root: &Directory) {
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare the mount table");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .expect("make the mounts private");
    for (kind, at) in [("proc", "proc"), ("sysfs", "sys"), ("cgroup2", "sys/fs/cgroup")] {
        let at = root.join(at);
        fs::create_dir_all(&at).expect("make a mount point");
        mount(Some(kind), &at, Some(kind), MsFlags::empty(), none)
            .unwrap_or_else(|error| panic!("mount {kind}: {error}"));
    }
    chroot(root).expect("change the root");
    chdir("/").expect("change into it");
}
