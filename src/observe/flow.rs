//! Open flows: the two ends of each, found by their names.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use anyhow::Result;
use serde::Serialize;

use super::{Workload, Workloads};
use crate::datapath::{Counter, FlowEnd, Mode, Role};
use crate::host::{Process, Processes, is_in_initial_namespace};
use crate::instance::Instance;

/// A connection with at least one end enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// The end that opened the connection, if it is enrolled.
    pub client: Option<FlowSide>,
    /// The end that accepted it, if it is enrolled.
    pub server: Option<FlowSide>,
}

/// One end, and the lane it sends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowSide {
    /// Its own address.
    pub local: SocketAddr,
    /// The peer's address as this end sees it; behind NAT not the peer's own.
    pub remote: SocketAddr,
    /// Socket cookie, as `ss -e` prints it.
    pub cookie: u64,
    /// TCP state, as `ss` prints it.
    pub state: &'static str,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Who holds the socket, where that can be seen.
    pub process: Option<Arc<Process>>,
    /// The cgroup that created the socket, with pod and container.
    pub workload: Option<Arc<Workload>>,
    /// Mode of its next message: `direct`, `tcp` or `ended`.
    pub mode: &'static str,
    /// Reason of its last message by TCP, as in `shunt stats`, unless `direct`.
    pub why: Option<&'static str>,
    /// Messages sent directly.
    pub direct_messages: u64,
    /// Bytes sent directly.
    pub direct_bytes: u64,
    /// Bytes sent by TCP.
    pub tcp_bytes: u64,
    /// Whether redirected bytes are unread.
    pub direct_unread: bool,
    /// Unread bytes that arrived by TCP.
    pub tcp_unread: u32,
}

