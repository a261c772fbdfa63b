//! Reads lane changes as they happen: the consumer of `datapath::trace`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use syscalls::{RingBuf, TypedMap, Update};

use super::flow::address;
use super::{Observer, Workload};
use crate::datapath::{Counter, Event, Mode, Role, Tracer};
use crate::host::Process;
use crate::instance::{Instance, MAPS};

/// Lifetime of a tracer's registration, after which a killed tracer is forgotten.
const LEASE: Duration = Duration::from_secs(3);

/// One change of a lane.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Time in seconds since 1970.
    pub time: f64,
    /// New state of the lane: `direct`, `tcp`, `ended` or `closed`.
    pub event: &'static str,
    /// Reason as in `shunt stats`; none for a lane that became direct.
    pub why: Option<&'static str>,
    /// Which end sends on the lane: `client` or `server`.
    pub role: &'static str,
    /// The sender's address.
    pub local: SocketAddr,
    /// The peer's address as the sender sees it.
    pub remote: SocketAddr,
    /// The sender's socket cookie, as `ss -e` prints it.
    pub cookie: u64,
    /// Process that holds the sending socket, if visible.
    pub process: Option<Arc<Process>>,
    /// The cgroup that created the socket, with pod and container.
    pub workload: Option<Arc<Workload>>,
    /// Messages sent directly.
    pub direct_messages: u64,
    /// Bytes sent directly.
    pub direct_bytes: u64,
}

/// Process and workload of a socket.
type Identity = (Option<Arc<Process>>, Option<Arc<Workload>>);

/// Traces the lanes of an instance. Dropping it stops the kernel programs from emitting events.
#[derive(Debug)]
pub struct Tracing {
    instance: Instance,
    tracer: TypedMap<u32, Tracer>,
    ring: RingBuf,
    renewed: Instant,
    lost_before: u64,
    observer: Observer,
    observed: Instant,
    /// Duration of the last scan of all processes.
    observing: Duration,
    known: HashMap<u64, Identity>,
}

impl Tracing {
    /// Starts tracing; an instance has one tracer at a time.
    pub fn start(instance: Instance) -> Result<Tracing> {
        const WHAT: &str = "cannot open the trace maps";
        let tracer = instance.map(MAPS.tracer).context(WHAT)?;
        if tracer.lookup(&0)?.is_some_and(|other| other.until > monotonic().unwrap_or(0)) {
            bail!(
                "'{}' has a tracer already, and can have only one: stop it; if it was \
                 killed, try again in {} seconds",
                instance.pins().name(),
                LEASE.as_secs()
            );
        }
        let mut ring = instance.ring(MAPS.events).context(WHAT)?;
        // Discard events that an earlier tracer left.
        ring.drain(|_| ())?;
        let mut tracing = Tracing {
            lost_before: instance.counter(Counter::TraceLost)?,
            instance,
            tracer,
            ring,
            renewed: Instant::now(),
            observer: Observer::default(),
            observed: Instant::now(),
            observing: Duration::ZERO,
            known: HashMap::new(),
        };
        tracing.observe();
        tracing.renew()?;
        Ok(tracing)
    }

    fn renew(&self) -> Result<()> {
        let until = monotonic()?.saturating_add(LEASE.as_nanos() as u64);
        Ok(self.tracer.update(&0, &Tracer { until }, Update::ANY)?)
    }

