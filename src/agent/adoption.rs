//! Adopts connections that were open before the agent: finds those whose two ends are on this node,
//! and marks their sockets.
//!
//! This waits for locks of sockets, which other processes may hold for as long as they like, and
//! enters network namespaces, which takes CAP_SYS_ADMIN: so it is done by a process of its own,
//! `shunt adopt`, never by the agent, and there by a thread for each namespace. A process that
//! holds a socket lock delays the adoption of sockets in its own network namespace, and of no
//! others.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use syscalls::{Link, TypedMap, Update};

use crate::datapath::{
    ADOPTEES, Adoption, Comm, FlowEnd, Isns, PORTS_PER_BYTE, Ports, Prefix, ProgramName, Role,
    rules, ruling,
};
use crate::host::{Namespace, Processes, cgroup, network_namespaces};
use crate::instance::{Instance, MAPS, shown_by};

/// The result of an adoption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Adopted {
    /// Network namespaces that were scanned.
    pub namespaces: usize,
    /// Network namespaces that could not be entered, for want of CAP_SYS_ADMIN.
    pub closed: usize,
    /// Network namespaces whose scan is blocked by a process that holds a socket lock.
    pub held: usize,
    /// Sockets of connections whose peer is on this node and that were not marked yet.
    pub ends: usize,
    /// Connections with both ends here, in the instance's cgroup.
    pub local: usize,
    /// Connections that rules exclude.
    pub excluded: usize,
    /// Connections that were marked. They are accelerated once their segments have proved that the
    /// two ends belong together.
    pub marked: usize,
}

/// Adopts open connections in the instance's cgroup, subject to its rules.
///
/// # Errors
/// If the kernel refuses to run the iterator, or the instance has no program for it: see
/// `shunt doctor`.
pub fn adopt(instance: &Instance) -> Result<Adopted> {
    let program = instance.generation().program(ProgramName::Adopt)?
        .context("this instance cannot adopt open connections: its kernel has refused the program (see its log)")?;
    let pins = instance.pins();
    let _lock = pins.lock_adoption(instance.generation())?.with_context(|| {
        format!(
            "another process is adopting connections into instance '{}': try again later",
            pins.name()
        )
    })?;
    let link = Arc::new(Link::to_iter(&program, None).context("cannot iterate over TCP sockets")?);
    let namespaces: Vec<(u64, Arc<Namespace>)> =
        network_namespaces().into_iter().map(|(inode, netns)| (inode, Arc::new(netns))).collect();
    let adoptees = instance.map(MAPS.adoptees)?;
    // Of one who was killed.
    take_all(&adoptees)?;
    let mut found = Adopted::default();
    let mut ends: Vec<FlowEnd> = Vec::new();
    for reading in read_all(&link, namespaces.iter().map(|(_, netns)| netns))? {
        match reading {
            Reading::Shown(shown) => {
                found.namespaces += 1;
                ends.extend(shown);
            }
            Reading::Closed => found.closed += 1,
            Reading::Held => found.held += 1,
        }
    }
    found.ends = ends.len();
    let judge = Judge::new(instance)?;
    let mut pairs = pairs(&ends);
    pairs.retain(|&(client, server)| {
        [client, server].iter().all(|&end| judge.folders.hold(ends[end].cgroup))
    });
    found.local = pairs.len();
    let (marked, excluded): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|&(client, server)| judge.allows(&ends[client], &ends[server]));
    found.excluded = excluded.len();

    for some in marked.chunks(ADOPTEES as usize / 2) {
        let mut places = HashSet::new();
        for &(client, server) in some {
            let (client, server) = (&ends[client], &ends[server]);
            let (says, hears) = (number()?, number()?);
            for (end, says, hears, role) in
                [(client, says, hears, Role::Client), (server, hears, says, Role::Server)]
            {
                let adoption = Adoption { says, hears, role: role as u32, ..Adoption::default() };
                adoptees.update(&end.own.cookie, &adoption, Update::ANY)?;
                places.insert(u64::from(end.netns));
            }
        }
        let places = namespaces.iter().filter(|(inode, _)| places.contains(inode));
        read_all(&link, places.map(|(_, netns)| netns))?;
        let left = take_all(&adoptees)?;
        let is_marked = |end: usize| !left.contains(&ends[end].own.cookie);
        found.marked +=
            some.iter().filter(|(client, server)| is_marked(*client) && is_marked(*server)).count();
    }
    Ok(found)
}

/// The result of a scan of one network namespace.
enum Reading {
    /// All records that the program has written.
    Shown(Vec<FlowEnd>),
    /// The namespace cannot be entered.
    Closed,
    /// The scan is blocked on a socket lock. Its thread continues when the lock is released.
    Held,
}

