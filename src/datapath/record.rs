//! What the kernel programs and the agent both read and write: the values of the maps.
//!
//! Programs of two versions share maps only if their [`ABI`] is the same. [`About`], [`Control`],
//! [`FlowEnd`] and the counters are also read across versions, to show and to drain what another
//! one left: they only grow, at their ends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bpf_asm::record;

record! {
    /// The name of one end of a flow: the two initial sequence numbers of its connection, plus one,
    /// its own first.
    ///
    /// Both ends know both numbers, no NAT changes them and nobody off the path can guess them. The
    /// peer's name is the same two numbers swapped, so whoever knows its own name can address its
    /// peer, and only its peer.
    #[derive(bytemuck::Pod, bytemuck::Zeroable, Hash)]
    pub struct Isns {
        /// This end's first sequence number (RFC 9293: ISS + 1).
        pub own: u32,
        /// The other end's first sequence number (RFC 9293: IRS + 1).
        pub peer: u32,
    }
}

record! {
    /// One end of a flow: who it is and where its `struct sock` lies.
    ///
    /// The address is only ever read where a fault reads as nothing ([`super::peek`]), and believed
    /// only while the cookie found there is this one.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct End {
        /// The name it is enrolled under.
        pub name: Isns,
        /// Address of its `struct sock`; 0 while nobody is known.
        pub sk: u64,
        /// Its socket cookie, never 0 and never used again by another socket.
        pub cookie: u64,
        /// Address of its [`Lane`], which lives as long as the socket.
        pub lane: u64,
    }
}

record! {
    /// A sending socket's half of a flow, kept in socket storage: it goes when the socket goes.
    ///
    /// [`super::lane`] says who writes which field. The common message touches the first six, and
    /// the receiver's name.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Lane {
        /// When the next message must go by TCP, in jiffies.
        pub refresh_at: u64,
        /// Bytes, bookkeeping included, that may be redirected before the gates are looked at
        /// again. 0 unless the lane is direct.
        pub credit: u32,
        /// The smallest message redirected since the receiver's queue was last seen empty.
        pub smallest: u32,
        /// Messages redirected.
        pub direct_messages: u64,
        /// Bytes redirected.
        pub direct_bytes: u64,
        /// The count in [`Endings`] when it was last asked whether the receiver's lane has ended.
        pub endings: u64,
        /// Which count, in bytes from the first; the same for both ends.
        pub bucket: u64,
        /// The receiver.
        pub peer: End,
        /// The sender itself.
        pub own: End,
        /// `direct_messages` when the receiver's queue was last seen empty.
        pub messages_at_empty: u64,
        /// `direct_messages` when the receiver was last looked at.
        pub messages_at_look: u64,
        /// `direct_bytes` when the receiver was last looked at.
        pub bytes_at_look: u64,
        /// `direct_messages` when it was looked at before.
        pub messages_at_look_before: u64,
        /// `direct_bytes` when it was looked at before.
        pub bytes_at_look_before: u64,
        /// `direct_messages` of the peer's lane when its answers were last looked for.
        pub answers_seen: u64,
        /// `direct_messages` when there was last an answer.
        pub messages_at_answer: u64,
        /// `direct_bytes` when there was last an answer.
        pub bytes_at_answer: u64,
        /// `rcv_nxt` of this end when answers were last looked for.
        pub received_seen: u32,
        /// A [`Mode`].
        pub mode: u32,
        /// A [`Role`].
        pub role: u32,
        /// Jiffies that may pass between two messages sent by TCP.
        pub period: u32,
        /// Messages by TCP since the lane was last direct, but for those sent while another thread
        /// was in a call on the socket.
        pub fallbacks: u32,
        /// Segments with data that the socket had received when it left the socket map.
        pub segments_in: u32,
        /// Segments with data that the socket had sent when it left the socket map.
        pub segments_out: u32,
        /// How often the socket has left the socket map.
        pub times_left: u32,
        /// Until when it is not looked at again, in jiffies.
        pub rests_until: u64,
        /// When small messages were last let through unanswered, in jiffies.
        pub unanswered_at: u64,
        /// Looks at the receiver's socket lock that the sk_msg program has left before it gives up.
        /// 0 while it does not look; otherwise the owner of this socket's lock is that program's
        /// caller, and lets go of it without a page fault.
        pub looking: u32,
        /// How often of late the receiver's socket was in use when there was a message for it, see
        /// [`super::receiver`].
        pub contended: u32,
        /// Why the lane is not direct, the index of a [`Cause`](super::Cause) or an
        /// [`Ending`](super::Ending); 0 while it is.
        pub why: u64,
    }
}

