//! The main effect on one screen: the same traffic alternately without and with shunt, and the
//! difference in latency and throughput.
//!
//! ```text
//! client's host (network namespace)                          server's host
//!
//!    client ── REDIRECT ──> proxy ─────────── veth ─────────── server
//! ```
//!
//! The bulk transfer goes directly from the client to the server.
//!
//! Everything exists twice, once outside and once inside the accelerated cgroup: same code, same
//! hosts, same link. Only one of the two is in use at a time.

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

/// Size of a request and of its response.
pub const MESSAGE: usize = 1024;

/// Connections that send requests concurrently: few enough that the processors wait for them and
/// not the reverse, since processor queues are not what this measures.
fn concurrent() -> usize {
    std::thread::available_parallelism().map_or(2, |processors| (processors.get() / 2).clamp(2, 8))
}

/// The sockets outside or inside the accelerated cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Plain TCP.
    Without,
    /// TCP through shunt.
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

/// Duration of the demo: rounds, in each of which both sides send requests and then a bulk
/// transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    rounds: u32,
    requests: Duration,
    bulk: Duration,
}

impl Plan {
    /// About `seconds` in all, with at least one round.
    pub fn lasting(seconds: u16) -> Self {
        let rounds = u32::from(seconds / 2).clamp(1, 30);
        // The rest is for setup, connecting and cleanup.
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
    /// The next step.
    pub doing: &'static str,
}

/// Results of one side.
#[derive(Debug, Default)]
pub struct Measured {
    latency: Latency,
    /// Requests per second, by round.
    rates: Vec<f64>,
    /// Bytes per second of the bulk transfer, by round.
    throughputs: Vec<f64>,
    /// Traffic of the requests on the interfaces of the client's host.
    wire: Wire,
}

impl Measured {
    fn per_request(&self, count: u64) -> f64 {
        count as f64 / self.latency.count().max(1) as f64
    }
}

/// Results of the demo.
#[derive(Debug)]
pub struct Outcome {
    without: Measured,
    with: Measured,
    /// Connections that sent requests concurrently.
    concurrent: usize,
    /// Connections opened with shunt, over all rounds.
    connections: u64,
    counters: Counters,
}

/// Runs the demo and removes everything it creates.
pub fn run(plan: Plan, interrupt: &Interrupt, progress: &dyn Fn(Step)) -> Result<Outcome> {
    let of = plan.rounds * 4;
    progress(Step {
        done: 0,
        of,
        doing: "creating two hosts, a sidecar and a cgroup; starting shunt",
    });
    let scene = Scene::new()?;
    let measured = measure(&scene, plan, interrupt, progress);
    progress(Step { done: of, of, doing: "cleaning up" });
    let closed = scene.close();
    let outcome = measured?;
    closed?;
    ensure!(
        outcome.counters.get("direct_messages") > 0,
        "shunt is attached but redirected nothing; its counters: {:?}",
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
        // Alternate the order, so that drift does not favour one side.
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
    // A request takes two connections, to the proxy and from there to the server, and the bulk
    // transfer one.
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
