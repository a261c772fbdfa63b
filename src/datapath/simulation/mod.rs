//! The programs in userspace: rbpf runs them on a simulated kernel, where anything can be made to
//! happen.
//!
//! | file | what it simulates |
//! |---|---|
//! | [`kernel`] | two kernels by their structures: one with every feature, one with none that may be missing |
//! | [`memory`] | kernel memory, in which every address is checked |
//! | [`host`] | maps and helpers; any call of a helper can be made to fail |
//! | [`interpreter`] | rbpf, which must be told what the kernel does otherwise |
//! | [`stream`] | the bytes between two sockets, and in which order they come |
//! | [`coverage`] | which ways of which branches no test has taken |
//! | [`model`] | not the programs but their protocol: every interleaving of two ends, the agent and the kernel |
//!
//! A [`World`] holds sockets and tells programs what happens to them. Each run is made twice from
//! the same state, at first without counters: whether something is counted must not matter to
//! anything. After each run the invariants of [`super::lane`] are asserted.

mod coverage;
mod host;
mod interpreter;
mod kernel;
#[expect(unsafe_code, reason = "the interpreter reads and writes by address")]
mod memory;
mod model;
mod stream;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bpf_asm::{
    __sk_buff, KernelField, Program, bpf_iter__bpf_sk_storage_map, bpf_iter__sockmap,
    bpf_iter__task_file, bpf_iter__tcp, bpf_sock_ops, bpf_sockopt, sk_msg_md, sock_recv_length,
};
use bytemuck::Pod;

pub use host::{Fault, Helper};
pub use kernel::{Kernel, SOCK_ZEROCOPY};
pub use stream::Way;

use super::{
    Adoption, Control, Counter, Datapath, Event as Told, FlowEnd, Holder, Isns, Lane, Layout, Mode,
    Newcomer, Pass, Passes, Ports, Process, ProgramName, Reads, Request, Tracer, Wait,
};
use host::{HELPERS, Host};
use kernel::STRUCTURE;
use stream::{Piece, Stream};

/// Jiffies in a second of every simulated kernel.
pub const HZ: u32 = 250;

/// The receive buffer of every new socket.
pub const RECEIVE_BUFFER: u64 = 60_000;
/// The window that a socket offers to TCP whenever it has taken what came.
pub const WINDOW: u64 = 3_750;
/// What a message counts beside its bytes: the size class of the simulated `struct sk_msg`.
pub const BOOKKEEPING: u64 = 512;
/// What the agent allows to pass between two refreshes, in jiffies.
pub const REFRESH: u32 = 10_000;

/// The first number that contexts show of addresses, which is the family.
pub const ADDRESSES: u64 = 0x1_0000;

/// What waits for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A thread asleep in a receive function: its place in the list is on its own stack.
    Thread,
    /// Names no thread.
    Epoll,
    /// Names something whose stack does not hold its place.
    BelowItsStack,
    AboveItsStack,
}

/// Events of sock_ops (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    /// Of no interest to shunt.
    NeedsEcn = 6,
    TcpConnect = 3,
    TcpListen = 11,
    RwndInit = 2,
    ActiveEstablished = 4,
    PassiveEstablished = 5,
    State = 10,
    RoundTrip = 12,
    ParseHdrOpt = 13,
    HdrOptLen = 14,
    WriteHdrOpt = 15,
}

/// States (include/net/tcp_states.h).
pub const ESTABLISHED: u32 = 1;
pub const FIN_WAIT1: u32 = 4;
pub const FIN_WAIT2: u32 = 5;
pub const CLOSE: u32 = 7;
pub const CLOSE_WAIT: u32 = 8;
pub const LAST_ACK: u32 = 9;

/// Callbacks that a socket has asked for (include/uapi/linux/bpf.h).
pub const RTO_CALLBACK: u64 = 1;
pub const STATE_CALLBACK: u64 = 4;
pub const ROUND_TRIP_CALLBACK: u64 = 8;
pub const ANY_HEADER_CALLBACK: u64 = 16;
pub const UNKNOWN_OPTION_CALLBACK: u64 = 32;
pub const SEGMENT_CALLBACK: u64 = 64;

/// An event as sock_ops shows it.
pub struct Event {
    pub op: Op,
    /// Where the kernel keeps the socket.
    pub sk: u64,
    /// Whether the context shows it.
    pub shown: bool,
    pub is_fullsock: u32,
    /// Old and new state.
    pub args: [u32; 2],
    pub tcp_flags: u32,
    /// What the context says the socket's state is.
    pub state: u32,
    /// Whether it happens in a call on the socket.
    pub in_a_call: bool,
}

impl Event {
    pub fn new(op: Op, sk: u64) -> Event {
        let tcp_flags = match op {
            Op::ActiveEstablished => 0x12,
            Op::PassiveEstablished => 0x10,
            _ => 0,
        };
        let (shown, is_fullsock) = (true, 1);
        Event {
            op,
            sk,
            shown,
            is_fullsock,
            args: [0; 2],
            tcp_flags,
            state: ESTABLISHED,
            in_a_call: true,
        }
    }
}

/// What becomes of a candidate when its next attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment {
    Enrolled,
    Waits(Wait),
    /// It is a candidate still, and nothing was found out.
    NotTried,
    /// It is no candidate, or not any more.
    Gone,
}

/// A test on each kernel.
pub fn on_every_kernel(test: impl Fn(World)) {
    for kernel in Kernel::ALL {
        eprintln!("on {kernel:?}");
        test(World::new(kernel));
    }
}

/// A test on each kernel with each of these, which it is told apart by.
pub fn for_each<T: Clone + std::fmt::Debug>(cases: &[T], test: impl Fn(World, T)) {
    for kernel in Kernel::ALL {
        for case in cases {
            eprintln!("on {kernel:?}: {case:?}");
            test(World::new(kernel), case.clone());
        }
    }
}

/// What TCP knows of a socket, and the simulation.
#[derive(Clone, Default)]
struct Socket {
    is_client: bool,
    /// Its first sequence numbers, its own first.
    first: (u32, u32),
    peer: Option<u64>,
    callbacks: u64,
    /// Segments with data that came and went, and all that went.
    data_segs_in: u32,
    data_segs_out: u32,
    segs_out: u32,
    /// What it has been sent.
    stream: Stream,
    /// Whether the sk_msg program has run for it since its lane began.
    spoke: bool,
}

type Programs = [(ProgramName, Program); ProgramName::ALL.len()];

/// Sockets on a simulated kernel with the datapath attached.
pub struct World {
    pub kernel: Kernel,
    /// There except while a program runs.
    host: Option<Host>,
    programs: Programs,
    /// The programs as the interpreter takes them.
    prepared: Vec<Vec<u8>>,
    sockets: BTreeMap<u64, Socket>,
    /// What was read of the counters.
    counted: BTreeMap<usize, u64>,
    next_cookie: u64,
    /// Of every socket that no other was asked for.
    pub namespace: u64,
}