record! {
    /// A process, by what does not change while it runs one program.
    #[derive(bytemuck::Pod, bytemuck::Zeroable, Hash)]
    pub struct Process {
        /// When it was started (`task_struct.start_boottime`), in nanoseconds since boot.
        pub started: u64,
        /// Address of the open file of its executable, which `execve` changes.
        pub image: u64,
        /// Its number in the initial PID namespace.
        pub pid: u32,
        /// Nothing.
        pub padding: u32,
    }
}

record! {
    /// A socket that is worth enrolling and waits for it, kept in socket storage.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Candidate {
        /// The name that it will be enrolled under.
        pub name: Isns,
        /// Its socket cookie.
        pub cookie: u64,
        /// The process that uses it.
        pub process: Process,
        /// The name of that process.
        pub program: Comm,
        /// Bytes that `recvmsg` gave to its readers since its history began.
        pub received: u64,
        /// `copied_seq` when its history began.
        pub read_from: u32,
        /// Calls of `recvmsg` since its history began.
        pub reads: u32,
        /// Address of its `struct sock`.
        pub sk: u64,
        /// A [`Role`].
        pub role: u32,
        /// Not 0: it is left alone for good.
        pub refused: u32,
        /// How often in a row its history has shown bytes that `recvmsg` did not give.
        pub mismatches: u32,
        /// A [`Wait`], what it waited for last; 0 before its first attempt.
        pub wait: u32,
        /// When the next attempt to enrol it is due, in nanoseconds of `CLOCK_MONOTONIC`.
        pub due: u64,
        /// Between the last attempt and the next, in nanoseconds.
        pub pause: u64,
        /// `reads` at the last attempt.
        pub reads_seen: u32,
        /// `tracings` of [`Control`] when its history began.
        pub tracing: u32,
        /// Attempts while its peer was enrolled already.
        pub hurried: u32,
        /// Nothing.
        pub padding: u32,
    }
}

record! {
    /// How far the adoption of an end has come, kept in socket storage, and before that by cookie
    /// for the program that begins it.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Adoption {
        /// The number that this end's segments carry.
        pub says: u64,
        /// The number that its peer's segments carry.
        pub hears: u64,
        /// A [`Role`].
        pub role: u32,
        /// Bits of [`heard`].
        pub heard: u32,
        /// Segments that have carried its number.
        pub segments: u32,
        /// Those since both numbers are known to have come.
        pub echoes: u32,
        /// Before this it is not given up, in jiffies.
        pub until: u64,
    }
}

/// What is known of the way between two ends that are adopted, as bits of [`Adoption::heard`].
pub mod heard {
    /// The peer's number has come: its segments come here.
    pub const PEER: u32 = 1;
    /// The peer has said that this end's number has come to it.
    pub const BACK: u32 = 2;
    /// Both.
    pub const BOTH: u32 = PEER | BACK;
}

