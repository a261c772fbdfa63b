//! How much of a job went direct, and how much paid for the way through the stack.

use std::fmt;
use std::fs;

use tcp_shunt::datapath::{Counter, Kind};
use tcp_shunt::host::Namespace;

use crate::report::Stats;

/// What a job cost.
pub struct Toll {
    /// What shunt counted, where it ran.
    pub stats: Option<Stats>,
    /// Bytes that passed an interface, headers included.
    pub wire: u64,
}

impl Toll {
    pub fn direct(&self) -> u64 {
        self.counter(Counter::DirectMessages)
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.stats.as_ref().map_or(0, |stats| stats.counter(counter.name()))
    }

    /// The part of the messages of enrolled sockets that was direct.
    pub fn share(&self) -> f64 {
        let causes = Counter::ALL.iter().filter(|counter| counter.kind() == Kind::Cause);
        let by_tcp: u64 = causes.map(|&cause| self.counter(cause)).sum();
        part(self.direct(), by_tcp)
    }

    /// The part of all bytes, those of connections that were not enrolled too, that was direct.
    pub fn share_of_bytes(&self) -> f64 {
        part(self.counter(Counter::DirectBytes), self.wire)
    }

    /// At least so many messages were direct, and at least this share of those of enrolled sockets.
    #[track_caller]
    pub fn assert_direct(&self, messages: u64, share: f64) {
        assert!(self.direct() >= messages, "only {} messages direct: {self}", self.direct());
        assert!(self.share() >= share, "only {self}");
    }

    /// Nothing was enrolled.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!((self.direct(), self.counter(Counter::Paired)), (0, 0), "{self}");
    }

    /// Nothing was enrolled, and this outcome says why.
    #[track_caller]
    pub fn assert_left_alone(&self, why: Counter) {
        self.assert_untouched();
        assert!(self.counter(why) > 0, "{self}");
    }
}

fn part(direct: u64, rest: u64) -> f64 {
    direct as f64 / (direct + rest).max(1) as f64
}

impl fmt::Display for Toll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [messages, bytes] = [self.share(), self.share_of_bytes()].map(|share| share * 100.0);
        write!(f, "{messages:.1} % of the messages of enrolled sockets direct, ")?;
        write!(f, "{bytes:.1} % of all bytes; {} bytes passed interfaces;", self.wire)?;
        for &counter in Counter::ALL {
            if self.counter(counter) > 0 {
                write!(f, " {} {}", counter.name(), self.counter(counter))?;
            }
        }
        Ok(())
    }
}

/// The bytes that a namespace's interfaces have received since they were made (proc_pid_net(5),
/// `net/dev`).
pub fn received(namespace: &Namespace) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/dev").expect("read the interfaces");
    let table = namespace.run(read).expect("enter the namespace");
    // Two lines of headings; then `name: bytes packets …`.
    let bytes = |line: &str| line.split_once(':')?.1.split_whitespace().next()?.parse::<u64>().ok();
    let of = |line| bytes(line).unwrap_or_else(|| panic!("not an interface: {line}"));
    table.lines().skip(2).map(of).sum()
}
