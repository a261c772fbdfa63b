//! An instance as its pins show it: whoever has the pins, the agent or any later command, works with it through this.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytemuck::Zeroable;
use syscalls::{Link, Map, PerCpuMap, Prog, TypedMap, Update};

use super::Pins;
use super::waker::Waker;
use crate::datapath::{ABI, About, Control, FlowEnd, Isns, RECORD_AT, Reason, Wake};

/// The maps and programs of an instance, open.
pub struct Instance {
    pins: Pins,
    /// Maps that are only counted from here.
    rendezvous: Map,
    socks: Map,
    counters: PerCpuMap<u32, u64>,
    control: TypedMap<u32, Control>,
    about: TypedMap<u32, About>,
    look: Prog,
}

/// How many entries each map holds that could hold on to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MapFill {
    /// Clients that wait for their server.
    pub rendezvous: usize,
    /// Enrolled sockets.
    pub socks: usize,
    /// Sockets with a lane.
    pub lanes: usize,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Nobody holds redirected bytes any more and nobody is enrolled.
    Empty,
    /// Time was up, or it was called off: this many readers have not read what was redirected to them.
    Unread(usize),
}

impl Instance {
    /// Whether its agent got as far as pinning everything; who it is comes last.
    pub fn is_complete(pins: &Pins) -> bool {
        pins.path("about").exists()
    }

    /// Opens what is pinned.
    pub fn open(pins: Pins) -> Result<Instance> {
        if !Self::is_complete(&pins) {
            bail!(
                "instance '{0}' is starting, or was killed while it started: in the latter case `shunt detach --name {0}` removes it",
                pins.name()
            );
        }
        let about = pinned_map(&pins, "about")?;
        let about: TypedMap<u32, About> = match TypedMap::new(about) {
            Ok(about) => about,
            Err(_) => bail!(other_version(&pins, "another")),
        };
        let abi = about.lookup(&0)?.map_or(0, |about| about.abi);
        if abi != ABI {
            bail!(other_version(&pins, &format!("record version {abi}, this one is {ABI}:")));
        }
        Ok(Instance {
            rendezvous: pinned_map(&pins, "rendezvous")?,
            socks: pinned_map(&pins, "socks")?,
            counters: PerCpuMap::new(pinned_map(&pins, "counters")?)?,
            control: TypedMap::new(pinned_map(&pins, "control")?)?,
            about,
            look: pinned_prog(&pins, "look")?,
            pins,
        })
    }

    /// Its folder.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Who started it, and on what.
    pub fn about(&self) -> Result<About> {
        Ok(self.about.lookup(&0)?.unwrap_or_else(About::zeroed))
    }

    /// The map of enrolled sockets.
    pub fn socks(&self) -> &Map {
        &self.socks
    }

    /// What the programs are told.
    pub fn control(&self) -> Result<Control> {
        Ok(self.control.lookup(&0)?.unwrap_or_else(Control::zeroed))
    }

    /// Tells the programs something else.
    pub fn set_control(&self, control: Control) -> Result<()> {
        Ok(self.control.update(&0, &control, Update::ANY)?)
    }

    /// One counter, summed over all CPUs.
    pub fn counter(&self, reason: Reason) -> Result<u64> {
        Ok(self.counters.lookup(&(reason as u32))?.unwrap_or_default().iter().sum())
    }

    /// How full the maps are.
    pub fn fill(&self) -> Result<MapFill> {
        let count = |map: &Map| -> Result<usize> {
            let mut entries = 0;
            for key in map.keys() {
                key?;
                entries += 1;
            }
            Ok(entries)
        };
        Ok(MapFill { rendezvous: count(&self.rendezvous)?, socks: count(&self.socks)?, lanes: self.ends()?.len() })
    }