record! {
    /// A new candidate, as the agent is told of it.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Newcomer {
        /// Its socket cookie.
        pub cookie: u64,
        /// The cookie of its network namespace.
        pub netns_cookie: u64,
        /// The process that uses it.
        pub process: Process,
        /// Inode number of its network namespace.
        pub netns: u32,
        /// `AF_INET` or `AF_INET6`.
        pub family: u32,
        /// Local port, host byte order.
        pub local_port: u32,
        /// Remote port, network byte order in the low 16 bits.
        pub remote_port: u32,
        /// Local IPv4 address, network byte order.
        pub local_v4: u32,
        /// Remote IPv4 address, network byte order.
        pub remote_v4: u32,
        /// Local IPv6 address.
        pub local_v6: [u8; 16],
        /// Remote IPv6 address.
        pub remote_v6: [u8; 16],
        /// The thread that was in a call on it, by its number in the initial PID namespace.
        pub thread: u32,
        /// Nothing.
        pub padding: u32,
    }
}

record! {
    /// What the program that enrols is asked for where it cannot go over the candidates by itself:
    /// a connection as a packet to its socket has it.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Request {
        /// The socket's cookie.
        pub cookie: u64,
        /// The id of its network namespace as the agent's has it, -1 for that one itself.
        pub netns: u32,
        /// `AF_INET` or `AF_INET6`: how much of the tuple counts.
        pub family: u32,
        /// `struct bpf_sock_tuple` (include/uapi/linux/bpf.h): the remote address and the local
        /// one, the remote port and the local one, in network byte order.
        pub tuple: [u32; 9],
        /// Nothing.
        pub padding: u32,
    }
}

record! {
    /// What one pass over the candidates has found. The agent empties it before.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Pass {
        /// When the first of those that wait is due, in nanoseconds of `CLOCK_MONOTONIC`;
        /// `u64::MAX` if none waits.
        pub due: u64,
        /// How many were enrolled.
        pub enrolled: u32,
        /// How many wait for their history.
        pub histories: u32,
    }
}

/// What a candidate waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Wait {
    /// It is not known how its process reads: the agent is to find out.
    Process = 1,
    /// Its process could splice: its history has to show that it does not.
    History = 2,
    /// Its file blocks.
    Blocking = 3,
    /// The other end cannot be enrolled yet.
    Peer = 4,
    /// Bytes are unread in TCP's receive queue: some kernels do not count them for FIONREAD once
    /// the socket is enrolled.
    Unread = 5,
    /// TCP has offered what its small receive buffer holds: nothing could be redirected to it.
    Room = 6,
}

/// How a process takes bytes out of its sockets, as the agent found out. Of several findings about
/// a process the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Reads {
    /// By `recvmsg` and its relatives only: nothing that it has mapped can call `splice(2)`.
    Receives = 1,
    /// It could call `splice(2)`, and only its history tells whether it does: most Go programs,
    /// Python, static programs that contain the system call.
    MaySplice = 2,
    /// It is written to splice: it imports `splice` from libc, or has mapped a socket. It stays
    /// with TCP.
    Splices = 3,
}

/// How many counts there are in [`Endings`]; a power of two.
pub const BUCKETS: usize = 512;

record! {
    /// Lanes that have ended before their socket closed, counted by buckets of flows: while the
    /// count does not change, no receiver's lane has ended, and a sender need not ask.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Endings {
        /// How many in each bucket.
        pub counts: [u64; BUCKETS],
    }
}

record! {
    /// What the agent tells the programs while they run.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Control {
        /// Not 0: no flow is paired any more and every message goes by TCP.
        pub draining: u32,
        /// The longest time between two messages that a lane sends by TCP, in jiffies.
        pub refresh: u32,
        /// Not 0: what another version has enrolled drains beside this one.
        pub older: u32,
        /// Which kinds of rules there are: bits of [`rules`].
        pub rules: u32,
        /// How often the tracepoint at receive calls has been attached: a history that began before
        /// the last time has a hole.
        pub tracings: u32,
        /// Nothing.
        pub padding: u32,
    }
}

