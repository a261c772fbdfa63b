//! Ids of network namespaces: by them a program may look up sockets in another namespace than its own.
//!
//! Each namespace has names of its own for others (`ip netns list-id`); a name is given by whoever may administrate the namespace
//! that has it (`RTM_NEWNSID`, CAP_NET_ADMIN), and it takes no right in the other one. include/uapi/linux/net_namespace.h.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::socket::SockProtocol;

use crate::bed::Error;
use crate::bed::netlink::{Attributes, Request, Socket, attribute};

const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;

/// `struct rtgenmsg`: `AF_UNSPEC`, and padding.
const RTGENMSG: [u8; 4] = [0; 4];

/// The id of the caller's own namespace, as helpers take it (`BPF_F_CURRENT_NETNS`).
const OWN: i32 = -1;

/// The ids that the namespace of this process has for others.
pub struct NamespaceIds {
    socket: Socket,
    own: u64,
    known: HashMap<u32, i32>,
}

impl NamespaceIds {
    /// Of the namespace of the calling thread.
    ///
    /// # Errors
    /// If the kernel has no rtnetlink socket for it.
    pub fn new() -> Result<NamespaceIds, Error> {
        let own = inode("thread-self").unwrap_or_default();
        Ok(NamespaceIds { socket: Socket::open(SockProtocol::NetlinkRoute)?, own, known: HashMap::new() })
    }

    /// The id of the namespace with this inode number, in which this process is; `None` if it is in another one, or cannot be seen.
    pub fn of(&mut self, namespace: u32, pid: u32) -> Option<i32> {
        if u64::from(namespace) == self.own {
            return Some(OWN);
        }
        if let Some(id) = self.known.get(&namespace) {
            return Some(*id);
        }
        if inode(&pid.to_string())? != u64::from(namespace) {
            return None;
        }
        let id = match self.ask(pid) {
            Some(id) => id,
            None => {
                self.name(pid).ok()?;
                self.ask(pid)?
            }
        };
        self.known.insert(namespace, id);
        Some(id)
    }

    /// The namespace with this inode number may have gone, and another be in its place.
    pub fn forget(&mut self, namespace: u32) {
        self.known.remove(&namespace);
    }

    fn ask(&mut self, pid: u32) -> Option<i32> {
        let request = Request {
            kind: libc::RTM_GETNSID,
            flags: libc::NLM_F_ACK,
            header: RTGENMSG.to_vec(),
            attributes: Attributes::new().with(NETNSA_PID, &pid.to_ne_bytes()),
        };
        let answers = self.socket.exchange("ask for the id of a network namespace", &[request]).ok()?;
        let id = answers.iter().find_map(|body| attribute(body.get(RTGENMSG.len()..)?, NETNSA_NSID))?;
        let id = i32::from_ne_bytes(id.try_into().ok()?);
        (id >= 0).then_some(id)
    }

    /// Gives it an id, whichever is free.
    fn name(&mut self, pid: u32) -> Result<(), Error> {
        let request = Request {
            kind: libc::RTM_NEWNSID,
            flags: libc::NLM_F_ACK,
            header: RTGENMSG.to_vec(),
            attributes: Attributes::new()
                .with(NETNSA_NSID, &(-1i32).to_ne_bytes())
                .with(NETNSA_PID, &pid.to_ne_bytes()),
        };
        self.socket.send("name a network namespace", &[request])
    }
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
    fn a_namespace_has_one_id_by_any_of_its_processes_and_none_by_others() {
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
        ids.forget(namespace);
        assert_eq!(ids.of(namespace, std::process::id()), None);
        assert_eq!(ids.of(namespace, second), Some(id));
        for sleeper in &mut sleepers {
            sleeper.kill().and_then(|()| sleeper.wait().map(drop)).expect("end sleep");
        }
    }
}
