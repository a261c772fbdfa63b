//! Run time statistics of programs.

use crate::error::Result;
use crate::uapi;
use bytemuck::Zeroable;
use std::os::fd::OwnedFd;

/// While it exists, the kernel counts runs and run time of every program on the machine (`run_cnt`,
/// `run_time_ns` of [`ProgInfo`](crate::object::ProgInfo)), which costs some ten nanoseconds per
/// run.
#[derive(Debug)]
pub struct RunTimeStats {
    _fd: OwnedFd,
}

impl RunTimeStats {
    /// `bpf(BPF_ENABLE_STATS)`; since Linux 5.8.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` on older kernels.
    pub fn enable() -> Result<Self> {
        // `BPF_STATS_RUN_TIME` is 0.
        let mut attr = uapi::EnableStats::zeroed();
        // SAFETY: no address in the attribute; the command returns a new descriptor.
        let fd = unsafe { uapi::ENABLE_STATS.call_fd(&mut attr) }
            .map_err(uapi::ENABLE_STATS.failed("run time statistics"))?;
        Ok(Self { _fd: fd })
    }
}
