//! Stopping a generation without losing a byte.
//!
//! From the moment when `control.draining` is set every message goes by TCP, and each socket leaves
//! the socket map by itself, at its next segment, when nothing can be on its way to it (see
//! `datapath::leave`). A socket that is at rest sends no segment: it stays in the map until it
//! closes, and its bytes go by TCP through the queue that it has. The programs and maps that this
//! takes live as long as such a socket does, whoever has detached them. So nothing has to be waited
//! for, and nothing is taken out by force.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::datapath::Control;
use crate::instance::{Instance, Pins};

/// A generation that is being stopped.
pub struct Drain {
    instance: Instance,
}

impl Drain {
    /// Interval between two checks.
    pub const PAUSE: Duration = Duration::from_millis(25);
    /// How long idle sockets may delay a stop.
    const PATIENCE: Duration = Duration::from_millis(500);
    /// The longest that a stop takes.
    const LONGEST: Duration = Duration::from_secs(5);

    /// Makes every lane fall back to TCP.
    pub fn begin(instance: Instance) -> Result<Drain> {
        instance.set_control(Control { draining: 1, ..instance.control()? })?;
        Ok(Drain { instance })
    }

    /// Number of sockets still in the socket map.
    pub fn remaining(&self) -> Result<usize> {
        Ok(self.instance.socks().keys().count())
    }

    /// Whether no socket is left there. Unlike [`Drain::remaining`], this does not list them all.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.instance.socks().keys().next().transpose()?.is_none())
    }

    /// Waits as long as sockets leave, then detaches the programs and removes the pins. Returns the
    /// number of sockets that stay in the map until they close.
    pub fn finish(self) -> Result<usize> {
        let begun = Instant::now();
        let (mut remaining, mut changed) = (self.remaining()?, begun);
        while remaining > 0 && changed.elapsed() < Self::PATIENCE && begun.elapsed() < Self::LONGEST
        {
            std::thread::sleep(Self::PAUSE);
            let now = self.remaining()?;
            if now < remaining {
                changed = Instant::now();
            }
            remaining = now;
        }
        self.remove()?;
        Ok(remaining)
    }

    /// Detaches its programs and removes its pins.
    pub fn remove(self) -> Result<()> {
        self.instance.remove()
    }
}

/// Stops and removes an instance, with every generation. Returns the number of sockets that stay in
/// the kernel's map until they close. The caller holds the lock.
pub fn detach(pins: &Pins) -> Result<usize> {
    let remaining = all(pins)?;
    pins.remove()?;
    Ok(remaining)
}

/// Stops and removes every generation, complete or not. The instance's folder stays.
pub fn all(pins: &Pins) -> Result<usize> {
    let mut drains = Vec::new();
    for generation in pins.generations()? {
        if generation.is_complete() {
            drains.push(Drain::begin(Instance::open_generation(pins.clone(), generation)?)?);
        } else {
            // Nothing was ever attached.
            generation.remove()?;
        }
    }
    finish(drains)
}

/// Finishes drains one after the other.
pub fn finish(drains: Vec<Drain>) -> Result<usize> {
    drains.into_iter().map(Drain::finish).sum()
}

/// Logs what becomes of the sockets that have not left.
pub fn report(remaining: usize) {
    if remaining > 0 {
        tracing::info!(
            sockets = remaining,
            "these idle sockets stay in the kernel's socket map until they close; they use TCP, and nothing is lost"
        );
    }
}
