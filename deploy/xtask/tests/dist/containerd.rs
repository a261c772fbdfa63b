//! The image under containerd and runc, as a kubelet would have them run it: imported by the
//! command of docs/install.md, started with what the manifest grants and with its seccomp profile.

use std::fs;

use serde_json::Value;

use crate::bundle::unpacked;
use crate::engine::Node;
use crate::kubernetes::{documents, pod, rendered, strings};
use crate::tool::{both, tool};

/// What containerd gives a container unless it is told otherwise; the manifest drops all of it.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The controllers may be cgroup v1's here, which the node does not have.
const NO_LIMITS: &str = "--cpu-shares=0";

/// A node whose container engine is containerd.
struct Containerd(Node);

impl Containerd {
    fn boot() -> Containerd {
        for program in ["containerd", "ctr"] {
            tool(program, "apt-get install containerd runc");
        }
        let node = Node::boot("containerd");
        // Its own folders below /run and /var/lib, which are the node's own.
        let configuration = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        let path = node.folder().join("containerd.toml");
        fs::write(&path, configuration).expect("write containerd's configuration");
        let script = format!("containerd --config {} >/run/containerd.log 2>&1 &", path.display());
        node.does("sh", &["-c", &script]);
        let containerd = Containerd(node);
        containerd.0.eventually("containerd answers", || {
            containerd.0.run("ctr", &["version"]).status.success().then_some(())
        });
        containerd
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        self.0.does("ctr", &[&["--namespace", "k8s.io"], arguments].concat())
    }

    /// Starts a container of a folder, in the node's network.
    fn run_folder(&self, name: &str, folder: &str, command: &[&str]) {
        let options = ["run", "--detach", NO_LIMITS, "--net-host", "--rootfs", folder, name];
        self.ctr(&[&options[..], command].concat());
    }

    fn is_running(&self, container: &str) -> bool {
        self.ctr(&["task", "ls"])
            .lines()
            .any(|line| line.starts_with(&format!("{container} ")) && line.contains("RUNNING"))
    }

    fn shunt(&self, arguments: &[&str]) -> String {
        self.0.does(&format!("bin/{}/shunt", std::env::consts::ARCH), arguments)
    }

    /// The only flow, once both of its ends have sent directly more than `before`.
    fn direct(&self, before: u64) -> Value {
        self.0.eventually("the connection is accelerated", || {
            let flows: Value = serde_json::from_str(&self.shunt(&["flows", "--json"])).ok()?;
            let flow = flows["flows"].as_array()?.first()?.clone();
            let direct = [&flow["client"], &flow["server"]].iter().all(|side| {
                side["mode"] == "direct" && side["direct_messages"].as_u64() > Some(before)
            });
            direct.then_some(flow)
        })
    }
}

/// What `ctr run` takes for what the manifest says of its container; `configuration` stands for the
/// ConfigMap, and `process` has the PID namespace of the host.
fn as_the_manifest_says(pod: &Value, configuration: &str, process: u32) -> Vec<String> {
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(
        (&context["runAsUser"], &context["readOnlyRootFilesystem"], &pod["hostPID"]),
        (&0.into(), &true.into(), &true.into())
    );
    // Unlike `--allow-new-privs`, the default.
    assert_eq!(context["allowPrivilegeEscalation"], false);
    let mut options: Vec<String> =
        [NO_LIMITS, "--net-host", "--read-only", "--seccomp"].map(str::to_owned).into();
    options.push(format!("--with-ns=pid:/proc/{process}/ns/pid"));
    let profile = context["seccompProfile"]["localhostProfile"].as_str().expect("a profile");
    options.push(format!("--seccomp-profile=kubernetes/components/localhost-seccomp/{profile}"));
    assert_eq!(strings(&context["capabilities"]["drop"]), ["ALL"]);
    options.extend(DEFAULT_CAPABILITIES.map(|one| format!("--cap-drop=CAP_{one}")));
    let added = strings(&context["capabilities"]["add"]);
    options.extend(added.iter().map(|one| format!("--cap-add=CAP_{one}")));
    for mount in container["volumeMounts"].as_array().expect("mounts") {
        let volumes = pod["volumes"].as_array().expect("volumes");
        let volume =
            volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("its volume");
        options.push(format!(
            "--mount=type=bind,src={},dst={},options=rbind:{}",
            volume["hostPath"]["path"].as_str().unwrap_or(configuration),
            mount["mountPath"].as_str().expect("a path"),
            if mount["readOnly"] == true { "ro" } else { "rw" }
        ));
    }
    options
}

