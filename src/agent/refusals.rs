//! Logs each refusal, by reason and program, once.

use std::collections::HashSet;

use anyhow::Result;

use crate::datapath::{Counter, Refusal};
use crate::instance::Instance;
use crate::observe;

/// Maximum number of logged refusals; process names are unbounded.
const MOST: usize = 256;

/// Refusals that have been logged.
#[derive(Debug, Default)]
pub struct Refusals {
    said: HashSet<Refusal>,
}

impl Refusals {
    /// Logs new refusals.
    pub fn say(&mut self, instance: &Instance) -> Result<()> {
        if self.said.len() >= MOST {
            return Ok(());
        }
        for (refusal, _) in observe::refusals(instance)? {
            if !self.said.insert(refusal) {
                continue;
            }
            let Some(counter) = Counter::ALL.get(refusal.outcome as usize) else { continue };
            let (program, reason) = (observe::program_name(&refusal.program), counter.name());
            let meaning = counter.meaning().trim_end_matches('.');
            let meaning =
                meaning.rsplit_once("left to TCP: ").map_or(meaning, |(_, meaning)| meaning);
            tracing::info!(program, reason, "left to TCP: {meaning}");
            if self.said.len() >= MOST {
                tracing::info!("more programs are left to TCP: `shunt status --json`");
                break;
            }
        }
        Ok(())
    }
}
