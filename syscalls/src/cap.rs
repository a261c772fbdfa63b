//! Capabilities of the calling thread, by `capget(2)`.

use crate::error::{Errno, Error, Result};
use std::fmt;

/// The capabilities that BPF requires, and programs that use it (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// Attaching networking programs.
    NetAdmin = 12,
    /// Examining the processes of other users.
    SysPtrace = 19,
    /// All of the following on kernels before 5.8; ids and run time statistics on all.
    SysAdmin = 21,
    /// Raising `RLIMIT_MEMLOCK`.
    SysResource = 24,
    /// Tracing, and reading kernel memory (since Linux 5.8).
    Perfmon = 38,
    /// Maps and programs (since Linux 5.8).
    Bpf = 39,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// `capget(2)`: the effective capabilities of the calling thread.
    ///
    /// # Errors
    /// [`Error::Command`] if the kernel does not support version 3 of the call (Linux 2.6.26).
    pub fn effective() -> Result<Self> {
        #[repr(C)]
        struct Header {
            version: u32,
            pid: i32,
        }
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        struct Data {
            effective: u32,
            permitted: u32,
            inheritable: u32,
        }
        const VERSION_3: u32 = 0x2008_0522;

        let mut header = Header { version: VERSION_3, pid: 0 };
        let mut data = [Data::default(); 2];
        // SAFETY: version 3 fills two data structures, and both pointers are valid for the call.
        let answer = unsafe { libc::syscall(libc::SYS_capget, &mut header, data.as_mut_ptr()) };
        if answer != 0 {
            return Err(Error::command("capget", "this thread", Errno::last()));
        }
        Ok(Self(u64::from(data[0].effective) | u64::from(data[1].effective) << 32))
    }

    /// Whether it has `capability`, or `CAP_SYS_ADMIN` where the kernel accepts that instead
    /// (`bpf_capable`, `perfmon_capable`, `bpf_net_capable`).
    pub fn allow(self, capability: Capability) -> bool {
        let holds = |c: Capability| self.0 & (1 << c as u32) != 0;
        let by_admin = match capability {
            Capability::NetAdmin | Capability::Perfmon | Capability::Bpf => true,
            Capability::SysPtrace | Capability::SysAdmin | Capability::SysResource => false,
        };
        holds(capability) || by_admin && holds(Capability::SysAdmin)
    }

    /// Those of `wanted` that are not [allowed](Self::allow).
    pub fn missing(self, wanted: &[Capability]) -> Vec<Capability> {
        wanted.iter().copied().filter(|&c| !self.allow(c)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let bpf_alone = Capabilities(1 << 39);
        assert_eq!(
            bpf_alone.missing(&[Capability::Bpf, Capability::NetAdmin]),
            [Capability::NetAdmin]
        );
        assert_eq!(Capability::NetAdmin.to_string(), "CAP_NET_ADMIN");
    }

    #[test]
    fn sys_admin_includes_the_bpf_capabilities_but_no_others() {
        let admin = Capabilities(1 << 21);
        assert!(admin.allow(Capability::Bpf) && admin.allow(Capability::Perfmon));
        assert!(!admin.allow(Capability::SysResource) && !admin.allow(Capability::SysPtrace));
    }

    #[test]
    fn the_tests_run_with_the_capabilities_of_bpf() {
        let missing = Capabilities::effective().unwrap().missing(&[
            Capability::Bpf,
            Capability::NetAdmin,
            Capability::Perfmon,
        ]);
        assert!(missing.is_empty(), "run the tests as root; missing: {missing:?}");
    }
}
