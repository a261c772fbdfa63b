//! How much of a job went direct, and how much paid for the way through the stack.

use std::fmt;
use std::fs;

use tcp_shunt::bed::Namespace;

use crate::harness::report::Stats;

/// The counters of messages by TCP.
const BY_TCP: &[&str] = &[
    "blocking",
    "guarded",
    "excluded",
    "no_peer",
    "order_gate",
    "reader_gate",
    "memory_gate",
    "refresh",
    "peer_gone",
    "ended",
    "draining",
    "look_failed",
];

/// What a job cost.
pub struct Toll {
    /// What shunt counted, where it ran.
    pub stats: Option<Stats>,
    /// Bytes that passed an interface, headers included.
    pub wire: u64,
}

impl Toll {
    pub fn direct(&self) -> u64 {
        self.counter("direct_messages")
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.stats.as_ref().map_or(0, |stats| stats.counter(name))
    }

    /// The part of all messages of connections on the node that were direct.
    pub fn share(&self) -> f64 {
        let by_tcp: u64 = BY_TCP.iter().map(|name| self.counter(name)).sum();
        self.direct() as f64 / (self.direct() + by_tcp).max(1) as f64
    }

    /// At least this share of all messages was direct.
    #[track_caller]
    pub fn assert_direct(&self, least: f64) {
        assert!(self.counter("paired") > 0, "nothing was paired: {self}");
        assert!(self.share() >= least, "only {self}");
    }

    /// The same, where the kernel does what the program relies on; elsewhere it is left alone.
    #[track_caller]
    pub fn assert_direct_unless_excluded(&self, least: f64) {
        if self.counter("excluded") > 0 {
            assert_eq!(self.direct(), 0, "{self}");
        } else {
            self.assert_direct(least);
        }
    }

    /// The program's sockets are of a kind that is left to TCP.
    #[track_caller]
    pub fn assert_left_alone(&self) {
        assert_eq!(self.direct(), 0, "{self}");
        assert!(self.counter("blocking") > 0, "{self}");
    }
}

impl fmt::Display for Toll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} % of the messages direct; {} bytes passed interfaces;", self.share() * 100.0, self.wire)?;
        for name in ["paired", "direct_messages", "direct_bytes"].iter().chain(BY_TCP).chain(&["wake_armed", "woken"]) {
            if self.counter(name) > 0 {
                write!(f, " {name} {}", self.counter(name))?;
            }
        }
        Ok(())
    }
}

/// The bytes that a namespace's interfaces have received since they were made (proc_pid_net(5), `net/dev`).
pub fn received(namespace: &Namespace) -> u64 {
    let table = namespace
        .run(|| fs::read_to_string("/proc/thread-self/net/dev").expect("read the table of interfaces"))
        .expect("enter the namespace");
    // Two lines of headings; then `name: bytes packets …`.
    let bytes = |line: &str| line.split_once(':')?.1.split_whitespace().next()?.parse::<u64>().ok();
    table.lines().skip(2).map(|line| bytes(line).unwrap_or_else(|| panic!("not an interface: {line}"))).sum()
}
