//! Measurements: what a connection costs by TCP, through shunt and, where it compares, through a Unix socket.
//!
//! A noisy machine makes single figures worthless, so everything is measured in rounds: in each round a case runs once
//! on every transport, one right after the other, on fresh sockets and in an order that rotates. What is shown are
//! medians over the rounds and the ratios within rounds, with their spread.
//!
//! "By TCP" is a connection of the same process in the same network namespace whose sockets were made outside the
//! accelerated cgroup.

pub mod agent;
mod bulk;
mod case;
mod connect;
pub mod html;
pub mod interrupt;
mod lab;
mod latency;
mod offnode;
mod pair;
mod pingpong;
mod program;
mod quartiles;
pub mod report;
mod roundtrip;
pub mod traffic;
mod unread;
pub mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use case::{CASES, Case, Goal, Unit};
pub use interrupt::Interrupt;
pub use lab::Lab;
pub use latency::Latency;
pub use pair::Transport;
pub use quartiles::Quartiles;

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often every case runs on every transport.
    pub rounds: usize,
    /// How long one run lasts.
    pub slice: Duration,
    /// The names of the cases to run; all if it is empty.
    pub only: Vec<String>,
    /// Whether every request of 1 KiB is timed as well, if `pingpong` is among the cases: that takes a slice more per
    /// round and transport.
    pub latencies: bool,
}

impl Plan {
    fn cases(&self) -> Result<Vec<&'static Case>> {
        let chosen = |case: &&Case| self.only.is_empty() || self.only.iter().any(|name| name == case.name);
        let cases: Vec<_> = CASES.iter().filter(chosen).collect();
        ensure!(
            !cases.is_empty() && self.rounds > 0,
            "nothing to measure: give at least one round and a case that exists"
        );
        Ok(cases)
    }
}

/// What a case took on each transport, one figure per round, in the case's unit.
#[derive(Debug)]
pub struct Measured {
    /// The case.
    pub case: &'static Case,
    samples: BTreeMap<Transport, Vec<f64>>,
}

impl Measured {
    fn new(case: &'static Case) -> Self {
        Self { case, samples: BTreeMap::new() }
    }

    /// Every figure of a transport, in the order of the rounds.
    pub fn samples(&self, transport: Transport) -> &[f64] {
        self.samples.get(&transport).map_or(&[], Vec::as_slice)
    }

    /// The figures of a transport, summed up; `None` if the case does not use it.
    pub fn summary(&self, transport: Transport) -> Option<Quartiles> {
        Quartiles::of(self.samples(transport))
    }

    /// What shunt takes as a share of what `other` takes, from the ratios within each round: what slows a whole round
    /// down cancels.
    pub fn ratio_to(&self, other: Transport) -> Option<Quartiles> {
        let pairs = self.samples(Transport::Shunt).iter().zip(self.samples(other));
        Quartiles::of(&pairs.map(|(shunt, other)| shunt / other).collect::<Vec<_>>())
    }

    /// Whether the median meets a goal; `None` before anything was measured.
    pub fn meets(&self, goal: Goal) -> Option<bool> {
        match goal {
            Goal::Ratio { to, at_most } => Some(self.ratio_to(to)?.median <= at_most),
            Goal::Absolute { at_most } => Some(self.summary(Transport::Shunt)?.median <= at_most),
        }
    }
}

/// All that was measured.
#[derive(Debug)]
pub struct Measurements {
    /// The cases, in the order of [`CASES`].
    pub cases: Vec<Measured>,
    /// How long requests of 1 KiB took, all rounds together; empty if the plan did not ask for it.
    pub latencies: BTreeMap<Transport, Latency>,
}

