//! The two ends of connections at work, each on a thread of its own.

use std::io;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::pair::Pair;
use super::placement::Placement;

/// What both ends came to.
#[derive(Debug)]
pub(super) struct Both<N, F> {
    pub near: N,
    pub far: F,
    /// Processor time of both threads, in the kernel and outside.
    pub cpu: Duration,
}

/// Runs `near` on this thread and `far` on another, on a processor each if there are two. The
/// connections are shut down when `near` ends, also when it fails: `far` then sees their end.
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
            // The peer of a connection that failed may have ended it already.
            let _ = pair.near.shutdown(Shutdown::Both);
        }
        let far = far.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let ((near, near_cpu), (far, far_cpu)) = (near?, far?);
        Ok(Both { near, far, cpu: near_cpu + far_cpu })
    })
}

/// With the processor time that it took.
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
    fn the_far_end_sees_the_end_when_the_near_one_has_failed() {
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
    fn processor_time_is_that_of_both_threads_and_not_of_their_sleep() {
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