impl World {
    pub fn new(kernel: Kernel) -> World {
        // It takes longer to assemble them than most tests.
        static ASSEMBLED: [OnceLock<Programs>; Kernel::ALL.len()] =
            [const { OnceLock::new() }; Kernel::ALL.len()];
        let datapath = Datapath::new(kernel.layout(), kernel.settings());
        let assemble = || datapath.programs().unwrap_or_else(|errors| panic!("{errors}"));
        let programs = ASSEMBLED[kernel as usize].get_or_init(assemble).clone();
        let host = Host::new(datapath);
        let prepare = |program: &Program| {
            assert!(program.slots() * 2 <= memory::MARKS, "there is no room for the marks");
            interpreter::prepare(&program.for_rbpf(|map| host.handle(map)), host.memory.addresses)
        };
        let prepared = programs.iter().map(|(_, program)| prepare(program)).collect();
        let mut world = World {
            kernel,
            host: Some(host),
            programs,
            prepared,
            sockets: BTreeMap::new(),
            counted: BTreeMap::new(),
            next_cookie: 1,
            namespace: 0,
        };
        world.namespace = world.new_namespace();
        world.host_mut().jiffies = 1_000_000;
        world.control(Control { refresh: REFRESH, ..Control::default() });
        world.caller(b"an-application\0\0", b"its-thread\0\0\0\0\0\0");
        world
    }

    fn host(&self) -> &Host {
        self.host.as_ref().expect("no program runs")
    }

    fn host_mut(&mut self) -> &mut Host {
        self.host.as_mut().expect("no program runs")
    }

    // Objects.

    /// Reads a member of a kernel object.
    pub fn get(&self, object: u64, field: impl Fn(&Layout) -> KernelField) -> u64 {
        let host = self.host();
        host.memory.member(object, field(&host.datapath.layout))
    }

    /// Sets a member of a kernel object.
    pub fn set(&mut self, object: u64, field: impl Fn(&Layout) -> KernelField, content: u64) {
        let host = self.host();
        host.memory.set_member(object, field(&host.datapath.layout), content);
    }

    /// Where a member of a kernel object is.
    pub fn at(&self, object: u64, field: impl Fn(&Layout) -> KernelField) -> u64 {
        object + u64::from(field(&self.host().datapath.layout).offset)
    }

    /// Sets a member that only some kernels have.
    pub fn set_optional(
        &mut self,
        object: u64,
        field: impl Fn(&Layout) -> Option<KernelField>,
        content: u64,
    ) {
        if let Some(field) = field(&self.host().datapath.layout) {
            self.set(object, |_| field, content);
        }
    }

    /// Whether this kernel has such a member.
    pub fn knows(&self, field: impl Fn(&Layout) -> Option<KernelField>) -> bool {
        field(&self.host().datapath.layout).is_some()
    }

    pub fn object(&mut self) -> u64 {
        self.host_mut().memory.object(STRUCTURE)
    }

    /// From now on nothing at this address can be read.
    pub fn unmap(&mut self, object: u64) {
        self.host_mut().memory.unmap(object);
    }

    /// From now on nothing of the lane of this socket can be read by its address.
    pub fn unmap_lane(&mut self, sk: u64) {
        let lane = self.lane_address(sk);
        self.unmap(lane);
    }

    /// Somebody else has a socket under this name.
    pub fn take_name(&mut self, name: Isns) {
        let sk = self.socket(1, 2);
        self.host_mut().map("socks").entries.insert(bytemuck::bytes_of(&name).to_vec(), sk);
    }

    pub fn new_namespace(&mut self) -> u64 {
        let namespace = self.object();
        self.set(namespace, |l| l.namespace_inode, 4_026_531_840);
        self.set(namespace, |l| l.namespace_cookie, 11);
        // So long that it never is the least.
        self.set_optional(namespace, |l| l.conntrack_established, 432_000 * u64::from(HZ));
        namespace
    }

    /// An established socket with its two first sequence numbers, its own first. Its file does not
    /// block.
    pub fn socket(&mut self, own: u32, peer: u32) -> u64 {
        let sk = self.object();
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let namespace = self.namespace;
        let held = self.object();
        for (field, content) in [
            ((|l| l.cookie) as fn(&Layout) -> KernelField, cookie),
            (|l| l.namespace, namespace),
            (|l| l.state, ESTABLISHED.into()),
            (|l| l.family, 2),
            (|l| l.receive_allocated, 0),
            (|l| l.receive_buffer, RECEIVE_BUFFER),
            (|l| l.rcv_wup, peer.into()),
            (|l| l.rcv_wnd, WINDOW),
            (|l| l.lock_owned, 0),
            (|l| l.wait_queue, 0),
            (|l| l.low_water, 1),
            (|l| l.peek_offset, (-1_i32).cast_unsigned().into()),
            (|l| l.timestamping, 0),
            (|l| l.max_pacing_rate, u64::MAX),
            (|l| l.repair, 0),
            (|l| l.receive_queue_length, 0),
            (|l| l.socket, held),
            (|l| l.flags, 0),
            (|l| l.write_seq, own.into()),
            (|l| l.copied_seq, peer.into()),
            (|l| l.rcv_nxt, peer.into()),
            (|l| l.user_data, 0),
        ] {
            self.set(sk, field, content);
        }
        self.set_optional(sk, |l| l.is_mptcp, 0);
        self.set_optional(sk, |l| l.asks_for_counts, 0);
        self.set_optional(sk, |l| l.memory_cgroup, 0);
        let psock = self.object();
        self.host_mut().psocks.insert(sk, psock);
        self.set(psock, |l| l.deferred_length, 0);
        self.users_of_psock(sk, 1);
        let (file, contents) = (self.object(), self.object());
        self.set(held, |l| l.socket_file, file);
        self.set(held, |l| l.socket_sk, sk);
        self.host_mut().files.insert(file, held);
        self.set(file, |l| l.file_mapping, contents);
        self.set(contents, |l| l.mappings, 0);
        self.blocks(sk, false);
        self.sockets.insert(sk, Socket { first: (own, peer), ..Socket::default() });
        self.show_queue(sk);
        sk
    }

    /// Whether the file of a socket blocks.
    pub fn blocks(&mut self, sk: u64, blocks: bool) {
        self.set(self.file(sk), |l| l.file_flags, if blocks { 2 } else { 0o4002 });
    }

    /// The open file of a socket.
    pub fn file(&self, sk: u64) -> u64 {
        self.get(self.get(sk, |l| l.socket), |l| l.socket_file)
    }

    /// How many hold on to a socket's psock: the socket map is one.
    pub fn users_of_psock(&mut self, sk: u64, users: u64) {
        self.set(self.psock(sk), |l| l.psock_users, users);
    }

    /// Makes these wait for a socket, in this order.
    pub fn waiting(&mut self, sk: u64, waiters: &[Waiter]) {
        let queue = self.object();
        self.set(sk, |l| l.wait_queue, queue);
        let layout = self.host().datapath.layout.clone();
        let mut previous = queue + u64::from(layout.waiters.offset);
        let head = previous;
        for waiter in waiters {
            let entry = self.object();
            let place = entry + u64::from(layout.waiter_place.offset);
            let thread = self.object();
            let (private, stack) = match waiter {
                Waiter::Thread => (thread, place - 8),
                Waiter::Epoll => (0, 0),
                Waiter::BelowItsStack => (thread, place + 1),
                Waiter::AboveItsStack => (thread, place - (64 << 10)),
            };
            self.set(thread, |l| l.thread_stack, stack);
            self.set(entry, |l| l.waiter_private, private);
            self.host().memory.set_number(previous, 8, place);
            previous = place;
        }
        self.host().memory.set_number(previous, 8, head);
    }

