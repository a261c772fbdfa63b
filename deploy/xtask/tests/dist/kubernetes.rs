use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use xtask::{image, workspace};

use crate::bundle::unpacked;
use crate::tool::{assert_understood, both, run, shunt, succeed, tool};

fn manifests() -> PathBuf {
    workspace::root().expect("the workspace").join("deploy/kubernetes")
}

/// What `kubectl kustomize` makes of the base with these components.
pub fn rendered(components: &[&str]) -> String {
    // kustomize reads nothing outside the folder that it is called on, unless it is a folder of its
    // own.
    let folder =
        tempfile::tempdir_in(manifests().parent().expect("deploy/")).expect("make a folder");
    let name = |component: &&str| format!("  - ../kubernetes/components/{component}\n");
    let listed: String = components.iter().map(name).collect();
    let overlay = format!("resources:\n  - ../kubernetes/base\ncomponents:\n{listed}");
    let overlay =
        if components.is_empty() { overlay.replace("components:\n", "") } else { overlay };
    fs::write(folder.path().join("kustomization.yaml"), overlay).expect("write the overlay");
    succeed(
        tool("kubectl", "apt-get install kubernetes-client").arg("kustomize").arg(folder.path()),
    )
}

pub fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|document| serde_yaml_ng::from_str(document).expect("YAML")).collect()
}

pub fn pod(text: &str) -> Value {
    let daemon_set = documents(text)
        .into_iter()
        .find(|document| document["kind"] == "DaemonSet")
        .expect("a DaemonSet");
    daemon_set["spec"]["template"]["spec"].clone()
}

pub fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one.as_str().expect("text").to_owned())
        .collect()
}

const COMPONENTS: [&[&str]; 3] = [&[], &["localhost-seccomp"], &["adopt", "localhost-seccomp"]];

