//! The image under a real container engine: podman and runc, as Debian has them.
//!
//! Each test has a node of its own on this machine: a cgroup with a cgroup namespace, in which
//! podman makes its cgroups, a network namespace for its bridge, and mounts over what podman writes
//! to. Processes are the machine's, since the agent has to see them as the host does. runc and not
//! crun, which asks for CAP_SYS_RESOURCE to limit devices.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tcp_shunt::host::cgroup;
use tempfile::TempDir;

use crate::bundle::unpacked;
use crate::kubernetes::{documents, pod, rendered, strings};
use crate::tool::{both, run, succeed, tool};

/// How long a container may take to be what is expected.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node of its own on this machine. Everything in there ends with this value.
pub struct Node {
    first: Child,
    cgroup: PathBuf,
    folder: TempDir,
}

impl Node {
    pub fn boot(name: &str) -> Node {
        for (program, packages) in
            [("podman", "podman"), ("runc", "runc"), ("iptables", "iptables")]
        {
            tool(program, &format!("apt-get install {packages}"));
        }
        let folder = tempfile::tempdir().expect("make a folder");
        let cgroup =
            cgroup::root().expect("cgroup v2").join(format!("shunt-{name}-{}", std::process::id()));
        fs::create_dir(&cgroup).expect("make a cgroup");
        // Limits that this machine lets everybody have, and no controllers: they may be cgroup v1's
        // here.
        let configuration = "[containers]\npids_limit = 0\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
             [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"/run/networks\"\n";
        fs::write(folder.path().join("containers.conf"), configuration)
            .expect("write podman's configuration");
        let inside = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir /sys/fs/cgroup/init \
             && echo $$ >/sys/fs/cgroup/init/cgroup.procs && mount -t bpf -o mode=0700 bpf /sys/fs/bpf \
             && for over in /run /var/lib /var/log; do mount -t tmpfs tmpfs $over || exit 1; done \
             && ip link set lo up && echo up && exec sleep infinity";
        let script = "echo $$ >\"$1/cgroup.procs\" \
             && exec unshare --mount --propagation private --net --cgroup sh -c \"$2\"";
        let mut first = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&cgroup)
            .arg(inside)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a shell");
        let mut line = String::new();
        let stdout = first.stdout.take().expect("a piped stdout");
        // Before anything can fail, so that it is taken away in any case.
        let node = Node { first, cgroup, folder };
        BufReader::new(stdout).read_line(&mut line).expect("read what it says");
        assert_eq!(line, "up\n", "the node is not up (as root, with cgroup v2)");
        node
    }