/// Runs the iterator in these namespaces, concurrently.
fn read_all<'n>(
    link: &Arc<Link>,
    namespaces: impl Iterator<Item = &'n Arc<Namespace>>,
) -> Result<Vec<Reading>> {
    /// Socket locks are normally held for microseconds; one held for longer is held on purpose.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// How many namespaces are scanned at once.
    const AT_ONCE: usize = 32;
    let namespaces: Vec<&Arc<Namespace>> = namespaces.collect();
    let mut readings = Vec::new();
    for some in namespaces.chunks(AT_ONCE) {
        let deadline = Instant::now() + PATIENCE;
        let mut told = Vec::new();
        for &netns in some {
            let (netns, link) = (Arc::clone(netns), Arc::clone(link));
            let (tell, reading) = mpsc::channel();
            let read = move || {
                tell.send(if netns.enter().is_ok() {
                    read(&link).map(Reading::Shown)
                } else {
                    Ok(Reading::Closed)
                })
            };
            thread::Builder::new()
                .name("shunt-adopt".into())
                .spawn(read)
                .context("cannot start a thread")?;
            told.push(reading);
        }
        for reading in told {
            let left = deadline.saturating_duration_since(Instant::now());
            readings.push(reading.recv_timeout(left).unwrap_or(Ok(Reading::Held))?);
        }
    }
    Ok(readings)
}

/// Runs the iterator in the network namespace of this thread, and returns its records.
fn read(link: &Link) -> Result<Vec<FlowEnd>> {
    shown_by(link).context("cannot iterate over TCP sockets")
}

/// Empties the map and returns the cookies that were in it.
fn take_all(adoptees: &TypedMap<u64, Adoption>) -> Result<HashSet<u64>> {
    let keys: Vec<Vec<u8>> = adoptees.map().keys().collect::<Result<_, _>>()?;
    let cookies: HashSet<u64> = keys.iter().map(|key| bytemuck::pod_read_unaligned(key)).collect();
    for cookie in &cookies {
        adoptees.delete(cookie)?;
    }
    Ok(cookies)
}

/// 64 random bits, which nobody can guess.
fn number() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("the kernel has no random numbers")?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A socket that claims to be one end of a connection.
#[derive(Clone, Copy, Debug, Default)]
enum Claim {
    #[default]
    Nobody,
    One(usize),
    Several,
}

impl Claim {
    fn add(&mut self, end: usize) {
        *self = if matches!(self, Claim::Nobody) { Claim::One(end) } else { Claim::Several };
    }
}

/// Pairs the ends of each connection, the client's first. If two sockets claim the same end,
/// neither is paired: one of them is an impostor.
fn pairs(ends: &[FlowEnd]) -> Vec<(usize, usize)> {
    let mut claims: HashMap<Isns, (Claim, Claim)> = HashMap::new();
    for (number, end) in ends.iter().enumerate() {
        let name = end.own.name;
        // Which of the two an end is cannot be seen. By a client's name is a connection known; its
        // own number was told less one.
        let as_client = Isns { own: name.own.wrapping_add(1), peer: name.peer };
        let as_server = Isns { own: name.peer, peer: name.own };
        claims.entry(as_client).or_default().0.add(number);
        claims.entry(as_server).or_default().1.add(number);
    }
    let met: Vec<_> = claims
        .into_values()
        .filter_map(|claims| match claims {
            (Claim::One(client), Claim::One(server)) if client != server => Some((client, server)),
            _ => None,
        })
        .collect();
    // Nobody has two peers.
    let mut times: HashMap<usize, u32> = HashMap::new();
    met.iter()
        .flat_map(|&(client, server)| [client, server])
        .for_each(|end| *times.entry(end).or_default() += 1);
    met.into_iter().filter(|(client, server)| times[client] == 1 && times[server] == 1).collect()
}

/// Decides whether a connection is to be accelerated, from the maps by which [`crate::datapath`]
/// decides about new connections when they are established.
struct Judge {
    kinds: u32,
    ports: Box<Ports>,
    addresses: TypedMap<Prefix, u64>,
    processes: TypedMap<Comm, u64>,
    cgroups: TypedMap<u64, u64>,
    folders: Folders,
    holders: Processes,
}

impl Judge {
    fn new(instance: &Instance) -> Result<Judge> {
        let kinds = instance.control()?.rules;
        let about = instance.about()?;
        let ports = instance.map(MAPS.ports)?;
        Ok(Judge {
            kinds,
            ports: Box::new(ports.lookup(&0)?.context("an array map has no entry 0")?),
            addresses: instance.map(MAPS.addresses)?,
            processes: instance.map(MAPS.processes)?,
            cgroups: instance.map(MAPS.cgroups)?,
            folders: Folders::below(about.cgroup_path(), kinds & rules::CGROUPS != 0)?,
            holders: if kinds & rules::PROCESSES == 0 {
                Processes::default()
            } else {
                Processes::now()
            },
        })
    }

