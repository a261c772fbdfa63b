use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::agent::Agent;
use super::outcome::Outcome;
use super::pair::{Pair, Transport};
use super::traffic::pass;
use super::wire::Wire;
use crate::bed::Cgroup;
use crate::host::Namespace;

/// How long one run of a transfer lasts, in slices: what it measures comes less often than a round
/// trip.
const TRANSFER: u32 = 4;

/// Messages in each direction before anything is measured, each as long as `GREETING`.
const EXCHANGES: usize = 8;
const GREETING: usize = 64;

/// How long the agent may take to make a connection direct. What is not direct then is measured as
/// it is.
const SETTLING: Duration = Duration::from_secs(1);

/// Where the bench measures: a network namespace of its own, and a cgroup that an agent
/// accelerates, with the options it has if nothing is said.
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
        Self::with(slice, &[])
    }

    /// The same with an agent that has these options.
    pub(super) fn with(slice: Duration, options: &[&str]) -> Result<Self> {
        let namespace = Namespace::new()?;
        // Closed connections of many short runs wait here side by side.
        namespace.set_sysctl("net/ipv4/tcp_max_tw_buckets", "1000000")?;
        let cgroup = Cgroup::new()?;
        let agent = Agent::start("bench", cgroup.path(), options)?;
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

    /// How long a run of a transfer lasts.
    pub(super) fn transfer(&self) -> Duration {
        self.slice * TRANSFER
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(super) fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Runs `work` so that the sockets it makes are of that transport: a socket belongs to the
    /// cgroup its maker is in.
    pub(super) fn making<T>(
        &self,
        transport: Transport,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if transport != Transport::Shunt {
            return work();
        }
        self.cgroup.enter()?;
        let outcome = work();
        self.cgroup.leave()?;
        outcome
    }

    /// Measures on a connection that has been used and, if it is shunt's, is direct.
    pub(super) fn on_pair(
        &self,
        transport: Transport,
        measure: impl FnOnce(&Pair) -> Result<Outcome>,
    ) -> Result<Outcome> {
        self.on_pairs(transport, 1, |pairs| measure(&pairs[0]))
    }

    /// The same on `count` connections.
    pub(super) fn on_pairs(
        &self,
        transport: Transport,
        count: usize,
        measure: impl FnOnce(&[Pair]) -> Result<Outcome>,
    ) -> Result<Outcome> {
        let make = || match transport {
            Transport::Tcp | Transport::Shunt => Ok(Pair::tcp()?),
            Transport::Unix => Ok(Pair::unix()?),
        };
        let pairs =
            self.making(transport, || (0..count).map(|_| make()).collect::<Result<Vec<_>>>())?;
        let settled = settle(transport, &pairs)?;
        Ok(Outcome { settled, ..measure(&pairs)? })
    }

    /// Runs `work`, which tells a value and how many bytes it passed, and tells the share of them
    /// that crossed no interface.
    pub(super) fn watch<T>(&self, work: impl FnOnce() -> Result<(T, u64)>) -> Result<(T, f64)> {
        let before = Wire::here()?;
        let (value, bytes) = work()?;
        let by_tcp = (Wire::here()? - before).payload();
        Ok((value, 1.0 - (by_tcp as f64 / bytes.max(1) as f64).min(1.0)))
    }

    /// The time of `operation`, which passes `bytes` bytes each time.
    pub(super) fn time(
        &self,
        bytes: usize,
        mut operation: impl FnMut() -> std::io::Result<()>,
    ) -> Result<Outcome> {
        let (time, direct) = self.watch(|| {
            let mut operations = 0;
            let time = super::traffic::time(self.slice, || {
                operations += 1;
                operation()
            })?;
            Ok((time, operations * bytes as u64))
        })?;
        Ok(Outcome::of([time]).with_direct(direct))
    }
}

/// Exchanges messages on new connections, because the first are not like those that follow. Where
/// shunt should make them direct, this goes on until nothing crosses an interface any more, or it
/// takes too long: then the result is `false`.
fn settle(transport: Transport, pairs: &[Pair]) -> Result<bool> {
    let mut buffer = [0x5a; GREETING];
    let mut exchange = || {
        for pair in pairs {
            pass(&pair.near, &pair.far, &mut buffer)?;
            pass(&pair.far, &pair.near, &mut buffer)?;
        }
        Ok::<_, std::io::Error>(())
    };
    for _ in 0..EXCHANGES {
        exchange()?;
    }
    if transport != Transport::Shunt {
        return Ok(true);
    }
    let deadline = Instant::now() + SETTLING;
    loop {
        let before = Wire::here()?;
        exchange()?;
        if Wire::here()? == before {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    #[test]
    fn what_a_connection_carries_by_tcp_is_seen_and_what_a_unix_socket_carries_is_not() {
        let namespace = Namespace::new().expect("make a namespace (as root)");
        let settled =
            |transport, pair: Pair| settle(transport, slice::from_ref(&pair)).expect("exchange");
        namespace
            .run(|| {
                // As if the agent never made it direct.
                assert!(!settled(Transport::Shunt, Pair::tcp().expect("connect")));
                assert!(settled(Transport::Shunt, Pair::unix().expect("a pair")));
                assert!(settled(Transport::Tcp, Pair::tcp().expect("connect")));
            })
            .expect("run inside");
    }
}