    /// What the kernel allocates for a socket while it is in the socket map.
    pub fn psock(&self, sk: u64) -> u64 {
        self.host().psocks[&sk]
    }

    /// The two sockets of a connection, client first, of which shunt knows nothing yet.
    pub fn connection(&mut self, client_isn: u32, server_isn: u32) -> (u64, u64) {
        let client = self.socket(client_isn.wrapping_add(1), server_isn.wrapping_add(1));
        let server = self.socket(server_isn.wrapping_add(1), client_isn.wrapping_add(1));
        self.know(client).peer = Some(server);
        self.know(client).is_client = true;
        self.know(server).peer = Some(client);
        (client, server)
    }

    fn know(&mut self, sk: u64) -> &mut Socket {
        self.sockets.get_mut(&sk).expect("a socket of the simulation")
    }

    /// A connection with both ends here, whose handshake was seen.
    pub fn local(&mut self) -> (u64, u64) {
        let isn = 7_000 * self.next_cookie as u32;
        let (client, server) = self.connection(isn, isn + 1_000);
        self.syn(isn, isn + 1_000);
        self.establish(client, server);
        (client, server)
    }

    /// Both ends of a connection are established, the client first.
    pub fn establish(&mut self, client: u64, server: u64) {
        self.event(Event::new(Op::ActiveEstablished, client));
        self.event(Event::new(Op::PassiveEstablished, server));
    }

    /// A connection both ends of which are candidates and have a process that calls `recvmsg`,
    /// client first.
    pub fn candidates(&mut self) -> (u64, u64) {
        self.reader(Reads::Receives);
        let (client, server) = self.local();
        self.goes_on(client, server);
        (client, server)
    }

    /// As many messages each way as it takes to be worth it, a round trip, and a segment of each
    /// end.
    pub fn goes_on(&mut self, client: u64, server: u64) {
        for _ in 0..4 {
            for (sender, receiver) in [(client, server), (server, client)] {
                self.send(sender, 100);
                self.read(receiver);
            }
        }
        for sk in [client, server] {
            self.round_trip(sk);
            self.segment(sk);
        }
    }

    /// A paired flow, client first, of which nothing has been sent since.
    pub fn flow(&mut self) -> (u64, u64) {
        let (client, server) = self.candidates();
        assert_eq!(self.enrol(client), Enrolment::Waits(Wait::Peer));
        assert_eq!(self.enrol(server), Enrolment::Enrolled);
        assert_eq!(self.enrol(client), Enrolment::Enrolled);
        self.counted();
        self.newcomers();
        self.options();
        (client, server)
    }

    /// A paired flow each end of which has sent a message of 100 bytes directly, which was read,
    /// and one for the sake of connection tracking, so that no refresh is near; client first.
    pub fn direct_flow(&mut self) -> (u64, u64) {
        let (client, server) = self.flow();
        self.time_passes(HZ);
        for (sender, receiver) in [(client, server), (server, client)] {
            assert_eq!(self.send(sender, 100), Way::Tcp);
            assert_eq!(self.send(sender, 100), Way::Direct);
            self.read(receiver);
        }
        self.counted();
        (client, server)
    }

    /// The life of a connection of which both ends do all that they can, shunt willing or not.
    pub fn story(&mut self, client: u64, server: u64) {
        self.establish(client, server);
        for _ in 0..5 {
            for (sender, receiver) in [(client, server), (server, client)] {
                self.send(sender, 100);
                self.segment(receiver);
                self.send_slowly(sender, 1);
                self.round_trip(receiver);
                self.send(sender, 40_000);
                self.receive(receiver, 30);
                self.segment(sender);
                self.receive(receiver, 50_000);
            }
            for sk in [client, server, client] {
                self.enrol(sk);
            }
            self.time_passes(REFRESH);
        }
        self.state_becomes(client, FIN_WAIT1);
        self.send(server, 5);
        self.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
        self.send(server, 5);
        self.read(client);
        for sk in [client, server] {
            self.segment(sk);
        }
        self.state_becomes(server, LAST_ACK);
        self.state_becomes(server, CLOSE);
        self.state_becomes(client, CLOSE);
        for sk in [client, server] {
            assert!(self.know(sk).stream.is_read(), "a byte was lost");
            self.leaves_socket_map(sk);
        }
    }

    // What happens to sockets.

    /// A SYN with this number reaches a listener, which answers with that.
    pub fn syn(&mut self, client_isn: u32, server_isn: u32) -> u64 {
        let request = self.object();
        self.syn_with(request, client_isn, server_isn)
    }

    /// The same, with a request socket of which more is known.
    pub fn syn_with(&mut self, request: u64, client_isn: u32, server_isn: u32) -> u64 {
        self.set(request, |l| l.client_isn, client_isn.into());
        self.set(request, |l| l.server_isn, server_isn.into());
        self.event(Event { shown: false, is_fullsock: 0, ..Event::new(Op::RwndInit, request) });
        request
    }

    pub fn event(&mut self, event: Event) {
        let Event { op, sk, shown, is_fullsock, args, tcp_flags, state, in_a_call } = event;
        let context = self.new_context(bpf_sock_ops::sk.offset());
        let known = self.sockets.get(&sk).cloned().unwrap_or_default();
        let (snd_una, rcv_nxt) = if is_fullsock == 0 {
            (0, 0)
        } else {
            self.set(sk, |l| l.lock_owned, u64::from(in_a_call));
            (self.get(sk, |l| l.write_seq), self.get(sk, |l| l.rcv_nxt))
        };
        let acked = (snd_una as u32).wrapping_sub(known.first.0) + u32::from(known.is_client);
        let received = (rcv_nxt as u32).wrapping_sub(known.first.1);
        let numbers = [
            (bpf_sock_ops::op.offset(), 4, op as u64),
            (bpf_sock_ops::args.offset(), 4, args[0].into()),
            (bpf_sock_ops::args.index::<1>().offset(), 4, args[1].into()),
            (bpf_sock_ops::is_fullsock.offset(), 4, is_fullsock.into()),
            (bpf_sock_ops::sk.offset(), 8, if shown { sk } else { 0 }),
            (bpf_sock_ops::skb_tcp_flags.offset(), 4, tcp_flags.into()),
            (bpf_sock_ops::state.offset(), 4, state.into()),
            (bpf_sock_ops::bpf_sock_ops_cb_flags.offset(), 4, known.callbacks),
            (bpf_sock_ops::snd_nxt.offset(), 4, snd_una),
            (bpf_sock_ops::snd_una.offset(), 4, snd_una),
            (bpf_sock_ops::rcv_nxt.offset(), 4, rcv_nxt),
            (bpf_sock_ops::bytes_acked.offset(), 8, acked.into()),
            (bpf_sock_ops::bytes_received.offset(), 8, received.into()),
            (bpf_sock_ops::data_segs_in.offset(), 4, known.data_segs_in.into()),
            (bpf_sock_ops::data_segs_out.offset(), 4, known.data_segs_out.into()),
            (bpf_sock_ops::segs_out.offset(), 4, known.segs_out.into()),
            (size_of::<bpf_sock_ops>(), 8, sk),
        ];
        self.show_addresses(context + bpf_sock_ops::family.offset() as u64);
        self.fill_context(&numbers);
        let queued = self.sockets.get(&sk).is_some_and(|socket| !socket.stream.is_queue_empty());
        let was_enrolled = self.is_enrolled(sk);
        let result = self.run(ProgramName::Establish, sk);
        assert_eq!(result, 1, "sock_ops has no objection, ever");
        if is_fullsock == 0 {
            return;
        }
        if matches!(op, Op::HdrOptLen | Op::State) && was_enrolled && !self.is_enrolled(sk) {
            assert!(!queued, "unread bytes went with the queue");
        }
        self.set(sk, |l| l.lock_owned, 0);
        let at = context + bpf_sock_ops::bpf_sock_ops_cb_flags.offset() as u64;
        let chosen = self.host().memory.number(at, 4);
        self.know(sk).callbacks = chosen;
    }

