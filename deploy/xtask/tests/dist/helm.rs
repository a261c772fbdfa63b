//! The Helm chart, whose templates are made from the manifests for kustomize.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use xtask::workspace;

use crate::kubernetes::{documents, rendered, strings};
use crate::tool::{assert_understood, both, run, shunt, succeed, tool};

fn chart() -> PathBuf {
    workspace::root().expect("the workspace").join("deploy/helm/shunt")
}

fn helm(command: &str) -> Command {
    let mut helm = tool("helm", ".ci/install, which takes it from PyPI");
    helm.arg(command);
    helm
}

/// `helm template` with these values.
fn template(values: &Value) -> Command {
    let mut template = helm("template");
    template.arg("shunt").arg(chart()).args(["--namespace", "shunt-system"]);
    for (name, value) in values.as_object().expect("values") {
        template.arg("--set-json").arg(format!("{name}={value}"));
    }
    template
}

/// What is made with these values.
fn made(values: &Value) -> Vec<Value> {
    let text = succeed(&mut template(values));
    documents(&text).into_iter().filter(|document| !document.is_null()).collect()
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> &'a Value {
    all.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// Without what the two name differently: the ConfigMap, whose content says when pods are replaced,
/// and labels of objects. Selectors and what they select are in specs.
fn common(all: Vec<Value>) -> BTreeSet<String> {
    let name = of_kind(&all, "ConfigMap")["metadata"]["name"].as_str().expect("a name").to_owned();
    let common = |mut document: Value| {
        document["metadata"].as_object_mut().expect("metadata").remove("labels");
        if document["kind"] == "ConfigMap" {
            document["data"] = toml(&document);
        }
        if document["kind"] == "DaemonSet" {
            let metadata = document["spec"]["template"]["metadata"].as_object_mut();
            metadata.expect("metadata").remove("annotations");
        }
        document.to_string().replace(&format!("\"name\":\"{name}\""), "\"name\":\"shunt\"")
    };
    // Helm makes the namespace itself: --create-namespace.
    all.into_iter().filter(|document| document["kind"] != "Namespace").map(common).collect()
}

/// What the configuration in a ConfigMap means, as shunt reads it.
fn toml(map: &Value) -> Value {
    let file = tempfile::NamedTempFile::new().expect("make a file");
    fs::write(file.path(), map["data"]["shunt.toml"].as_str().expect("a file")).expect("write it");
    let said =
        succeed(Command::new(&shunt().path).args(["check-config", "--json"]).arg(file.path()));
    let mut said: Value = serde_json::from_str(&said).expect("JSON");
    let said = said.as_object_mut().expect("an object");
    json!({ "settings": said.remove("settings"), "policy": said.remove("policy") })
}

#[test]
fn with_its_own_values_the_chart_makes_what_kustomize_makes_of_the_base() {
    assert_eq!(common(made(&json!({}))), common(documents(&rendered(&[]))));
    let values = json!({
        "adopt": true,
        "seccompProfile": { "type": "Localhost", "localhostProfile": "shunt.json" },
        "serviceMonitor": { "enabled": true },
    });
    let components = ["adopt", "localhost-seccomp", "service-monitor"];
    assert_eq!(common(made(&values)), common(documents(&rendered(&components))));
}

#[test]
fn helm_and_the_schemas_of_kubernetes_find_nothing_to_complain_about() {
    let all = succeed(helm("lint").arg("--strict").arg(chart()));
    assert!(all.contains("0 chart(s) failed"), "{all}");
    for values in [
        json!({}),
        json!({
            "imagePullSecrets": [{ "name": "registry" }],
            "resources": { "limits": { "memory": "1Gi" } },
            "nodeSelector": { "kubernetes.io/arch": "amd64" },
            "tolerations": [{ "key": "a", "operator": "Exists" }],
            "affinity": { "nodeAffinity": {} },
            "priorityClassName": "high",
            "updateStrategy": { "type": "OnDelete" },
            "podAnnotations": { "a": "b" },
            "podLabels": { "c": "d" },
        }),
    ] {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("make a file");
        fs::write(file.path(), succeed(&mut template(&values))).expect("write it");
        succeed(
            tool("kubernetes-validate", "pip install kubernetes-validate")
                .args(["--strict", "--quiet"])
                .arg(file.path()),
        );
        let all = made(&values);
        let template = &of_kind(&all, "DaemonSet")["spec"]["template"];
        for (field, value) in values.as_object().expect("values") {
            let (place, name) = match field.as_str() {
                "resources" => (&template["spec"]["containers"][0], "resources"),
                "updateStrategy" => (&of_kind(&all, "DaemonSet")["spec"], "updateStrategy"),
                "podAnnotations" => (&template["metadata"], "annotations"),
                "podLabels" => (&template["metadata"], "labels"),
                field => (&template["spec"], field),
            };
            let holds = match (&place[name], value) {
                (Value::Object(all), Value::Object(some)) => {
                    some.iter().all(|(key, value)| all.get(key) == Some(value))
                }
                (there, value) => there == value,
            };
            assert!(holds, "{field} is not in {place}");
        }
    }
}

#[test]
fn the_configuration_means_to_shunt_what_the_values_say() {
    let rules = json!({
        "ports": [80, "8000-8100"], "addresses": ["10.0.0.0/8", "fd00::/8"],
        "processes": ["a<b & \"c\""], "cgroups": ["/system.slice"],
        "namespaces": ["shop", "kube-*"], "pods": ["shop/cart-*"],
    });
    let config = json!({
        "max-flows": 8_388_608, "refresh": 30, "cgroup": "/host/cgroup/kubepods.slice",
        "name": "fleet", "include": rules, "exclude": { "ports": [22] },
    });
    let all = made(&json!({ "config": config, "keep": false }));
    let meant = toml(of_kind(&all, "ConfigMap"));
    let mut expected = rules.clone();
    expected["ports"] = json!(["80", "8000-8100"]);
    assert_eq!(meant["policy"]["include"], expected);
    assert_eq!(meant["policy"]["exclude"]["ports"], json!(["22"]));
    for (key, name) in
        [("max-flows", "max_flows"), ("refresh", "refresh"), ("cgroup", "cgroup"), ("name", "name")]
    {
        assert_eq!(meant["settings"][name], config[key], "{key}");
    }
    let arguments = strings(&pod_of(&all)["containers"][0]["args"]);
    assert!(!arguments.contains(&"--keep".to_owned()), "{arguments:?}");
    assert_understood(&arguments);
    let replaced = |config: &Value| {
        let all = made(&json!({ "config": config }));
        of_kind(&all, "DaemonSet")["spec"]["template"]["metadata"]["annotations"].clone()
    };
    assert_ne!(replaced(&config), replaced(&json!({})), "a change has to replace the pods");
}

#[test]
fn who_may_ask_for_metrics_is_what_the_values_say() {
    let from = json!([{ "ipBlock": { "cidr": "10.1.0.0/16" } }]);
    let all = made(&json!({ "networkPolicy": { "from": from } }));
    let policy = &of_kind(&all, "NetworkPolicy")["spec"];
    assert_eq!(policy["ingress"][0]["from"], from);
    let open = made(&json!({ "networkPolicy": { "enabled": false } }));
    assert!(open.iter().all(|document| document["kind"] != "NetworkPolicy"));
}

fn pod_of(all: &[Value]) -> &Value {
    &of_kind(all, "DaemonSet")["spec"]["template"]["spec"]
}

/// Keys of shunt.toml, whose example has them all, without the one that would never count: the port of
/// the metrics is that of the service.
#[test]
fn the_schema_has_every_key_of_the_configuration_and_refuses_others() {
    let example = workspace::root().expect("the workspace").join("deploy/shunt.toml");
    let example = fs::read_to_string(example).expect("read the example");
    let key = |line: &str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let (key, _) = line.split_once(" = ")?;
        key.chars().all(|c| c.is_ascii_lowercase() || c == '-').then(|| key.to_owned())
    };
    let mut keys: BTreeSet<String> = example.lines().filter_map(key).collect();
    keys.extend(["include".to_owned(), "exclude".to_owned()]);
    assert!(keys.remove("metrics"));
    let schema = fs::read_to_string(chart().join("values.schema.json")).expect("read the schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let of = |place: &str| {
        let properties = schema.pointer(place).and_then(|place| place["properties"].as_object());
        properties.expect("properties").keys().cloned().collect::<BTreeSet<_>>()
    };
    let known: BTreeSet<_> =
        of("/properties/config").union(&of("/definitions/rules")).cloned().collect();
    assert_eq!(known, keys);

    for wrong in [
        json!({ "config": { "refres": 1 } }),
        json!({ "config": { "refresh": 0 } }),
        json!({ "config": { "metrics": "127.0.0.1:1" } }),
        json!({ "config": { "include": { "pods": ["cart"] } } }),
        json!({ "keep": "no" }),
        json!({ "replicas": 2 }),
    ] {
        let output = run(&mut template(&wrong));
        assert!(!output.status.success(), "{wrong}");
        assert!(both(&output).contains("schema"), "{wrong}: {}", both(&output));
    }
}

#[test]
fn the_chart_is_of_the_version_of_the_workspace() {
    let chart = fs::read_to_string(chart().join("Chart.yaml")).expect("read the chart");
    let chart: Value = serde_yaml_ng::from_str(&chart).expect("YAML");
    assert_eq!(chart["version"], workspace::VERSION);
    assert_eq!(chart["appVersion"], workspace::VERSION);
}
