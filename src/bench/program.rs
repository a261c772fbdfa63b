//! Time of the sk_msg program per message, by the kernel's run-time statistics.

use anyhow::{Context, Result, ensure};
use syscalls::stats::RunTimeStats;

use super::outcome::Outcome;
use super::{Lab, Transport, roundtrip};
use crate::datapath::ProgramName;

/// Nanoseconds per run of the program over a round trip of messages of `size` bytes.
pub(super) fn measure(lab: &Lab, size: usize) -> Result<Outcome> {
    let program =
        lab.agent().program(ProgramName::Send).context("cannot open the agent's sk_msg program")?;
    let statistics = RunTimeStats::enable()?;
    let before = program.info()?;
    let outcome = roundtrip::measure(lab, Transport::Shunt, size)?;
    let after = program.info()?;
    drop(statistics);
    let runs = after.run_cnt.saturating_sub(before.run_cnt);
    ensure!(runs > 0, "the kernel counted no runs of the program");
    let time = after.run_time_ns.saturating_sub(before.run_time_ns) as f64 / runs as f64;
    Ok(Outcome { figures: vec![time], ..outcome })
}