    /// Contexts show addresses from the family on, in one order: 13 words, each with its own
    /// number.
    fn show_addresses(&self, family: u64) {
        for word in 0..13 {
            self.host().memory.set_number(family + word * 4, 4, ADDRESSES + word);
        }
    }

    /// The callbacks that a socket has asked for.
    pub fn callbacks(&mut self, sk: u64) -> u64 {
        self.know(sk).callbacks
    }

    pub fn set_callbacks(&mut self, sk: u64, callbacks: u64) {
        self.know(sk).callbacks = callbacks;
    }

    /// How many segments with data came and went, and how many went in all.
    pub fn set_segments(&mut self, sk: u64, data_in: u32, data_out: u32, out: u32) {
        let socket = self.know(sk);
        (socket.data_segs_in, socket.data_segs_out, socket.segs_out) = (data_in, data_out, out);
    }

    /// A socket changes its state, which is an event if it has asked for that.
    pub fn state_becomes(&mut self, sk: u64, state: u32) {
        self.set(sk, |l| l.state, state.into());
        if self.callbacks(sk) & STATE_CALLBACK != 0 {
            self.event(Event { args: [1, state], state, ..Event::new(Op::State, sk) });
        }
    }

    /// An application sets an option of a socket to these bytes. Whether it may, and how many of
    /// them the kernel is to take itself: 0 for what the application gave, -1 for nothing.
    pub fn set_option(&mut self, sk: u64, level: i32, name: i32, value: &[u8]) -> (bool, i32) {
        let given = self.host_mut().memory.place(value.len());
        self.host().memory.write(given, value);
        let context = self.new_context(bpf_sockopt::sk.offset());
        self.fill_context(&[
            (bpf_sockopt::sk.offset(), 8, sk),
            (bpf_sockopt::optval.offset(), 8, given),
            (bpf_sockopt::optval_end.offset(), 8, given + value.len() as u64),
            (bpf_sockopt::level.offset(), 4, level as u64),
            (bpf_sockopt::optname.offset(), 4, name as u64),
            (bpf_sockopt::optlen.offset(), 4, value.len() as u64),
        ]);
        let allowed = self.run(ProgramName::Options, sk);
        assert!(allowed <= 1, "it answers {allowed}");
        (
            allowed == 1,
            self.host().memory.number(context + bpf_sockopt::optlen.offset() as u64, 4) as i32,
        )
    }

    /// TCP has measured a round trip of a socket's, which is an event if it has asked for that.
    pub fn round_trip(&mut self, sk: u64) {
        if self.callbacks(sk) & ROUND_TRIP_CALLBACK != 0 {
            self.event(Event { in_a_call: false, ..Event::new(Op::RoundTrip, sk) });
        }
    }

    /// A socket sends a segment in a call, which is an event if it has asked for that.
    pub fn segment(&mut self, sk: u64) {
        if self.callbacks(sk) & SEGMENT_CALLBACK != 0 {
            self.event(Event::new(Op::HdrOptLen, sk));
        }
    }

    /// A socket sends a segment that carries whatever option its program has made room for, and it
    /// arrives. That option.
    pub fn segment_to(&mut self, sk: u64, receiver: u64) -> Vec<u8> {
        self.host_mut().state.room = 0;
        self.host_mut().state.option_out.clear();
        self.segment(sk);
        if self.host().state.room > 0 {
            self.event(Event::new(Op::WriteHdrOpt, sk));
        }
        let option = self.host().state.option_out.clone();
        self.option_comes(receiver, &option);
        option
    }

    /// A segment with this option comes, which is an event if the socket has asked for that.
    pub fn option_comes(&mut self, sk: u64, option: &[u8]) {
        self.host_mut().state.option_in = option.to_vec();
        let asked_for = if option.is_empty() { 0 } else { UNKNOWN_OPTION_CALLBACK };
        if self.callbacks(sk) & (ANY_HEADER_CALLBACK | asked_for) != 0 {
            self.event(Event { in_a_call: false, ..Event::new(Op::ParseHdrOpt, sk) });
        }
    }

    /// The program that goes over all sockets comes to this one: what it shows of it.
    pub fn adopt(&mut self, sk: u64) -> Option<FlowEnd> {
        let meta = self.object();
        self.host_mut().state.output.clear();
        self.new_context(bpf_iter__tcp::sk_common.offset());
        self.fill_context(&[
            (bpf_iter__tcp::meta.offset(), 8, meta),
            (bpf_iter__tcp::sk_common.offset(), 8, sk),
        ]);
        if sk != 0 {
            let known = self.know(sk).clone();
            let (una, next) = (self.get(sk, |l| l.write_seq), self.get(sk, |l| l.rcv_nxt));
            let acked = (una as u32).wrapping_sub(known.first.0) + u32::from(known.is_client);
            for (field, content) in [
                ((|l| l.snd_una) as fn(&Layout) -> KernelField, una),
                (|l| l.bytes_acked, acked.into()),
                (|l| l.bytes_received, (next as u32).wrapping_sub(known.first.1).into()),
                (|l| l.callback_flags, known.callbacks),
            ] {
                self.set(sk, field, content);
            }
        }
        assert_eq!(self.run(ProgramName::Adopt, sk), 0, "or it would be called for this one again");
        if sk != 0 {
            self.know(sk).callbacks = self.get(sk, |l| l.callback_flags);
        }
        let output = &self.host().state.output;
        (!output.is_empty()).then(|| bytemuck::pod_read_unaligned(output))
    }

    /// The agent has this socket adopted.
    pub fn adoptee(&mut self, sk: u64, adoption: Adoption) {
        let cookie = self.get(sk, |l| l.cookie);
        self.put_under("adoptees", cookie, adoption);
    }

    /// How far the adoption of a socket has come.
    pub fn adoption(&mut self, sk: u64) -> Option<Adoption> {
        self.value_under("adoptions", sk)
    }

