//! The counters of an instance.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::agent::{Instance, MapFill};
use crate::datapath::Counter;

/// Every counter, and how full the maps are.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The instance.
    pub name: String,
    /// How often each decision was taken; messages and bytes include those of open flows.
    pub counters: BTreeMap<&'static str, u64>,
    /// Entries of the maps.
    pub maps: MapFill,
}

/// Reads the counters of an instance.
pub fn stats(instance: &Instance) -> Result<Stats> {
    let mut counters = BTreeMap::new();
    for &reason in Counter::ALL {
        counters.insert(reason.name(), instance.counter(reason)?);
    }
    for end in instance.ends()? {
        *counters.entry(Counter::DirectMessages.name()).or_default() += end.direct_messages;
        *counters.entry(Counter::DirectBytes.name()).or_default() += end.direct_bytes;
    }
    Ok(Stats { name: instance.pins().name().to_string(), counters, maps: instance.fill()? })
}
