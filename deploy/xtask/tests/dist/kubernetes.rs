use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};
use serde_yaml_ng::Value;
use tcp_shunt::bed::{Cgroup, bpffs, cgroup};
use xtask::{image, workspace};

use crate::confined::{capability, confined};
use crate::image::unpack;
use crate::tool::{assert_understood, run, shunt, succeed, tool};

fn manifests() -> PathBuf {
    workspace::root().expect("the workspace").join("deploy/kubernetes")
}

/// What `kubectl kustomize` makes of the base with these components.
fn rendered(components: &[&str]) -> String {
    // kustomize reads nothing outside the folder that it is called on, unless it is a folder of its own.
    let folder = tempfile::tempdir_in(manifests().parent().expect("deploy/")).expect("make a folder");
    let name = |component: &&str| format!("  - ../kubernetes/components/{component}\n");
    let listed: String = components.iter().map(name).collect();
    let overlay = format!("resources:\n  - ../kubernetes/base\ncomponents:\n{listed}");
    let overlay = if components.is_empty() { overlay.replace("components:\n", "") } else { overlay };
    fs::write(folder.path().join("kustomization.yaml"), overlay).expect("write the overlay");
    succeed(tool("kubectl", "apt-get install kubernetes-client").arg("kustomize").arg(folder.path()))
}

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|document| serde_yaml_ng::from_str(document).expect("YAML")).collect()
}

fn pod(text: &str) -> Value {
    let daemon_set = documents(text).into_iter().find(|document| document["kind"] == "DaemonSet").expect("a DaemonSet");
    daemon_set["spec"]["template"]["spec"].clone()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_sequence().expect("a list").iter().map(|one| one.as_str().expect("text").to_owned()).collect()
}

const COMPONENTS: [&[&str]; 3] = [&[], &["localhost-seccomp"], &["adopt", "localhost-seccomp"]];

#[test]
fn every_manifest_keeps_to_the_schemas_of_kubernetes() {
    for components in COMPONENTS {
        let folder = tempfile::tempdir().expect("make a folder");
        let file = folder.path().join("all.yaml");
        fs::write(&file, rendered(components)).expect("write it");
        succeed(
            tool("kubernetes-validate", "pip install kubernetes-validate").args(["--strict", "--quiet"]).arg(&file),
        );
    }
}

#[test]
fn the_container_is_not_privileged_and_gets_what_it_needs_and_no_more() {
    for components in COMPONENTS {
        let pod = pod(&rendered(components));
        let container = &pod["containers"][0];
        let context = &container["securityContext"];
        assert_eq!(context["privileged"], false);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(strings(&context["capabilities"]["drop"]), ["ALL"]);
        let mut expected = vec!["BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE"];
        expected.extend(components.contains(&"adopt").then_some("SYS_ADMIN"));
        assert_eq!(strings(&context["capabilities"]["add"]), expected);
        // Whom it does not see it cannot examine.
        assert_eq!(pod["hostPID"], true);
        assert!(pod["hostNetwork"].is_null() && pod["hostIPC"].is_null());
        assert_eq!(pod["automountServiceAccountToken"], false);
        let profile = if components.is_empty() { "RuntimeDefault" } else { "Localhost" };
        assert_eq!(context["seccompProfile"]["type"], profile);
        assert!(!container["resources"]["limits"]["memory"].is_null());
        assert_eq!(container["image"], image::name());
    }
}

#[test]
fn shunt_takes_the_arguments_that_the_manifests_give_it() {
    let pod = pod(&rendered(&[]));
    let container = &pod["containers"][0];
    assert_understood(&strings(&container["args"]));
}

#[test]
fn shunt_takes_the_configuration_that_is_mounted() {
    let text = rendered(&[]);
    let map = documents(&text).into_iter().find(|document| document["kind"] == "ConfigMap").expect("a ConfigMap");
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("shunt.toml");
    fs::write(&file, map["data"]["shunt.toml"].as_str().expect("a file")).expect("write it");
    succeed(Command::new(shunt()).arg("check-config").arg(file));
    // The pod mounts this very map, whose name changes with what is in it: a change is rolled out.
    let volumes = pod(&text)["volumes"].as_sequence().expect("volumes").clone();
    assert!(volumes.iter().any(|volume| volume["configMap"]["name"] == map["metadata"]["name"]), "{volumes:?}");
}

#[test]
fn a_pod_leaves_its_datapath_to_the_next_one_unless_shunt_is_to_be_removed() {
    let arguments = |text: &str| strings(&pod(text)["containers"][0]["args"]);
    let keep = "--keep".to_owned();
    assert!(arguments(&rendered(&[])).contains(&keep));
    let kustomize =
        ["kustomize"].iter().map(std::ffi::OsString::from).chain([manifests().join("remove").into_os_string()]);
    let removing = succeed(tool("kubectl", "apt-get install kubernetes-client").args(kustomize));
    assert_eq!(
        arguments(&removing),
        arguments(&rendered(&[])).into_iter().filter(|one| *one != keep).collect::<Vec<_>>()
    );
}

