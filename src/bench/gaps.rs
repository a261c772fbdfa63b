use std::time::Instant;

use super::Latency;

/// Time gaps between events.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    last: Option<Instant>,
    times: Latency,
}

impl Gaps {
    /// Records an event; the first one starts the first gap.
    pub fn mark(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.times.record(now - last);
        }
    }

    /// The 99th percentile, in ns.
    pub fn p99(&self) -> f64 {
        self.times.percentile(99.0)
    }

    /// The longest gap, in ns.
    pub fn longest(&self) -> f64 {
        self.times.percentile(100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn gaps_are_measured_between_events() {
        let mut gaps = Gaps::default();
        let start = Instant::now();
        gaps.mark(start);
        assert_eq!(gaps.longest(), 0.0);
        for micros in (10..=1000).step_by(10) {
            gaps.mark(start + Duration::from_micros(micros));
        }
        gaps.mark(start + Duration::from_micros(6000));
        assert!((gaps.p99() / 10_000.0 - 1.0).abs() < 0.01, "{}", gaps.p99());
        assert!((gaps.longest() / 5_000_000.0 - 1.0).abs() < 0.01, "{}", gaps.longest());
    }
}
