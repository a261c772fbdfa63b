use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::agent::{Agent, Counters};
use super::pair::{Pair, Transport};
use super::wire::Wire;
use crate::bed::{Cgroup, Namespace};

/// Where the bench measures: a network namespace of its own, and a cgroup that an agent accelerates.
#[derive(Debug)]
pub struct Lab {
    agent: Agent,
    cgroup: Cgroup,
    namespace: Namespace,
    slice: Duration,
}

impl Lab {
    /// `slice` is how long one run lasts.
    pub fn new(slice: Duration) -> Result<Self> {
        let namespace = Namespace::new()?;
        // Closed connections of many short runs wait here side by side.
        namespace.set_sysctl("net/ipv4/tcp_max_tw_buckets", "1000000")?;
        let cgroup = Cgroup::new()?;
        let agent = Agent::start("bench", cgroup.path())?;
        Ok(Self { agent, cgroup, namespace, slice })
    }

    /// Runs `work` on a thread in the namespace, outside the cgroup.
    pub fn inside_namespace<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(self.namespace.run(work)?)
    }

    /// Stops the agent and takes everything away.
    pub fn close(self) -> Result<()> {
        self.agent.stop()
    }

    pub(super) fn slice(&self) -> Duration {
        self.slice
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Runs `work` so that the sockets it makes are of that transport: a socket belongs to the cgroup its maker is in.
    pub(super) fn making<T>(&self, transport: Transport, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if transport != Transport::Shunt {
            return work();
        }
        self.cgroup.enter()?;
        let outcome = work();
        self.cgroup.leave()?;
        outcome
    }

    pub(super) fn pair(&self, transport: Transport) -> Result<Pair> {
        self.making(transport, || match transport {
            Transport::Tcp | Transport::Shunt => Ok(Pair::tcp()?),
            Transport::Unix => Ok(Pair::unix()?),
        })
    }

    /// Times `operation`, which passes `messages` messages each time. For shunt they have to bypass TCP, or it is an
    /// error: the figure would be TCP's.
    pub(super) fn time(
        &self,
        transport: Transport,
        messages: u64,
        mut operation: impl FnMut() -> io::Result<()>,
    ) -> Result<f64> {
        let mut passed = 0;
        let mut counted = || {
            passed += messages;
            operation()
        };
        // A connection's first messages are not like those that follow.
        for _ in 0..10 {
            counted()?;
        }
        let before = Wire::here()?;
        let figure = super::traffic::time(self.slice, counted)?;
        if transport == Transport::Shunt {
            let packets = (Wire::here()? - before).packets;
            ensure!(
                packets * 20 < passed,
                "{packets} packets were sent for {passed} messages, so they went by TCP and there is nothing to measure; \
                 the agent counted {}",
                listed(&self.agent.counters()?)
            );
        }
        Ok(figure)
    }
}

/// What is not zero.
fn listed(counters: &Counters) -> String {
    let counted: BTreeMap<_, _> = counters.iter().filter(|(_, count)| **count > 0).collect();
    let list: Vec<_> = counted.into_iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
}
