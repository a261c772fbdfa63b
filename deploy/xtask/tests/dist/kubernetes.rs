use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use xtask::{image, workspace};

use crate::tool::{assert_understood, shunt, succeed, tool};

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
fn a_pod_leaves_its_datapath_to_the_next_one_unless_shunt_is_to_be_removed() {
    let arguments = |text: &str| strings(&pod(text)["containers"][0]["args"]);
    let keep = "--keep".to_owned();
    assert!(arguments(&rendered(&[])).contains(&keep));
    let kustomize = ["kustomize"]
        .iter()
        .map(std::ffi::OsString::from)
        .chain([manifests().join("remove").into_os_string()]);
    let removing = succeed(tool("kubectl", "apt-get install kubernetes-client").args(kustomize));
    assert_eq!(
        arguments(&removing),
        arguments(&rendered(&[])).into_iter().filter(|one| *one != keep).collect::<Vec<_>>()
    );
}