/// The pod's mounts, over the image: a read-only root, the host's two folders, and what every container gets.
fn enter_container(root: &Path, pod: &Value, config: &Path) {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace (as root)");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep mounts to this thread");
    let read_only = |at: &Path| {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, at, none, flags, none).expect("make a mount read-only");
    };
    mount(Some(root), root, none, MsFlags::MS_BIND, none).expect("mount the root");
    for kind in ["proc", "sysfs"] {
        let at = root.join(if kind == "proc" { "proc" } else { "sys" });
        fs::create_dir(&at).expect("make a mount point");
        mount(Some(kind), &at, Some(kind), MsFlags::empty(), none).expect("mount it");
    }
    for wanted in pod["containers"][0]["volumeMounts"].as_sequence().expect("mounts") {
        let volumes = pod["volumes"].as_sequence().expect("volumes");
        let volume = volumes.iter().find(|volume| volume["name"] == wanted["name"]).expect("its volume");
        let source = match volume["hostPath"]["path"].as_str() {
            // The ConfigMap.
            None => config.to_owned(),
            // Where this machine has what every node with cgroup v2 has there.
            Some("/sys/fs/cgroup") => cgroup::root().expect("cgroup v2"),
            Some("/sys/fs/bpf") => bpffs::find_or_mount().expect("a BPF file system"),
            Some(other) => panic!("{other} is not prepared here"),
        };
        let at = root.join(wanted["mountPath"].as_str().expect("a path").trim_start_matches('/'));
        fs::create_dir_all(&at).expect("make a mount point");
        mount(Some(&source), &at, none, MsFlags::MS_BIND, none).expect("mount it");
        if wanted["readOnly"] == true {
            read_only(&at);
        }
    }
    read_only(root);
    chroot(root).expect("change the root");
    chdir("/").expect("change into it");
}

/// What a kubelet's probe reads.
fn get(at: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(at).expect("connect to the agent");
    write!(connection, "GET {path} HTTP/1.1\r\nHost: shunt\r\nConnection: close\r\n\r\n").expect("ask");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("read the answer");
    answer
}

#[test]
fn the_container_starts_with_the_localhost_profile_answers_its_probes_and_leaves_its_datapath_to_the_next() {
    let pod = pod(&rendered(&["adopt", "localhost-seccomp"]));
    let container = &pod["containers"][0];
    let allowed = strings(&container["securityContext"]["capabilities"]["add"]);
    let capabilities = allowed.iter().map(|name| capability(name)).collect();
    let profile =
        fs::read_to_string(manifests().join("components/localhost-seccomp/shunt.json")).expect("read the profile");
    let profile: Value = serde_yaml_ng::from_str(&profile).expect("JSON");
    let mut calls = strings(&profile["syscalls"][0]["names"]);
    // What this test starts the container's processes by, as a runtime does before the profile holds.
    calls.extend(["dup2", "vfork"].map(str::to_owned));

    let root = unpack(shunt());
    let private = Cgroup::new().expect("make a cgroup");
    let below = private.path().strip_prefix(cgroup::root().expect("cgroup v2")).expect("below the root").to_owned();
    // Not the whole machine, and no instance that may be running on it.
    let name = format!("container-{}", std::process::id());
    let configured = fs::read_to_string(manifests().join("base/shunt.toml")).expect("read the configuration");
    let scoped = configured.replace("\"/host/cgroup\"", &format!("\"/host/cgroup/{}\"", below.display()));
    assert_ne!(scoped, configured);
    let config = tempfile::tempdir().expect("make a folder");
    fs::write(config.path().join("shunt.toml"), format!("name = \"{name}\"\n{scoped}")).expect("write it");
    // A port that is free here, for the pod's own.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("find a free port");
    let arguments: Vec<String> =
        strings(&container["args"]).iter().map(|one| one.replace("[::]:9464", &free.to_string())).collect();
    let paths = ["startupProbe", "livenessProbe", "readinessProbe"]
        .map(|probe| container[probe]["httpGet"]["path"].as_str().expect("a path").to_owned());

    let outcome = confined(
        || enter_container(root.path(), &pod, config.path()),
        capabilities,
        &calls,
        || {
            let mut agent = Command::new("/shunt")
                .args(&arguments)
                .env_clear()
                .stdin(Stdio::inherit())
                .stdout(Stdio::piped())
                .spawn()
                .expect("start the entry point");
            let (tell, told) = mpsc::channel();
            let mut lines = BufReader::new(agent.stdout.take().expect("a piped stdout")).lines();
            let reader = std::thread::spawn(move || tell.send(lines.next().and_then(Result::ok)));
            let first = told.recv_timeout(std::time::Duration::from_secs(60));
            let answers = paths.map(|path| get(free, &path));
            agent.kill().expect("kill the agent");
            agent.wait().expect("reap the agent");
            let _ = reader.join();
            let detached = run(Command::new("/shunt")
                .args(["detach", "--bpffs=/host/bpf", &format!("--name={name}")])
                .env_clear()
                .stdin(Stdio::inherit()));
            (first, answers, detached)
        },
    );
    let (first, answers, detached) = outcome;
    let first = first.expect("a line in time").expect("a line");
    assert!(first.starts_with("ready"), "{first}");
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(detached.status.success(), "{detached:?}");
}
