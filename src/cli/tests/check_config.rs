use std::fs;

use tcp_shunt::host::cgroup;

use crate::{shunt, stdout_of};

#[test]
fn a_rule_whose_cgroup_does_not_exist_is_reported() {
    let root = cgroup::root().expect("cgroup v2");
    let file = tempfile::NamedTempFile::new().expect("make a file");
    fs::write(&file, "[include]\ncgroups = [\"/\"]\n[exclude]\ncgroups = [\"/no/such\"]\n")
        .expect("write it");
    let file = file.path().to_str().expect("text");
    let missing = root.join("no/such");
    let text = stdout_of(shunt(["check-config", file]));
    assert_eq!(text.matches("does not exist now").count(), 1, "{text}");
    assert!(text.contains(&format!("{} does not exist", missing.display())), "{text}");
    let all: serde_json::Value =
        serde_json::from_str(&stdout_of(shunt(["check-config", "--json", file]))).expect("JSON");
    assert_eq!(all["unmatched_cgroups"], serde_json::json!([missing]));
}

#[test]
fn every_setting_is_shown_as_it_is_written() {
    let settings = [
        ("name", "fleet"),
        ("bpffs", "/host/bpf"),
        ("cgroup", "/host/cgroup"),
        ("max-flows", "1000"),
        ("refresh", "5"),
        ("keep", "true"),
        ("metrics", "[::]:9464"),
        ("log-format", "json"),
    ];
    let file = tempfile::NamedTempFile::new().expect("make a file");
    let lines = settings.map(|(name, value)| match value.parse::<u32>() {
        Ok(number) => format!("{name} = {number}\n"),
        Err(_) if value == "true" => format!("{name} = true\n"),
        Err(_) => format!("{name} = \"{value}\"\n"),
    });
    fs::write(&file, lines.concat()).expect("write it");
    let text = stdout_of(shunt(["check-config", file.path().to_str().expect("text")]));
    for (name, value) in settings {
        assert!(text.contains(&format!("{name}: {value}\n")), "{name}: {text}");
    }
}

#[test]
fn too_many_rules_are_rejected_as_by_run() {
    let file = tempfile::NamedTempFile::new().expect("make a file");
    let all: Vec<String> = (0..4097).map(|number| format!("\"process{number}\"")).collect();
    fs::write(&file, format!("[exclude]\nprocesses = [{}]", all.join(","))).expect("write it");
    let file = file.path().to_str().expect("text");
    for command in [&["check-config", file][..], &["run", "--name", "refused", "--config", file]] {
        let refused = shunt(command);
        assert_eq!(refused.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(stderr.contains("4097 rules by processes: there is room for 4096"), "{stderr}");
    }
}
