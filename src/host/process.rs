//! Maps sockets to processes by their inode numbers, as in `/proc/PID/fd`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::fcntl::readlinkat;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Process {
    /// PID in this process's PID namespace.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// Processes that hold sockets, as far as this process may see them.
#[derive(Debug, Default)]
pub struct Processes {
    all: Vec<Arc<Process>>,
    /// Index of a process in that list, and its descriptor.
    by_inode: HashMap<u64, (usize, i32)>,
}

impl FromIterator<(u32, u64, i32)> for Processes {
    /// Of each open socket the PID of a process that holds it, its inode number, and the
    /// descriptor; those of a process follow each other.
    fn from_iter<T: IntoIterator<Item = (u32, u64, i32)>>(sockets: T) -> Processes {
        let mut found = Processes::default();
        let sockets = sockets.into_iter();
        found.by_inode.reserve(sockets.size_hint().0);
        for (pid, inode, fd) in sockets {
            if found.all.last().is_none_or(|last| last.pid != pid) {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                found.all.push(Arc::new(Process { pid, name: name.trim_end().to_owned() }));
            }
            found.by_inode.entry(inode).or_insert((found.all.len() - 1, fd));
        }
        found
    }
}

impl Processes {
    /// Scans `/proc`. Processes that end meanwhile or deny access are skipped.
    pub fn now() -> Processes {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.flat_map(|pid| sockets_of(pid).into_iter().map(move |(inode, fd)| (pid, inode, fd)))
            .collect()
    }

    /// A process that holds the socket with this inode number.
    pub fn holding(&self, inode: u64) -> Option<&Arc<Process>> {
        self.by_inode.get(&inode).and_then(|(number, _)| self.all.get(*number))
    }

    /// Every socket with a process that holds it and its descriptor there.
    pub fn sockets(&self) -> impl Iterator<Item = (&Process, i32)> {
        self.by_inode.values().filter_map(|(number, fd)| Some((&**self.all.get(*number)?, *fd)))
    }

    /// PID and descriptor of a process that holds the socket.
    pub fn descriptor(&self, inode: u64) -> Option<(u32, i32)> {
        let (number, fd) = self.by_inode.get(&inode)?;
        Some((self.all.get(*number)?.pid, *fd))
    }
}

/// Whether this process is in the initial PID namespace: whether its PIDs are those of the kernel.
pub fn is_in_initial_namespace() -> bool {
    /// `PROC_PID_INIT_INO` (include/linux/proc_ns.h).
    const INITIAL: u64 = 0xeffffffc;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|about| about.ino() == INITIAL)
}

/// The sockets of a process, as far as this one may see them: the inode number of each, and its
/// descriptor.
pub fn sockets_of(pid: u32) -> Vec<(u64, i32)> {
    let path = format!("/proc/{pid}/fd");
    let (Ok(files), Ok(folder)) = (fs::read_dir(&path), fs::File::open(&path)) else {
        return Vec::new();
    };
    let socket = |file: fs::DirEntry| {
        let target = readlinkat(&folder, file.file_name().as_os_str()).ok()?;
        let inode = target.to_str().and_then(socket_inode)?;
        Some((inode, file.file_name().to_str()?.parse().ok()?))
    };
    files.flatten().filter_map(socket).collect()
}

/// `socket:[12345]`
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_socket_of_this_process_is_mapped_to_this_process() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("listen");
        let link =
            fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("read the link");
        let inode = socket_inode(link.to_str().expect("text")).expect("an inode");
        let found = Processes::now();
        assert_eq!(found.holding(inode).map(|process| process.pid), Some(std::process::id()));
        assert_eq!(found.descriptor(inode), Some((std::process::id(), socket.as_raw_fd())));
    }

    #[test]
    fn only_sockets_have_a_socket_inode() {
        assert_eq!(socket_inode("socket:[42]"), Some(42));
        for other in ["pipe:[42]", "/dev/null", "socket:[]", "socket:[4", "anon_inode:[eventpoll]"]
        {
            assert_eq!(socket_inode(other), None, "{other}");
        }
    }
}
