/// A figure that a case has for each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As machines know it.
    pub name: &'static str,
    /// As it stands above a column.
    pub heading: &'static str,
    /// What its figures are.
    pub unit: Unit,
    /// What of it a row of the table has.
    pub shown: Shown,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds, for an operation or for what the metric's name says.
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

/// What of a metric a row of the table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The ratio to TCP.
    Ratio,
    /// The largest figures of TCP and of shunt: what is rare has no median.
    Largest,
    /// Nothing; it is among all figures for machines and in the page.
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