#[test]
fn every_manifest_keeps_to_the_schemas_of_kubernetes() {
    for components in COMPONENTS {
        let folder = tempfile::tempdir().expect("make a folder");
        let file = folder.path().join("all.yaml");
        fs::write(&file, rendered(components)).expect("write it");
        succeed(
            tool("kubernetes-validate", "pip install kubernetes-validate")
                .args(["--strict", "--quiet"])
                .arg(&file),
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
    let map = documents(&text)
        .into_iter()
        .find(|document| document["kind"] == "ConfigMap")
        .expect("a ConfigMap");
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("shunt.toml");
    fs::write(&file, map["data"]["shunt.toml"].as_str().expect("a file")).expect("write it");
    succeed(Command::new(&shunt().path).arg("check-config").arg(file));
    // The pod mounts this very map, whose name changes with what is in it: a change is rolled out.
    let volumes = pod(&text)["volumes"].as_array().expect("volumes").clone();
    assert!(
        volumes.iter().any(|volume| volume["configMap"]["name"] == map["metadata"]["name"]),
        "{volumes:?}"
    );
}

#[test]
fn the_port_of_the_pod_is_open_to_prometheus_alone() {
    let all = documents(&rendered(&[]));
    let of = |kind: &str| all.iter().find(|one| one["kind"] == kind).expect("one of this kind");
    let policy = &of("NetworkPolicy")["spec"];
    assert_eq!(policy["podSelector"], of("DaemonSet")["spec"]["selector"]);
    assert_eq!(strings(&policy["policyTypes"]), ["Ingress", "Egress"]);
    let [rule] = &policy["ingress"].as_array().expect("rules")[..] else { panic!("{policy}") };
    let ports = of("DaemonSet")["spec"]["template"]["spec"]["containers"][0]["ports"].clone();
    let [port] = &ports.as_array().expect("ports")[..] else { panic!("{ports}") };
    assert_eq!(rule["ports"], json!([{ "protocol": "TCP", "port": port["name"] }]));
    let prometheus =
        json!({ "key": "app.kubernetes.io/name", "operator": "In", "values": ["prometheus"] });
    let peers = json!([{
        "namespaceSelector": {},
        "podSelector": { "matchExpressions": [prometheus] }
    }]);
    assert_eq!(rule["from"], peers);
    assert!(policy["egress"].as_array().is_none_or(Vec::is_empty), "{policy}");
}

#[test]
fn a_pod_leaves_its_datapath_to_the_next_one() {
    assert!(strings(&pod(&rendered(&[]))["containers"][0]["args"]).contains(&"--keep".to_owned()));
}

/// A kubectl and a helm that note what they are asked, with a cluster whose DaemonSet has these
/// arguments, and in which pods are replaced or not.
fn uninstall(options: &[&str], arguments: &str, is_replaced: bool) -> (Output, Vec<String>) {
    let folder = tempfile::tempdir().expect("make a folder");
    let log = folder.path().join("log");
    let script = format!(
        "#!/bin/sh\nprintf '%s %s\\n' \"$(basename \"$0\")\" \"$*\" >>{}\ncase \"$*\" in\n*' get daemonset '*) printf '{arguments}' ;;\n\
         *' rollout status '*) exit {} ;;\nesac\n",
        log.display(),
        i32::from(!is_replaced)
    );
    for name in ["kubectl", "helm"] {
        let path = folder.path().join(name);
        fs::write(&path, &script).expect("write a program");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set its mode");
    }
    let path = std::env::var("PATH").expect("a PATH");
    let mut command = Command::new(unpacked().join("kubernetes/uninstall.sh"));
    command.args(options).env("PATH", format!("{}:{path}", folder.path().display()));
    let output = run(&mut command);
    let asked = fs::read_to_string(&log).unwrap_or_default();
    (output, asked.lines().map(str::to_owned).collect())
}

#[test]
fn uninstalling_replaces_the_pods_by_some_that_leave_nothing_before_it_deletes_them() {
    let arguments: Vec<String> = strings(&pod(&rendered(&[]))["containers"][0]["args"]);
    let keeping: String = arguments.iter().map(|one| format!("{one}\\n")).collect();
    let base = unpacked().join("kubernetes/base");
    let delete =
        format!("kubectl --namespace shunt-system delete --kustomize {} --wait", base.display());

    let (output, asked) = uninstall(&[], &keeping, true);
    assert!(output.status.success(), "{}", both(&output));
    let [_, patch, rollout, last] = &asked[..] else { panic!("{asked:?}") };
    let (_, patch) =
        patch.split_once("patch daemonset shunt --type json --patch ").expect("a patch");
    let patch: Value = serde_json::from_str(patch).expect("JSON");
    // What kubectl makes of it.
    let position = arguments.iter().position(|one| one == "--keep").expect("--keep");
    let path = format!("/spec/template/spec/containers/0/args/{position}");
    assert_eq!(
        patch,
        json!([
            { "op": "test", "path": path, "value": "--keep" },
            { "op": "remove", "path": path },
            {
                "op": "add",
                "path": "/spec/template/spec/containers/0/args/-",
                "value": "--keep=false"
            }
        ])
    );
    // Whatever the configuration says.
    let last_pods = [arguments.as_slice(), &["--keep=false".to_owned()]].concat();
    assert_understood(&last_pods.into_iter().filter(|one| *one != "--keep").collect::<Vec<_>>());
    assert!(rollout.contains("rollout status daemonset/shunt"), "{rollout}");
    assert_eq!(*last, delete);

    // Pods that cannot be replaced would leave their datapaths.
    let (output, asked) = uninstall(&[], &keeping, false);
    assert_eq!(output.status.code(), Some(1));
    assert!(!asked.iter().any(|line| line.contains("delete")), "{asked:?}");

    // Run again after that.
    let options = ["--helm", "mine", "--namespace", "net"];
    let (output, asked) = uninstall(&options, "run\\n--keep=false\\n", true);
    assert!(output.status.success(), "{}", both(&output));
    let [_, rollout, last] = &asked[..] else { panic!("{asked:?}") };
    assert!(rollout.contains("--namespace net rollout status"), "{rollout}");
    assert_eq!(last, "helm uninstall mine --namespace net --wait");

    let (output, asked) = uninstall(&["--purge", "all"], &keeping, true);
    assert_eq!((output.status.code(), asked.len()), (Some(1), 0));
}
