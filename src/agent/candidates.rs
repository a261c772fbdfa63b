//! Runs the enrolment program on all candidates: as an iterator over their socket storage, as an
//! iterator over the open files of their processes, or as a classifier, one candidate at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use bytemuck::bytes_of;
use syscalls::{Iter, Link, Prog, TypedMap, Update};

use crate::datapath::{Newcomer, Pass, Passes, RECORD_AT, Request};
use crate::host::NamespaceIds;
use crate::instance::{Instance, MAPS};

/// The candidates of an instance.
pub struct Candidates {
    ways: Ways,
    /// The result of the last pass.
    found: TypedMap<u32, Pass>,
}

/// Instead of a PID: the open files of all processes.
const EVERYBODY: u32 = 0;

/// How the program reaches the candidates.
enum Ways {
    /// An iterator over socket storage.
    Iterator(Link),
    /// An iterator over the open files of each process that has a waiting candidate.
    Files { enrol: Prog, processes: HashMap<u32, Link> },
    /// A classifier, run for each known candidate.
    Classifier { enrol: Prog, namespaces: NamespaceIds, known: Vec<Newcomer> },
}

impl Candidates {
    /// The candidates of this instance, whose enrolment program is of this kind.
    pub fn new(instance: &Instance, enrol: Prog, passes: Passes) -> Result<Candidates> {
        let ways = match passes {
            Passes::Iterator => {
                let candidates = instance.map(MAPS.candidates)?;
                let link = Link::to_iter(&enrol, Some(candidates.map()));
                Ways::Iterator(link.context("cannot iterate over candidates")?)
            }
            Passes::Files => {
                // Candidates left by an earlier agent may belong to any process.
                let all = Link::to_iter(&enrol, None).context("cannot iterate over open files")?;
                Ways::Files { enrol, processes: HashMap::from([(EVERYBODY, all)]) }
            }
            Passes::Classifier => {
                Ways::Classifier { enrol, namespaces: NamespaceIds::new()?, known: Vec::new() }
            }
        };
        Ok(Candidates { ways, found: instance.map(MAPS.pass)? })
    }

    /// Adds a candidate.
    pub fn add(&mut self, newcomer: Newcomer) {
        match &mut self.ways {
            Ways::Iterator(_) => {}
            Ways::Files { enrol, processes } => {
                let process = newcomer.process.pid;
                if let Entry::Vacant(unknown) = processes.entry(process) {
                    match Link::to_iter_of_process(enrol, process) {
                        Ok(link) => drop(unknown.insert(link)),
                        Err(error) => {
                            tracing::debug!(
                                pid = process,
                                "cannot iterate over its open files: {error}"
                            )
                        }
                    }
                }
            }
            Ways::Classifier { known, .. } => known.push(newcomer),
        }
    }

    /// Runs the program on all candidates and returns its result.
    pub fn pass(&mut self) -> Result<Pass> {
        const FAILED: &str = "cannot run the enrolment program";
        const NOTHING: Pass = Pass { due: u64::MAX, enrolled: 0, histories: 0 };
        let Candidates { ways, found } = self;
        found.update(&0, &NOTHING, Update::ANY)?;
        match ways {
            Ways::Iterator(link) => go_over(link).context(FAILED)?,
            Ways::Files { processes, .. } => {
                let mut all = NOTHING;
                let mut gone = Vec::new();
                for (process, link) in &*processes {
                    found.update(&0, &NOTHING, Update::ANY)?;
                    let read = go_over(link);
                    let of_this = found.lookup(&0)?.context("an array map has no entry 0")?;
                    if read.is_err() || of_this.due == u64::MAX {
                        gone.push(*process);
                    }
                    all = Pass {
                        due: all.due.min(of_this.due),
                        enrolled: all.enrolled + of_this.enrolled,
                        histories: all.histories + of_this.histories,
                    };
                }
                for process in gone {
                    processes.remove(&process);
                }
                found.update(&0, &all, Update::ANY)?;
            }
            Ways::Classifier { enrol, namespaces, known } => {
                for newcomer in std::mem::take(known) {
                    let Newcomer { netns_cookie, netns, thread, process, .. } = newcomer;
                    let Some(id) = namespaces.of(netns_cookie, netns, thread, process.pid) else {
                        tracing::debug!(
                            pid = process.pid,
                            netns,
                            "its network namespace is not found"
                        );
                        continue;
                    };
                    let mut packet = [0; RECORD_AT + size_of::<Request>()];
                    packet[RECORD_AT..].copy_from_slice(bytes_of(&request(&newcomer, id)));
                    if enrol.transform(&mut packet).context(FAILED)?.retval == 1 {
                        known.push(newcomer);
                    }
                }
            }
        }
        let found = found.lookup(&0)?.context("an array map has no entry 0")?;
        tracing::trace!(?found, "candidates");
        Ok(found)
    }
}

