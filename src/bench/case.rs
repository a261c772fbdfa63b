use std::fmt;

use super::echo::Load;
use super::metric::{ECHO, HELD, MANY, Metric, STREAM, TIME};
use super::outcome::Outcome;
use super::pair::Transport::{self, Shunt, Tcp, Unix};
use super::{
    Lab, connect, echo, many, offnode, option, pingpong, program, roundtrip, stream, unread,
};

/// One measurement, made on several transports.
#[derive(Debug)]
pub struct Case {
    /// Name for `--only`; cases that share it have the same metrics.
    pub name: &'static str,
    /// Variant: a message size or load.
    pub size: &'static str,
    /// Its metrics.
    pub metrics: &'static [Metric],
    /// Its transports.
    pub transports: &'static [Transport],
    /// Its goals.
    pub goals: &'static [Goal],
    pub(super) measure: fn(&Lab, Transport) -> anyhow::Result<Outcome>,
}

impl Case {
    /// Name and size in one word, as for `--only`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.name, self.size.replace(' ', ""))
    }

    /// Whether `--only` selects it: by its name, its key, or a prefix of its key up to a slash.
    pub fn is_meant_by(&self, wanted: &str) -> bool {
        let key = self.key();
        key.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Description of all cases of this name.
    pub fn about(&self) -> &'static str {
        let about = ABOUT.iter().find(|(name, _)| *name == self.name);
        about.map_or("", |(_, about)| about)
    }
}

/// A goal for the median of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Index of the metric.
    pub metric: usize,
    /// Compares shunt's figure with this transport's; the figure itself if `None`.
    pub to: Option<Transport>,
    /// The limit.
    pub bound: Bound,
}

/// The limit of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

impl Bound {
    /// Whether a figure is good enough.
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }

    /// The limit itself.
    pub fn figure(self) -> f64 {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
        }
    }

    /// The comparison sign.
    pub fn sign(self) -> char {
        match self {
            Self::AtMost(_) => '≤',
            Self::AtLeast(_) => '≥',
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.sign(), self.figure())
    }
}

const fn at_most(metric: usize, to: Transport, bound: f64) -> Goal {
    Goal { metric, to: Some(to), bound: Bound::AtMost(bound) }
}

const fn at_least(metric: usize, to: Transport, bound: f64) -> Goal {
    Goal { metric, to: Some(to), bound: Bound::AtLeast(bound) }
}

const KIB: usize = 1024;

const ALL: &[Transport] = &[Tcp, Shunt, Unix];
const NO_UNIX: &[Transport] = &[Tcp, Shunt];

/// No workload may lose by shunt: throughput, 99th percentile and processor time.
const NO_LOSS: &[Goal] = &[at_least(0, Tcp, 0.95), at_most(1, Tcp, 1.1), at_most(2, Tcp, 1.1)];
const AS_WITHOUT: &[Goal] = &[at_most(0, Tcp, 1.02)];

const ABOUT: &[(&str, &str)] = &[
    ("roundtrip", "round trip on one thread, without wake-ups"),
    ("pingpong", "round trip between two threads on a processor each, with wake-ups"),
    ("many", "requests and responses on many connections between two event loops"),
    ("stream", "writes of one size in one direction; gaps are between reads"),
    ("bulk", "time per 64 KiB of a transfer, until all of it has been read"),
    ("echo", "maximum message / bytes in flight / bytes per read, between edge-triggered loops"),
    ("connect", "connect to close, with round trips of 1 KiB"),
    ("offnode", "round trip on a connection whose peer is off the node"),
    ("setsockopt", "setting a socket option"),
    ("unread", "bytes buffered for a reader that does not read"),
    ("program", "the sk_msg program, per message"),
];

type Measure = fn(&Lab, Transport) -> anyhow::Result<Outcome>;

const fn timed(
    (name, size): (&'static str, &'static str),
    transports: &'static [Transport],
    goals: &'static [Goal],
    measure: Measure,
) -> Case {
    Case { name, size, metrics: TIME, transports, goals, measure }
}

