//! The main job on one screen: the same traffic without and with shunt, in turns, and what it did
//! to latency and throughput.
//!
//! ```text
//! client's host (network namespace)                          server's host
//!
//!    client ── REDIRECT ──> proxy ─────────── veth ─────────── server
//! ```
//!
//! The bulk transfer goes straight from the client to the server.
//!
//! Everything exists twice, once outside and once inside the cgroup that shunt accelerates: same
//! code, same hosts, same wire. Only one of the two is in use at a time.

mod picture;
pub mod report;
mod scene;
mod server;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bench::Interrupt;
use crate::bench::Latency;
use crate::bench::agent::Counters;
use crate::bench::wire::Wire;
use scene::Scene;

/// Bytes of a request and of its answer.
pub const MESSAGE: usize = 1024;

/// Connections that send requests at the same time: as many as leave the processors waiting for
/// them rather than the other way round, since queueing for a processor is not what this is about.
fn concurrent() -> usize {
    std::thread::available_parallelism().map_or(2, |processors| (processors.get() / 2).clamp(2, 8))
}

/// Which of the two: the sockets outside or those inside the accelerated cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Plain TCP.
    Without,
    /// The same through shunt.
    With,
}

impl Side {
    fn doing(self, without: &'static str, with: &'static str) -> &'static str {
        match self {
            Self::Without => without,
            Self::With => with,
        }
    }
}

/// How long the demo takes: rounds, in each of which both sides send requests and then a bulk
/// transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    rounds: u32,
    requests: Duration,
    bulk: Duration,
}

impl Plan {
    /// About `seconds` in all; at least one round is run.
    pub fn lasting(seconds: u16) -> Self {
        let rounds = u32::from(seconds / 2).clamp(1, 30);
        // The rest goes into setting up, connecting and taking down.
        let side = Duration::from_millis(u64::from(seconds) * 900) / rounds / 2;
        Self { rounds, requests: side * 2 / 3, bulk: side / 3 }
    }
}

/// One step of the demo, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Steps done.
    pub done: u32,
    /// Steps in all.
    pub of: u32,
    /// What comes now.
    pub doing: &'static str,
}

/// What one side achieved.
#[derive(Debug, Default)]
pub struct Measured {
    latency: Latency,
    /// Requests per second, by round.
    rates: Vec<f64>,
    /// Bytes per second of the bulk transfer, by round.
    throughputs: Vec<f64>,
    /// What the requests put on the interfaces of the client's host.
    wire: Wire,
}

impl Measured {
    fn per_request(&self, count: u64) -> f64 {
        count as f64 / self.latency.count().max(1) as f64
    }
}

/// What the demo has to show.
#[derive(Debug)]
pub struct Outcome {
    without: Measured,
    with: Measured,
    /// Connections that sent requests at the same time.
    concurrent: usize,
    /// Connections that were made with shunt, over all rounds.
    connections: u64,
    counters: Counters,
}

/// Runs the demo; everything it makes is gone when it returns.
pub fn run(plan: Plan, interrupt: &Interrupt, progress: &dyn Fn(Step)) -> Result<Outcome> {
    let of = plan.rounds * 4;
    progress(Step {
        done: 0,
        of,
        doing: "making two hosts, a sidecar and a cgroup; starting shunt",
    });
    let scene = Scene::new()?;
    let measured = measure(&scene, plan, interrupt, progress);
    progress(Step { done: of, of, doing: "cleaning up" });
    let closed = scene.close();
    let outcome = measured?;
    closed?;
    ensure!(
        outcome.counters.get("direct_messages") > 0,
        "shunt is attached but redirected nothing, so there is nothing to show; its counters: {:?}",
        outcome.counters
    );
    Ok(outcome)
}

fn measure(
    scene: &Scene,
    plan: Plan,
    interrupt: &Interrupt,
    progress: &dyn Fn(Step),
) -> Result<Outcome> {
    let concurrent = concurrent();
    let (mut without, mut with) = (Measured::default(), Measured::default());
    let of = plan.rounds * 4;
    let mut done = 0;
    let mut step = |doing| {
        progress(Step { done, of, doing });
        done += 1;
        interrupt.check()
    };
    for round in 0..plan.rounds {
        // What drifts on the machine must not always favour the same side.
        let mut sides = [(Side::Without, &mut without), (Side::With, &mut with)];
        if round % 2 == 1 {
            sides.reverse();
        }
        for (side, measured) in &mut sides {
            step(side.doing("requests, without shunt", "requests, with shunt"))?;
            scene.requests(*side, concurrent, plan.requests, measured)?;
        }
        for (side, measured) in &mut sides {
            step(side.doing("bulk transfer, without shunt", "bulk transfer, with shunt"))?;
            scene.bulk(*side, plan.bulk, measured)?;
        }
    }
    interrupt.check()?;
    // A request takes two connections: to the proxy, and from there to the server. The bulk
    // transfer takes one.
    let connections = u64::from(plan.rounds) * (concurrent as u64 * 2 + 1);
    Ok(Outcome { without, with, concurrent, connections, counters: scene.counters()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_fills_the_time_it_was_given() {
        for (seconds, rounds) in [(1, 1), (2, 1), (3, 1), (10, 5), (60, 30), (600, 30)] {
            let plan = Plan::lasting(seconds);
            assert_eq!(plan.rounds, rounds, "{seconds} s");
            let all = (plan.requests + plan.bulk) * 2 * plan.rounds;
            let share = all.as_secs_f64() / f64::from(seconds);
            assert!((0.85..0.95).contains(&share), "{seconds} s: {all:?}");
        }
    }
}
