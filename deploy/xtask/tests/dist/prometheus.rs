//! What Prometheus is told: where to scrape, and by which name the alerts know it.

use std::fs;

use serde_json::{Value, json};
use xtask::workspace;

use crate::kubernetes::{documents, rendered};
use crate::tool::{succeed, tool};

fn file(name: &str) -> String {
    let path = workspace::root().expect("the workspace").join("deploy/prometheus").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The jobs that the alerts ask for.
fn alerted() -> Vec<String> {
    let rules = file("rules.yml");
    rules
        .split("job=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next().map(str::to_owned))
        .collect()
}

#[test]
fn every_scrape_configuration_gives_the_job_that_the_alerts_ask_for() {
    let mut all: Value = serde_yaml_ng::from_str(&file("scrape.yml")).expect("YAML");
    let jobs = all["scrape_configs"].as_array_mut().expect("jobs");
    assert!(jobs.len() >= 2);
    for job in jobs {
        let relabelled = job["relabel_configs"].as_array().into_iter().flatten();
        let relabelled = relabelled
            .filter(|rule| rule["target_label"] == "job")
            .find_map(|rule| rule["replacement"].as_str());
        let name = relabelled.or(job["job_name"].as_str()).expect("a name");
        assert_eq!(alerted(), [name]);
        // Debian's Prometheus is built without the discovery of Kubernetes, and judges the rest.
        if job.as_object_mut().and_then(|job| job.remove("kubernetes_sd_configs")).is_some() {
            job["static_configs"] = json!([{ "targets": ["localhost:9464"] }]);
        }
    }
    let checked = tempfile::NamedTempFile::new().expect("make a file");
    fs::write(&checked, all.to_string()).expect("write it");
    succeed(
        tool("promtool", "apt-get install prometheus")
            .args(["check", "config"])
            .arg(checked.path()),
    );
}

#[test]
fn the_service_monitor_selects_the_service_and_names_its_job_as_the_alerts_do() {
    let all = documents(&rendered(&["service-monitor"]));
    let of = |kind: &str| {
        all.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
    };
    let (monitor, service) = (&of("ServiceMonitor")["spec"], of("Service"));
    let labels = &service["metadata"]["labels"];
    assert_eq!(labels[monitor["jobLabel"].as_str().expect("a label")], alerted()[0].as_str());
    for (label, value) in monitor["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(&labels[label], value);
    }
    let ports = service["spec"]["ports"].as_array().expect("ports");
    for endpoint in monitor["endpoints"].as_array().expect("endpoints") {
        assert!(
            ports.iter().any(|port| port["name"] == endpoint["port"]),
            "{endpoint} is no port of {service}"
        );
    }
    assert_eq!(of("ServiceMonitor")["metadata"]["namespace"], service["metadata"]["namespace"]);
}