    /// The changes since the last call, after waiting for one for at most `wait` and one second.
    pub fn next(&mut self, wait: Duration) -> Result<Vec<Change>> {
        if self.renewed.elapsed() > LEASE / 3 {
            self.renewed = Instant::now();
            self.renew()?;
        }
        self.ring.wait(Some(wait.min(LEASE / 3)))?;
        let mut events: Vec<Event> = Vec::new();
        self.ring.drain(|record| {
            events.extend(bytemuck::try_pod_read_unaligned::<Event>(record).ok())
        })?;
        let boot = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |now| now.as_secs_f64() - monotonic().unwrap_or(0) as f64 / 1e9);
        Ok(events.iter().map(|event| self.change(event, boot)).collect())
    }

    /// Number of events lost because this reader fell behind.
    pub fn lost(&self) -> Result<u64> {
        Ok(self.instance.counter(Counter::TraceLost)?.saturating_sub(self.lost_before))
    }

    fn change(&mut self, event: &Event, boot: f64) -> Change {
        let (process, workload) = self.identity(event);
        let mut change = describe(event, boot);
        (change.process, change.workload) = (process, workload);
        change
    }

    /// Looks a socket's identity up until its process is known: it may be new or hidden.
    fn identity(&mut self, event: &Event) -> Identity {
        let known = match event.reason == Counter::Closed as u32 {
            true => self.known.remove(&event.cookie),
            false => self.known.get(&event.cookie).cloned(),
        };
        if let Some((Some(_), _)) = known {
            return known.unwrap_or_default();
        }
        // A closed socket is only known from earlier events.
        let Ok(Some(end)) = self.instance.end(&event.name) else {
            return known.unwrap_or_default();
        };
        let mut side = self.observer.side(&end);
        if (side.process.is_none() || side.workload.is_none())
            && self.observed.elapsed() > self.observing * 10
        {
            self.observe();
            side = self.observer.side(&end);
        }
        let identity = (side.process, side.workload);
        if event.reason != Counter::Closed as u32 {
            self.known.insert(event.cookie, identity.clone());
        }
        identity
    }

    /// Scans all processes again, for a tenth of the time at most.
    fn observe(&mut self) {
        let begun = Instant::now();
        self.observer = Observer::of(&self.instance);
        self.observed = Instant::now();
        self.observing = begun.elapsed();
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // The registration expires by itself.
        let _ = self.tracer.update(&0, &Tracer { until: 0 }, Update::ANY);
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
fn monotonic() -> Result<u64> {
    let now = Duration::from(
        clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the monotonic clock")?,
    );
    Ok(now.as_nanos() as u64)
}

/// Converts an event; `boot` is the origin of its clock in seconds since 1970.
fn describe(event: &Event, boot: f64) -> Change {
    let v6 = event.family == nix::libc::AF_INET6 as u32;
    let bytes = |words: [u32; 4]| -> [u8; 16] { bytemuck::cast(words) };
    let reason = Counter::ALL.get(event.reason as usize).copied();
    let (name, why) = match reason {
        Some(Counter::Closed) => ("closed", None),
        _ if event.mode == Mode::Direct as u32 => ("direct", None),
        _ if event.mode == Mode::Tcp as u32 => ("tcp", reason),
        _ => ("ended", reason),
    };
    Change {
        time: boot + event.at as f64 / 1e9,
        event: name,
        why: why.map(Counter::name),
        role: if event.role == Role::Client as u32 { "client" } else { "server" },
        local: address(v6, event.local_v4, bytes(event.local_v6), event.local_port as u16),
        remote: address(
            v6,
            event.remote_v4,
            bytes(event.remote_v6),
            u16::from_be((event.remote_port >> 16) as u16),
        ),
        cookie: event.cookie,
        process: None,
        workload: None,
        direct_messages: event.direct_messages,
        direct_bytes: event.direct_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_by_the_new_state_of_the_lane() {
        for (mode, reason, name, why) in [
            (Mode::Direct, Counter::Paired, "direct", None),
            (Mode::Tcp, Counter::ArrivalGate, "tcp", Some("arrival_gate")),
            (Mode::Ended, Counter::PeerGone, "ended", Some("peer_gone")),
            (Mode::Leaving, Counter::Resting, "ended", Some("resting")),
            (Mode::Ended, Counter::Closed, "closed", None),
        ] {
            let event = Event { mode: mode as u32, reason: reason as u32, ..Event::default() };
            let change = describe(&event, 0.0);
            assert_eq!((change.event, change.why), (name, why), "{mode:?} {reason:?}");
        }
        let unknown = Event { reason: u32::MAX, ..Event::default() };
        assert_eq!(describe(&unknown, 0.0).why, None);
    }

    #[test]
    fn addresses_and_ports_are_those_of_the_context() {
        let event = Event {
            at: 1_500_000_000,
            family: 2,
            local_port: 4660,
            remote_port: u32::from(80u16.to_be()) << 16,
            local_v4: u32::from_ne_bytes([127, 0, 0, 1]),
            remote_v4: u32::from_ne_bytes([10, 0, 0, 9]),
            ..Event::default()
        };
        let change = describe(&event, 100.0);
        assert_eq!(
            (change.local.to_string(), change.remote.to_string()),
            ("127.0.0.1:4660".into(), "10.0.0.9:80".into())
        );
        assert_eq!(change.time, 101.5);
        let words = bytemuck::cast(std::net::Ipv6Addr::LOCALHOST.octets());
        let v6 = Event { family: 10, local_v6: words, ..event };
        assert_eq!(describe(&v6, 0.0).local.to_string(), "[::1]:4660");
    }
}