/// Measures what `plan` says. `progress` hears which round and case comes next.
pub fn measure(plan: &Plan, interrupt: &Interrupt, progress: &(dyn Fn(usize, &Case) + Sync)) -> Result<Measurements> {
    let cases = plan.cases()?;
    let lab = Lab::new(plan.slice)?;
    let measured: Result<_> = lab.inside_namespace(|| {
        let timed = cases.iter().find(|case| plan.latencies && case.name == "pingpong").copied();
        let mut all: Vec<_> = cases.into_iter().map(Measured::new).collect();
        let mut latencies = BTreeMap::<_, Latency>::new();
        for round in 0..plan.rounds {
            for measured in &mut all {
                progress(round, measured.case);
                one_round(&lab, interrupt, round, measured)?;
            }
            for transport in rotated(timed.map_or(&[], |case| case.transports), round) {
                interrupt.check()?;
                latencies.entry(transport).or_default().add(&pingpong::latency(&lab, transport, 1024)?);
            }
        }
        Ok(Measurements { cases: all, latencies })
    })?;
    let closed = lab.close();
    let measured = measured?;
    closed?;
    Ok(measured)
}

fn one_round(lab: &Lab, interrupt: &Interrupt, round: usize, measured: &mut Measured) -> Result<()> {
    let case = measured.case;
    for transport in rotated(case.transports, round) {
        interrupt.check()?;
        let figure =
            (case.measure)(lab, transport).with_context(|| format!("{} {} by {transport}", case.name, case.size))?;
        measured.samples.entry(transport).or_default().push(figure);
    }
    Ok(())
}

/// `all`, begun one further in each round, so that none always profits from what ran before it.
fn rotated<T: Copy>(all: &[T], round: usize) -> impl Iterator<Item = T> {
    let start = round % all.len().max(1);
    all.iter().cycle().skip(start).take(all.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transport_runs_once_in_each_round_and_begins_equally_often() {
        let order = |round| rotated(&[1, 2, 3], round).collect::<Vec<_>>();
        assert_eq!([order(0), order(1), order(2), order(3)], [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
        assert_eq!(rotated::<u8>(&[], 5).count(), 0);
    }

    fn measured(samples: &[(Transport, &[f64])]) -> Measured {
        let samples = samples.iter().map(|(transport, figures)| (*transport, figures.to_vec())).collect();
        Measured { case: &CASES[0], samples }
    }

    #[test]
    fn a_ratio_is_taken_within_rounds_so_that_a_slow_round_does_not_move_it() {
        let measured = measured(&[(Transport::Tcp, &[10.0, 10.0, 90.0]), (Transport::Shunt, &[4.0, 4.0, 36.0])]);
        let ratio = measured.ratio_to(Transport::Tcp).expect("a ratio");
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.4, 0.4, 0.4));
        assert!(measured.ratio_to(Transport::Unix).is_none());
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound_and_undecided_without_figures() {
        let measured = measured(&[(Transport::Tcp, &[10.0]), (Transport::Shunt, &[5.0])]);
        for (goal, met) in [
            (Goal::Ratio { to: Transport::Tcp, at_most: 0.5 }, Some(true)),
            (Goal::Ratio { to: Transport::Tcp, at_most: 0.49 }, Some(false)),
            (Goal::Ratio { to: Transport::Unix, at_most: 0.5 }, None),
            (Goal::Absolute { at_most: 5.0 }, Some(true)),
            (Goal::Absolute { at_most: 4.9 }, Some(false)),
        ] {
            assert_eq!(measured.meets(goal), met, "{goal:?}");
        }
    }

    #[test]
    fn a_plan_selects_by_name_and_refuses_to_measure_nothing() {
        let plan = |rounds, only: &[&str]| Plan {
            rounds,
            slice: Duration::from_millis(1),
            only: only.iter().map(|name| (*name).to_owned()).collect(),
            latencies: false,
        };
        assert_eq!(plan(1, &[]).cases().expect("all").len(), CASES.len());
        let chosen = plan(1, &["connect", "unread"]).cases().expect("two");
        assert!(!chosen.is_empty() && chosen.iter().all(|case| ["connect", "unread"].contains(&case.name)));
        plan(1, &["nothing"]).cases().expect_err("no such case");
        plan(0, &[]).cases().expect_err("no rounds");
    }
}
