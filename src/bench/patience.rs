//! Waits for non-blocking sockets with a time limit: a stalled connection is a result of the bench,
//! and must not hang it.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Time limit without progress.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// No progress on a connection for [`PATIENCE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stalled: nothing moved for {PATIENCE:?}")]
pub struct Stalled;

impl From<Stalled> for io::Error {
    fn from(stalled: Stalled) -> Self {
        Self::new(io::ErrorKind::TimedOut, stalled)
    }
}

/// Whether an error is a stalled connection.
pub fn is_stall(error: &anyhow::Error) -> bool {
    let stalled = |error: &io::Error| error.get_ref().is_some_and(|cause| cause.is::<Stalled>());
    error.chain().filter_map(|cause| cause.downcast_ref()).any(stalled)
}

/// Waits with `poll(2)` until the socket is ready or a signal arrives.
pub fn until_ready(socket: impl AsFd, events: PollFlags) -> io::Result<()> {
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket.as_fd(), events)], patience) {
        Ok(0) => Err(Stalled.into()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Handles an error of a call: waits if the socket was not ready, returns for a retry after a
/// signal, or returns the error.
pub fn after(error: io::Error, socket: impl AsFd, events: PollFlags) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock => until_ready(socket, events),
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// `None` if the socket was not ready or a signal interrupted the call.
pub fn unless_not_ready<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// Detects a lack of progress without waiting, for loops that retry immediately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watchdog(Option<Instant>);

impl Watchdog {
    /// To be called after each step with whether there was progress.
    pub fn step(&mut self, moved: bool) -> Result<(), Stalled> {
        if moved {
            self.0 = None;
            return Ok(());
        }
        let idle_since = *self.0.get_or_insert_with(Instant::now);
        if idle_since.elapsed() < PATIENCE { Ok(()) } else { Err(Stalled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_stall_is_recognised_through_its_context() {
        let stalled: io::Result<()> = Err(Stalled.into());
        let error = stalled.context("stream 16 B by shunt").expect_err("it stalled");
        assert!(is_stall(&error), "{error:?}");
        for error in [io::ErrorKind::TimedOut, io::ErrorKind::BrokenPipe].map(io::Error::from) {
            assert!(!is_stall(&error.into()));
        }
    }

    #[test]
    fn a_socket_that_is_not_ready_is_waited_for_and_other_errors_are_returned() {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let writable = |error: io::ErrorKind| after(error.into(), &near, PollFlags::POLLOUT);
        writable(io::ErrorKind::WouldBlock).expect("it is writable");
        writable(io::ErrorKind::Interrupted).expect("again");
        writable(io::ErrorKind::BrokenPipe).expect_err("the end");
    }

    #[test]
    fn the_watchdog_counts_only_time_without_progress() {
        let long_ago = Instant::now().checked_sub(PATIENCE * 2).expect("a machine that is up");
        let mut watchdog = Watchdog(Some(long_ago));
        watchdog.step(true).expect("progress");
        watchdog.step(false).expect("it has only begun to wait");
        assert_eq!(Watchdog(Some(long_ago)).step(false), Err(Stalled));
    }
}