    /// Whether a socket is in the socket map.
    pub fn is_enrolled(&mut self, sk: u64) -> bool {
        self.enrolled().iter().any(|&(_, enrolled)| enrolled == sk)
    }

    /// The sk_msg program is asked about a message. The receiver that it is redirected to.
    pub fn message(&mut self, sk: u64, size: u32) -> Option<u64> {
        let context = self.new_context(sk_msg_md::sk.offset());
        self.fill_context(&[
            (sk_msg_md::size.offset(), 4, size.into()),
            (sk_msg_md::sk.offset(), 8, sk),
        ]);
        self.show_addresses(context + sk_msg_md::family.offset() as u64);
        if let Some(socket) = self.sockets.get_mut(&sk) {
            socket.spoke = true;
        }
        let verdict = self.run(ProgramName::Send, sk);
        assert_eq!(verdict, 1, "a message always passes");
        self.host().state.redirected
    }

    /// A socket sends a message, which has reached its peer when this returns.
    pub fn send(&mut self, sk: u64, size: u32) -> Way {
        let way = self.send_slowly(sk, size);
        if let Some(receiver) = self.know(sk).peer {
            self.arrives(receiver);
        }
        way
    }

    /// The same, but by TCP it is on its way until [`World::arrives`].
    pub fn send_slowly(&mut self, sk: u64, size: u32) -> Way {
        let redirected = if self.is_enrolled(sk) { self.message(sk, size) } else { None };
        let receiver = self.know(sk).peer;
        if let Some(redirected) = redirected {
            assert_eq!(Some(redirected), receiver, "a message reached a stranger");
            let bytes = self.know(redirected).stream.write(size);
            self.know(redirected).stream.queue(Piece { bytes, first: None });
            self.show_queue(redirected);
            return Way::Direct;
        }
        let first = self.get(sk, |l| l.write_seq) as u32;
        self.set(sk, |l| l.write_seq, u64::from(first.wrapping_add(size)));
        self.know(sk).data_segs_out += 1;
        self.know(sk).segs_out += 1;
        if let Some(receiver) = receiver {
            let bytes = self.know(receiver).stream.write(size);
            self.know(receiver).stream.on_their_way.push_back(Piece { bytes, first: Some(first) });
        }
        Way::Tcp
    }

    /// What was sent to a socket by TCP arrives.
    pub fn arrives(&mut self, sk: u64) {
        while let Some(piece) = self.know(sk).stream.on_their_way.pop_front() {
            let next = piece.first.expect("a segment").wrapping_add(piece.size());
            self.set(sk, |l| l.rcv_nxt, next.into());
            self.set(sk, |l| l.rcv_wup, next.into());
            self.know(sk).data_segs_in += 1;
            self.know(sk).stream.received.push_back(piece);
            if self.is_enrolled(sk) {
                self.judge_received(sk);
            }
        }
        self.show_queue(sk);
    }

    /// Every segment in TCP's receive queue goes to the verdict program, and from there into the
    /// ingress queue.
    fn judge_received(&mut self, sk: u64) {
        while let Some(mut piece) = self.know(sk).stream.received.pop_front() {
            let length = (piece.bytes.end - piece.bytes.start) as u32;
            let cut = self.verdict_on(sk, piece.first.expect("a segment"), length);
            piece.cut(cut);
            self.know(sk).stream.queue(piece);
        }
    }

    /// The verdict program is asked about a segment whose first byte has this number, and of which
    /// nothing is new. How much of it is cut off.
    pub fn verdict(&mut self, sk: u64, first: u32) -> u32 {
        self.verdict_on(sk, first, 0)
    }

    /// The verdict program is asked about a segment of so many bytes, the first of which has this
    /// number. How much of it is cut off.
    pub fn verdict_on(&mut self, sk: u64, first: u32, length: u32) -> u32 {
        let context = self.new_context(__sk_buff::sk.offset());
        self.fill_context(&[
            (__sk_buff::sk.offset(), 8, sk),
            (__sk_buff::len.offset(), 4, length.into()),
        ]);
        self.set(context, |l| l.segment_sequence, first.into());
        assert_eq!(self.run(ProgramName::Verdict, sk), 1, "a segment always passes");
        self.host().state.cut
    }

    /// Shows programs how full a socket's queues are.
    fn show_queue(&mut self, sk: u64) {
        let stream = &self.sockets[&sk].stream;
        let (unread, received, queued) =
            (stream.unread(), stream.received.len(), !stream.is_queue_empty());
        self.set(sk, |l| l.receive_allocated, unread);
        self.set(sk, |l| l.receive_queue_length, received as u64);
        self.queue(sk, queued);
    }

    /// Makes a socket's ingress queue look empty or not.
    pub fn queue(&mut self, sk: u64, holds: bool) {
        let psock = self.psock(sk);
        let head = psock + u64::from(self.host().datapath.layout.ingress_queue.offset);
        self.set(psock, |l| l.ingress_queue, if holds { psock + 512 } else { head });
    }

    /// A socket's reader reads all that there is.
    pub fn read(&mut self, sk: u64) {
        self.read_up_to(sk, u64::MAX);
    }

    /// A socket's reader reads at most so many bytes. How many it has got.
    pub fn read_up_to(&mut self, sk: u64, most: u64) -> u64 {
        if self.is_enrolled(sk) {
            self.judge_received(sk);
        }
        let (read, of_tcp) = self.know(sk).stream.read(most);
        let copied = self.get(sk, |l| l.copied_seq) as u32;
        self.set(sk, |l| l.copied_seq, copied.wrapping_add(of_tcp).into());
        self.show_queue(sk);
        read
    }

    /// The same by `recvmsg`, which the tracepoint sees.
    pub fn receive(&mut self, sk: u64, most: u64) -> u64 {
        let read = self.read_up_to(sk, most);
        self.reads(sk, read as i64, 0);
        read
    }

    /// The tracepoint sees `recvmsg` return.
    pub fn reads(&mut self, sk: u64, result: i64, flags: u64) {
        self.new_context(sock_recv_length::sk.offset());
        self.fill_context(&[
            (sock_recv_length::sk.offset(), 8, sk),
            (sock_recv_length::ret.offset(), 8, result as u64),
            (sock_recv_length::flags.offset(), 8, flags),
        ]);
        assert_eq!(self.run(ProgramName::Reads, sk), 0);
    }

    /// All that has entered a socket's ingress queue, in that order: by which way, and which bytes
    /// of those sent to it.
    pub fn entered(&mut self, sk: u64) -> Vec<(Way, std::ops::Range<u64>)> {
        self.know(sk).stream.entered.clone()
    }

    /// A pass for which this candidate is due, and which is the first.
    pub fn enrol(&mut self, sk: u64) -> Enrolment {
        self.edit_candidate(sk, |candidate| (candidate.due, candidate.pause) = (0, 1));
        let found = self.pass(sk);
        match self.candidate(sk) {
            _ if found.enrolled > 0 => Enrolment::Enrolled,
            Some(candidate) if candidate.refused == 0 => {
                let mut waits = [
                    Wait::Process,
                    Wait::History,
                    Wait::Blocking,
                    Wait::Peer,
                    Wait::Unread,
                    Wait::Room,
                ]
                .into_iter();
                let wait = waits.find(|&wait| wait as u32 == candidate.wait);
                wait.map_or(Enrolment::NotTried, Enrolment::Waits)
            }
            _ => Enrolment::Gone,
        }
    }

