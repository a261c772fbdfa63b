//! `shunt check-config`

use std::collections::BTreeMap;
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
    shunt check-config shunt.toml && systemctl reload shunt")]
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
        let unmatched: Vec<PathBuf> = match cgroup::root() {
            Ok(root) => policy
                .cgroups()
                .map(|rule| rule.folder(&root))
                .filter(|folder| !folder.exists())
                .collect(),
            Err(_) => Vec::new(),
        };
        let pods = matched(&policy);
        if self.json {
            let all = serde_json::json!({
                "settings": settings,
                "policy": policy,
                "unmatched_cgroups": unmatched,
                "pods": pods,
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
        for folder in unmatched {
            print(format_args!(
                "{} does not exist now: the rule matches nothing until it is created\n",
                folder.display()
            ))?;
        }
        if !pods.is_empty() {
            print(format_args!("pods that run here now:\n"))?;
        }
        for (rule, pods) in pods {
            let pods = if pods.is_empty() { "none".to_owned() } else { pods.join(", ") };
            print(format_args!("  {rule}: {pods}\n"))?;
        }
        Ok(DONE)
    }
}

/// The pods of this node that each rule by pod holds for.
fn matched(policy: &Policy) -> BTreeMap<String, Vec<String>> {
    let mut rules = policy.pods().peekable();
    if rules.peek().is_none() {
        return BTreeMap::new();
    }
    let names = pods::names().unwrap_or_default();
    let pods = cgroup::root().map(|root| pods::find(&root, names)).unwrap_or_default();
    let holds = |rule: &Pod| {
        let held = pods.known.iter().filter(|pod| rule.matches(&pod.namespace, &pod.name));
        held.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect()
    };
    rules.map(|(text, rule)| (text, holds(&rule))).collect()
}
