//! Errors with what is needed to act on them: the command, the object, the errno, the verifier's
//! log.

use std::fmt;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An errno of Linux, numbered as in `errno(3)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// `EPERM`: a capability is missing, or (before Linux 5.11) `RLIMIT_MEMLOCK` is exhausted.
    pub const PERM: Self = Self(libc::EPERM);
    /// `ENOENT`: no such key, object id or path.
    pub const NOENT: Self = Self(libc::ENOENT);
    /// `E2BIG`: a map is full, or a request is larger than the kernel allows.
    pub const TOO_BIG: Self = Self(libc::E2BIG);
    /// `EAGAIN`: interrupted, try again.
    pub const AGAIN: Self = Self(libc::EAGAIN);
    /// `EACCES`: the verifier found an access that is not allowed.
    pub const ACCES: Self = Self(libc::EACCES);
    /// `EBUSY`: another user holds the object.
    pub const BUSY: Self = Self(libc::EBUSY);
    /// `EBADF`: not an open file descriptor.
    pub const BADF: Self = Self(libc::EBADF);
    /// `EEXIST`: the key or the path exists.
    pub const EXIST: Self = Self(libc::EEXIST);
    /// `EINVAL`: the kernel does not support the request, or a field of it is invalid.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// `ENOSPC`: a buffer is too small for the answer.
    pub const NOSPC: Self = Self(libc::ENOSPC);
    /// `ENOSYS`: no such system call.
    pub const NOSYS: Self = Self(libc::ENOSYS);
    /// `EOPNOTSUPP`: the object does not support the operation.
    pub const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// `ENOTSUPP`, 524: an internal number of the kernel for the same, which some commands, such as
    /// map batches, return to user space.
    pub const NOTSUPP: Self = Self(524);
    /// `ENOLINK`: the link is detached.
    pub const NOLINK: Self = Self(libc::ENOLINK);

    /// The errno with this number.
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Its number, such as 1 for `EPERM`.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The errno of the calling thread's last failed system call.
    pub(crate) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Whether it means that the kernel does not have the operation.
    pub fn says_unsupported(self) -> bool {
        matches!(self, Self::INVAL | Self::NOSYS | Self::OPNOTSUPP | Self::NOTSUPP)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NOTSUPP {
            return f.write_str("Operation not supported by the kernel (os error 524)");
        }
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({self})")
    }
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.raw())
    }
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel rejected a command of `bpf(2)`, or a related system call.
    #[error("{command} on {object}: {errno}{}", remedy(.errno))]
    Command {
        /// The command's name in the UAPI header, such as `BPF_MAP_UPDATE_ELEM`.
        command: &'static str,
        /// The object, such as ``map `lanes` ``.
        object: String,
        /// The errno.
        errno: Errno,
    },

    /// The kernel rejected a program or BTF. Displayed with the whole log.
    #[error("the kernel rejected {object}: {errno}{}{}", remedy(.errno), show_log(log, *.truncated))]
    LoadRejected {
        /// The object, such as ``program `send` ``.
        object: String,
        /// The errno of the load without a log, which a full log buffer cannot mask.
        errno: Errno,
        /// The whole verifier log; empty if the verifier did not run.
        log: String,
        /// Whether the log exceeds the 16 MiB that every kernel supports.
        truncated: bool,
    },

    /// An invalid request: the kernel would read or write out of bounds, or cannot represent it.
    #[error("{object}: {problem}")]
    Invalid {
        /// The object.
        object: String,
        /// What was given, and what is allowed.
        problem: String,
    },

    /// A pinned path or a file descriptor refers to another kind of BPF object.
    #[error(
        "{}: holds a {found}, not a {wanted}; give the path of a {wanted} or remove what is pinned \
        there",
        path.display()
    )]
    WrongObject {
        /// Where it is pinned.
        path: PathBuf,
        /// The wanted kind.
        wanted: &'static str,
        /// The actual kind, as the kernel names it.
        found: String,
    },

    /// A file of the kernel could not be read or parsed.
    #[error("cannot read {}: {reason}", path.display())]
    KernelFile {
        /// The file, such as `/sys/kernel/btf/vmlinux`.
        path: PathBuf,
        /// The reason.
        reason: String,
    },

    /// Malformed BTF, or BTF without the requested type or member.
    #[error(transparent)]
    Btf(#[from] crate::btf::BtfError),
}

impl Error {
    pub(crate) fn command(command: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self::Command { command, object: object.into(), errno }
    }

    pub(crate) fn invalid(object: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { object: object.into(), problem: problem.into() }
    }

    /// The kernel's errno, if it comes from the kernel.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Command { errno, .. } | Self::LoadRejected { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// The verifier's log, if a program or BTF was rejected.
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::LoadRejected { log, .. } => Some(log),
            _ => None,
        }
    }
}

/// What to do about an errno whose text does not tell.
fn remedy(errno: &Errno) -> &'static str {
    match *errno {
        Errno::PERM => {
            "; run as root, or with CAP_BPF and CAP_NET_ADMIN (and CAP_PERFMON for tracing or \
            reading kernel memory)"
        }
        Errno::NOSYS => "; this kernel has no bpf(2): use one with CONFIG_BPF_SYSCALL=y",
        _ => "",
    }
}

fn show_log(log: &str, truncated: bool) -> String {
    if log.is_empty() {
        return "; the verifier log is empty: it was rejected before verification".into();
    }
    let note = if truncated { " (incomplete: it is longer than 16 MiB)" } else { "" };
    format!("; verifier log{note}:\n{log}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_command_names_command_object_errno_and_remedy() {
        let error = Error::command("BPF_MAP_CREATE", "map `lanes`", Errno::PERM);
        let text = error.to_string();
        for part in ["BPF_MAP_CREATE", "map `lanes`", "Operation not permitted", "CAP_BPF"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.errno(), Some(Errno::PERM));
    }

    #[test]
    fn a_rejected_load_shows_the_whole_log() {
        let log = "0: (95) exit\nR0 !read_ok\n".repeat(10_000);
        let error = Error::LoadRejected {
            object: "program `send`".into(),
            errno: Errno::ACCES,
            log: log.clone(),
            truncated: false,
        };
        assert!(error.to_string().ends_with(&log));
        assert_eq!(error.log(), Some(log.as_str()));
    }

    #[test]
    fn the_kernels_internal_enotsupp_has_a_text() {
        assert!(Errno::NOTSUPP.to_string().contains("not supported"));
        assert!(Errno::NOTSUPP.says_unsupported());
        assert!(!Errno::PERM.says_unsupported());
    }
}