    /// Does something, and then `look`s at the world as another processor would have seen it in the
    /// middle of that, after each call of a helper. It goes on from the end of it.
    pub fn in_the_middle(
        &mut self,
        act: impl FnOnce(&mut World),
        mut look: impl FnMut(&mut World),
    ) {
        self.host_mut().moments = Some(Vec::new());
        act(self);
        let moments = self.host_mut().moments.take().expect("they were asked for");
        let end = (self.host().memory.snapshot(), self.host().state.clone());
        for (memory, state) in moments {
            self.host_mut().memory.restore(memory);
            self.host_mut().state = state;
            look(self);
        }
        self.host_mut().memory.restore(end.0);
        self.host_mut().state = end.1;
    }

    /// A pass comes to this socket, and finds this.
    pub fn pass(&mut self, sk: u64) -> Pass {
        self.pass_over(&[sk])
    }

    /// A pass comes to these sockets, and finds this.
    pub fn pass_over(&mut self, sks: &[u64]) -> Pass {
        let nothing = Pass { due: u64::MAX, ..Pass::default() };
        sks.iter().fold(nothing, |found, &sk| self.visit(found, sk))
    }

    /// A pass that has found this so far comes to a socket.
    fn visit(&mut self, found: Pass, sk: u64) -> Pass {
        match self.host().datapath.settings.passes {
            Passes::Iterator => {
                self.new_context(bpf_iter__bpf_sk_storage_map::sk.offset());
                self.fill_context(&[(bpf_iter__bpf_sk_storage_map::sk.offset(), 8, sk)]);
                self.run_pass(found, sk)
            }
            Passes::Files => {
                let file = self
                    .host()
                    .files
                    .iter()
                    .find(|&(_, &held)| self.get(held, |l| l.socket_sk) == sk);
                let file = file.map_or(0, |(&file, _)| file);
                self.visit_file(found, sk, file)
            }
            Passes::Classifier => {
                let cookie = if sk == 0 { 0 } else { self.get(sk, |l| l.cookie) };
                self.visit_by(
                    found,
                    sk,
                    Request { cookie, netns: u32::MAX, family: 2, ..Request::default() },
                )
            }
        }
    }

    /// A pass comes to the socket at this address, which the kernel finds by the request's tuple.
    pub fn pass_by(&mut self, sk: u64, request: Request) -> Pass {
        self.visit_by(Pass { due: u64::MAX, ..Pass::default() }, sk, request)
    }

    /// A pass that has found this so far comes to an open file.
    pub fn visit_file(&mut self, found: Pass, sk: u64, file: u64) -> Pass {
        self.new_context(bpf_iter__task_file::file.offset());
        self.fill_context(&[(bpf_iter__task_file::file.offset(), 8, file)]);
        self.run_pass(found, sk)
    }

    fn visit_by(&mut self, found: Pass, sk: u64, mut request: Request) -> Pass {
        request.tuple = std::array::from_fn(|word| sk as u32 + word as u32);
        let tuple: &[u8] = bytemuck::bytes_of(&request.tuple);
        let tuple = tuple[..if request.family == 2 { 12 } else { 36 }].to_vec();
        self.host_mut().tuples.insert(tuple, sk);
        self.packet(bytemuck::bytes_of(&request), size_of::<Request>());
        self.run_pass(found, sk)
    }

    fn run_pass(&mut self, before: Pass, sk: u64) -> Pass {
        if sk != 0 {
            let goes_on = self.lane(sk).is_some_and(|lane| lane.mode != Mode::Left as u32);
            self.know(sk).spoke &= goes_on;
        }
        let host = self.host();
        host.memory.write(host.pass, bytemuck::bytes_of(&before));
        let result = self.run(ProgramName::Enrol, sk);
        let host = self.host();
        let found: Pass =
            bytemuck::pod_read_unaligned(&host.memory.read(host.pass, size_of::<Pass>()));
        if self.host().datapath.settings.passes != Passes::Classifier {
            assert_eq!(result, 0, "or it would be called for this one again");
        } else if before.due == u64::MAX {
            assert_eq!(result, u64::from(found.due != u64::MAX), "{found:?}");
        }
        found
    }

    /// Changes what is known of a socket, if it is a candidate.
    pub fn edit_candidate(&mut self, sk: u64, edit: impl FnOnce(&mut super::Candidate)) {
        let Some(mut candidate) = self.candidate(sk) else { return };
        edit(&mut candidate);
        let at = self.host_mut().map("candidates").entries[sk.to_le_bytes().as_slice()];
        self.host().memory.write(at, bytemuck::bytes_of(&candidate));
    }

    /// What the iterator over the socket map shows of this socket; 0 is the null pointer of its
    /// last call.
    pub fn show(&mut self, sk: u64) -> Option<FlowEnd> {
        let meta = self.object();
        self.host_mut().state.output.clear();
        self.new_context(bpf_iter__sockmap::sk.offset());
        self.fill_context(&[
            (bpf_iter__sockmap::meta.offset(), 8, meta),
            (bpf_iter__sockmap::sk.offset(), 8, sk),
        ]);
        assert_eq!(self.run(ProgramName::Show, sk), 0, "or it would be called for this one again");
        let output = &self.host().state.output;
        (!output.is_empty()).then(|| bytemuck::pod_read_unaligned(output))
    }

    /// The open file of this socket, whose inode number is this.
    pub fn file_of(&mut self, sk: u64, inode: u64) -> u64 {
        let held = self.get(sk, |l| l.socket);
        self.set(held, |l| l.socket_inode, inode);
        self.get(held, |l| l.socket_file)
    }

    /// What the iterator over open files shows of this one; 0, as a process too, is the null
    /// pointer of its last call.
    pub fn holder(&mut self, file: u64, pid: u32, fd: u32) -> Option<Holder> {
        let (meta, task) = (self.object(), if pid == 0 { 0 } else { self.object() });
        if task != 0 {
            self.set(task, |l| l.process_id, pid.into());
        }
        self.host_mut().state.output.clear();
        self.new_context(bpf_iter__task_file::file.offset());
        self.fill_context(&[
            (bpf_iter__task_file::meta.offset(), 8, meta),
            (bpf_iter__task_file::task.offset(), 8, task),
            (bpf_iter__task_file::fd.offset(), 4, fd.into()),
            (bpf_iter__task_file::file.offset(), 8, file),
        ]);
        let result = self.run(ProgramName::Holders, 0);
        assert_eq!(result, 0, "or it would be called for this one again");
        let output = &self.host().state.output;
        (!output.is_empty()).then(|| bytemuck::pod_read_unaligned(output))
    }

    /// What the program that looks at a socket says of the one with this name.
    pub fn look(&mut self, name: Isns) -> Option<FlowEnd> {
        let record = self.packet(bytemuck::bytes_of(&name), size_of::<FlowEnd>());
        let found = self.run(ProgramName::Look, 0);
        assert!(found <= 1, "looking gave {found}");
        (found == 1).then(|| {
            bytemuck::pod_read_unaligned(&self.host().memory.read(record, size_of::<FlowEnd>()))
        })
    }

