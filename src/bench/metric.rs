/// A figure of a case, measured in each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name in JSON.
    pub name: &'static str,
    /// Column heading.
    pub heading: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// What a row of the table shows.
    pub shown: Shown,
}

/// Unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds, per operation or as the metric's name says.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Operations per second.
    PerSecond,
}

impl Unit {
    /// Whether more is better.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::BytesPerSecond | Self::PerSecond)
    }
}

/// What a row of the table shows of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The ratio to TCP.
    Ratio,
    /// The largest figures of TCP and of shunt: rare events have no median.
    Largest,
    /// Nothing; only JSON and the page show it.
    Elsewhere,
}

const fn metric(name: &'static str, heading: &'static str, unit: Unit, shown: Shown) -> Metric {
    Metric { name, heading, unit, shown }
}

const TIME_METRIC: Metric = metric("time", "time", Unit::Nanoseconds, Shown::Ratio);
const THROUGHPUT: Metric = metric("throughput", "throughput", Unit::BytesPerSecond, Shown::Ratio);
const CPU: Metric = metric("cpu_per_kib", "CPU/byte", Unit::Nanoseconds, Shown::Ratio);
const LONGEST_GAP: Metric = metric("longest_gap", "longest gap", Unit::Nanoseconds, Shown::Largest);

/// Time for an operation.
pub(super) const TIME: &[Metric] = &[TIME_METRIC];
/// Bytes in memory.
pub(super) const HELD: &[Metric] = &[metric("held", "held", Unit::Bytes, Shown::Ratio)];
/// See `stream.rs`.
pub(super) const STREAM: &[Metric] = &[
    THROUGHPUT,
    metric("p99_gap", "p99 gap", Unit::Nanoseconds, Shown::Ratio),
    CPU,
    LONGEST_GAP,
    metric("p99_write", "p99 write", Unit::Nanoseconds, Shown::Elsewhere),
];
/// See `echo.rs`.
pub(super) const ECHO: &[Metric] =
    &[THROUGHPUT, metric("p99_latency", "p99", Unit::Nanoseconds, Shown::Ratio), CPU, LONGEST_GAP];
/// See `many.rs`.
pub(super) const MANY: &[Metric] = &[
    metric("requests", "requests", Unit::PerSecond, Shown::Ratio),
    metric("p99_latency", "p99", Unit::Nanoseconds, Shown::Ratio),
    metric("cpu_per_request", "CPU/req", Unit::Nanoseconds, Shown::Ratio),
];
