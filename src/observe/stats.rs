//! The counters of an instance.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::Summary;
use crate::datapath::Counter;
use crate::instance::Instance;

/// Number of entries of the maps that could leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MapFill {
    /// Connections of which one end waits for the other, or is alone.
    pub rendezvous: usize,
    /// Enrolled sockets.
    pub socks: usize,
}

/// Counters and map usage of an instance.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The instance.
    pub name: String,
    /// How often each decision was taken; includes messages and bytes of open flows.
    pub counters: BTreeMap<&'static str, u64>,
    /// Map entries.
    pub maps: MapFill,
}

/// Reads the counters of an instance.
pub fn stats(instance: &Instance) -> Result<Stats> {
    let mut counters = BTreeMap::new();
    for &reason in Counter::ALL {
        counters.insert(reason.name(), instance.counter(reason)?);
    }
    let sum = Summary::of(instance)?;
    counters.insert(Counter::DirectMessages.name(), sum.direct_messages);
    counters.insert(Counter::DirectBytes.name(), sum.direct_bytes);
    let maps = MapFill { rendezvous: instance.at_rendezvous()?, socks: sum.sockets };
    Ok(Stats { name: instance.pins().name().to_string(), counters, maps })
}