/// Unix sockets do not coalesce writes, so only one of the two variants is compared with them.
const fn stream_of(size: &'static str, transports: &'static [Transport], measure: Measure) -> Case {
    Case { name: "stream", size, metrics: STREAM, transports, goals: NO_LOSS, measure }
}

const fn echo_of(size: &'static str, measure: Measure) -> Case {
    Case { name: "echo", size, metrics: ECHO, transports: NO_UNIX, goals: NO_LOSS, measure }
}

const fn load(message: usize, in_flight: usize, read: usize) -> Load {
    Load { message, in_flight, read: read * KIB }
}

/// All cases.
pub const CASES: &[Case] = &[
    timed(("roundtrip", "64 B"), ALL, &[], |lab, via| roundtrip::measure(lab, via, 64)),
    timed(
        ("roundtrip", "1 KiB"),
        ALL,
        &[at_most(0, Tcp, 0.42), at_most(0, Unix, 0.95)],
        |lab, via| roundtrip::measure(lab, via, KIB),
    ),
    timed(("roundtrip", "16 KiB"), ALL, &[], |lab, via| roundtrip::measure(lab, via, 16 * KIB)),
    timed(("roundtrip", "64 KiB"), ALL, &[], |lab, via| roundtrip::measure(lab, via, 64 * KIB)),
    timed(("pingpong", "64 B"), ALL, &[], |lab, via| pingpong::measure(lab, via, 64)),
    timed(("pingpong", "1 KiB"), ALL, &[], |lab, via| pingpong::measure(lab, via, KIB)),
    timed(("pingpong", "16 KiB"), ALL, &[], |lab, via| pingpong::measure(lab, via, 16 * KIB)),
    timed(("pingpong", "64 KiB"), ALL, &[], |lab, via| pingpong::measure(lab, via, 64 * KIB)),
    timed(("bulk", "64 KiB"), ALL, &[], stream::bulk),
    timed(("connect", "alone"), NO_UNIX, &[at_most(0, Tcp, 1.08)], |lab, via| {
        connect::measure(lab, via, 0)
    }),
    timed(("connect", "+1 rt"), NO_UNIX, &[at_most(0, Tcp, 1.0)], |lab, via| {
        connect::measure(lab, via, 1)
    }),
    timed(("connect", "+4 rt"), NO_UNIX, &[at_most(0, Tcp, 0.8)], |lab, via| {
        connect::measure(lab, via, 4)
    }),
    timed(("connect", "+16 rt"), NO_UNIX, &[at_most(0, Tcp, 0.56)], |lab, via| {
        connect::measure(lab, via, 16)
    }),
    timed(("offnode", "1 KiB"), NO_UNIX, AS_WITHOUT, |lab, via| offnode::measure(lab, via, KIB)),
    timed(("offnode", "16 KiB"), NO_UNIX, AS_WITHOUT, |lab, via| {
        offnode::measure(lab, via, 16 * KIB)
    }),
    timed(("offnode", "64 KiB"), NO_UNIX, AS_WITHOUT, |lab, via| {
        offnode::measure(lab, via, 64 * KIB)
    }),
    timed(("setsockopt", "TCP_NODELAY"), NO_UNIX, &[at_most(0, Tcp, 1.1)], option::measure),
    Case {
        name: "unread",
        size: "16 KiB",
        metrics: HELD,
        transports: NO_UNIX,
        goals: &[at_most(0, Tcp, 1.5)],
        measure: |lab, via| unread::measure(lab, via, 16 * KIB),
    },
    timed(
        ("program", "1 KiB"),
        &[Shunt],
        &[Goal { metric: 0, to: None, bound: Bound::AtMost(90.0) }],
        |lab, _| program::measure(lab, KIB),
    ),
    Case {
        name: "many",
        size: "16 × 1 KiB",
        metrics: MANY,
        transports: ALL,
        goals: &[at_least(0, Tcp, 1.95)],
        measure: |lab, via| many::measure(lab, via, 16, KIB),
    },
    stream_of("16 B", NO_UNIX, |lab, via| stream::measure(lab, via, 16, false)),
    stream_of("16 B/nodelay", ALL, |lab, via| stream::measure(lab, via, 16, true)),
    stream_of("100 B", NO_UNIX, |lab, via| stream::measure(lab, via, 100, false)),
    stream_of("100 B/nodelay", ALL, |lab, via| stream::measure(lab, via, 100, true)),
    stream_of("1 KiB", NO_UNIX, |lab, via| stream::measure(lab, via, KIB, false)),
    stream_of("1 KiB/nodelay", ALL, |lab, via| stream::measure(lab, via, KIB, true)),
    stream_of("8 KiB", NO_UNIX, |lab, via| stream::measure(lab, via, 8 * KIB, false)),
    stream_of("8 KiB/nodelay", ALL, |lab, via| stream::measure(lab, via, 8 * KIB, true)),
    // Like TLS.
    stream_of("16 KiB", NO_UNIX, |lab, via| stream::measure(lab, via, 16 * KIB, false)),
    stream_of("16 KiB/nodelay", ALL, |lab, via| stream::measure(lab, via, 16 * KIB, true)),
    stream_of("64 KiB", NO_UNIX, |lab, via| stream::measure(lab, via, 64 * KIB, false)),
    stream_of("64 KiB/nodelay", ALL, |lab, via| stream::measure(lab, via, 64 * KIB, true)),
    echo_of("2k/20k/8K", |lab, via| echo::measure(lab, via, load(2_000, 20_000, 8))),
    echo_of("2k/20k/64K", |lab, via| echo::measure(lab, via, load(2_000, 20_000, 64))),
    echo_of("20k/200k/8K", |lab, via| echo::measure(lab, via, load(20_000, 200_000, 8))),
    echo_of("20k/200k/64K", |lab, via| echo::measure(lab, via, load(20_000, 200_000, 64))),
    echo_of("300k/300k/8K", |lab, via| echo::measure(lab, via, load(300_000, 300_000, 8))),
    echo_of("300k/300k/64K", |lab, via| echo::measure(lab, via, load(300_000, 300_000, 64))),
    echo_of("300k/1M/8K", |lab, via| echo::measure(lab, via, load(300_000, 1_000_000, 8))),
    echo_of("300k/1M/64K", |lab, via| echo::measure(lab, via, load(300_000, 1_000_000, 64))),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_a_name_are_adjacent_and_have_the_same_metrics_and_a_description() {
        let mut names = Vec::new();
        for cases in CASES.chunk_by(|one, next| one.name == next.name) {
            assert!(!names.contains(&cases[0].name), "{}", cases[0].name);
            names.push(cases[0].name);
            assert!(cases.iter().all(|case| case.metrics == cases[0].metrics));
            assert_ne!(cases[0].about(), "");
        }
        assert_eq!(names.len(), ABOUT.len());
    }

    #[test]
    fn every_goal_refers_to_metrics_and_transports_of_its_case() {
        for case in CASES {
            for goal in case.goals {
                assert!(goal.metric < case.metrics.len(), "{case:?}");
                assert!(goal.to.is_none_or(|to| case.transports.contains(&to)), "{case:?}");
            }
        }
    }

    #[test]
    fn a_case_is_selected_by_its_name_its_key_and_prefixes_up_to_a_slash() {
        let meant = |wanted: &str| {
            CASES.iter().filter(|case| case.is_meant_by(wanted)).map(Case::key).collect::<Vec<_>>()
        };
        assert_eq!(meant("unread"), ["unread/16KiB"]);
        assert_eq!(meant("stream/16B"), ["stream/16B", "stream/16B/nodelay"]);
        assert_eq!(meant("echo/300k").len(), 4);
        assert_eq!(meant("connect/+4rt"), ["connect/+4rt"]);
        for nothing in ["", "str", "stream/1", "stream/16B/", "16B"] {
            assert!(meant(nothing).is_empty(), "{nothing}");
        }
    }
}
