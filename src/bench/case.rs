use super::pair::Transport::{self, Shunt, Tcp, Unix};
use super::{Lab, bulk, connect, offnode, pingpong, program, roundtrip, unread};

/// One thing that is measured on several transports.
#[derive(Debug)]
pub struct Case {
    /// What `--only` selects; several cases can share it.
    pub name: &'static str,
    /// Which of them: a message size, or what is exchanged.
    pub size: &'static str,
    /// What its figures are.
    pub unit: Unit,
    /// What it runs on.
    pub transports: &'static [Transport],
    /// What it should come to.
    pub goals: &'static [Goal],
    pub(super) measure: fn(&Lab, Transport) -> anyhow::Result<f64>,
}

/// What a figure is. Less is better for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds per operation.
    Nanoseconds,
    /// Bytes.
    Bytes,
}

/// What the median of a case should not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// shunt's figure as a share of another transport's.
    Ratio {
        /// The other transport.
        to: Transport,
        /// The largest share.
        at_most: f64,
    },
    /// shunt's figure itself.
    Absolute {
        /// The largest figure, in the case's unit.
        at_most: f64,
    },
}

const fn times_tcp(at_most: f64) -> Goal {
    Goal::Ratio { to: Tcp, at_most }
}

const fn times_unix(at_most: f64) -> Goal {
    Goal::Ratio { to: Unix, at_most }
}

const STREAMS: &[Transport] = &[Tcp, Shunt, Unix];
const TCP_ONLY: &[Transport] = &[Tcp, Shunt];
const KIB: usize = 1024;

const fn nanoseconds(
    (name, size): (&'static str, &'static str),
    transports: &'static [Transport],
    goals: &'static [Goal],
    measure: fn(&Lab, Transport) -> anyhow::Result<f64>,
) -> Case {
    Case { name, size, unit: Unit::Nanoseconds, transports, goals, measure }
}

/// Everything that can be measured.
pub const CASES: &[Case] = &[
    nanoseconds(("roundtrip", "64 B"), STREAMS, &[], |lab, via| roundtrip::measure(lab, via, 64)),
    nanoseconds(("roundtrip", "1 KiB"), STREAMS, &[times_tcp(0.45), times_unix(1.05)], |lab, via| {
        roundtrip::measure(lab, via, KIB)
    }),
    nanoseconds(("roundtrip", "16 KiB"), STREAMS, &[], |lab, via| roundtrip::measure(lab, via, 16 * KIB)),
    nanoseconds(("roundtrip", "64 KiB"), STREAMS, &[], |lab, via| roundtrip::measure(lab, via, 64 * KIB)),
    nanoseconds(("pingpong", "64 B"), STREAMS, &[], |lab, via| pingpong::measure(lab, via, 64)),
    nanoseconds(("pingpong", "1 KiB"), STREAMS, &[], |lab, via| pingpong::measure(lab, via, KIB)),
    nanoseconds(("pingpong", "16 KiB"), STREAMS, &[], |lab, via| pingpong::measure(lab, via, 16 * KIB)),
    nanoseconds(("pingpong", "64 KiB"), STREAMS, &[], |lab, via| pingpong::measure(lab, via, 64 * KIB)),
    nanoseconds(("bulk", "64 KiB"), STREAMS, &[], bulk::measure),
    nanoseconds(("connect", "alone"), TCP_ONLY, &[times_tcp(1.35)], |lab, via| connect::measure(lab, via, 0)),
    nanoseconds(("connect", "+4 rt"), TCP_ONLY, &[times_tcp(0.9)], |lab, via| connect::measure(lab, via, 4)),
    nanoseconds(("offnode", "1 KiB"), TCP_ONLY, &[times_tcp(1.03)], |lab, via| offnode::measure(lab, via, KIB)),
    nanoseconds(("offnode", "16 KiB"), TCP_ONLY, &[times_tcp(1.03)], |lab, via| offnode::measure(lab, via, 16 * KIB)),
    nanoseconds(("offnode", "64 KiB"), TCP_ONLY, &[times_tcp(1.03)], |lab, via| offnode::measure(lab, via, 64 * KIB)),
    Case {
        name: "unread",
        size: "16 KiB",
        unit: Unit::Bytes,
        transports: TCP_ONLY,
        goals: &[times_tcp(2.0)],
        measure: |lab, via| unread::measure(lab, via, 16 * KIB),
    },
    nanoseconds(("program", "1 KiB"), &[Shunt], &[Goal::Absolute { at_most: 160.0 }], |lab, _| {
        program::measure(lab, KIB)
    }),
];