    /// A packet with a record of at least this size.
    fn packet(&mut self, record: &[u8], size: usize) -> u64 {
        let packet = self.host_mut().memory.place(super::RECORD_AT + size);
        self.host_mut().state.packet = packet;
        let at = packet + super::RECORD_AT as u64;
        self.host().memory.write(at, record);
        self.new_context(__sk_buff::sk.offset());
        at
    }

    pub fn time_passes(&mut self, jiffies: u32) {
        self.host_mut().jiffies += u64::from(jiffies);
    }

    pub fn now(&self) -> u64 {
        self.host().jiffies
    }

    // What the programs know.

    /// The agent tells the programs this, and has attached the tracepoint at least once.
    pub fn control(&mut self, control: Control) {
        let control = Control { tracings: control.tracings.max(1), ..control };
        let host = self.host();
        host.memory.write(host.control, bytemuck::bytes_of(&control));
    }

    pub fn lane(&mut self, sk: u64) -> Option<Lane> {
        let address = *self.host_mut().map("lanes").entries.get(sk.to_le_bytes().as_slice())?;
        Some(bytemuck::pod_read_unaligned(&self.host().memory.read(address, size_of::<Lane>())))
    }

    /// Where an enrolled socket's lane is.
    pub fn lane_address(&mut self, sk: u64) -> u64 {
        self.host_mut().map("lanes").entries[sk.to_le_bytes().as_slice()]
    }

    /// Changes an enrolled socket's lane.
    pub fn edit_lane(&mut self, sk: u64, edit: impl FnOnce(&mut Lane)) {
        let mut lane = self.lane(sk).expect("a lane");
        edit(&mut lane);
        let address = self.lane_address(sk);
        self.host().memory.write(address, bytemuck::bytes_of(&lane));
    }

    /// The entries of a map by name.
    pub fn entries<V: Pod>(&mut self, map: &str) -> Vec<(Isns, V)> {
        let entries = self.host_mut().map(map).entries.clone();
        let value = |address: u64| {
            bytemuck::pod_read_unaligned(&self.host().memory.read(address, size_of::<V>()))
        };
        entries
            .iter()
            .map(|(key, &address)| (bytemuck::pod_read_unaligned(key), value(address)))
            .collect()
    }

    pub fn len(&mut self, map: &str) -> usize {
        self.host_mut().map(map).entries.len()
    }

    /// Names of enrolled sockets, each with its socket.
    pub fn enrolled(&mut self) -> Vec<(Isns, u64)> {
        let socks = &self.host_mut().map("socks").entries;
        socks.iter().map(|(key, &sk)| (bytemuck::pod_read_unaligned(key), sk)).collect()
    }

    /// Takes a socket out of the socket map, as the kernel does when it closes.
    pub fn leaves_socket_map(&mut self, sk: u64) {
        self.host_mut().map("socks").entries.retain(|_, &mut enrolled| enrolled != sk);
        self.set(sk, |l| l.user_data, 0);
    }

    pub fn put<V: Pod>(&mut self, map: &str, key: Isns, value: V) {
        self.host_mut().put(map, bytemuck::bytes_of(&key), bytemuck::bytes_of(&value));
    }

    /// Puts a rule, or what is known of a listener, under a key of any type.
    pub fn put_under<K: Pod, V: Pod>(&mut self, map: &str, key: K, value: V) {
        self.host_mut().put(map, bytemuck::bytes_of(&key), bytemuck::bytes_of(&value));
    }

    /// What is under a key of any type.
    pub fn value_under<K: Pod, V: Pod>(&mut self, map: &str, key: K) -> Option<V> {
        let address = *self.host_mut().map(map).entries.get(bytemuck::bytes_of(&key))?;
        Some(bytemuck::pod_read_unaligned(&self.host().memory.read(address, size_of::<V>())))
    }

    pub fn ports(&mut self, ports: &Ports) {
        self.host().memory.write(self.host().ports, bytemuck::bytes_of(ports));
    }

    /// Lets a thread of this name make the next calls, in a process whose first thread has that
    /// one.
    pub fn caller(&mut self, process: &[u8; 16], thread: &[u8; 16]) {
        let (first, other) = (self.object(), self.object());
        for (task, name) in [(first, process), (other, thread)] {
            let at = u64::from(self.host().datapath.layout.thread_name.offset);
            self.host().memory.write(task + at, name);
            self.set(task, |l| l.first_thread, first);
        }
        let memory = self.object();
        self.set(memory, |l| l.image, 0xffff_8880_0000_0000 ^ first);
        self.set(first, |l| l.started, 1_000_000_000 + first);
        self.set(first, |l| l.process_id, 4_711);
        self.set(first, |l| l.memory, memory);
        self.host_mut().caller = other;
    }

    /// The first thread of the process that makes the next calls.
    pub fn first_thread(&self) -> u64 {
        self.get(self.host().caller, |l| l.first_thread)
    }

    /// The process that makes the next calls.
    pub fn process(&self) -> Process {
        let first = self.first_thread();
        Process {
            started: self.get(first, |l| l.started),
            image: self.get(self.get(first, |l| l.memory), |l| l.image),
            pid: self.get(first, |l| l.process_id) as u32,
            padding: 0,
        }
    }

    /// The agent has found out how the process that makes the next calls reads.
    pub fn reader(&mut self, reads: Reads) {
        let process = self.process();
        self.put_under("readers", process, reads as u32);
    }

    /// Gives a socket or a request socket IPv4 addresses, its own first.
    pub fn addresses(&mut self, sk: u64, local: [u8; 4], remote: [u8; 4]) {
        let l = self.host().datapath.layout.clone();
        for (address, v4, v6) in
            [(local, l.local_v4, l.local_v6), (remote, l.remote_v4, l.remote_v6)]
        {
            self.host().memory.write(sk + u64::from(v4.offset), &address);
            if let Some(v6) = v6 {
                let mapped = std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets();
                self.host().memory.write(sk + u64::from(v6.offset), &mapped);
            }
        }
    }

    /// Empties a map, as eviction may.
    pub fn evict(&mut self, map: &str) {
        self.host_mut().map(map).entries.clear();
    }

    /// From now on a map takes no new entry.
    pub fn fill(&mut self, map: &str) {
        let map = self.host_mut().map(map);
        map.capacity = map.entries.len();
    }

    /// Lets a fault happen at a call of `helper`, after so many more that go well.
    pub fn fault(&mut self, helper: Helper, calls_before: u32, fault: Fault) {
        self.host_mut().state.faults.push((helper, calls_before, fault));
    }

    pub fn fails(&mut self, helper: Helper) {
        self.fault(helper, 0, Fault::Fails);
    }

    /// From now on the tracer's ring buffer is full.
    pub fn no_events(&mut self) {
        self.host_mut().map("events").capacity = 0;
    }

    /// What has not failed will not.
    pub fn clear_faults(&mut self) {
        self.host_mut().state.faults.clear();
    }