    /// Every enrolled socket.
    pub fn ends(&self) -> Result<Vec<FlowEnd>> {
        let mut ends = Vec::new();
        let mut packet = [0; RECORD_AT + size_of::<FlowEnd>()];
        for name in self.socks.keys() {
            let name = name?;
            packet[RECORD_AT..RECORD_AT + name.len()].copy_from_slice(&name);
            // Sockets come and go while this goes on.
            if self.look.transform(&mut packet).context("cannot look at an enrolled socket")?.retval == 1 {
                ends.push(bytemuck::pod_read_unaligned(&packet[RECORD_AT..]));
            }
        }
        Ok(ends)
    }

    /// Makes every lane go by TCP, waits until the redirected bytes have been read, and takes every socket out.
    ///
    /// Taking a socket out destroys what its reader has not read, so each is left in until its queue has been seen empty twice with
    /// a pause between: a message whose way was decided just before the drain began is in the queue by then. Nor is a socket taken out whose
    /// keepalive timer is borrowed: it would not get its settings back. Called off when `wait` is over or when `abandon` says so.
    pub fn drain(
        &self,
        wait: Option<Duration>,
        mut waker: Option<&mut Waker>,
        mut abandon: impl FnMut() -> bool,
    ) -> Result<Drained> {
        /// Between two looks.
        const PAUSE: Duration = Duration::from_millis(25);
        let begun = Instant::now();
        self.set_control(Control { draining: 1, ..self.control()? })?;
        let mut reported = begun;
        let mut seen_empty: std::collections::HashSet<u64> = std::collections::HashSet::new();
        loop {
            if let Some(waker) = &mut waker {
                waker.look(self)?;
            }
            let ends = self.ends()?;
            let mut remaining = 0;
            let mut unread = 0;
            for end in &ends {
                if end.direct_unread != 0 || has_lent_its_timer(end) {
                    unread += 1;
                    seen_empty.remove(&end.own.cookie);
                } else if !seen_empty.insert(end.own.cookie) {
                    self.take_out(&end.own.name)?;
                    continue;
                }
                remaining += 1;
            }
            if remaining == 0 {
                return Ok(Drained::Empty);
            }
            if wait.is_some_and(|wait| begun.elapsed() >= wait) || abandon() {
                return Ok(Drained::Unread(unread));
            }
            if reported.elapsed() > Duration::from_secs(5) {
                reported = Instant::now();
                tracing::info!(readers = unread, "waiting for readers to read what was redirected to them");
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn take_out(&self, name: &Isns) -> Result<()> {
        self.socks.delete(bytemuck::bytes_of(name))?;
        Ok(())
    }

    /// Detaches the programs and removes the pins. Only for an instance that has been drained.
    pub fn remove(self) -> Result<()> {
        for (link, program) in [("link_establish", "sock_ops program"), ("link_options", "program for socket options")]
        {
            let link = self.pins.path(link);
            if link.exists() {
                Link::open_pinned(&link)?
                    .detach()
                    .with_context(|| format!("cannot detach the {program} from its cgroup"))?;
            }
        }
        self.pins.remove()
    }
}

/// Whether the wake-up has borrowed a socket's keepalive timer and will give it back: segments go on only while the connection does.
fn has_lent_its_timer(end: &FlowEnd) -> bool {
    /// include/net/tcp_states.h
    const TCP_ESTABLISHED: u32 = 1;
    const TCP_CLOSE_WAIT: u32 = 8;
    end.wake == Wake::Armed as u32 && [TCP_ESTABLISHED, TCP_CLOSE_WAIT].contains(&end.state)
}

pub(super) fn pinned_map(pins: &Pins, name: &str) -> Result<Map> {
    Map::open_pinned(&pins.path(name)).with_context(|| incomplete(pins))
}

fn pinned_prog(pins: &Pins, name: &str) -> Result<Prog> {
    Prog::open_pinned(&pins.path(name)).with_context(|| incomplete(pins))
}

fn incomplete(pins: &Pins) -> String {
    format!("cannot open what instance '{}' has pinned in {}", pins.name(), pins.dir().display())
}

fn other_version(pins: &Pins, version: &str) -> String {
    format!(
        "instance '{}' was started by {version} version of shunt; use that one, or stop it with that one first",
        pins.name()
    )
}