/// The open flows of an instance, by client.
pub fn flows(instance: &Instance) -> Result<Vec<Flow>> {
    // Each goes over many sockets.
    let (ends, observer) = thread::scope(|scope| {
        let observer = scope.spawn(|| Observer::of(instance));
        let ends = instance.ends();
        (ends, observer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok(pair(&ends?, &observer))
}

/// Maps sockets to processes and workloads.
#[derive(Debug, Default)]
pub struct Observer {
    processes: Processes,
    workloads: Workloads,
}

impl Observer {
    /// Finds the processes and cgroups of an instance's sockets.
    pub fn of(instance: &Instance) -> Observer {
        let holders = instance.holders().ok().flatten().filter(|_| is_in_initial_namespace());
        let processes = match holders {
            Some(holders) => {
                holders.iter().map(|held| (held.pid, held.inode, held.fd.cast_signed())).collect()
            }
            None => Processes::now(),
        };
        Observer { processes, workloads: Workloads::now() }
    }

    /// Describes an end with its process and workload.
    pub fn side(&self, end: &FlowEnd) -> FlowSide {
        side(end, self)
    }
}

fn pair(ends: &[FlowEnd], observer: &Observer) -> Vec<Flow> {
    let name = |end: &FlowEnd| (end.own.name.own, end.own.name.peer);
    let mut servers = HashMap::with_capacity(ends.len() / 2);
    let all = ends.iter().filter(|end| end.role == Role::Server as u32);
    servers.extend(all.map(|end| (name(end), end)));
    let clients = ends.iter().filter(|end| end.role == Role::Client as u32);
    let mut pairs: Vec<(Option<&FlowEnd>, Option<&FlowEnd>)> = clients
        .map(|client| (Some(client), servers.remove(&(client.own.name.peer, client.own.name.own))))
        .collect();
    pairs.extend(servers.into_values().map(|server| (None, Some(server))));
    pairs.sort_by_cached_key(|(client, server)| {
        client.or(*server).map(|end| (end.netns, local(end), end.own.cookie))
    });
    let side = |end: Option<&FlowEnd>| end.map(|end| side(end, observer));
    pairs
        .into_iter()
        .map(|(client, server)| Flow { client: side(client), server: side(server) })
        .collect()
}

/// Its own address.
fn local(end: &FlowEnd) -> SocketAddr {
    address(is_v6(end), end.local_v4, end.local_v6, end.local_port as u16)
}

fn is_v6(end: &FlowEnd) -> bool {
    end.family == nix::libc::AF_INET6 as u32
}

fn side(end: &FlowEnd, observer: &Observer) -> FlowSide {
    let remote_port = u16::from_be(end.remote_port as u16);
    FlowSide {
        local: local(end),
        remote: address(is_v6(end), end.remote_v4, end.remote_v6, remote_port),
        cookie: end.own.cookie,
        state: state(end.state),
        netns: end.netns,
        process: observer.processes.holding(end.inode).cloned(),
        workload: observer.workloads.of(end.cgroup).cloned(),
        mode: match end.mode {
            mode if mode == Mode::Direct as u32 => "direct",
            mode if mode == Mode::Tcp as u32 => "tcp",
            _ => "ended",
        },
        why: if end.why == 0 {
            None
        } else {
            Counter::ALL.get(end.why as usize).map(|reason| reason.name())
        },
        direct_messages: end.direct_messages,
        direct_bytes: end.direct_bytes,
        tcp_bytes: end.tcp_bytes,
        direct_unread: end.direct_unread != 0,
        tcp_unread: end.tcp_unread,
    }
}

/// An IPv4-mapped IPv6 address is shown as IPv4.
pub(super) fn address(v6: bool, v4_bytes: u32, v6_bytes: [u8; 16], port: u16) -> SocketAddr {
    let ip = if v6 {
        Ipv6Addr::from(v6_bytes).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::from(v4_bytes.to_ne_bytes()))
    };
    SocketAddr::new(ip, port)
}

/// State names of include/net/tcp_states.h.
fn state(number: u32) -> &'static str {
    const STATES: [&str; 13] = [
        "UNKNOWN",
        "ESTABLISHED",
        "SYN-SENT",
        "SYN-RECV",
        "FIN-WAIT-1",
        "FIN-WAIT-2",
        "TIME-WAIT",
        "CLOSED",
        "CLOSE-WAIT",
        "LAST-ACK",
        "LISTEN",
        "CLOSING",
        "NEW-SYN-RECV",
    ];
    STATES.get(number as usize).copied().unwrap_or("UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::{End, Isns};

    fn end(role: Role, own: u32, peer: u32) -> FlowEnd {
        FlowEnd {
            own: End { name: Isns { own, peer }, sk: 1, cookie: u64::from(own), lane: 0 },
            role: role as u32,
            family: 2,
            state: 1,
            local_port: own,
            remote_port: u32::from(0x1234u16.to_be()),
            local_v4: u32::from_ne_bytes([127, 0, 0, 1]),
            remote_v4: u32::from_ne_bytes([10, 1, 2, 3]),
            ..FlowEnd::default()
        }
    }

    #[test]
    fn ends_are_paired_by_swapped_names_and_those_without_a_peer_are_listed_alone() {
        let ends = [
            end(Role::Client, 1, 2),
            end(Role::Server, 4, 3),
            end(Role::Server, 2, 1),
            end(Role::Client, 5, 6),
        ];
        let cookies: Vec<_> = pair(&ends, &Observer::default())
            .iter()
            .map(|flow| {
                (
                    flow.client.as_ref().map(|end| end.cookie),
                    flow.server.as_ref().map(|end| end.cookie),
                )
            })
            .collect();
        assert_eq!(cookies, [(Some(1), Some(2)), (None, Some(4)), (Some(5), None)]);
    }

    #[test]
    fn v4_mapped_addresses_are_shown_as_ipv4() {
        let flow = side(&end(Role::Client, 80, 2), &Observer::default());
        assert_eq!(
            (flow.local.to_string(), flow.remote.to_string()),
            ("127.0.0.1:80".into(), "10.1.2.3:4660".into())
        );
        let mapped = Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets();
        assert_eq!(address(true, 0, mapped, 7).to_string(), "10.0.0.9:7");
        assert_eq!(address(true, 0, Ipv6Addr::LOCALHOST.octets(), 7).to_string(), "[::1]:7");
    }
}
