//! Ids of network namespaces: by them a program may look up sockets in another namespace than its own.
//!
//! Each namespace has names of its own for others (`ip netns list-id`); a name is given by whoever may administrate the namespace
//! that has it (`RTM_NEWNSID`, CAP_NET_ADMIN), and it takes no right in the other one. include/uapi/linux/net_namespace.h.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::SockProtocol;

use crate::bed::Error;
use crate::bed::netlink::{Attributes, Request, Socket, attribute};

const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;
const NETNSA_FD: u16 = 3;

/// `struct rtgenmsg`: `AF_UNSPEC`, and padding.
const RTGENMSG: [u8; 4] = [0; 4];

/// The id of the caller's own namespace, as helpers take it (`BPF_F_CURRENT_NETNS`).
const OWN: i32 = -1;

/// After how long a namespace that could not be seen is looked for again: that takes a look at every process.
const AGAIN: Duration = Duration::from_secs(1);
/// How many of those are remembered.
const REMEMBERED: usize = 1024;

/// The ids that the namespace of this process has for others.
pub struct NamespaceIds {
    socket: Socket,
    own: u64,
    known: HashMap<u32, i32>,
    /// Namespaces that could not be seen, and when they are looked for again.
    unseen: HashMap<u32, Instant>,
}

/// What names a namespace to the kernel.
enum Seen {
    /// A process or thread in it.
    Task(u32),
    /// A file that stands for it.
    File(File),
}

impl NamespaceIds {
    /// Of the namespace of the calling thread.
    ///
    /// # Errors
    /// If the kernel has no rtnetlink socket for it.
    pub fn new() -> Result<NamespaceIds, Error> {
        let own = inode("thread-self").unwrap_or_default();
        Ok(NamespaceIds { socket: Socket::open(SockProtocol::NetlinkRoute)?, own, known: HashMap::new(), unseen: HashMap::new() })
    }

    /// The id of the namespace with this inode number, of which this process has a socket; `None` if the namespace cannot be seen.
    ///
    /// The process need not be in it: proxies of a node make their sockets in the namespaces of pods.
    pub fn of(&mut self, namespace: u32, pid: u32) -> Option<i32> {
        if u64::from(namespace) == self.own {
            return Some(OWN);
        }
        if let Some(id) = self.known.get(&namespace) {
            return Some(*id);
        }
        let now = Instant::now();
        if self.unseen.get(&namespace).is_some_and(|again| now < *again) {
            return None;
        }
        let id = self.look_for(namespace, pid);
        match id {
            Some(id) => {
                self.unseen.remove(&namespace);
                self.known.insert(namespace, id);
            }
            None => {
                if self.unseen.len() >= REMEMBERED {
                    self.unseen.clear();
                }
                self.unseen.insert(namespace, now + AGAIN);
            }
        }
        id
    }

    /// As [`NamespaceIds::of`] when a socket was not found there: the namespace may have gone, and another have its inode number and even
    /// its id.
    pub fn anew(&mut self, namespace: u32, pid: u32) -> Option<i32> {
        self.known.remove(&namespace);
        self.of(namespace, pid)
    }

    /// Asks whatever can be seen of the namespace: the process itself, its threads, its files, then any other process. One may go while
    /// it is asked.
    fn look_for(&mut self, namespace: u32, pid: u32) -> Option<i32> {
        let inside = |path: &str| inode(path) == Some(namespace.into());
        if inside(&pid.to_string())
            && let Some(id) = self.id(&Seen::Task(pid))
        {
            return Some(id);
        }
        let files = numbers(&format!("/proc/{pid}/fd")).into_iter().map(|file| format!("/proc/{pid}/fd/{file}"));
        let link = format!("net:[{namespace}]");
        for file in files {
            if fs::read_link(&file).is_ok_and(|shown| shown == Path::new(&link))
                && let Ok(file) = File::open(&file)
                && file.metadata().is_ok_and(|about| about.ino() == u64::from(namespace))
                && let Some(id) = self.id(&Seen::File(file))
            {
                return Some(id);
            }
        }
        let threads = numbers(&format!("/proc/{pid}/task"));
        let threads = threads.into_iter().map(|thread| (thread, format!("{pid}/task/{thread}")));
        let processes = numbers("/proc").into_iter().map(|process| (process, process.to_string()));
        threads.chain(processes).find_map(|(task, path)| inside(&path).then(|| self.id(&Seen::Task(task)))?)
    }

    /// The id of a namespace, which is given one if it has none.
    fn id(&mut self, seen: &Seen) -> Option<i32> {
        self.ask(seen).or_else(|| {
            self.name(seen).ok()?;
            self.ask(seen)
        })
    }

    fn ask(&mut self, seen: &Seen) -> Option<i32> {
        let request = Request {
            kind: libc::RTM_GETNSID,
            flags: libc::NLM_F_ACK,
            header: RTGENMSG.to_vec(),
            attributes: seen.attribute(Attributes::new()),
        };
        let answers = self.socket.exchange("ask for the id of a network namespace", &[request]).ok()?;
        let id = answers.iter().find_map(|body| attribute(body.get(RTGENMSG.len()..)?, NETNSA_NSID))?;
        let id = i32::from_ne_bytes(id.try_into().ok()?);
        (id >= 0).then_some(id)
    }

    /// Gives it an id, whichever is free.
    fn name(&mut self, seen: &Seen) -> Result<(), Error> {
        let request = Request {
            kind: libc::RTM_NEWNSID,
            flags: libc::NLM_F_ACK,
            header: RTGENMSG.to_vec(),
            attributes: seen.attribute(Attributes::new().with(NETNSA_NSID, &(-1i32).to_ne_bytes())),
        };
        self.socket.send("name a network namespace", &[request])
    }
}

impl Seen {
    fn attribute(&self, attributes: Attributes) -> Attributes {
        match self {
            Seen::Task(id) => attributes.with(NETNSA_PID, &id.to_ne_bytes()),
            Seen::File(file) => attributes.with(NETNSA_FD, &file.as_raw_fd().to_ne_bytes()),
        }
    }
}

/// The names in a folder that are numbers.
fn numbers(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The inode number of a process's network namespace.
fn inode(process: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{process}/ns/net")).ok().map(|about| about.ino())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::bed::Namespace;

    #[test]
    fn a_namespace_has_one_id_by_whatever_names_it_and_none_once_nothing_does() {
        let mut ids = NamespaceIds::new().expect("a netlink socket");
        let own = inode("self").expect("a namespace") as u32;
        assert_eq!(ids.of(own, 0), Some(OWN));
        let other = Namespace::new().expect("make a namespace (as root)");
        let sleeper = || Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("start sleep");
        let mut sleepers = [0; 2].map(|_| other.run(sleeper).expect("enter it"));
        let [first, second] = sleepers.each_ref().map(std::process::Child::id);
        let namespace = inode(&first.to_string()).expect("a namespace") as u32;
        let id = ids.of(namespace, first).expect("an id");
        assert!(id >= 0);
        for pid in [second, std::process::id()] {
            assert_eq!(ids.anew(namespace, pid), Some(id), "{pid}");
        }
        for sleeper in &mut sleepers {
            sleeper.kill().and_then(|()| sleeper.wait().map(drop)).expect("end sleep");
        }
        // Only a file of this process stands for it now.
        assert_eq!(ids.anew(namespace, std::process::id()), Some(id));
        drop(other);
        assert_eq!(ids.anew(namespace, std::process::id()), None);
        assert_eq!(ids.of(namespace, std::process::id()), None);
    }
}
