//! Ctrl-C as a flag that is checked between steps, so that everything created is removed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether a signal asked this process to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// Interrupted by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP do not end the process but are reported by
    /// [`check`](Self::check).
    pub fn on_signals() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// Fails once a signal has arrived.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.0.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_reported_and_does_not_end_the_process() {
        let interrupt = Interrupt::on_signals().expect("register");
        assert_eq!(interrupt.check(), Ok(()));
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).expect("raise");
        assert_eq!(interrupt.check(), Err(Interrupted));
        assert_eq!(interrupt.clone().check(), Err(Interrupted));
    }
}
