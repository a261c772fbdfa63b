//! Which process holds a socket: the kernel shows the socket's inode number among the files of the process.

use std::collections::HashMap;
use std::fs;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Process {
    /// Its number in the namespace of this process.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// The processes that hold sockets, as far as this process may see them.
#[derive(Debug, Default)]
pub struct Processes {
    by_inode: HashMap<u64, (Process, i32)>,
}

impl Processes {
    /// Looks through `/proc`. Processes that go while it looks, or that it may not look into, are left out.
    pub fn now() -> Processes {
        let mut by_inode = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(files) = fs::read_dir(entry.path().join("fd")) else { continue };
            let mut name = None;
            for file in files.flatten() {
                let target = fs::read_link(file.path()).ok();
                let Some(inode) = target.as_deref().and_then(|path| path.to_str()).and_then(socket_inode) else {
                    continue;
                };
                let name = name.get_or_insert_with(|| {
                    fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim_end().to_owned()
                });
                let Some(fd) = file.file_name().to_str().and_then(|number| number.parse().ok()) else { continue };
                by_inode.entry(inode).or_insert_with(|| (Process { pid, name: name.clone() }, fd));
            }
        }
        Processes { by_inode }
    }

    /// The first process found that holds the socket with this inode number.
    pub fn holding(&self, inode: u64) -> Option<&Process> {
        self.by_inode.get(&inode).map(|(process, _)| process)
    }

    /// Every socket: a process that holds it, and its descriptor there.
    pub fn sockets(&self) -> impl Iterator<Item = (&Process, i32)> {
        self.by_inode.values().map(|(process, fd)| (process, *fd))
    }

    /// The number of that process, and its descriptor of the socket.
    pub fn descriptor(&self, inode: u64) -> Option<(u32, i32)> {
        self.by_inode.get(&inode).map(|(process, fd)| (process.pid, *fd))
    }
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
    fn a_socket_of_this_process_leads_to_this_process() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("listen");
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("read the link");
        let inode = socket_inode(link.to_str().expect("text")).expect("an inode");
        let found = Processes::now();
        assert_eq!(found.holding(inode).map(|process| process.pid), Some(std::process::id()));
        assert_eq!(found.descriptor(inode), Some((std::process::id(), socket.as_raw_fd())));
    }

    #[test]
    fn only_sockets_have_a_socket_inode() {
        assert_eq!(socket_inode("socket:[42]"), Some(42));
        for other in ["pipe:[42]", "/dev/null", "socket:[]", "socket:[4", "anon_inode:[eventpoll]"] {
            assert_eq!(socket_inode(other), None, "{other}");
        }
    }
}