    /// Runs a program in there.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let script = "echo $$ >\"$1/init/cgroup.procs\" && shift && exec nsenter \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.cgroup);
        command.args([
            "--target",
            &self.first.id().to_string(),
            "--mount",
            "--net",
            "--cgroup",
            "env",
            "--chdir",
        ]);
        command.arg(unpacked());
        command.arg(format!(
            "CONTAINERS_CONF={}",
            self.folder.path().join("containers.conf").display()
        ));
        run(command.arg(program).args(arguments).stdin(Stdio::null()))
    }

    /// The same, which has to succeed: what it printed on standard output.
    pub fn does(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(output.status.success(), "{program} {arguments:?}: {}", both(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn podman(&self, line: &str) -> String {
        self.does("podman", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Its folder here, which its programs see as well.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A folder with redis, its tools and what they need, to be the root of containers.
    pub fn redis(&self) -> PathBuf {
        let root = self.folder.path().join("redis");
        for program in ["/usr/bin/redis-server", "/usr/bin/redis-benchmark", "/usr/bin/redis-cli"] {
            let needs = succeed(
                tool("ldd", "apt-get install libc-bin redis-server redis-tools").arg(program),
            );
            let libraries = needs.split_whitespace().filter(|word| word.starts_with('/'));
            for file in libraries.chain([program]) {
                let to = root.join(file.trim_start_matches('/'));
                fs::create_dir_all(to.parent().expect("a folder")).expect("make a folder");
                fs::copy(file, to).unwrap_or_else(|error| panic!("copy {file}: {error}"));
            }
        }
        root
    }

    /// Loads the image of the bundle, and one with redis and its tools.
    fn load(&self) {
        self.podman("load --input image.tar");
        let root = self.redis();
        let archive = self.folder.path().join("redis.tar");
        succeed(
            tool("tar", "apt-get install tar")
                .arg("-cf")
                .arg(&archive)
                .arg("-C")
                .arg(&root)
                .arg("."),
        );
        self.podman(&format!("import --quiet {} localhost/redis", archive.display()));
        self.podman("network create pods");
    }

    fn serve(&self, name: &str, options: &str) -> String {
        self.podman(&format!(
            "run --detach --name {name} --network pods {options} localhost/redis redis-server --protected-mode no --save ''"
        ));
        let address = self.podman(&format!(
            "inspect {name} --format {{{{.NetworkSettings.Networks.pods.IPAddress}}}}"
        ));
        self.eventually("the server listens", || {
            let pong = self.run("podman", &["exec", name, "redis-cli", "ping"]);
            both(&pong).contains("PONG").then_some(())
        });
        address.trim().to_owned()
    }

    /// Requests that do not end, on one connection.
    fn ask(&self, name: &str, server: &str, options: &str) {
        self.podman(&format!(
            "run --detach --name {name} {options} localhost/redis redis-benchmark -h {server} -c 1 -n 1000000000 -t ping_mbulk -q"
        ));
    }

    fn is_running(&self, container: &str) -> bool {
        self.podman(&format!("inspect {container} --format {{{{.State.Running}}}}")).trim()
            == "true"
    }

    /// Whether no instance has anything pinned.
    pub fn is_gone(&self) -> bool {
        self.does("find", &["/sys/fs/bpf", "-mindepth", "2"]).is_empty()
    }

    fn log(&self, container: &str) -> String {
        both(&self.run("podman", &["logs", container]))
    }

    fn wait_until_ready(&self, container: &str, times: usize) {
        self.eventually("the agent is ready", || {
            (self.log(container).matches("ready: ").count() == times).then_some(())
        });
    }

    /// What the agent's container shows of a connection between containers with these names.
    fn flow(&self, agent: &str, client: &str, server: &str) -> Option<Value> {
        let report = self.run("podman", &["exec", agent, "/shunt", "flows", "--json"]);
        let report: Value = serde_json::from_slice(&report.stdout).ok()?;
        let is = |side: &Value, name: &str| side["workload"]["name"]["container"] == name;
        let flows = report["flows"].as_array()?;
        flows
            .iter()
            .find(|flow| is(&flow["client"], client) && is(&flow["server"], server))
            .cloned()
    }

    /// The same, once both of its ends send directly, and have sent more so than `before`.
    fn direct(&self, agent: &str, client: &str, server: &str, before: u64) -> Value {
        self.eventually(&format!("{client} and {server} are accelerated"), || {
            let flow = self.flow(agent, client, server)?;
            let sides = [&flow["client"], &flow["server"]];
            let direct = sides.iter().all(|side| {
                side["mode"] == "direct" && side["direct_messages"].as_u64() > Some(before)
            });
            direct.then_some(flow)
        })
    }

    pub fn eventually<T>(&self, what: &str, holds: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = holds() {
                return value;
            }
            if begun.elapsed() > PATIENCE {
                let shown = [
                    "ps --all",
                    "logs shunt",
                    "logs next",
                    "exec shunt /shunt flows",
                    "exec shunt /shunt stats",
                ]
                .map(|line| both(&self.run("podman", &line.split(' ').collect::<Vec<_>>())));
                panic!("not after {PATIENCE:?}: {what}\n{}", shown.join("\n"));
            }
            sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // All of its processes, containers and what watches them; mounts and namespaces go with
        // them.
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = self.first.wait();
        let begun = Instant::now();
        while self.cgroup.exists() && begun.elapsed() < Duration::from_secs(10) {
            let _ = Command::new("find")
                .arg(&self.cgroup)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
                .stderr(Stdio::null())
                .status();
            sleep(Duration::from_millis(50));
        }
    }
}

/// What podman takes for what the manifest says of its container; `configuration` stands for the
/// ConfigMap.
fn as_the_manifest_says(pod: &Value, configuration: &str) -> Vec<String> {
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    let mut options = vec![format!("--user={}:{}", context["runAsUser"], context["runAsGroup"])];
    options.extend(
        strings(&context["capabilities"]["drop"]).iter().map(|one| format!("--cap-drop={one}")),
    );
    options.extend(
        strings(&context["capabilities"]["add"]).iter().map(|one| format!("--cap-add={one}")),
    );
    assert_eq!(context["readOnlyRootFilesystem"], true);
    options.extend(["--read-only".to_owned(), "--read-only-tmpfs=false".to_owned()]);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    options.push("--security-opt=no-new-privileges".to_owned());
    let profile = context["seccompProfile"]["localhostProfile"].as_str().expect("a profile");
    options
        .push(format!("--security-opt=seccomp=kubernetes/components/localhost-seccomp/{profile}"));
    assert_eq!(pod["hostPID"], true);
    assert!(pod["hostNetwork"].is_null());
    options.extend(["--pid=host".to_owned(), "--network=pods".to_owned()]);
    for mount in container["volumeMounts"].as_array().expect("mounts") {
        let volumes = pod["volumes"].as_array().expect("volumes");
        let volume =
            volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("its volume");
        let source = volume["hostPath"]["path"].as_str().unwrap_or(configuration);
        let access = if mount["readOnly"] == true { "ro" } else { "rw" };
        options.push(format!(
            "--volume={source}:{}:{access}",
            mount["mountPath"].as_str().expect("a path")
        ));
    }
    options
}

#[test]
fn a_pod_of_the_manifest_accelerates_and_names_containers_obeys_rules_and_hands_over() {
    const UID: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";
    let node = Node::boot("pod");
    node.load();
    // As the kubelet does for each container that it starts.
    let link = |container: &str, namespace: &str| {
        let id = node.podman(&format!("inspect {container} --format {{{{.Id}}}}"));
        let log =
            format!("/var/log/containers/{container}-0_{namespace}_{container}-{}.log", id.trim());
        node.does("ln", &["-s", "/dev/null", &log]);
    };
    let pod_logs = format!("/var/log/pods/batch_job-0_{UID}");
    // As the kubelet does when it starts.
    let pods = "/sys/fs/cgroup/kubepods";
    node.does("mkdir", &["--parents", "/var/log/containers", &pod_logs, pods]);
    let server = node.serve("server", "--cgroup-parent /shop");
    let quiet = node.serve("quiet-server", "--cgroup-parent /quiet");
    node.ask("earlier", &server, "--network pods --cgroup-parent /shop");
    for container in ["server", "earlier"] {
        link(container, "shop");
    }

    let text = rendered(&["adopt", "localhost-seccomp"]);
    let map = documents(&text)
        .into_iter()
        .find(|document| document["kind"] == "ConfigMap")
        .expect("a ConfigMap");
    let configuration = node.folder.path().join("configuration");
    fs::create_dir(&configuration).expect("make a folder");
    let rules = "[exclude]\ncgroups = [\"/quiet\", \"/nowhere\"]\npods = [\"batch/job-*\"]\n";
    let file = map["data"]["shunt.toml"].as_str().expect("a file").to_owned() + rules;
    fs::write(configuration.join("shunt.toml"), file).expect("write the configuration");
    let pod = pod(&text);
    let options = as_the_manifest_says(&pod, configuration.to_str().expect("text"));
    let arguments = strings(&pod["containers"][0]["args"]);
    let start = |name: &str, arguments: &[&str]| {
        let image = pod["containers"][0]["image"].as_str().expect("an image");
        let words = ["run", "--detach", "--name", name].into_iter();
        let words = words.chain(options.iter().map(String::as_str)).chain([image]);
        node.does("podman", &words.chain(arguments.iter().copied()).collect::<Vec<_>>());
        node.wait_until_ready(name, 1);
    };
    let all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    start("shunt", &all);

    // What was open before; two containers over the bridge; and two that share a network namespace,
    // as those of a pod do.
    node.ask("client", &server, "--network pods --cgroup-parent /shop");
    node.ask("sidecar", "127.0.0.1", "--network container:server --cgroup-parent /shop");
    node.ask("quiet-client", &quiet, "--network pods --cgroup-parent /shop");
    let of_pod = format!("--network pods --cgroup-parent /kubepods/besteffort/pod{UID}");
    node.ask("job", &server, &of_pod);
    for container in ["client", "sidecar", "quiet-server", "quiet-client", "job"] {
        link(container, "shop");
    }
    let clients = ["earlier", "client", "sidecar"];
    for client in clients {
        let flow = node.direct("shunt", client, "server", 1000);
        let name = &flow["client"]["workload"]["name"];
        assert_eq!(
            (name["namespace"].as_str(), name["pod"].as_str()),
            (Some("shop"), Some(format!("{client}-0").as_str()))
        );
        assert!(
            flow["client"]["workload"]["cgroup"]
                .as_str()
                .is_some_and(|path| path.starts_with("/shop/")),
            "{flow}"
        );
    }
    let shown = node.podman("exec shunt /shunt flows");
    assert!(shown.contains("in shop/sidecar-0/sidecar"), "{shown}");
    assert_eq!(node.flow("shunt", "quiet-client", "quiet-server"), None);
    assert_eq!(node.flow("shunt", "job", "server"), None);
    let said = node.podman("exec shunt /shunt check-config /etc/shunt/shunt.toml");
    assert!(said.contains("exclude pods batch/job-*: batch/job-0\n"), "{said}");
    let stats: Value =
        serde_json::from_str(&node.podman("exec shunt /shunt stats --json")).expect("JSON");
    assert!(stats["counters"]["excluded"].as_u64() >= Some(2), "{stats}");
    let log = node.log("shunt");
    assert!(log.contains("matches nothing until there is /host/cgroup/nowhere"), "{log}");
    assert!(!log.contains("/host/cgroup/quiet"), "{log}");
    let address =
        node.podman("inspect shunt --format {{.NetworkSettings.Networks.pods.IPAddress}}");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = pod["containers"][0][probe]["httpGet"]["path"].as_str().expect("a path");
        node.does(
            "curl",
            &["--silent", "--fail", &format!("http://{}:9464{path}", address.trim())],
        );
    }

    // Killed, and started again: the same connections go on.
    let cookies = || {
        clients.map(|client| node.direct("shunt", client, "server", 0)["client"]["cookie"].clone())
    };
    let before = cookies();
    node.podman("kill --signal KILL shunt");
    node.podman("wait shunt");
    node.podman("start shunt");
    node.wait_until_ready("shunt", 2);
    assert_eq!(cookies(), before);
    // Another takes over from the running one.
    start("next", &all);
    assert_eq!(node.podman("wait shunt").trim(), "0");
    assert!(node.log("shunt").contains("handed over"), "{}", node.log("shunt"));
    let flow = node.direct("next", "client", "server", 0);
    assert_eq!(flow["client"]["cookie"], before[1]);
    let sent = flow["client"]["direct_messages"].as_u64().expect("a number");
    node.direct("next", "client", "server", sent + 1000);
    // A container that restarts is another cgroup, and keeps its name.
    node.podman("restart --time 0 sidecar");
    let again = node.eventually("the restarted sidecar is accelerated", || {
        node.flow("next", "sidecar", "server").filter(|flow| flow["client"]["cookie"] != before[2])
    });
    assert_eq!(again["client"]["workload"]["name"]["pod"], "sidecar-0");

    // It leaves the datapath, as the manifest asks it to, until one goes that has been told not to:
    // which is how kubernetes/uninstall.sh takes it away.
    node.podman("stop --time 20 next");
    assert_eq!(node.podman("wait next").trim(), "0");
    assert_eq!(node.does("ls", &["/sys/fs/bpf/shunt"]), "shunt\n");
    let but = arguments.iter().map(String::as_str).filter(|one| *one != "--keep");
    let last: Vec<&str> = but.chain(["--keep=false"]).collect();
    assert_eq!(last.len(), arguments.len());
    start("last", &last);
    node.podman("stop --time 20 last");
    assert_eq!(node.podman("wait last").trim(), "0");
    assert!(node.is_gone(), "something is still pinned");
    for container in clients.into_iter().chain(["server", "quiet-client", "quiet-server"]) {
        assert!(node.is_running(container), "{container} has ended: {}", node.log(container));
    }
}

/// The commands of a section of docs/install.md, each as its words.
fn documented(section: &str) -> Vec<Vec<String>> {
    let page =
        fs::read_to_string(unpacked().join("docs/install.md")).expect("read docs/install.md");
    let (_, section) = page.split_once(&format!("## {section}\n")).expect("the section");
    let (_, block) = section.split_once("```console\n").expect("commands");
    let (block, _) = block.split_once("```").expect("the end of the commands");
    let lines = block.replace("\\\n", " ");
    lines
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn the_documented_commands_run_it_under_podman_and_without_the_profile_it_says_what_to_add() {
    let node = Node::boot("engine");
    node.load();
    let mut commands = documented("In a container, without Kubernetes");
    let stop = commands.pop().expect("commands");
    let start = commands.pop().expect("commands");
    let run = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        node.run(words[0], &words[1..])
    };

    // Debian's default profile lets bpf(2) through with CAP_SYS_ADMIN alone.
    let position =
        start.iter().position(|word| word == "--security-opt").expect("the profile is documented");
    let without = [&start[..position], &start[position + 2..]].concat();
    let foreground: Vec<String> =
        without.into_iter().map(|word| word.replace("--detach", "--rm")).collect();
    let refused = run(&foreground);
    assert_eq!(refused.status.code(), Some(1));
    let said = both(&refused);
    assert!(
        said.contains("refused by a seccomp profile")
            && said.contains("localhost-seccomp/shunt.json"),
        "{said}"
    );

    for command in commands.iter().chain([&start]) {
        let done = run(command);
        assert!(done.status.success(), "{command:?}: {}", both(&done));
    }
    node.wait_until_ready("shunt", 1);
    let server = node.serve("server", "");
    node.ask("client", &server, "--network pods");
    node.direct("shunt", "client", "server", 1000);
    // On the node as well, by the binary of the bundle.
    let binary = format!("bin/{}/shunt", std::env::consts::ARCH);
    let shown = node.does(&binary, &["flows"]);
    assert!(shown.contains("in client") && shown.contains("in server"), "{shown}");

    let stopped = run(&stop);
    assert!(stopped.status.success(), "{}", both(&stopped));
    assert!(node.is_gone(), "something is still pinned");
    assert!(node.is_running("client") && node.is_running("server"));
}
