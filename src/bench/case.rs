use std::fmt;

use super::echo::Load;
use super::metric::{ECHO, HELD, MANY, Metric, STREAM, TIME};
use super::outcome::Outcome;
use super::pair::Transport::{self, Shunt, Tcp, Unix};
use super::{Lab, connect, echo, many, offnode, pingpong, program, roundtrip, stream, unread};

/// One thing that is measured on several transports.
#[derive(Debug)]
pub struct Case {
    /// What `--only` selects; several cases can share it, and have the same metrics.
    pub name: &'static str,
    /// Which of them: a message size, or what is exchanged.
    pub size: &'static str,
    /// What its figures are.
    pub metrics: &'static [Metric],
    /// What it runs on.
    pub transports: &'static [Transport],
    /// What it should come to.
    pub goals: &'static [Goal],
    pub(super) measure: fn(&Lab, Transport) -> anyhow::Result<Outcome>,
}

impl Case {
    /// Name and size in one word, as `--only` takes it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.name, self.size.replace(' ', ""))
    }

    /// Whether `--only` means it: by its name, its key, or the beginning of its key up to a slash.
    pub fn is_meant_by(&self, wanted: &str) -> bool {
        let key = self.key();
        key.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What all cases of this name do.
    pub fn about(&self) -> &'static str {
        let about = ABOUT.iter().find(|(name, _)| *name == self.name);
        about.map_or("", |(_, about)| about)
    }
}

/// What the median of a metric should come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Which of the case's metrics.
    pub metric: usize,
    /// shunt's figure as a share of this transport's; its figure itself if there is none.
    pub to: Option<Transport>,
    /// How large or small.
    pub bound: Bound,
}

/// A figure that is still good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// More is worse.
    AtMost(f64),
    /// Less is worse.
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

    /// The figure.
    pub fn figure(self) -> f64 {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
        }
    }

    /// How a figure has to be compared with it.
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

/// No workload is to lose by shunt: throughput, the 99th percentile and processor time.
const NO_LOSS: &[Goal] = &[at_least(0, Tcp, 0.95), at_most(1, Tcp, 1.1), at_most(2, Tcp, 1.1)];
const AS_WITHOUT: &[Goal] = &[at_most(0, Tcp, 1.02)];

const ABOUT: &[(&str, &str)] = &[
    ("roundtrip", "there and back on one thread, which nobody has to wake"),
    ("pingpong", "there and back between two threads, on a processor each, that wake each other"),
    ("many", "requests and answers on many connections between two event loops"),
    ("stream", "writes of a size in one direction; the gaps are those between reads"),
    ("bulk", "time for each 64 KiB of a transfer, until all of it has been read"),
    ("echo", "messages up to / bytes on the way / bytes per read, between edge-triggered loops"),
    ("connect", "a whole connection, with round trips of 1 KiB"),
    ("offnode", "there and back on a connection whose peer is elsewhere"),
    ("unread", "held for a reader that does not read"),
    ("program", "the sk_msg program for a message"),
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

/// Unix sockets do not join writes, so one of the two variants compares with them.
const fn stream_of(size: &'static str, transports: &'static [Transport], measure: Measure) -> Case {
    Case { name: "stream", size, metrics: STREAM, transports, goals: NO_LOSS, measure }
}

const fn echo_of(size: &'static str, measure: Measure) -> Case {
    Case { name: "echo", size, metrics: ECHO, transports: NO_UNIX, goals: NO_LOSS, measure }
}

const fn load(message: usize, on_the_way: usize, read: usize) -> Load {
    Load { message, on_the_way, read: read * KIB }
}

/// Everything that can be measured.
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
    // As TLS writes.
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
    fn cases_of_a_name_stand_together_have_the_same_metrics_and_say_what_they_do() {
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
    fn every_goal_is_about_a_metric_and_transports_that_the_case_has() {
        for case in CASES {
            for goal in case.goals {
                assert!(goal.metric < case.metrics.len(), "{case:?}");
                assert!(goal.to.is_none_or(|to| case.transports.contains(&to)), "{case:?}");
            }
        }
    }

    #[test]
    fn a_case_is_meant_by_its_name_its_key_and_the_parts_before_a_slash() {
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
