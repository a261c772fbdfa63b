//! What all enrolled sockets and all counters come to.

use anyhow::Result;

use crate::datapath::{Counter, FlowEnd, Kind, Mode, Role};
use crate::instance::Instance;

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Enrolled sockets.
    pub sockets: usize,
    /// Open flows: enrolled clients.
    pub flows: usize,
    /// Lanes, by [`Mode`]: by TCP, direct, ended.
    pub lanes: [usize; 3],
    /// Messages redirected since the instance was made.
    pub direct_messages: u64,
    /// Bytes redirected.
    pub direct_bytes: u64,
    /// Messages of enrolled sockets that went by TCP.
    pub tcp_messages: u64,
}

impl Summary {
    /// Looks at every socket and every counter of an instance.
    pub fn of(instance: &Instance) -> Result<Summary> {
        let mut sum = Summary::default();
        for end in &instance.ends()? {
            sum.add(end);
        }
        // After the sockets: one that closes in between is in both, or before it is counted in
        // neither.
        sum.direct_messages += instance.counter(Counter::DirectMessages)?;
        sum.direct_bytes += instance.counter(Counter::DirectBytes)?;
        for &counter in Counter::ALL.iter().filter(|counter| counter.kind() == Kind::Cause) {
            sum.tcp_messages += instance.counter(counter)?;
        }
        Ok(sum)
    }

    fn add(&mut self, end: &FlowEnd) {
        self.sockets += 1;
        self.flows += usize::from(end.role == Role::Client as u32);
        // What comes after has ended, too.
        self.lanes[end.mode.min(Mode::Ended as u32) as usize] += 1;
        self.direct_messages += end.direct_messages;
        self.direct_bytes += end.direct_bytes;
    }

    /// Which part of the messages of enrolled sockets was redirected, if there was any.
    pub fn direct_share(&self) -> Option<f64> {
        let all = self.direct_messages + self.tcp_messages;
        (all > 0).then(|| self.direct_messages as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_counted_by_their_mode_flows_by_their_clients_and_messages_by_their_way() {
        let mut sum = Summary { tcp_messages: 1, ..Summary::default() };
        assert_eq!(Summary::default().direct_share(), None);
        for (role, mode) in [
            (Role::Client, Mode::Direct),
            (Role::Server, Mode::Tcp),
            (Role::Client, Mode::Ended),
            (Role::Client, Mode::Left),
        ] {
            sum.add(&FlowEnd {
                role: role as u32,
                mode: mode as u32,
                direct_messages: 1,
                direct_bytes: 9,
                ..FlowEnd::default()
            });
        }
        let expected = Summary {
            sockets: 4,
            flows: 3,
            lanes: [1, 1, 2],
            direct_messages: 4,
            direct_bytes: 36,
            tcp_messages: 1,
        };
        assert_eq!((sum, sum.direct_share()), (expected, Some(0.8)));
    }
}
