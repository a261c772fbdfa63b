//! Which connections are accelerated: the rules that an operator writes, and the tables that the
//! kernel programs look up.
//!
//! | file | |
//! |---|---|
//! | [`file`] | the configuration file: everything that `shunt run` takes, and rules |
//! | [`rule`] | one rule: ports, addresses, a process, a cgroup, pods |
//! | [`tables`] | rules as the maps of the datapath hold them |
//!
//! A rule speaks of a connection and holds for it if it holds for *either* end. A connection that
//! some rule excludes goes by TCP. If anything is included, a connection that no rule includes goes
//! by TCP as well.

pub mod file;
pub mod rule;
pub mod tables;

use std::collections::BTreeSet;
use std::fmt;

use crate::datapath::RULES;
use rule::{Addresses, Cgroup, Namespace, Pod, Ports, Process};

/// Rules of one list (include or exclude), by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// By destination port: the client's, or the listener's.
    pub ports: Vec<Ports>,
    /// By an address of either end, as either end sees it.
    pub addresses: Vec<Addresses>,
    /// By the process that listens or connects.
    pub processes: Vec<Process>,
    /// By the cgroup of a socket, or an ancestor of it.
    pub cgroups: Vec<Cgroup>,
    /// By the Kubernetes namespace of the pod that owns a socket.
    pub namespaces: Vec<Namespace>,
    /// By the Kubernetes pod that owns a socket.
    pub pods: Vec<Pod>,
}

impl Rules {
    fn is_empty(&self) -> bool {
        *self == Rules::default()
    }

    /// The rules by pod, each as it is written and as the pods that it means.
    pub fn pods(&self) -> impl Iterator<Item = (String, Pod)> {
        let namespaces = self
            .namespaces
            .iter()
            .map(|namespace| (format!("namespaces {namespace}"), Pod::any_of(namespace)));
        namespaces.chain(self.pods.iter().map(|pod| (format!("pods {pod}"), pod.clone())))
    }

    fn each(&self, section: &str) -> Vec<String> {
        fn of<T: fmt::Display>(section: &str, kind: &str, rules: &[T]) -> Vec<String> {
            rules.iter().map(|rule| format!("{section} {kind} {rule}")).collect()
        }
        [
            of(section, "ports", &self.ports),
            of(section, "addresses", &self.addresses),
            of(section, "processes", &self.processes),
            of(section, "cgroups", &self.cgroups),
            of(section, "namespaces", &self.namespaces),
            of(section, "pods", &self.pods),
        ]
        .concat()
    }