/// Runs an iterator to its end.
fn go_over(link: &Link) -> Result<()> {
    Iter::of_link(link)?.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The candidate's addresses and ports as in a packet to its socket.
fn request(newcomer: &Newcomer, namespace: i32) -> Request {
    const AF_INET: u32 = libc::AF_INET as u32;
    const AF_INET6: u32 = libc::AF_INET6 as u32;
    let mut tuple = [0; 9];
    let ports = [newcomer.remote_port as u16, (newcomer.local_port as u16).to_be()];
    let ports = bytemuck::cast(ports);
    let mapped = Ipv6Addr::from(newcomer.local_v6).to_ipv4_mapped().is_some();
    let family = if newcomer.family == AF_INET || mapped { AF_INET } else { AF_INET6 };
    if family == AF_INET {
        tuple[..3].copy_from_slice(&[newcomer.remote_v4, newcomer.local_v4, ports]);
    } else {
        tuple[..4].copy_from_slice(&bytemuck::cast::<_, [u32; 4]>(newcomer.remote_v6));
        tuple[4..8].copy_from_slice(&bytemuck::cast::<_, [u32; 4]>(newcomer.local_v6));
        tuple[8] = ports;
    }
    Request { cookie: newcomer.cookie, netns: namespace.cast_unsigned(), family, tuple, padding: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_asked_for_as_a_packet_to_its_socket_has_it() {
        let newcomer = Newcomer {
            cookie: 7,
            family: libc::AF_INET as u32,
            local_port: 80,
            remote_port: u32::from(0x1234u16.to_be()),
            local_v4: u32::from_ne_bytes([10, 0, 0, 1]),
            remote_v4: u32::from_ne_bytes([10, 0, 0, 2]),
            ..Newcomer::default()
        };
        let asked = request(&newcomer, -1);
        assert_eq!((asked.cookie, asked.netns, asked.family), (7, u32::MAX, libc::AF_INET as u32));
        assert_eq!(bytes_of(&asked.tuple)[..12], [10, 0, 0, 2, 10, 0, 0, 1, 0x12, 0x34, 0, 80]);

        let v6 = |last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).octets();
        let newcomer = Newcomer {
            family: libc::AF_INET6 as u32,
            local_v6: v6(1),
            remote_v6: v6(2),
            ..newcomer
        };
        let asked = request(&newcomer, 3);
        assert_eq!((asked.netns, asked.family), (3, libc::AF_INET6 as u32));
        assert_eq!(bytes_of(&asked.tuple), [&v6(2)[..], &v6(1), &[0x12, 0x34, 0, 80]].concat());

        let mapped = |last| std::net::Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets();
        let newcomer = Newcomer { local_v6: mapped(1), remote_v6: mapped(2), ..newcomer };
        assert_eq!(bytes_of(&request(&newcomer, 3).tuple)[..8], [10, 0, 0, 2, 10, 0, 0, 1]);
    }
}
