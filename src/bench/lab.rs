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

/// Slices of one run of a transfer, whose events are rarer than round trips.
const TRANSFER: u32 = 4;

/// Messages of `GREETING` bytes in each direction before the measurement.
const EXCHANGES: usize = 8;
const GREETING: usize = 64;

/// Time limit for a connection to become direct. After that it is measured as it is.
const SETTLING: Duration = Duration::from_secs(1);

/// The environment of the bench: a network namespace, and a cgroup accelerated by an agent.
#[derive(Debug)]
pub struct Lab {
    agent: Agent,
    cgroup: Cgroup,
    namespace: Namespace,
    slice: Duration,
}

impl Lab {
    /// `slice` is the duration of one run.
    pub fn new(slice: Duration) -> Result<Self> {
        Self::with(slice, &[])
    }

    /// The same with options for the agent.
    pub(super) fn with(slice: Duration, options: &[&str]) -> Result<Self> {
        let namespace = Namespace::new()?;
        // Many short runs leave connections in TIME_WAIT.
        namespace.set_sysctl("net/ipv4/tcp_max_tw_buckets", "1000000")?;
        let cgroup = Cgroup::new()?;
        let agent = Agent::start("bench", cgroup.path(), options)?;
        Ok(Self { agent, cgroup, namespace, slice })
    }

    /// Runs `work` on a thread in the namespace, outside the cgroup.
    pub fn inside_namespace<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(self.namespace.run(work)?)
    }

    /// Stops the agent and removes everything.
    pub fn close(self) -> Result<()> {
        self.agent.stop()
    }

    /// Duration of one run of a transfer.
    pub(super) fn transfer(&self) -> Duration {
        self.slice * TRANSFER
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(super) fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Runs `work` so that the sockets it creates are of that transport: a socket belongs to the
    /// cgroup of its creator.
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

    /// Measures on a connection that is warmed up and, with shunt, direct.
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

    /// Runs `work`, which returns a value and the bytes it transferred, and determines the share of
    /// them that crossed no interface.
    pub(super) fn watch<T>(&self, work: impl FnOnce() -> Result<(T, u64)>) -> Result<(T, f64)> {
        let before = Wire::here()?;
        let (value, bytes) = work()?;
        let by_tcp = (Wire::here()? - before).payload();
        Ok((value, 1.0 - (by_tcp as f64 / bytes.max(1) as f64).min(1.0)))
    }

    /// The time of `operation`, which transfers `bytes` bytes each time.
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

/// Exchanges messages on new connections, whose first ones differ from later ones. With shunt this
/// goes on until nothing crosses an interface any more; returns `false` on a time-out.
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
    fn bytes_by_tcp_are_counted_and_bytes_by_a_unix_socket_are_not() {
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
