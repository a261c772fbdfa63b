//! The rules of a policy, put where the kernel programs look them up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytemuck::Pod;
use syscalls::{TypedMap, Update};

use crate::datapath::{Comm, Control, Ports, Prefix, rules};
use crate::host::pods::{self, Pods};
use crate::host::{self, cgroup};
use crate::instance::{Instance, MAPS};
use crate::policy::tables::Tables;

/// The maps that hold rules, and the tables that are in them.
pub struct Rules {
    ports: TypedMap<u32, Ports>,
    addresses: TypedMap<Prefix, u64>,
    processes: TypedMap<Comm, u64>,
    cgroups: TypedMap<u64, u64>,
    listeners: TypedMap<u64, Comm>,
    tables: Tables,
    /// Identities of the cgroups that there are rules for.
    identities: BTreeMap<u64, u64>,
    /// What the kubelet's folders said at the last look, what was found then, and when it was.
    names: pods::Names,
    pods: Pods,
    looked: Option<Instant>,
    /// Folders of rules that matched nothing, each said once until rules are read again.
    unmatched: BTreeSet<PathBuf>,
}

impl Rules {
    /// Those of an instance, with these tables put into its maps.
    pub fn install(instance: &Instance, tables: Tables) -> Result<Rules> {
        let mut rules = Rules {
            ports: instance.map(MAPS.ports)?,
            addresses: instance.map(MAPS.addresses)?,
            processes: instance.map(MAPS.processes)?,
            cgroups: instance.map(MAPS.cgroups)?,
            listeners: instance.map(MAPS.listeners)?,
            tables: tables.clone(),
            identities: BTreeMap::new(),
            names: pods::Names::new(),
            pods: Pods::default(),
            looked: None,
            unmatched: BTreeSet::new(),
        };
        rules.replace(instance, tables)?;
        Ok(rules)
    }

    /// Puts other tables there. Connections that are established meanwhile are judged by the old
    /// rules, the new ones, or both.
    pub fn replace(&mut self, instance: &Instance, tables: Tables) -> Result<()> {
        self.ports.update(&0, &tables.ports, Update::ANY)?;
        fill(&self.addresses, &tables.addresses)?;
        fill(&self.processes, &tables.processes)?;
        self.tables = tables;
        self.unmatched.clear();
        self.looked = None;
        self.find_cgroups()?;
        instance.set_control(Control { rules: self.tables.kinds, ..instance.control()? })
    }

    /// Follows cgroups and pods that have been made or made again since the last time.
    pub fn find_cgroups(&mut self) -> Result<()> {
        if self.tables.kinds & rules::CGROUPS == 0 && self.identities.is_empty() {
            return Ok(());
        }
        let root = cgroup::root()?;
        self.find_pods(&root);
        let mut identities = BTreeMap::new();
        for (folder, said) in self.tables.folders(&root, &self.pods) {
            // One that is not there has no sockets.
            if let Ok(there) = std::fs::metadata(&folder) {
                identities.insert(there.ino(), said);
            } else if self.tables.cgroups.iter().any(|(rule, _)| rule.folder(&root) == folder)
                && self.unmatched.insert(folder.clone())
            {
                tracing::warn!(
                    "a rule by cgroup matches nothing until there is {}: its path is that of the node, as in \
                     /proc/PID/cgroup there",
                    folder.display()
                );
            }
        }
        if identities != self.identities {
            fill(&self.cgroups, &identities)?;
            self.identities = identities;
        }
        Ok(())
    }

    /// Looks for the cgroups of pods when there are other pods, and now and then.
    fn find_pods(&mut self, root: &Path) {
        const NOW_AND_THEN: Duration = Duration::from_secs(5);
        if self.tables.pods.is_empty() {
            return;
        }
        let names = pods::names().unwrap_or_else(|error| {
            if self.unmatched.insert(pods::LOGS.into()) {
                tracing::warn!(
                    "rules by pod exclude all pods until {} can be read: {error}",
                    pods::LOGS
                );
            }
            pods::Names::new()
        });
        // Before the kubelet has made a cgroup for pods nobody in it would be excluded.
        let is_due =
            self.pods.above.is_empty() || self.looked.is_none_or(|at| at.elapsed() >= NOW_AND_THEN);
        if names != self.names || is_due {
            self.pods = pods::find(root, names.clone());
            self.names = names;
            self.looked = Some(Instant::now());
        }
        if self.pods.above.is_empty() && self.unmatched.insert(root.join("kubepods")) {
            tracing::warn!(
                "rules by pod match nothing: no cgroup below {} is called kubepods",
                root.display()
            );
        }
    }

    /// Notes the processes of listeners that nobody has noted: those that are older than the
    /// instance. The others note themselves.
    pub fn note_listeners(&self) -> Result<()> {
        if self.tables.kinds & rules::PROCESSES == 0 {
            return Ok(());
        }
        let found = host::listeners();
        for listener in &found.listeners {
            self.listeners.update(&listener.cookie, &Comm::of(&listener.process), Update::ANY)?;
        }
        if found.hidden > 0 {
            tracing::warn!(
                processes = found.hidden,
                "whose listeners belong to these cannot be seen (CAP_SYS_PTRACE, Linux 5.6): what connects to those that are \
                 older than this instance goes by TCP"
            );
        }
        Ok(())
    }
}

/// Makes a map hold these entries and no others.
fn fill<K: Pod + Ord + Debug>(map: &TypedMap<K, u64>, entries: &BTreeMap<K, u64>) -> Result<()> {
    let stale: Vec<Vec<u8>> = map
        .map()
        .keys()
        .collect::<Result<_, _>>()
        .context("cannot list the rules that are there")?;
    for key in stale {
        let key: K = bytemuck::pod_read_unaligned(&key);
        if !entries.contains_key(&key) {
            map.delete(&key)?;
        }
    }
    for (key, said) in entries {
        map.update(key, said, Update::ANY)
            .with_context(|| format!("cannot add a rule for {key:?}"))?;
    }
    Ok(())
}
