use std::fs;

use tcp_shunt::host::cgroup;

use crate::{printed, shunt};

#[test]
fn a_rule_whose_cgroup_is_not_there_is_told_and_one_that_is_there_is_not() {
    let root = cgroup::root().expect("cgroup v2");
    let file = tempfile::NamedTempFile::new().expect("make a file");
    fs::write(&file, "[include]\ncgroups = [\"/\"]\n[exclude]\ncgroups = [\"/no/such\"]\n")
        .expect("write it");
    let file = file.path().to_str().expect("text");
    let missing = root.join("no/such");
    let text = printed(shunt(["check-config", file]));
    assert_eq!(text.matches("here and now there is no").count(), 1, "{text}");
    assert!(text.contains(&format!("there is no {}:", missing.display())), "{text}");
    let all: serde_json::Value =
        serde_json::from_str(&printed(shunt(["check-config", "--json", file]))).expect("JSON");
    assert_eq!(all["unmatched_cgroups"], serde_json::json!([missing]));
}

#[test]
fn more_rules_than_there_is_room_for_are_refused_as_by_run() {
    let file = tempfile::NamedTempFile::new().expect("make a file");
    let all: Vec<String> = (0..4097).map(|number| format!("\"process{number}\"")).collect();
    fs::write(&file, format!("[exclude]\nprocesses = [{}]", all.join(","))).expect("write it");
    let file = file.path().to_str().expect("text");
    for command in [&["check-config", file][..], &["run", "--name", "refused", "--config", file]] {
        let refused = shunt(command);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("4097 rules by processes: there is room for 4096"), "{said}");
    }
}
