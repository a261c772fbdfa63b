use std::time::Duration;

use hdrhistogram::Histogram;

/// Maximum recorded time in ns; longer ones count as this.
const LONGEST: u64 = 60_000_000_000;

/// Latencies of all requests, to three digits.
#[derive(Clone, Debug)]
pub struct Latency {
    /// In ns.
    times: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        let times = Histogram::new_with_bounds(1, LONGEST, 3);
        Self {
            times: times.unwrap_or_else(|_| {
                unreachable!("the bounds and digits are constants that hdrhistogram takes")
            }),
        }
    }
}

impl Latency {
    /// Counts a request that took so long.
    pub fn record(&mut self, time: Duration) {
        self.times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
    }

    /// Merges the records of `other`.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so this never fails.
        let _ = self.times.add(&other.times);
    }

    /// Number of requests recorded.
    pub fn count(&self) -> u64 {
        self.times.len()
    }

    /// The percentile in ns; 0 without records.
    pub fn percentile(&self, percent: f64) -> f64 {
        self.times.value_at_percentile(percent) as f64
    }

    /// All recorded times in ns, ascending, with the number of requests.
    pub fn times(&self) -> impl Iterator<Item = (f64, u64)> {
        self.times
            .iter_recorded()
            .map(|step| (step.value_iterated_to() as f64, step.count_at_value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for micros in micros {
            latency.record(Duration::from_micros(micros));
        }
        latency
    }

    #[test]
    fn percentiles_are_those_of_the_recorded_times() {
        let latency = of(1..=1000);
        for (percent, micros) in [(50.0, 500.0), (99.0, 990.0), (99.9, 999.0), (100.0, 1000.0)] {
            let found = latency.percentile(percent) / 1000.0;
            assert!(
                (found / micros - 1.0_f64).abs() < 0.002,
                "p{percent}: {found} instead of {micros}"
            );
        }
        assert_eq!(Latency::default().percentile(50.0), 0.0);
    }

    #[test]
    fn adding_merges_every_request() {
        let mut all = of([10, 20]);
        all.add(&of([1000; 3]));
        assert_eq!(all.count(), 5);
        assert!(all.percentile(50.0) > 900_000.0);
    }

    #[test]
    fn the_times_are_complete_and_ascending() {
        let times: Vec<_> = of([500, 20, 20]).times().collect();
        assert_eq!(times.iter().map(|(_, count)| count).collect::<Vec<_>>(), [&2, &1]);
        assert!(
            (times[0].0 / 20_000.0 - 1.0).abs() < 0.001
                && (times[1].0 / 500_000.0 - 1.0).abs() < 0.001,
            "{times:?}"
        );
    }

    #[test]
    fn a_time_beyond_the_longest_is_still_counted() {
        let mut latency = Latency::default();
        latency.record(Duration::from_secs(100_000));
        latency.record(Duration::ZERO);
        assert_eq!(latency.count(), 2);
    }
}
