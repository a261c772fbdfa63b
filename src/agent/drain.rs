//! Taking a generation's sockets out without losing what waits for their readers.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Instance;
use super::waker::Waker;
use crate::datapath::{Control, FlowEnd, Wake};

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Nobody holds redirected bytes any more and nobody is enrolled.
    Empty,
    /// Time was up, or it was called off: this many readers have not read what was redirected to them.
    Unread(usize),
}

/// A generation that is being drained: no flow is paired any more, every message goes by TCP, and sockets leave one by one.
///
/// Taking a socket out destroys what its reader has not read, so each is left in until its queue has been seen empty twice with
/// a pause between: a message whose way was decided just before the drain began is in the queue by then. Nor is a socket taken out whose
/// keepalive timer is borrowed: it would not get its settings back.
pub struct Drain {
    instance: Instance,
    waker: Waker,
    /// Sockets whose queue was empty when it was looked at last, by cookie.
    seen_empty: HashSet<u64>,
}

impl Drain {
    /// Between two looks.
    pub const PAUSE: Duration = Duration::from_millis(25);

    /// Makes every lane go by TCP.
    pub fn begin(instance: Instance, waker: Waker) -> Result<Drain> {
        instance.set_control(Control { draining: 1, ..instance.control()? })?;
        Ok(Drain { instance, waker, seen_empty: HashSet::new() })
    }

    /// Looks at every socket and takes out those that may go.
    pub fn step(&mut self) -> Result<Drained> {
        self.waker.look(&self.instance)?;
        let (mut remaining, mut unread) = (0, 0);
        for end in self.instance.ends()? {
            if end.direct_unread != 0 || has_lent_its_timer(&end) {
                unread += 1;
                self.seen_empty.remove(&end.own.cookie);
            } else if !self.seen_empty.insert(end.own.cookie) {
                self.instance.take_out(&end.own.name)?;
                continue;
            }
            remaining += 1;
        }
        Ok(if remaining == 0 { Drained::Empty } else { Drained::Unread(unread) })
    }

    /// Takes steps until it is empty, and removes it. Called off when `deadline` has come or when `abandon` says so.
    pub fn finish(mut self, deadline: Option<Instant>, abandon: &mut dyn FnMut() -> bool) -> Result<Drained> {
        const REPORT: Duration = Duration::from_secs(5);
        let mut reported = Instant::now();
        loop {
            match self.step()? {
                Drained::Empty => {
                    self.remove()?;
                    return Ok(Drained::Empty);
                }
                unread if deadline.is_some_and(|deadline| Instant::now() >= deadline) || abandon() => {
                    return Ok(unread);
                }
                Drained::Unread(readers) if reported.elapsed() > REPORT => {
                    reported = Instant::now();
                    tracing::info!(readers, "waiting for readers to read what was redirected to them");
                }
                Drained::Unread(_) => {}
            }
            std::thread::sleep(Drain::PAUSE);
        }
    }

    /// Detaches its programs and removes its pins. Only when it is empty.
    pub fn remove(self) -> Result<()> {
        self.instance.remove()
    }
}

/// Whether the wake-up has borrowed a socket's keepalive timer and will give it back: segments go on only while the connection does.
fn has_lent_its_timer(end: &FlowEnd) -> bool {
    /// include/net/tcp_states.h
    const TCP_ESTABLISHED: u32 = 1;
    const TCP_CLOSE_WAIT: u32 = 8;
    end.wake == Wake::Armed as u32 && [TCP_ESTABLISHED, TCP_CLOSE_WAIT].contains(&end.state)
}