/// The command of docs/install.md that imports the image by `ctr`.
fn documented() -> Vec<String> {
    let page =
        fs::read_to_string(unpacked().join("docs/install.md")).expect("read docs/install.md");
    let line = page.lines().find_map(|line| line.strip_prefix("# ctr ")).expect("the command");
    let command = line.split(" #").next().unwrap_or(line);
    command.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn containerd_imports_the_image_and_runs_it_as_the_manifest_says_until_it_is_stopped() {
    let containerd = Containerd::boot();
    let node = &containerd.0;
    let import = documented();
    node.does("ctr", &import.iter().map(String::as_str).collect::<Vec<_>>());

    node.does("mkdir", &["--parents", "/var/log/containers", "/var/log/pods"]);
    let text = rendered(&["localhost-seccomp"]);
    let map = documents(&text)
        .into_iter()
        .find(|document| document["kind"] == "ConfigMap")
        .expect("a ConfigMap");
    let configuration = node.folder().join("configuration");
    fs::create_dir(&configuration).expect("make a folder");
    let file = map["data"]["shunt.toml"].as_str().expect("a file");
    fs::write(configuration.join("shunt.toml"), file).expect("write the configuration");
    let pod = pod(&text);
    let options =
        as_the_manifest_says(&pod, configuration.to_str().expect("text"), std::process::id());
    let image = pod["containers"][0]["image"].as_str().expect("an image");
    let arguments = strings(&pod["containers"][0]["args"]);
    let log = |name: &str| both(&node.run("cat", &[&format!("/run/{name}.log")]));
    let start = |name: &str, arguments: &[String]| {
        let uri = format!("--log-uri=file:///run/{name}.log");
        let words = ["run", "--detach", &uri].into_iter();
        let words = words.chain(options.iter().map(String::as_str));
        let words = words.chain([image, name, "/shunt"]);
        containerd.ctr(&words.chain(arguments.iter().map(String::as_str)).collect::<Vec<_>>());
        node.eventually("the agent is ready", || log(name).contains("ready: ").then_some(()));
    };
    start("shunt", &arguments);

    let redis = node.redis();
    let redis = redis.to_str().expect("text");
    let serve = ["/usr/bin/redis-server", "--protected-mode", "no", "--save", ""];
    containerd.run_folder("server", redis, &serve);
    node.eventually("the server listens", || {
        both(&node.run("redis-cli", &["ping"])).contains("PONG").then_some(())
    });
    let ask = ["/usr/bin/redis-benchmark", "-c", "1", "-n", "1000000000", "-t", "ping_mbulk", "-q"];
    containerd.run_folder("client", redis, &ask);
    let flow = containerd.direct(1000);
    for (side, container) in [("client", "client"), ("server", "server")] {
        let cgroup = flow[side]["workload"]["cgroup"].as_str().unwrap_or_default();
        assert!(cgroup.ends_with(&format!("/{container}")), "{flow}");
    }

    // Killed: the same connection goes on, and is taken over, by an agent that
    // kubernetes/uninstall.sh has told not to leave its datapath.
    containerd.ctr(&["task", "kill", "--signal", "SIGKILL", "shunt"]);
    node.eventually("the agent has ended", || (!containerd.is_running("shunt")).then_some(()));
    let but = arguments.iter().filter(|one| *one != "--keep").cloned();
    let last: Vec<String> = but.chain(["--keep=false".to_owned()]).collect();
    assert_eq!(last.len(), arguments.len());
    start("last", &last);
    let again = containerd.direct(0);
    assert_eq!(again["client"]["cookie"], flow["client"]["cookie"]);
    let sent = again["client"]["direct_messages"].as_u64().expect("a number");
    containerd.direct(sent + 1000);
    containerd.ctr(&["task", "kill", "--signal", "SIGTERM", "last"]);
    node.eventually("the agent has ended", || (!containerd.is_running("last")).then_some(()));
    assert!(node.is_gone(), "something is still pinned: {}", log("last"));
    assert!(containerd.is_running("client") && containerd.is_running("server"));
}