    fn allows(&self, client: &FlowEnd, server: &FlowEnd) -> bool {
        let Some(said) = self.said_of(client, server) else { return false };
        said & ruling::EXCLUDED == 0
            && (said & ruling::INCLUDED != 0 || self.kinds & rules::ONLY_INCLUDED == 0)
    }

    /// The verdict of the rules on either end; `None` if it cannot be determined.
    fn said_of(&self, client: &FlowEnd, server: &FlowEnd) -> Option<u64> {
        let mut said = 0;
        if self.kinds & rules::PORTS != 0 {
            let dialled = (client.remote_port as u16).swap_bytes();
            said |= self.of_port(dialled) | self.of_port(server.local_port as u16);
        }
        for end in [client, server] {
            if self.kinds & rules::ADDRESSES != 0 {
                said |= self.of_address(end.local_v6, end.local_v4)
                    | self.of_address(end.remote_v6, end.remote_v4);
            }
            if self.kinds & rules::CGROUPS != 0 {
                said |= self.of_cgroup(end.cgroup)?;
            }
            if self.kinds & rules::PROCESSES != 0 {
                let holder = self.holders.holding(end.inode)?;
                said |= self.processes.lookup(&Comm::of(&holder.name)).ok()?.unwrap_or_default();
            }
        }
        Some(said)
    }

    fn of_port(&self, port: u16) -> u64 {
        let four = bytemuck::bytes_of(&*self.ports)[usize::from(port) / PORTS_PER_BYTE];
        u64::from(four >> (usize::from(port) % PORTS_PER_BYTE * 2)) & ruling::ALL
    }

    /// IPv4 addresses are looked up as IPv4-mapped IPv6 addresses.
    fn of_address(&self, v6: [u8; 16], v4: u32) -> u64 {
        let octets = if v6 == [0; 16] {
            Ipv4Addr::from(v4.to_ne_bytes()).to_ipv6_mapped().octets()
        } else {
            v6
        };
        let prefix = Prefix { length: 128, address: bytemuck::pod_read_unaligned(&octets) };
        self.addresses.lookup(&prefix).ok().flatten().unwrap_or_default()
    }

    /// The rule of the nearest ancestor cgroup that has one applies.
    fn of_cgroup(&self, cgroup: u64) -> Option<u64> {
        let folder = self.folders.known.get(&cgroup)?;
        for above in folder.ancestors() {
            let Ok(about) = std::fs::metadata(above) else { return Some(0) };
            if let Some(said) = self.cgroups.lookup(&about.ino()).ok()? {
                return Some(said);
            }
            if above == self.folders.root {
                break;
            }
        }
        Some(0)
    }
}

/// The cgroups of an instance, by the inode numbers of their folders.
struct Folders {
    root: PathBuf,
    /// The root cgroup, which contains every socket.
    is_whole: bool,
    known: HashMap<u64, PathBuf>,
}

impl Folders {
    /// A cgroup and all its descendants. Those of the whole node are only listed if there are rules
    /// by cgroup.
    fn below(cgroup: &Path, has_rules: bool) -> Result<Folders> {
        let root = cgroup::root()?;
        let mut folders = Folders { is_whole: cgroup == root, root, known: HashMap::new() };
        if has_rules || !folders.is_whole {
            folders.add(cgroup);
        }
        Ok(folders)
    }

    /// A cgroup that is removed meanwhile has no sockets.
    fn add(&mut self, folder: &Path) {
        let Ok(about) = std::fs::metadata(folder) else { return };
        let Entry::Vacant(place) = self.known.entry(about.ino()) else { return };
        place.insert(folder.to_owned());
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && !self.known.contains_key(&entry.ino())
            {
                self.add(&entry.path());
            }
        }
    }

    fn hold(&self, cgroup: u64) -> bool {
        self.is_whole || self.known.contains_key(&cgroup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(own: u32, peer: u32) -> FlowEnd {
        let mut end = FlowEnd::default();
        end.own.name = Isns { own, peer };
        end
    }

    #[test]
    fn the_ends_of_a_connection_are_those_that_have_each_others_numbers() {
        // A client's own number is told less one.
        let ends = [end(100, 501), end(7, 8), end(501, 101), end(u32::MAX, 9), end(9, 0)];
        let mut found = pairs(&ends);
        found.sort();
        assert_eq!(found, [(0, 2), (3, 4)]);
    }

    #[test]
    fn two_that_claim_to_be_the_same_end_are_none_and_nobody_has_two_peers() {
        let (client, server) = (end(100, 501), end(501, 101));
        assert_eq!(pairs(&[client, server, server]), []);
        assert_eq!(pairs(&[client, client, server]), []);
        // Its own peer.
        assert_eq!(pairs(&[end(100, 101)]), []);
        // The first is the server of the second and the client of the third.
        assert_eq!(pairs(&[end(10, 20), end(19, 10), end(20, 11)]), []);
    }
}
