//! What can go wrong, with what is needed to act on it: the command, the object, the errno, the
//! verifier's log.

use std::fmt;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An errno of Linux, as `errno(3)` numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// `EPERM`: a capability is missing, or (before Linux 5.11) `RLIMIT_MEMLOCK` is used up.
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
    /// `EEXIST`: the key or the path is there already.
    pub const EXIST: Self = Self(libc::EEXIST);
    /// `EINVAL`: the kernel does not know this request, or a field of it is wrong.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// `ENOSPC`: a buffer is too small for the answer.
    pub const NOSPC: Self = Self(libc::ENOSPC);
    /// `ENOSYS`: no such system call.
    pub const NOSYS: Self = Self(libc::ENOSYS);
    /// `EOPNOTSUPP`: the object does not support the operation.
    pub const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// `ENOTSUPP`, 524: the kernel's own number for the same, which it lets out in places such as
    /// map batches.
    pub const NOTSUPP: Self = Self(524);
    /// `ENOLINK`: the link is detached.
    pub const NOLINK: Self = Self(libc::ENOLINK);

    /// The errno with this number.
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Its number, for instance 1 for `EPERM`.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// What the calling thread's last failed system call left.
    pub(crate) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Whether the kernel says by it that it does not have the operation at all.
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
    /// The kernel refused a command of `bpf(2)`, or another system call that goes with it.
    #[error("{command} on {object}: {errno}{}", remedy(.errno))]
    Command {
        /// The command as the UAPI header names it, for instance `BPF_MAP_UPDATE_ELEM`.
        command: &'static str,
        /// What it was about, for instance ``map `lanes` ``.
        object: String,
        /// The kernel's answer.
        errno: Errno,
    },

    /// The kernel refused a program or a BTF object. Shown with its whole log.
    #[error("the kernel rejected {object}: {errno}{}{}", remedy(.errno), show_log(log, *.truncated))]
    LoadRejected {
        /// What was refused, for instance ``program `send` ``.
        object: String,
        /// The kernel's answer to the load without a log, which a full log buffer cannot hide.
        errno: Errno,
        /// All that the verifier said; empty if it never ran.
        log: String,
        /// Whether the log outgrew the 16 MiB that every kernel can write.
        truncated: bool,
    },

    /// A request that cannot be made: the kernel would read or write past the given bytes, or could
    /// not name it.
    #[error("{object}: {problem}")]
    Invalid {
        /// What it was about.
        object: String,
        /// What was given and what is allowed.
        problem: String,
    },

    /// A pinned path or a file descriptor holds another kind of BPF object than the one asked for.
    #[error(
        "{}: holds a {found}, not a {wanted}; give the path of a {wanted} or remove what is pinned there",
        path.display()
    )]
    WrongObject {
        /// Where it is pinned.
        path: PathBuf,
        /// What was asked for.
        wanted: &'static str,
        /// What is there, in the kernel's words.
        found: String,
    },

    /// A file of the kernel could not be read, or does not say what it should.
    #[error("cannot read {}: {reason}", path.display())]
    KernelFile {
        /// Which file, for instance `/sys/kernel/btf/vmlinux`.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// BTF that does not hold together, or does not hold what was asked of it.
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

    /// The kernel's errno, where the kernel was asked.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Command { errno, .. } | Self::LoadRejected { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// The verifier's log, where a program or BTF was refused.
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::LoadRejected { log, .. } => Some(log),
            _ => None,
        }
    }
}

/// What to do about an errno whose text alone leads nowhere.
fn remedy(errno: &Errno) -> &'static str {
    match *errno {
        Errno::PERM => {
            "; run as root, or with CAP_BPF and CAP_NET_ADMIN (and CAP_PERFMON for tracing or reading kernel memory)"
        }
        Errno::NOSYS => "; this kernel has no bpf(2): one with CONFIG_BPF_SYSCALL=y is needed",
        _ => "",
    }
}

fn show_log(log: &str, truncated: bool) -> String {
    if log.is_empty() {
        return "; the verifier left no log: it was refused before verification".into();
    }
    let note = if truncated { " (incomplete: it is longer than 16 MiB)" } else { "" };
    format!("; verifier log{note}:\n{log}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_command_names_command_object_errno_and_remedy() {
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
    fn the_kernels_own_enotsupp_is_said_in_words() {
        assert!(Errno::NOTSUPP.to_string().contains("not supported"));
        assert!(Errno::NOTSUPP.says_unsupported());
        assert!(!Errno::PERM.says_unsupported());
    }
}