/// The kinds of rules that there can be, as bits of [`Control::rules`].
pub mod rules {
    /// By port.
    pub const PORTS: u32 = 1;
    /// By address.
    pub const ADDRESSES: u32 = 2;
    /// By the name of the process.
    pub const PROCESSES: u32 = 4;
    /// By cgroup.
    pub const CGROUPS: u32 = 8;
    /// Not a kind: only what some rule includes is accelerated.
    pub const ONLY_INCLUDED: u32 = 16;
}

/// What the rules say of one end of a connection, or of both: bits, since rules may contradict each
/// other. Excluded wins.
pub mod ruling {
    /// Some rule includes it.
    pub const INCLUDED: u64 = 1;
    /// Some rule excludes it.
    pub const EXCLUDED: u64 = 2;
    /// Every bit.
    pub const ALL: u64 = INCLUDED | EXCLUDED;
}

/// Ports of which one byte of [`Ports`] tells.
pub const PORTS_PER_BYTE: usize = 4;

record! {
    /// A [`ruling`] for every port.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Ports {
        /// Two bits for each, the lowest bits for the lowest port; in four parts that mean nothing.
        pub verdicts: [[u8; (1 << 14) / PORTS_PER_BYTE]; 4],
    }
}

record! {
    /// Addresses that begin with the same bits (`struct bpf_lpm_trie_key`).
    #[derive(bytemuck::Pod, bytemuck::Zeroable, Hash, PartialOrd, Ord)]
    pub struct Prefix {
        /// How many bits.
        pub length: u32,
        /// The address in network byte order; an IPv4 address as the IPv6 address that it is mapped
        /// to.
        pub address: [u32; 4],
    }
}

record! {
    /// The name of a process: that of its first thread.
    #[derive(bytemuck::Pod, bytemuck::Zeroable, Hash, PartialOrd, Ord)]
    pub struct Comm {
        /// At most 15 bytes, then zeroes.
        pub name: [u8; 16],
    }
}

impl Comm {
    /// A name as the kernel keeps it: cut off after 15 bytes.
    pub fn of(name: &str) -> Comm {
        let mut comm = Comm::default();
        comm.name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
        comm
    }
}

record! {
    /// Ends of connections that are left to TCP for the same reason, of programs of one name.
    #[derive(bytemuck::Pod, bytemuck::Zeroable, Hash, PartialOrd, Ord)]
    pub struct Refusal {
        /// The name of the process.
        pub program: Comm,
        /// An [`Outcome`](super::Outcome), by its number as a counter.
        pub outcome: u32,
    }
}

record! {
    /// The announcement of a process that traces.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Tracer {
        /// Until when the announcement is valid, in nanoseconds of `CLOCK_MONOTONIC`; 0 while no
        /// process traces.
        pub until: u64,
    }
}

record! {
    /// A change of a lane, as a trace shows it.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Event {
        /// When, in nanoseconds of `CLOCK_MONOTONIC`.
        pub at: u64,
        /// The sender's name.
        pub name: Isns,
        /// The sender's cookie.
        pub cookie: u64,
        /// Messages redirected so far.
        pub direct_messages: u64,
        /// Bytes redirected so far.
        pub direct_bytes: u64,
        /// Why, the index of a [`Counter`](super::Counter): `Paired` for a new flow, and for a lane
        /// that has become direct.
        pub reason: u32,
        /// The [`Mode`] that the lane has now.
        pub mode: u32,
        /// The sender's [`Role`].
        pub role: u32,
        /// `AF_INET` or `AF_INET6`.
        pub family: u32,
        /// The sender's port, host byte order.
        pub local_port: u32,
        /// The other port, network byte order in the high 16 bits.
        pub remote_port: u32,
        /// The sender's IPv4 address, network byte order.
        pub local_v4: u32,
        /// The other IPv4 address, network byte order.
        pub remote_v4: u32,
        /// The sender's IPv6 address.
        pub local_v6: [u32; 4],
        /// The other IPv6 address.
        pub remote_v6: [u32; 4],
    }
}