    fn words(&self) -> Vec<String> {
        fn list<T: fmt::Display>(what: &str, rules: &[T]) -> Option<String> {
            let all: Vec<String> = rules.iter().map(ToString::to_string).collect();
            (!all.is_empty()).then(|| format!("{what} {}", all.join(", ")))
        }
        [
            list("to port", &self.ports),
            list("with an end at", &self.addresses),
            list("of a process called", &self.processes),
            list("of a socket in cgroup", &self.cgroups),
            list("of a pod in namespace", &self.namespaces),
            list("of pod", &self.pods),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What is accelerated and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Policy {
    /// If not empty, only connections that match one of these are accelerated.
    pub include: Rules,
    /// Connections that match one of these are not accelerated, included or not.
    pub exclude: Rules,
}

impl Policy {
    /// The difference to another policy, one line per rule: `+ exclude ports 5432`,
    /// `- include cgroups /pods`.
    pub fn changes(&self, to: &Policy) -> Vec<String> {
        let (before, after) = (self.each(), to.each());
        let gone =
            before.iter().filter(|rule| !after.contains(*rule)).map(|rule| format!("- {rule}"));
        let new =
            after.iter().filter(|rule| !before.contains(*rule)).map(|rule| format!("+ {rule}"));
        gone.chain(new).collect()
    }

    fn each(&self) -> BTreeSet<String> {
        let sections = [("include", &self.include), ("exclude", &self.exclude)];
        sections.into_iter().flat_map(|(section, rules)| rules.each(section)).collect()
    }

    /// The rules by pod, each as it is written and as the pods that it means.
    pub fn pods(&self) -> impl Iterator<Item = (String, Pod)> {
        let of = |section: &'static str, rules: &Rules| {
            let all: Vec<_> = rules.pods().collect();
            all.into_iter().map(move |(rule, pod)| (format!("{section} {rule}"), pod))
        };
        of("include", &self.include).chain(of("exclude", &self.exclude))
    }

    /// The cgroups that have rules.
    pub fn cgroups(&self) -> impl Iterator<Item = &Cgroup> {
        self.include.cgroups.iter().chain(&self.exclude.cgroups)
    }

    /// Checks that the maps of the datapath have room for all rules.
    ///
    /// # Errors
    /// If there are too many rules of one kind.
    pub fn fits(&self) -> Result<(), TooManyRules> {
        let numbers =
            |rules: &Rules| [rules.addresses.len(), rules.processes.len(), rules.cgroups.len()];
        let (include, exclude) = (numbers(&self.include), numbers(&self.exclude));
        for (kind, number) in
            ["addresses", "processes", "cgroups"].into_iter().zip(include.iter().zip(exclude))
        {
            let number = number.0 + number.1;
            let of_pods = kind == "cgroups" && self.pods().next().is_some();
            let room = RULES as usize - if of_pods { tables::ABOVE } else { 0 };
            if number > room {
                return Err(TooManyRules { number, kind, room });
            }
        }
        Ok(())
    }
}

/// There are more rules of a kind than its map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{number} rules by {kind}: there is room for {room}; ranges of addresses and cgroups above take less"
)]
pub struct TooManyRules {
    number: usize,
    kind: &'static str,
    room: usize,
}

/// A description of the policy, one line per rule.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.include.is_empty() {
            writeln!(f, "accelerated: every connection with both ends in the cgroup")?;
        } else {
            writeln!(f, "accelerated: connections with both ends in the cgroup")?;
            for (number, rule) in self.include.words().iter().enumerate() {
                writeln!(f, "  {}{rule}", if number == 0 { "" } else { "or " })?;
            }
        }
        for (number, rule) in self.exclude.words().iter().enumerate() {
            writeln!(f, "{}{rule}", if number == 0 { "but never\n  " } else { "  or " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_rule_by_rule() {
        let rules = |text: &str| toml::from_str::<Rules>(text).expect("rules");
        let of = |include: &str, exclude: &str| Policy {
            include: rules(include),
            exclude: rules(exclude),
        };
        let before = of("ports = [80, 81]", "processes = [\"a\"]");
        let after = of(
            "ports = [81]\ncgroups = [\"/pods\"]",
            "processes = [\"a\"]\naddresses = [\"10.0.0.0/8\"]\nnamespaces = [\"kube-*\"]",
        );
        let expected = [
            "- include ports 80",
            "+ exclude addresses 10.0.0.0/8",
            "+ exclude namespaces kube-*",
            "+ include cgroups /pods",
        ];
        assert_eq!(before.changes(&after), expected);
        assert!(after.changes(&after).is_empty());
    }

    #[test]
    fn a_policy_is_told_in_words() {
        let rules = |text: &str| toml::from_str::<Rules>(text).expect("rules");
        let policy = Policy {
            include: rules("ports = [80, \"8000-8100\"]\ncgroups = [\"/pods\"]"),
            exclude: rules(
                "addresses = [\"10.0.0.0/8\"]\nprocesses = [\"redis-server\"]\n\
                 namespaces = [\"kube-*\"]\npods = [\"shop/cart-*\", \"shop/db-0\"]",
            ),
        };
        let expected = "accelerated: connections with both ends in the cgroup\n  to port 80, 8000-8100\n  or of a socket in cgroup \
                        /pods\nbut never\n  with an end at 10.0.0.0/8\n  or of a process called redis-server\n  \
                        or of a pod in namespace kube-*\n  or of pod shop/cart-*, shop/db-0\n";
        assert_eq!(policy.to_string(), expected);
        let everything = "accelerated: every connection with both ends in the cgroup\n";
        assert_eq!(Policy::default().to_string(), everything);
    }
}
