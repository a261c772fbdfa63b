//! The length of a jiffy: kernels are built with 100, 250, 300 or 1000 per second.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getres};

/// Jiffies per second, from the resolution of the coarse clocks, which is one jiffy
/// (`KTIME_LOW_RES`, kernel/time/posix-timers.c).
pub fn hz() -> Result<u32> {
    let jiffy = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .context("cannot read the resolution of the coarse clock")?;
    let nanoseconds = u32::try_from(jiffy.tv_nsec()).unwrap_or(0).max(1);
    Ok((1_000_000_000 + nanoseconds / 2) / nanoseconds)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bpf_asm::{Builder, ProgramType, helper};

    use crate::kernel::load;

    #[test]
    fn the_kernel_s_jiffies_advance_at_this_rate() {
        let b = Builder::new("jiffies");
        let now = b.call(helper::jiffies64());
        b.ret(&now);
        let program =
            load::program(&b.finish(ProgramType::SocketFilter).expect("assemble"), &Vec::new())
                .expect("load as root");
        let jiffies = || program.test_run(&[0; 64], 1).expect("run").retval;

        let (began, first) = (Instant::now(), jiffies());
        std::thread::sleep(Duration::from_millis(300));
        let measured = f64::from(jiffies().wrapping_sub(first)) / began.elapsed().as_secs_f64();
        let said = f64::from(super::hz().expect("ask"));
        assert!((measured / said - 1.0).abs() < 0.1, "measured {measured}, said {said}");
    }
}
