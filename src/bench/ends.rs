//! Runs the two ends of connections, each on its own thread.

use std::io;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::pair::Pair;
use super::placement::Placement;

/// Results of both ends.
#[derive(Debug)]
pub(super) struct Both<N, F> {
    pub near: N,
    pub far: F,
    /// User and system time of both threads.
    pub cpu: Duration,
}

/// Runs `near` on this thread and `far` on another one, on a processor each if there are two. The
/// connections are shut down when `near` returns, even on an error, so that `far` ends.
pub(super) fn work<N, F: Send>(
    pairs: &[Pair],
    near: impl FnOnce() -> io::Result<N>,
    far: impl FnOnce() -> io::Result<F> + Send,
) -> io::Result<Both<N, F>> {
    thread::scope(|scope| {
        let placement = Placement::here()?;
        let far = scope.spawn(move || {
            let _placed = placement.far()?;
            timed(far)
        });
        let near = placement.near().map_err(io::Error::from).and_then(|_placed| timed(near));
        for pair in pairs {
            // The peer of a failed connection may have closed it already.
            let _ = pair.near.shutdown(Shutdown::Both);
        }
        let far = far.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let ((near, near_cpu), (far, far_cpu)) = (near?, far?);
        Ok(Both { near, far, cpu: near_cpu + far_cpu })
    })
}

/// Adds the processor time used.
fn timed<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<(T, Duration)> {
    let clock = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let begin = clock()?;
    let value = work()?;
    Ok((value, clock()?.saturating_sub(begin)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Instant;

    #[test]
    fn the_far_end_sees_the_end_when_the_near_end_fails() {
        let pairs = [Pair::unix().expect("a pair")];
        let failed = io::Error::from(io::ErrorKind::InvalidData);
        let far = || {
            super::super::patience::until_ready(&pairs[0].far, nix::poll::PollFlags::POLLIN)?;
            let length = (&pairs[0].far).read(&mut [0; 1])?;
            assert_eq!(length, 0);
            Ok(())
        };
        let error = work::<(), ()>(&pairs, || Err(failed), far).expect_err("the near end failed");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn processor_time_includes_both_threads_but_not_sleep() {
        const BUSY: Duration = Duration::from_millis(30);
        let busy = || {
            let begin = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)?;
            while clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)?
                < begin + BUSY
            {}
            thread::sleep(Duration::from_millis(100));
            Ok(())
        };
        let start = Instant::now();
        let cpu = work(&[], busy, busy).expect("work").cpu;
        assert!(cpu >= BUSY * 2 && cpu < start.elapsed() + BUSY, "{cpu:?}");
    }
}
