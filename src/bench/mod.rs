//! Measurements of connections over TCP, through shunt and, where comparable, over a Unix socket.
//!
//! Single figures mean nothing on a noisy machine, so everything is measured in rounds: in each
//! round a case runs once on every transport, one right after the other, on fresh sockets and in
//! rotating order. Results are medians over the rounds and ratios within rounds, with their spread.
//!
//! "TCP" is a connection of the same process in the same network namespace with sockets created
//! outside the accelerated cgroup. All sockets are non-blocking, as shunt requires by default.
//!
//! A run without progress for [`patience::PATIENCE`] is aborted and counted as stalled.

pub mod agent;
mod case;
mod connect;
mod echo;
mod edge;
mod ends;
mod gaps;
mod holder;
pub mod html;
pub mod interrupt;
mod lab;
mod latency;
mod many;
mod measured;
mod metric;
mod offnode;
mod option;
mod outcome;
mod pair;
mod patience;
mod pattern;
mod pingpong;
mod placement;
mod program;
mod quartiles;
pub mod report;
mod roundtrip;
mod scale;
mod screen;
mod stream;
pub mod traffic;
mod unread;
pub mod wire;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use case::{Bound, CASES, Case, Goal};
pub use holder::hold;
pub use interrupt::Interrupt;
pub use lab::Lab;
pub use latency::Latency;
pub use measured::Measured;
pub use metric::{Metric, Shown, Unit};
pub use pair::Transport;
pub use quartiles::Quartiles;
pub use scale::{Cost, Scale, scale};

/// Amount of measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds: runs of every case on every transport.
    pub rounds: usize,
    /// Duration of one run; a transfer takes several times as long.
    pub slice: Duration,
    /// Cases to run, by [`Case::is_meant_by`]; all if empty.
    pub only: Vec<String>,
}

impl Plan {
    fn cases(&self) -> Result<Vec<&'static Case>> {
        let chosen = |case: &&Case| {
            self.only.is_empty() || self.only.iter().any(|wanted| case.is_meant_by(wanted))
        };
        let cases: Vec<_> = CASES.iter().filter(chosen).collect();
        ensure!(
            !cases.is_empty() && self.rounds > 0,
            "nothing to measure: select at least one round and an existing case"
        );
        Ok(cases)
    }
}

/// Runs `plan` and returns the cases in the order of [`CASES`]. `progress` is told the next round
/// and case.
pub fn measure(
    plan: &Plan,
    interrupt: &Interrupt,
    progress: &(dyn Fn(usize, &Case) + Sync),
) -> Result<Vec<Measured>> {
    let cases = plan.cases()?;
    let lab = Lab::new(plan.slice)?;
    let measured: Result<_> = lab.inside_namespace(|| {
        let mut all: Vec<_> = cases.into_iter().map(Measured::new).collect();
        for round in 0..plan.rounds {
            for measured in &mut all {
                progress(round, measured.case);
                one_round(&lab, interrupt, round, measured)?;
            }
        }
        Ok(all)
    })?;
    let closed = lab.close();
    let measured = measured?;
    closed?;
    Ok(measured)
}

fn one_round(
    lab: &Lab,
    interrupt: &Interrupt,
    round: usize,
    measured: &mut Measured,
) -> Result<()> {
    let case = measured.case;
    for transport in rotated(case.transports, round) {
        interrupt.check()?;
        let outcome = match (case.measure)(lab, transport) {
            Err(error) if patience::is_stall(&error) => None,
            outcome => Some(
                outcome.with_context(|| format!("{} {} by {transport}", case.name, case.size))?,
            ),
        };
        measured.add(transport, outcome);
    }
    Ok(())
}

/// `all`, rotated by one more in each round, so that none always profits from its predecessor.
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
        assert_eq!(
            [order(0), order(1), order(2), order(3)],
            [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]
        );
        assert_eq!(rotated::<u8>(&[], 5).count(), 0);
    }

    #[test]
    fn a_plan_selects_by_name_and_rejects_an_empty_selection() {
        let plan = |rounds, only: &[&str]| Plan {
            rounds,
            slice: Duration::from_millis(1),
            only: only.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(plan(1, &[]).cases().expect("all").len(), CASES.len());
        let chosen = plan(1, &["connect", "unread"]).cases().expect("two");
        assert!(!chosen.is_empty());
        assert!(chosen.iter().all(|case| ["connect", "unread"].contains(&case.name)));
        plan(1, &["nothing"]).cases().expect_err("no such case");
        plan(0, &[]).cases().expect_err("no rounds");
    }
}
