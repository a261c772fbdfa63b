//! Maps sockets to processes by the inode numbers in `/proc/PID/fd`.

use std::collections::HashMap;
use std::fs;

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
    all: Vec<Process>,
    /// Index of a process in that list, and its descriptor.
    by_inode: HashMap<u64, (usize, i32)>,
}

impl Processes {
    /// Scans `/proc`. Processes that end meanwhile or deny access are skipped.
    pub fn now() -> Processes {
        let mut found = Processes::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let mut number = None;
            for (inode, fd) in sockets_of(pid) {
                let number = *number.get_or_insert_with(|| {
                    let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                    found.all.push(Process { pid, name: name.trim_end().to_owned() });
                    found.all.len() - 1
                });
                found.by_inode.entry(inode).or_insert((number, fd));
            }
        }
        found
    }

    /// A process that holds the socket with this inode number.
    pub fn holding(&self, inode: u64) -> Option<&Process> {
        self.by_inode.get(&inode).and_then(|(number, _)| self.all.get(*number))
    }

    /// Every socket with a process that holds it and its descriptor there.
    pub fn sockets(&self) -> impl Iterator<Item = (&Process, i32)> {
        self.by_inode.values().filter_map(|(number, fd)| Some((self.all.get(*number)?, *fd)))
    }

    /// PID and descriptor of a process that holds the socket.
    pub fn descriptor(&self, inode: u64) -> Option<(u32, i32)> {
        let (number, fd) = self.by_inode.get(&inode)?;
        Some((self.all.get(*number)?.pid, *fd))
    }
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
