//! Rules in the form in which the kernel programs look them up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::rule::{self, Cgroup, Pod};
use super::{Policy, Rules};
use crate::datapath::{Comm, PORTS_PER_BYTE, Ports, Prefix, RULES, rules, ruling};
use crate::host::pods::Pods;

/// Contents of the datapath's rule maps for a policy.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Verdict by port.
    pub ports: Box<Ports>,
    /// Verdict by prefix: the longest match applies, and includes what shorter prefixes say.
    pub addresses: BTreeMap<Prefix, u64>,
    /// Verdict by process name.
    pub processes: BTreeMap<Comm, u64>,
    /// Rules by cgroup, whose inode number changes when it is recreated.
    pub cgroups: Vec<(Cgroup, u64)>,
    /// Rules by pod.
    pub pods: Vec<(Pod, u64)>,
    /// Kinds of rules present: bits of [`rules`].
    pub kinds: u32,
}

/// Limit of cgroups that hold those of pods. The kubelet makes one; whoever may make cgroups can
/// call any number of his own like it, which are further from the root.
pub const ABOVE: usize = 16;

impl Tables {
    /// The tables of a policy.
    pub fn new(policy: &Policy) -> Tables {
        let mut tables = Tables {
            ports: Box::default(),
            addresses: BTreeMap::new(),
            processes: BTreeMap::new(),
            cgroups: Vec::new(),
            pods: Vec::new(),
            kinds: if policy.include.is_empty() { 0 } else { rules::ONLY_INCLUDED },
        };
        tables.add(&policy.include, ruling::INCLUDED);
        tables.add(&policy.exclude, ruling::EXCLUDED);
        tables
    }

    fn add(&mut self, rules: &Rules, said: u64) {
        for (kind, none) in [
            (rules::PORTS, rules.ports.is_empty()),
            (rules::ADDRESSES, rules.addresses.is_empty()),
            (rules::PROCESSES, rules.processes.is_empty()),
            (rules::CGROUPS, rules.cgroups.is_empty() && rules.pods().next().is_none()),
        ] {
            self.kinds |= if none { 0 } else { kind };
        }
        let verdicts = bytemuck::bytes_of_mut(&mut *self.ports);
        for port in rules.ports.iter().flat_map(|ports| ports.first..=ports.last).map(usize::from) {
            // Every port has its place.
            if let Some(byte) = verdicts.get_mut(port / PORTS_PER_BYTE) {
                *byte |= (said as u8) << (port % PORTS_PER_BYTE * 2);
            }
        }
        for addresses in &rules.addresses {
            self.add_addresses(addresses, said);
        }
        for process in &rules.processes {
            *self.processes.entry(Comm { name: process.bytes() }).or_default() |= said;
        }
        self.cgroups.extend(rules.cgroups.iter().map(|cgroup| (cgroup.clone(), said)));
        self.pods.extend(rules.pods().map(|(_, pod)| (pod, said)));
    }

    /// Verdicts by cgroup directory: that of the nearest ancestor applies.
    pub fn folders(&self, root: &Path, pods: &Pods) -> BTreeMap<PathBuf, u64> {
        let cgroups: Vec<(PathBuf, u64)> =
            self.cgroups.iter().map(|(cgroup, said)| (cgroup.folder(root), *said)).collect();
        let mut of_pods = BTreeMap::new();
        if !self.pods.is_empty() {
            // Who is not known may be one of those that are excluded.
            of_pods.extend(
                pods.above.iter().take(ABOVE).map(|above| (above.clone(), ruling::EXCLUDED)),
            );
            let room = (RULES as usize).saturating_sub(cgroups.len() + of_pods.len());
            of_pods.extend(pods.known.iter().take(room).map(|pod| {
                let rules =
                    self.pods.iter().filter(|(rule, _)| rule.matches(&pod.namespace, &pod.name));
                (pod.cgroup.clone(), rules.fold(0, |all, (_, said)| all | said))
            }));
        }
        let folders = cgroups.iter().map(|(folder, _)| folder).chain(of_pods.keys());
        let said = |folder: &PathBuf| {
            let above = cgroups.iter().filter(|(other, _)| folder.starts_with(other));
            let of_pod = folder.ancestors().find_map(|above| of_pods.get(above));
            above.fold(of_pod.copied().unwrap_or(0), |all, (_, said)| all | said)
        };
        folders.map(|folder| (folder.clone(), said(folder))).collect()
    }

