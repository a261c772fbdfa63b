//! Totals over all enrolled sockets and all counters.

use anyhow::Result;

use crate::datapath::{Counter, FlowEnd, Kind, Mode, Role};
use crate::instance::Instance;

/// Totals of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Enrolled sockets.
    pub sockets: usize,
    /// Open flows: enrolled clients.
    pub flows: usize,
    /// Lanes by [`Mode`]: TCP, direct, ended.
    pub lanes: [usize; 3],
    /// Messages redirected since the instance was created.
    pub direct_messages: u64,
    /// Bytes redirected.
    pub direct_bytes: u64,
    /// Messages of enrolled sockets that went by TCP.
    pub tcp_messages: u64,
}

impl Summary {
    /// Reads every socket and every counter of an instance.
    pub fn of(instance: &Instance) -> Result<Summary> {
        let mut sum = Summary::default();
        for end in &instance.ends()? {
            sum.add(end);
        }
        // After the sockets: one that closes in between is counted twice; in the other order not at
        // all.
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
        // Modes of a later version count as ended.
        self.lanes[end.mode.min(Mode::Ended as u32) as usize] += 1;
        self.direct_messages += end.direct_messages;
        self.direct_bytes += end.direct_bytes;
    }

    /// Share of messages that were redirected, if there were any.
    pub fn direct_share(&self) -> Option<f64> {
        let all = self.direct_messages + self.tcp_messages;
        (all > 0).then(|| self.direct_messages as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_counted_by_mode_flows_by_clients_and_messages_by_path() {
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
