//! Ids of network namespaces, by which a program can look up sockets in other namespaces.
//!
//! Each namespace assigns its own ids to others (`ip netns list-id`). Assigning one (`RTM_NEWNSID`)
//! needs CAP_NET_ADMIN in the namespace that assigns it, and no rights in the other one
//! (include/uapi/linux/net_namespace.h).

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::SockProtocol;

use super::netlink::{Attributes, Request, Socket, attribute};
use super::{Error, entries};

const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// `struct rtgenmsg`: `AF_UNSPEC`, and padding.
const RTGENMSG: [u8; 4] = [0; 4];

/// The id of the caller's own namespace, as helpers take it (`BPF_F_CURRENT_NETNS`).
const OWN: i32 = -1;

/// Delay before a namespace that was not found is looked for again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Limit of remembered ids, some of namespaces that no longer exist.
const CACHE_SIZE: usize = 4096;

/// The ids that this process's namespace has for others.
#[derive(Debug)]
pub struct NamespaceIds {
    socket: Socket,
    own: u64,
    /// By namespace cookie, because inode numbers are reused once a namespace is gone.
    known: HashMap<u64, i32>,
    hidden: HashMap<u64, Instant>,
}

impl NamespaceIds {
    /// For the namespace of the calling thread.
    ///
    /// # Errors
    /// If the kernel refuses an rtnetlink socket.
    pub fn new() -> Result<NamespaceIds, Error> {
        let own = inode(Path::new("/proc/thread-self/ns/net")).unwrap_or_default();
        let socket = Socket::open(SockProtocol::NetlinkRoute)?;
        Ok(NamespaceIds { socket, own, known: HashMap::new(), hidden: HashMap::new() })
    }

    /// The id of the namespace with this cookie and inode number, in which this thread of this
    /// process uses a socket; `None` if it is not found. If the namespace is gone, its inode number
    /// may be reused, and the id may be another namespace's.
    pub fn of(&mut self, cookie: u64, inode: u32, thread: u32, process: u32) -> Option<i32> {
        if u64::from(inode) == self.own {
            return Some(OWN);
        }
        if let Some(id) = self.known.get(&cookie) {
            return Some(*id);
        }
        if self.hidden.get(&cookie).is_some_and(|again| Instant::now() < *again) {
            return None;
        }
        let Some(id) = find(inode, thread, process).and_then(|found| self.id(&found)) else {
            self.hidden.retain(|_, again| Instant::now() < *again);
            self.hidden.insert(cookie, Instant::now() + RETRY_AFTER);
            return None;
        };
        if self.known.len() >= CACHE_SIZE {
            self.known.clear();
        }
        self.known.insert(cookie, id);
        Some(id)
    }

    fn id(&mut self, namespace: &File) -> Option<i32> {
        if let Some(id) = self.ask(namespace) {
            return Some(id);
        }
        self.name(namespace).ok()?;
        self.ask(namespace)
    }

    fn ask(&mut self, namespace: &File) -> Option<i32> {
        let attributes = Attributes::new().with(NETNSA_FD, &descriptor(namespace));
        let request = request(libc::RTM_GETNSID, attributes);
        let answers =
            self.socket.exchange("query the id of a network namespace", &[request]).ok()?;
        let id =
            answers.iter().find_map(|body| attribute(body.get(RTGENMSG.len()..)?, NETNSA_NSID))?;
        let id = i32::from_ne_bytes(id.try_into().ok()?);
        (id >= 0).then_some(id)
    }

    /// Assigns a free id.
    fn name(&mut self, namespace: &File) -> Result<(), Error> {
        let any = (-1i32).to_ne_bytes();
        let attributes =
            Attributes::new().with(NETNSA_NSID, &any).with(NETNSA_FD, &descriptor(namespace));
        self.socket
            .send("assign an id to a network namespace", &[request(libc::RTM_NEWNSID, attributes)])
    }
}

fn request(kind: u16, attributes: Attributes) -> Request {
    Request { kind, flags: libc::NLM_F_ACK, header: RTGENMSG.to_vec(), attributes }
}

fn descriptor(namespace: &File) -> [u8; 4] {
    namespace.as_fd().as_raw_fd().to_ne_bytes()
}

/// Finds the namespace with this inode number. The thread is usually in it; if it has moved on,
/// another process may be in it, hold a descriptor of it, or have mounted it as ip(8) and container
/// runtimes do.
fn find(namespace: u32, thread: u32, process: u32) -> Option<File> {
    let of_process = |number: u32| PathBuf::from(format!("/proc/{number}/ns/net"));
    let open = |path: PathBuf| {
        // Most paths are other namespaces: skip those without opening them.
        inode(&path).filter(|number| *number == u64::from(namespace))?;
        // The thread may have ended or moved on by now.
        File::open(path)
            .ok()
            .filter(|file| file.metadata().is_ok_and(|about| about.ino() == u64::from(namespace)))
    };
    let likely = [of_process(thread), of_process(process)].into_iter();
    let threads = entries(format!("/proc/{process}/task")).map(|task| task.join("ns/net"));
    let link = format!("net:[{namespace}]");
    let descriptors = entries(format!("/proc/{process}/fd"))
        .filter(move |fd| fs::read_link(fd).is_ok_and(|to| to.as_os_str() == link.as_str()));
    let named = entries("/run/netns").chain(entries("/run/docker/netns"));
    let others = entries("/proc").map(|entry| entry.join("ns/net"));
    likely.chain(threads).chain(descriptors).chain(named).chain(others).find_map(open)
}

/// The inode number of a network namespace.
fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|about| about.ino())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::host::Namespace;

    #[test]
    fn a_namespace_has_one_id_wherever_it_is_found() {
        let mut ids = NamespaceIds::new().expect("a netlink socket");
        let own = inode(Path::new("/proc/self/ns/net")).expect("a namespace") as u32;
        assert_eq!(ids.of(1, own, 0, 0), Some(OWN));
        // No process is in it, but this one holds a descriptor.
        let other = Namespace::new().expect("make a namespace (as root)");
        let here = std::process::id();
        let namespace = other
            .run(|| inode(Path::new("/proc/thread-self/ns/net")))
            .expect("enter it")
            .expect("a number") as u32;
        let id = ids.of(2, namespace, here, here).expect("an id");
        assert!(id >= 0);
        let sleeper =
            || Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("start sleep");
        let mut sleeper = other.run(sleeper).expect("enter it");
        assert_eq!(ids.of(3, namespace, sleeper.id(), 0), Some(id), "by a thread");
        drop(other);
        assert_eq!(ids.of(4, namespace, 0, 0), Some(id), "by any process");
        sleeper.kill().and_then(|()| sleeper.wait().map(drop)).expect("end sleep");
        assert_eq!(
            ids.of(5, namespace, here, here),
            None,
            "another namespace with a reused inode number"
        );
        assert_eq!(ids.of(2, namespace, here, here), Some(id), "it is not looked for again");
    }
}
