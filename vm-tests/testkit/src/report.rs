//! What `shunt stats --json`, `shunt status --json` and `shunt flows --json` print.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub struct Stats {
    counters: BTreeMap<String, u64>,
    maps: BTreeMap<String, u64>,
}

impl Stats {
    pub fn counter(&self, name: &str) -> u64 {
        *self
            .counters
            .get(name)
            .unwrap_or_else(|| panic!("no counter {name} among {:?}", self.counters))
    }

    /// Entries of a map.
    pub fn entries(&self, map: &str) -> u64 {
        *self.maps.get(map).unwrap_or_else(|| panic!("no map {map} among {:?}", self.maps))
    }
}

#[derive(Debug, Deserialize)]
pub struct Status {
    pub instances: Vec<Generation>,
}

/// One generation of an instance.
#[derive(Debug, Deserialize)]
pub struct Generation {
    pub state: String,
}

#[derive(Debug, Deserialize)]
pub struct Flows {
    pub flows: Vec<Flow>,
}

/// One connection; an end that is not enrolled is absent.
#[derive(Debug, Clone, Deserialize)]
pub struct Flow {
    pub client: Option<End>,
    pub server: Option<End>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct End {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub netns: u64,
    pub process: Option<Process>,
    pub mode: Mode,
    pub direct_messages: u64,
    pub direct_bytes: u64,
    pub tcp_bytes: u64,
    pub direct_unread: bool,
    pub tcp_unread: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Process {
    pub pid: u32,
}

/// Which way an end's next message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Direct,
    Tcp,
    Ended,
}

/// The same address whether an IPv4 or a dual-stack IPv6 socket names it.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