    /// Faults that have not happened.
    pub fn pending_faults(&self) -> usize {
        self.host().state.faults.len()
    }

    /// Candidates that the agent was told of since the last time.
    pub fn newcomers(&mut self) -> Vec<Newcomer> {
        let records = std::mem::take(&mut self.host_mut().state.newcomers);
        records.iter().map(|record| bytemuck::pod_read_unaligned(record)).collect()
    }

    /// What is known of a candidate.
    pub fn candidate(&mut self, sk: u64) -> Option<super::Candidate> {
        self.value_under("candidates", sk)
    }

    /// Whether a candidate was left alone for good.
    pub fn is_refused(&mut self, sk: u64) -> bool {
        self.candidate(sk).is_some_and(|candidate| candidate.refused == 1)
    }

    /// Network namespaces in which sockets were looked up since the last time.
    pub fn looked_in(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.host_mut().state.looked_in)
    }

    /// Socket options set since the last time: level, name, value.
    pub fn options(&mut self) -> Vec<(u64, u64, u64)> {
        std::mem::take(&mut self.host_mut().state.options)
    }

    /// How often this was counted in all.
    pub fn total(&self, counter: Counter) -> u64 {
        self.host().memory.number(self.host().counters + counter as u64 * 8, 8)
    }

    /// Everything that was counted since the last time.
    pub fn counted(&mut self) -> Vec<(Counter, u64)> {
        let mut counted = Vec::new();
        for (index, &reason) in Counter::ALL.iter().enumerate() {
            let total = self.host().memory.number(self.host().counters + index as u64 * 8, 8);
            let before = self.counted.insert(index, total).unwrap_or(0);
            if total != before {
                counted.push((reason, total - before));
            }
        }
        counted
    }

    /// [`counted`](World::counted) without how much was redirected.
    pub fn decided(&mut self) -> Vec<(Counter, u64)> {
        let mut counted = self.counted();
        counted.retain(|(counter, _)| {
            ![Counter::DirectMessages, Counter::DirectBytes].contains(counter)
        });
        counted
    }

    /// A process announces that it will trace for so many jiffies.
    pub fn trace(&mut self, jiffies: u32) {
        let until = self.now_ns() + u64::from(jiffies) * 1_000_000_000 / u64::from(HZ);
        let host = self.host();
        host.memory.write(host.tracer, bytemuck::bytes_of(&Tracer { until }));
    }

    pub fn now_ns(&self) -> u64 {
        self.host().nanoseconds()
    }

    /// What the tracer was told since the last time.
    pub fn told(&mut self) -> Vec<Told> {
        let records = std::mem::take(&mut self.host_mut().state.events);
        records.iter().map(|record| bytemuck::pod_read_unaligned(record)).collect()
    }

    // Running.

    /// A context full of zeros, which shows a socket there.
    fn new_context(&mut self, shown_at: usize) -> u64 {
        self.host_mut().shown_at = shown_at as u64;
        let memory = &self.host().memory;
        memory.write(memory.addresses.context, &[0; memory::CONTEXT]);
        memory.addresses.context
    }

    /// Numbers of the context: where, how many bytes, and what.
    fn fill_context(&self, numbers: &[(usize, usize, u64)]) {
        let memory = &self.host().memory;
        for &(offset, size, number) in numbers {
            memory.set_number(memory.addresses.context + offset as u64, size, number);
        }
    }

    /// Runs a program for an event, a message or an option of this socket.
    fn run(&mut self, which: ProgramName, sk: u64) -> u64 {
        let lanes = self.lanes();
        let (memory, state) = (self.host().memory.snapshot(), self.host().state.clone());
        let counters = (self.host().counters, Counter::ALL.len() * 8);
        let before = self.host().memory.read(counters.0, counters.1);

        self.host_mut().state.counters_missing = true;
        let without = (self.run_once(which), self.host().visible());
        assert_eq!(self.host().memory.read(counters.0, counters.1), before);

        self.host_mut().memory.restore(memory);
        self.host_mut().state = state;
        let with = (self.run_once(which), self.host().visible());
        assert_eq!(without.0, with.0, "counting has changed the result");
        assert!(
            without.1 == with.1,
            "counting has changed what happens:\n{:?}\n{:?}",
            without.1,
            with.1
        );
        assert!(self.host().state.held.is_empty(), "a socket that was looked up is not given back");
        self.check(&lanes, which, sk);
        with.0
    }

    fn run_once(&mut self, which: ProgramName) -> u64 {
        let mut host = self.host.take().expect("no program runs");
        host.state.redirected = None;
        host.state.cut = 0;
        host.memory.prepare_run();
        let index =
            self.programs.iter().position(|&(name, _)| name == which).expect("every program");
        let (range, prepared) = (host.memory.range(), &self.prepared[index]);
        let (host, result) = host.running(|| interpreter::run(prepared, range, HELPERS));
        coverage::note(self.kernel, &self.programs[index].1, &host.memory.marks());
        self.host = Some(host);
        result
    }

    /// Every lane, by its socket.
    fn lanes(&mut self) -> BTreeMap<u64, Lane> {
        let entries = self.host_mut().map("lanes").entries.clone();
        let read =
            |at: u64| bytemuck::pod_read_unaligned(&self.host().memory.read(at, size_of::<Lane>()));
        entries
            .iter()
            .map(|(key, &at)| {
                (u64::from_le_bytes(key.as_slice().try_into().expect("a socket")), read(at))
            })
            .collect()
    }

    /// Asserts the invariants of [`super::super::lane`].
    fn check(&mut self, before: &BTreeMap<u64, Lane>, which: ProgramName, of: u64) {
        let after = self.lanes();
        let is_direct = |lane: &Lane| lane.mode == Mode::Direct as u32;
        for (&sk, lane) in &after {
            assert!(
                is_direct(lane) || lane.credit == 0,
                "{which:?}: credit that cannot be spent: {lane:?}"
            );
            let silent = !self.know(sk).spoke && lane.mode == Mode::Tcp as u32;
            let expected = is_direct(lane) || silent;
            assert_eq!(
                lane.why == 0,
                expected,
                "{which:?}: it does not say why it is not direct: {lane:?}"
            );
            if is_direct(lane) {
                let swapped = Isns { own: lane.own.name.peer, peer: lane.own.name.own };
                assert!(
                    lane.peer.sk != 0 && lane.peer.name == swapped,
                    "{which:?}: no peer: {lane:?}"
                );
            }
        }
        let strangers = |lanes: &BTreeMap<u64, Lane>| -> Vec<(u64, Lane)> {
            lanes.iter().filter(|&(&sk, _)| sk != of).map(|(&sk, &lane)| (sk, lane)).collect()
        };
        assert_eq!(
            strangers(before),
            strangers(&after),
            "{which:?} has changed a lane of another socket"
        );
        if let (Some(before), Some(after)) = (before.get(&of), after.get(&of)) {
            let is_final = before.mode >= Mode::Ended as u32;
            let comes_back = before.mode == Mode::Left as u32 && which == ProgramName::Enrol;
            assert!(
                !is_final || comes_back || after.mode >= before.mode,
                "it had ended: {after:?}"
            );
        }
    }
}
