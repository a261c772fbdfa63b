//! Writes the rules of a policy into the maps of the kernel programs.

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

/// The maps that hold rules, and their current contents.
pub struct Rules {
    ports: TypedMap<u32, Ports>,
    addresses: TypedMap<Prefix, u64>,
    processes: TypedMap<Comm, u64>,
    cgroups: TypedMap<u64, u64>,
    listeners: TypedMap<u64, Comm>,
    tables: Tables,
    /// Inode numbers of the cgroups that have rules.
    identities: BTreeMap<u64, u64>,
    /// Contents of the kubelet's folders at the last scan, the pods found, and its time.
    names: pods::Names,
    pods: Pods,
    looked: Option<Instant>,
    /// Rules that match nothing, each logged once until the rules are reloaded.
    unmatched: BTreeSet<PathBuf>,
}

impl Rules {
    /// The rule maps of an instance, filled with these tables.
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

    /// Replaces the tables. Connections established meanwhile are judged by the old rules, the new
    /// ones, or a mixture.
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

    /// Updates the maps for cgroups and pods that were created or recreated since the last call.
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

    /// Looks for the cgroups of pods when the set of pods has changed, and periodically.
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

    /// Records the process names of listeners older than the instance. Programs record the others
    /// when they begin to listen.
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

/// Replaces the contents of a map.
fn fill<K: Pod + Ord + Debug>(map: &TypedMap<K, u64>, entries: &BTreeMap<K, u64>) -> Result<()> {
    let stale: Vec<Vec<u8>> =
        map.map().keys().collect::<Result<_, _>>().context("cannot list the current rules")?;
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
