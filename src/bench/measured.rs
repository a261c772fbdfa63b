use std::collections::BTreeMap;

use super::outcome::Outcome;
use super::{Case, Goal, Latency, Quartiles, Transport};

/// The results of a case on each transport.
#[derive(Debug)]
pub struct Measured {
    /// The case.
    pub case: &'static Case,
    /// By round; `None` for a stalled one.
    runs: BTreeMap<Transport, Vec<Option<Run>>>,
    latencies: BTreeMap<Transport, Latency>,
}

#[derive(Debug)]
struct Run {
    figures: Vec<f64>,
    direct: Option<f64>,
    settled: bool,
}

impl Measured {
    pub(super) fn new(case: &'static Case) -> Self {
        Self { case, runs: BTreeMap::new(), latencies: BTreeMap::new() }
    }

    /// Adds the outcome of a run; `None` if it stalled.
    pub(super) fn add(&mut self, transport: Transport, outcome: Option<Outcome>) {
        let run = outcome.map(|Outcome { figures, latency, direct, settled }| {
            if let Some(latency) = latency {
                self.latencies.entry(transport).or_default().add(&latency);
            }
            Run { figures, direct, settled }
        });
        self.runs.entry(transport).or_default().push(run);
    }

    /// Number of rounds on a transport.
    pub fn rounds(&self, transport: Transport) -> usize {
        self.of(transport).len()
    }

    fn of(&self, transport: Transport) -> &[Option<Run>] {
        self.runs.get(&transport).map_or(&[], Vec::as_slice)
    }

    /// A metric's figures on a transport by round; `None` for a stalled one.
    pub fn samples(
        &self,
        metric: usize,
        transport: Transport,
    ) -> impl Iterator<Item = Option<f64>> {
        self.of(transport).iter().map(move |run| run.as_ref()?.figures.get(metric).copied())
    }

    /// Quartiles of a metric on a transport; `None` without figures.
    pub fn summary(&self, metric: usize, transport: Transport) -> Option<Quartiles> {
        Quartiles::of(&self.samples(metric, transport).flatten().collect::<Vec<_>>())
    }

    /// The largest figure of a metric on a transport.
    pub fn largest(&self, metric: usize, transport: Transport) -> Option<f64> {
        self.samples(metric, transport).flatten().max_by(f64::total_cmp)
    }

    /// shunt's figure relative to `other`'s, from the ratios within each round, which cancel what
    /// slows a whole round down.
    pub fn ratio_to(&self, metric: usize, other: Transport) -> Option<Quartiles> {
        let pairs = self.samples(metric, Transport::Shunt).zip(self.samples(metric, other));
        Quartiles::of(&pairs.filter_map(|(shunt, other)| Some(shunt? / other?)).collect::<Vec<_>>())
    }

    /// Whether the median meets a goal; false if shunt has stalled, `None` without figures.
    pub fn meets(&self, goal: &Goal) -> Option<bool> {
        if self.stalled(Transport::Shunt) > 0 {
            return Some(false);
        }
        let figure = match goal.to {
            Some(other) => self.ratio_to(goal.metric, other),
            None => self.summary(goal.metric, Transport::Shunt),
        };
        Some(goal.bound.holds(figure?.median))
    }

    /// Number of stalled rounds.
    pub fn stalled(&self, transport: Transport) -> usize {
        self.of(transport).iter().filter(|run| run.is_none()).count()
    }

    /// Rounds that began before the connection was direct.
    pub fn unsettled(&self) -> usize {
        self.of(Transport::Shunt).iter().flatten().filter(|run| !run.settled).count()
    }

    /// The share of bytes that bypassed TCP, by round.
    pub fn direct(&self) -> Option<Quartiles> {
        let shares = self.of(Transport::Shunt).iter().flatten().filter_map(|run| run.direct);
        Quartiles::of(&shares.collect::<Vec<_>>())
    }

    /// Latencies of single operations on each transport over all rounds, if the case records them.
    pub fn latencies(&self) -> &BTreeMap<Transport, Latency> {
        &self.latencies
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bound, CASES};
    use super::*;

    fn measured(samples: &[(Transport, &[Option<f64>])]) -> Measured {
        let mut measured = Measured::new(&CASES[0]);
        for (transport, figures) in samples {
            for figure in *figures {
                measured.add(*transport, figure.map(|figure| Outcome::of([figure])));
            }
        }
        measured
    }

    #[test]
    fn a_ratio_is_computed_within_rounds_so_that_a_slow_round_does_not_change_it() {
        let measured = measured(&[
            (Transport::Tcp, &[Some(10.0), Some(10.0), Some(90.0)]),
            (Transport::Shunt, &[Some(4.0), Some(4.0), Some(36.0)]),
        ]);
        let ratio = measured.ratio_to(0, Transport::Tcp).expect("a ratio");
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.4, 0.4, 0.4));
        assert!(measured.ratio_to(0, Transport::Unix).is_none());
        assert_eq!(measured.largest(0, Transport::Shunt), Some(36.0));
    }

    #[test]
    fn a_stalled_round_has_no_ratio_and_meets_no_goal() {
        let measured = measured(&[
            (Transport::Tcp, &[Some(10.0), None, Some(80.0), Some(40.0)]),
            (Transport::Shunt, &[None, Some(10.0), Some(40.0), Some(20.0)]),
        ]);
        assert_eq!(measured.ratio_to(0, Transport::Tcp).expect("of two rounds").median, 0.5);
        assert_eq!((measured.stalled(Transport::Shunt), measured.stalled(Transport::Tcp)), (1, 1));
        let goal = Goal { metric: 0, to: Some(Transport::Tcp), bound: Bound::AtMost(0.5) };
        assert_eq!(measured.meets(&goal), Some(false));
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound_and_undecided_without_figures() {
        use Bound::{AtLeast, AtMost};
        let measured =
            measured(&[(Transport::Tcp, &[Some(10.0)]), (Transport::Shunt, &[Some(5.0)])]);
        for (to, bound, met) in [
            (Some(Transport::Tcp), AtMost(0.5), Some(true)),
            (Some(Transport::Tcp), AtMost(0.49), Some(false)),
            (Some(Transport::Tcp), AtLeast(0.5), Some(true)),
            (Some(Transport::Tcp), AtLeast(0.51), Some(false)),
            (Some(Transport::Unix), AtMost(0.5), None),
            (None, AtMost(5.0), Some(true)),
            (None, AtMost(4.9), Some(false)),
        ] {
            let goal = Goal { metric: 0, to, bound };
            assert_eq!(measured.meets(&goal), met, "{goal:?}");
        }
    }

    #[test]
    fn rounds_and_bytes_that_were_not_direct_are_counted() {
        let mut measured = Measured::new(&CASES[0]);
        for (direct, settled) in [(0.0, false), (0.9, true), (1.0, true)] {
            let outcome = Outcome { settled, ..Outcome::of([1.0]).with_direct(direct) };
            measured.add(Transport::Shunt, Some(outcome));
        }
        assert_eq!(measured.direct().expect("three shares").median, 0.9);
        assert_eq!((measured.unsettled(), measured.rounds(Transport::Shunt)), (1, 3));
    }
}
