//! Signals that the agent handles, read from a descriptor instead of interrupting.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use std::os::fd::{AsFd, BorrowedFd};

/// SIGTERM, SIGINT and SIGHUP of this process. Blocked in the thread that makes it and in those
/// started afterwards.
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks these signals; from here on they are read from the descriptor.
    pub fn block() -> Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot make a signal descriptor")?;
        Ok(Signals(fd))
    }

    /// Waits for a signal, or until `also` is readable, up to a time-out. Returns the request of
    /// the signal, if one arrived.
    pub fn wait(
        &mut self,
        time: Duration,
        also: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Request>> {
        let descriptors = [Some(self.0.as_fd()), also];
        let mut ready: Vec<PollFd<'_>> = descriptors
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match ppoll(&mut ready, Some(TimeSpec::from_duration(time)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(self.pending()),
            Err(errno) => Err(errno).context("cannot wait for signals"),
        }
    }

    /// Reads a pending signal and returns its request.
    pub fn pending(&mut self) -> Option<Request> {
        let signal = self.0.read_signal().ok()??;
        Some(if signal.ssi_signo == Signal::SIGHUP as u32 {
            Request::Reload
        } else {
            Request::Stop
        })
    }
}

/// A request made by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT
    Stop,
    /// SIGHUP: read the configuration file again.
    Reload,
}
