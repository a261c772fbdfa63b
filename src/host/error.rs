//! What can be wrong with a node, each with its remedy.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// A part of the node is missing, or this process may not use it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mount table could not be read.
    #[error(
        "cannot read the mount table {path}: {cause}; mount proc at /proc",
        path = .path.display()
    )]
    MountTable {
        /// The file.
        path: PathBuf,
        /// The error of the kernel.
        cause: io::Error,
    },
    /// No cgroup v2 hierarchy is mounted.
    #[error(
        "no cgroup v2 hierarchy is mounted, and sockets are selected by cgroup; \
         mount one: mount -t cgroup2 none /sys/fs/cgroup (beside cgroup v1: /sys/fs/cgroup/unified)"
    )]
    NoCgroup2,
    /// The cgroup of this process is not below any mount of the hierarchy.
    #[error(
        "this process is in the cgroup {cgroup}, which is outside the hierarchy mounted at \
         {mount_point}; \
         run in the host's cgroup namespace, or mount the hierarchy from its root",
        mount_point = .mount_point.display()
    )]
    CgroupOutsideMount {
        /// The path in `/proc/self/cgroup`.
        cgroup: String,
        /// Where cgroup v2 is mounted.
        mount_point: PathBuf,
    },
    /// An operation on a cgroup's directory or files failed.
    #[error(
        "cannot {action} {path}: {cause}{remedy}",
        path = .path.display(),
        remedy = cgroup_remedy(.cause)
    )]
    Cgroup {
        /// The attempted action, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the kernel.
        cause: io::Error,
    },
    /// No bpffs is mounted, and mounting one failed.
    #[error(
        "no bpffs is mounted, and mounting one at {path} failed: {cause}; \
         as root: mount -t bpf bpf {path} (a container needs the host's bpffs as a volume)",
        path = .path.display()
    )]
    MountBpffs {
        /// The intended mount point.
        path: PathBuf,
        /// The error of the kernel.
        cause: Errno,
    },
    /// A network namespace could not be created or entered.
    #[error(
        "cannot {action}: {cause}{remedy}",
        remedy = capability_remedy(.cause, "CAP_SYS_ADMIN")
    )]
    Namespace {
        /// The attempted action, as a verb phrase.
        action: &'static str,
        /// The error of the kernel.
        cause: io::Error,
    },
    /// A netlink request failed.
    #[error(
        "cannot {action}: {cause}{remedy}",
        remedy = capability_remedy(.cause, "CAP_NET_ADMIN")
    )]
    Netlink {
        /// The attempted action, as a verb phrase.
        action: String,
        /// The error of the kernel.
        cause: io::Error,
    },
    /// A sysctl could not be read or written.
    #[error("cannot {action} {path}: {cause}", path = .path.display())]
    Sysctl {
        /// `read`, or `write` with the value.
        action: String,
        /// The file below `/proc/sys`.
        path: PathBuf,
        /// The error of the kernel.
        cause: io::Error,
    },
}

fn capability_remedy(cause: &io::Error, capability: &str) -> String {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => format!("; it needs {capability} (run as root)"),
        _ => String::new(),
    }
}

fn cgroup_remedy(cause: &io::Error) -> &'static str {
    match cause.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => "; it needs root, or a cgroup delegated to this user",
        Some(Errno::EROFS) => {
            "; the hierarchy is mounted read-only: a container must be privileged for this"
        }
        Some(Errno::EOPNOTSUPP) => {
            "; the cgroup of this process has controllers or children that forbid threaded cgroups: \
             start from another one, for example with systemd-run --scope"
        }
        _ => "",
    }
}