    /// A prefix inherits the verdicts of the shorter prefixes that contain it.
    fn add_addresses(&mut self, addresses: &rule::Addresses, said: u64) {
        let (start, length) = addresses.prefix();
        let (start, mut inherited) = (start.to_bits(), 0);
        for (prefix, known) in &mut self.addresses {
            let (other, other_length) = (bits(prefix), prefix.length);
            if other_length >= length && begins_with(other, start, length) {
                *known |= said;
            } else if other_length < length && begins_with(start, other, other_length) {
                inherited |= *known;
            }
        }
        let words = start.to_be_bytes();
        let prefix = Prefix { length, address: bytemuck::pod_read_unaligned(&words) };
        *self.addresses.entry(prefix).or_default() |= said | inherited;
    }
}

fn bits(prefix: &Prefix) -> u128 {
    u128::from_be_bytes(bytemuck::cast(prefix.address))
}

fn begins_with(address: u128, start: u128, length: u32) -> bool {
    (address ^ start).checked_shr(128 - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::pods as host;

    fn policy(include: &str, exclude: &str) -> Policy {
        let rules = |text: &str| toml::from_str(text).expect("rules");
        Policy { include: rules(include), exclude: rules(exclude) }
    }

    fn of_port(tables: &Tables, port: usize) -> u64 {
        u64::from(bytemuck::bytes_of(&*tables.ports)[port / 4] >> (port % 4 * 2) & 3)
    }

    #[test]
    fn every_port_of_a_range_has_its_verdict_and_its_neighbours_do_not() {
        let tables = Tables::new(&policy("ports = [\"8-11\", 65535]", "ports = [\"10-12\"]"));
        let said: Vec<u64> = (7..14).map(|port| of_port(&tables, port)).collect();
        assert_eq!(said, [0, 1, 1, 3, 3, 2, 0]);
        assert_eq!((of_port(&tables, 65535), of_port(&tables, 65534)), (1, 0));
    }

    /// Whatever order the rules come in, the longest prefix says what all rules together say.
    #[test]
    fn the_longest_prefix_repeats_what_is_said_of_those_that_cover_it() {
        let said = |include: &str, exclude: &str, address: &str| {
            let tables = Tables::new(&policy(include, exclude));
            let address = address.parse::<rule::Addresses>().unwrap().prefix().0.to_bits();
            let longest =
                tables.addresses.iter().filter(|(p, _)| begins_with(address, bits(p), p.length));
            longest.max_by_key(|(p, _)| p.length).map_or(0, |(_, said)| *said)
        };
        for (wide, narrow) in
            [("10.0.0.0/8", "10.1.0.0/16"), ("::/0", "fd00::/8"), ("0.0.0.0/0", "10.1.2.3")]
        {
            let one = |text: &str| format!("addresses = [\"{text}\"]");
            let inside = narrow.split('/').next().unwrap();
            assert_eq!(said(&one(wide), &one(narrow), inside), 3, "{wide} {narrow}");
            assert_eq!(said(&one(narrow), &one(wide), inside), 3, "{wide} {narrow}");
        }
        let both = "addresses = [\"10.0.0.0/8\", \"10.1.0.0/16\"]";
        assert_eq!(said(both, "", "10.2.0.0"), 1);
        assert_eq!(said(both, "", "11.0.0.0"), 0);
        assert_eq!(said("", "addresses = [\"::/0\"]", "1.2.3.4"), 2);
    }

    #[test]
    fn a_cgroup_has_what_is_said_of_its_pod_and_of_those_above_and_an_unknown_pod_is_excluded() {
        let pod = |namespace: &str, name: &str, cgroup: &str| host::Pod {
            namespace: namespace.into(),
            name: name.into(),
            cgroup: cgroup.into(),
        };
        let pods = Pods {
            above: vec!["/c/pods".into()],
            known: vec![
                pod("shop", "cart-1", "/c/pods/1"),
                pod("shop", "db-0", "/c/pods/b/2"),
                pod("other", "cart-1", "/c/pods/b/3"),
            ],
        };
        let of = |include: &str, exclude: &str| {
            let folders = Tables::new(&policy(include, exclude)).folders(Path::new("/c"), &pods);
            let said = |(folder, said): (&PathBuf, &u64)| format!("{} {said}", folder.display());
            folders.iter().map(said).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(of("", ""), "");
        assert_eq!(of("cgroups = [\"/pods/b\"]", ""), "/c/pods/b 1");
        assert_eq!(
            of("namespaces = [\"shop\"]", "pods = [\"*/cart-*\"]"),
            "/c/pods 2, /c/pods/1 3, /c/pods/b/2 1, /c/pods/b/3 2"
        );
        // A cgroup above pods, and one in a pod.
        assert_eq!(
            of("cgroups = [\"/pods/b\", \"/pods/1/a\"]", "pods = [\"shop/cart-1\"]"),
            "/c/pods 2, /c/pods/1 2, /c/pods/1/a 3, /c/pods/b 3, /c/pods/b/2 1, /c/pods/b/3 1"
        );
    }

    #[test]
    fn pods_that_there_is_no_room_for_are_as_unknown() {
        let known = (0..RULES).map(|number| host::Pod {
            namespace: "a".into(),
            name: format!("{number}"),
            cgroup: format!("/c/pods/{number}").into(),
        });
        let pods = Pods { above: vec!["/c/pods".into()], known: known.collect() };
        let tables = Tables::new(&policy("pods = [\"a/*\"]\ncgroups = [\"/x\"]", ""));
        let folders = tables.folders(Path::new("/c"), &pods);
        assert_eq!(folders.len(), RULES as usize);
        assert_eq!(folders[Path::new("/c/pods")], ruling::EXCLUDED);
        assert_eq!(folders[Path::new("/c/x")], ruling::INCLUDED);
    }

    #[test]
    fn there_is_room_for_all_rules_however_many_cgroups_are_called_as_those_of_pods() {
        let cgroup = |number| format!("\"/x{number}\"");
        let include = |cgroups: u32| {
            let cgroups: Vec<String> = (0..cgroups).map(cgroup).collect();
            format!("pods = [\"a/*\"]\ncgroups = [{}]", cgroups.join(", "))
        };
        let most = policy(&include(RULES - ABOVE as u32), "");
        most.fits().expect("room");
        policy(&include(RULES - ABOVE as u32 + 1), "").fits().expect_err("no room");
        let pods = Pods {
            above: (0..RULES + 1).map(|number| format!("/c/{number}/kubepods").into()).collect(),
            known: Vec::new(),
        };
        let folders = Tables::new(&most).folders(Path::new("/c"), &pods);
        assert_eq!(folders.len(), RULES as usize);
        // The kubelet's is the nearest to the root, which is found first.
        assert_eq!(folders[Path::new("/c/0/kubepods")], ruling::EXCLUDED);
    }

    #[test]
    fn the_kinds_are_those_that_have_rules() {
        let kinds = |include: &str, exclude: &str| Tables::new(&policy(include, exclude)).kinds;
        assert_eq!(kinds("", ""), 0);
        assert_eq!(kinds("ports = [80]", ""), rules::PORTS | rules::ONLY_INCLUDED);
        assert_eq!(
            kinds("", "addresses = [\"::1\"]\ncgroups = [\"/a\"]"),
            rules::ADDRESSES | rules::CGROUPS
        );
        assert_eq!(
            kinds("namespaces = [\"a\"]", "pods = [\"a/b\"]"),
            rules::CGROUPS | rules::ONLY_INCLUDED
        );
        assert_eq!(
            kinds("processes = [\"a\"]", "processes = [\"b\"]"),
            rules::PROCESSES | rules::ONLY_INCLUDED
        );
    }
}
