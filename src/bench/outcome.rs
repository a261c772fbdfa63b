use super::Latency;

/// What one run of a case on one transport came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// One for each of the case's metrics, in their units.
    pub figures: Vec<f64>,
    /// The times of single operations, where each was taken.
    pub latency: Option<Latency>,
    /// The share of the bytes that crossed no interface, where that was looked at.
    pub direct: Option<f64>,
    /// Whether nothing had to be waited for in vain before the run.
    pub settled: bool,
}

impl Outcome {
    pub fn of(figures: impl Into<Vec<f64>>) -> Self {
        Self { figures: figures.into(), latency: None, direct: None, settled: true }
    }

    pub fn with_latency(self, latency: Latency) -> Self {
        Self { latency: Some(latency), ..self }
    }

    pub fn with_direct(self, direct: f64) -> Self {
        Self { direct: Some(direct), ..self }
    }
}
