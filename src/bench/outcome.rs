use super::Latency;

/// The outcome of one run of a case on one transport.
#[derive(Debug)]
pub(super) struct Outcome {
    /// One for each metric of the case, in its unit.
    pub figures: Vec<f64>,
    /// Latencies of single operations, if recorded.
    pub latency: Option<Latency>,
    /// The share of bytes that crossed no interface, if measured.
    pub direct: Option<f64>,
    /// Whether the connection was in the wanted state before the run.
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
