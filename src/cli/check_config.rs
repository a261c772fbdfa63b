//! `shunt check-config`

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{DONE, print};
use crate::host::cgroup;
use crate::host::pods;
use crate::policy::Policy;
use crate::policy::file::File;
use crate::policy::rule::Pod;

/// Explain a configuration file, or say what is wrong with it and in which line
///
/// Changes nothing and needs no privileges. Exit code 1 for a file that `shunt run --config` would
/// reject.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt check-config shunt.toml             what it means, or which line is wrong\n  \
    shunt check-config /etc/shunt/shunt.toml && systemctl reload shunt")]
pub struct CheckConfig {
    /// The file; the installed /etc/shunt/shunt.toml (deploy/shunt.toml in the sources) documents
    /// all settings
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    pub fn run(self) -> Result<ExitCode> {
        let File { settings, policy } = File::read(&self.file)?;
        let root = cgroup::root().map_err(|error| format!("{error:#}"));
        let unmatched = unmatched(&policy, &root);
        let pods = matched(&policy, &root, pods::names);
        if self.json {
            let all = serde_json::json!({
                "settings": settings,
                "policy": policy,
                "unmatched_cgroups": unmatched.as_deref().unwrap_or_default(),
                "cgroups_error": unmatched.as_ref().err(),
                "pods": pods.as_ref().ok(),
                "pods_error": pods.as_ref().err(),
            });
            print(format_args!("{all}\n"))?;
            return Ok(DONE);
        }
        let serde_json::Value::Object(all) = serde_json::to_value(&settings)? else {
            return Ok(DONE);
        };
        for (setting, value) in all.iter().filter(|(_, value)| !value.is_null()) {
            print(format_args!(
                "{}: {}\n",
                setting.replace('_', "-"),
                value.to_string().trim_matches('"')
            ))?;
        }
        print(policy)?;
        match unmatched {
            Ok(folders) => {
                for folder in folders {
                    print(format_args!(
                        "{} does not exist now: the rule matches nothing until it is created\n",
                        folder.display()
                    ))?;
                }
            }
            Err(error) => print(format_args!("cgroups on this node are unknown: {error}\n"))?,
        }
        match pods {
            Ok(rules) => {
                if !rules.is_empty() {
                    print(format_args!("pods that run here now:\n"))?;
                }
                for (rule, pods) in rules {
                    let pods = if pods.is_empty() { "none".to_owned() } else { pods.join(", ") };
                    print(format_args!("  {rule}: {pods}\n"))?;
                }
            }
            Err(error) => print(format_args!("pods on this node are unknown: {error}\n"))?,
        }
        Ok(DONE)
    }
}

/// Cgroups of rules that do not exist, or why that is unknown.
fn unmatched(policy: &Policy, root: &Result<PathBuf, String>) -> Result<Vec<PathBuf>, String> {
    let mut rules = policy.cgroups().peekable();
    if rules.peek().is_none() {
        return Ok(Vec::new());
    }
    let root = root.as_ref().map_err(String::clone)?;
    Ok(rules.map(|rule| rule.folder(root)).filter(|folder| !folder.exists()).collect())
}

/// The pods of this node that each rule by pod holds for, or why they are unknown.
fn matched(
    policy: &Policy,
    root: &Result<PathBuf, String>,
    names: impl Fn() -> io::Result<pods::Names>,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut rules = policy.pods().peekable();
    if rules.peek().is_none() {
        return Ok(BTreeMap::new());
    }
    let root = root.as_ref().map_err(String::clone)?;
    let names = names().map_err(|error| {
        format!(
            "cannot read {}: {error}; until it can be read, rules by pod exclude every pod",
            pods::LOGS
        )
    })?;
    let pods = pods::find(root, names);
    let holds = |rule: &Pod| {
        let held = pods.known.iter().filter(|pod| rule.matches(&pod.namespace, &pod.name));
        held.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect()
    };
    Ok(rules.map(|(text, rule)| (text, holds(&rule))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        std::fs::write(&file, text).expect("write it");
        File::read(file.path()).expect("a configuration").policy
    }

    #[test]
    fn pods_and_cgroups_that_cannot_be_listed_are_an_error_and_not_none() {
        let denied = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let none = || Ok(pods::Names::new());
        let (root, lost) = (Ok(PathBuf::from("/no/such")), Err("no cgroup v2".to_owned()));
        let pods = policy("[exclude]\npods = [\"shop/legacy-*\"]");
        let error = matched(&pods, &root, denied).expect_err("they cannot be read");
        assert!(error.contains("cannot read /var/log/pods: "), "{error}");
        assert!(error.contains("rules by pod exclude every pod"), "{error}");
        assert_eq!(matched(&pods, &lost, none), Err("no cgroup v2".to_owned()));
        assert_eq!(matched(&pods, &root, none).expect("they can be read").len(), 1);
        let cgroups = policy("[exclude]\ncgroups = [\"/a\"]");
        assert_eq!(unmatched(&cgroups, &lost), Err("no cgroup v2".to_owned()));
        // Where no rule asks for them it does not matter.
        assert_eq!(matched(&cgroups, &lost, denied), Ok(BTreeMap::new()));
        assert_eq!(unmatched(&pods, &lost), Ok(Vec::new()));
    }
}