record! {
    /// One end of an open flow, as the program that looks at it reports it.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct FlowEnd {
        /// The socket and its name.
        pub own: End,
        /// Its peer; `sk` is 0 while this end has not looked for it.
        pub peer: End,
        /// Messages redirected.
        pub direct_messages: u64,
        /// Bytes redirected.
        pub direct_bytes: u64,
        /// Bytes sent by TCP, retransmissions included (`tcp_sock.bytes_sent`).
        pub tcp_bytes: u64,
        /// Id of the socket's cgroup, which is the inode number of its folder; 0 where the kernel
        /// keeps that otherwise.
        pub cgroup: u64,
        /// Why its lane is not direct, the index of a [`Counter`](super::Counter); 0 while it is,
        /// and at first.
        pub why: u64,
        /// Inode number of the socket, as in `/proc/PID/fd`; 0 when no process holds it.
        pub inode: u64,
        /// A [`Mode`].
        pub mode: u32,
        /// A [`Role`].
        pub role: u32,
        /// `AF_INET` or `AF_INET6`.
        pub family: u32,
        /// TCP state (include/net/tcp_states.h).
        pub state: u32,
        /// 1 when redirected bytes wait to be read.
        pub direct_unread: u32,
        /// Bytes received by TCP and not yet read.
        pub tcp_unread: u32,
        /// Inode number of the socket's network namespace.
        pub netns: u32,
        /// Local port, host byte order.
        pub local_port: u32,
        /// Remote port, network byte order in the low 16 bits.
        pub remote_port: u32,
        /// Local IPv4 address, network byte order.
        pub local_v4: u32,
        /// Remote IPv4 address, network byte order.
        pub remote_v4: u32,
        /// Nothing any more.
        pub reserved: u32,
        /// Local IPv6 address.
        pub local_v6: [u8; 16],
        /// Remote IPv6 address.
        pub remote_v6: [u8; 16],
    }
}

record! {
    /// An open file that is a socket, perhaps an enrolled one.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct Holder {
        /// Inode number of the socket, as in `/proc/PID/fd`.
        pub inode: u64,
        /// The process, by its number in the initial PID namespace.
        pub pid: u32,
        /// The descriptor.
        pub fd: u32,
    }
}

record! {
    /// Which agent runs this datapath, for processes that open its pins.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    pub struct About {
        /// [`ABI`] of the program that made these maps.
        pub abi: u32,
        /// Process that started it, in its own PID namespace.
        pub pid: u32,
        /// When it started, in seconds since 1970.
        pub started: u64,
        /// Nothing any more.
        pub reserved: u32,
        /// Length of `cgroup` in bytes.
        pub cgroup_len: u32,
        /// Path of the cgroup as the agent saw it.
        pub cgroup: [u8; 256],
    }
}

impl About {
    /// The path of the cgroup.
    pub fn cgroup_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(
            &self.cgroup[..(self.cgroup_len as usize).min(self.cgroup.len())],
        ))
    }
}

/// Version of what programs keep in maps: of the records in this file and of what they mean. An
/// agent that takes over from another puts its programs on the same maps if this is the same, and
/// lets the older drain beside them otherwise.
pub const ABI: u32 = 7;

/// Which way a lane's next message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// By TCP, until the gates open.
    Tcp = 0,
    /// Redirected, while credit lasts.
    Direct = 1,
    /// By TCP for good: this end closed, or its peer is gone.
    Ended = 2,
    /// By TCP for good, in both directions: the socket is to leave the socket map.
    Leaving = 3,
    /// By TCP: the socket has left the socket map, and may come back.
    Left = 4,
}

/// Which end opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// The active end.
    Client = 0,
    /// The passive end.
    Server = 1,
}

#[cfg(test)]
mod tests;
