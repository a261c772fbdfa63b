//! The programs in userspace: rbpf runs them on a simulated kernel, where anything can be made to happen.
//!
//! | file | what it simulates |
//! |---|---|
//! | [`kernel`] | two kernels by their structures: one with every feature, one with none that may be missing |
//! | [`memory`] | kernel memory, in which every address is checked |
//! | [`host`] | maps and helpers; any call of a helper can be made to fail |
//! | [`interpreter`] | rbpf, which must be told what the kernel does otherwise |
//! | [`coverage`] | which ways of which branches no test has taken |
//!
//! A [`World`] holds sockets and tells programs what happens to them. Each run is made twice from the same state, at first without
//! counters: whether something is counted must not matter to anything.

mod coverage;
mod host;
mod interpreter;
mod kernel;
mod memory;

use std::collections::BTreeMap;

use bpf_asm::{KernelField, Program, bpf_sock_ops, bpf_sockopt, sk_msg_md};
use bytemuck::Pod;

pub use host::{Fault, Helper};
pub use kernel::{Kernel, SOCK_ZEROCOPY};

use super::{Control, Datapath, Event as Told, FlowEnd, Isns, Lane, Layout, Ports, Reason, Settings, Tracer};
use host::{HELPERS, Host};
use kernel::STRUCTURE;

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

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    Tcp,
}

/// Who waits for a socket.
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

/// What a client's socket and file say of its callers.
#[derive(Clone, Copy, Debug)]
pub struct Callers {
    /// `connect` has told the application so.
    pub connected: bool,
    pub nonblocking: bool,
    /// How many hold on to the file, the descriptor among them.
    pub holders: u64,
}

impl Default for Callers {
    /// One thread, back from `connect`.
    fn default() -> Callers {
        Callers { connected: true, nonblocking: true, holders: 1 }
    }
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
    HdrOptLen = 14,
}

/// States (include/net/tcp_states.h).
pub const ESTABLISHED: u32 = 1;
pub const FIN_WAIT1: u32 = 4;
pub const FIN_WAIT2: u32 = 5;
pub const CLOSE: u32 = 7;
pub const CLOSE_WAIT: u32 = 8;
pub const LAST_ACK: u32 = 9;

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
}

impl Event {
    pub fn new(op: Op, sk: u64) -> Event {
        let tcp_flags = match op {
            Op::ActiveEstablished => 0x12,
            Op::PassiveEstablished => 0x10,
            _ => 0,
        };
        Event { op, sk, shown: true, is_fullsock: 1, args: [0; 2], tcp_flags, state: ESTABLISHED }
    }
}

/// A test on each kernel.
pub fn on_every_kernel(test: impl Fn(World)) {
    for kernel in Kernel::ALL {
        eprintln!("on {kernel:?}");
        test(World::new(kernel));
    }
}

/// Sockets on a simulated kernel with the datapath attached.
pub struct World {
    pub kernel: Kernel,
    /// There except while a program runs.
    host: Option<Host>,
    programs: [Program; 4],
    /// The programs as the interpreter takes them.
    prepared: [Vec<u8>; 4],
    /// Who is whose peer in truth.
    peers: BTreeMap<u64, u64>,
    /// What was read of the counters.
    counted: BTreeMap<usize, u64>,
    next_cookie: u64,
    /// What the next event's socket has chosen before.
    callbacks: u64,
    /// Of every socket that no other was asked for.
    pub namespace: u64,
}

/// The programs in the order of [`Datapath::programs`].
#[derive(Clone, Copy)]
enum Which {
    Establish,
    Send,
    Options,
    Look,
}

impl World {
    pub fn new(kernel: Kernel) -> World {
        let settings = Settings { flows: 64, meter: kernel.meter(), hz: HZ };
        let datapath = Datapath::new(kernel.layout(), settings);
        let programs = datapath.programs().unwrap_or_else(|errors| panic!("{errors}"));
        let host = Host::new(datapath);
        let prepared = programs
            .each_ref()
            .map(|program| interpreter::prepare(&program.for_rbpf(|map| host.handle(map)), host.memory.addresses));
        assert!(programs.iter().all(|program| program.slots() * 2 <= memory::MARKS), "there is no room for the marks");
        let mut world = World {
            kernel,
            host: Some(host),
            programs,
            prepared,
            peers: BTreeMap::new(),
            counted: BTreeMap::new(),
            next_cookie: 1,
            callbacks: 0,
            namespace: 0,
        };
        world.namespace = world.new_namespace();
        world.host_mut().jiffies = 1_000_000;
        world.control(Control { draining: 0, refresh: REFRESH, ..Control::default() });
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

    /// Sets a member that only some kernels have.
    pub fn set_optional(&mut self, object: u64, field: impl Fn(&Layout) -> Option<KernelField>, content: u64) {
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

    pub fn new_namespace(&mut self) -> u64 {
        let namespace = self.object();
        self.set(namespace, |l| l.namespace_inode, 4_026_531_840);
        // So long that it never is the least.
        self.set_optional(namespace, |l| l.conntrack_established, 432_000 * u64::from(HZ));
        self.set_optional(namespace, |l| l.keepalive_idle_default, 7_200 * u64::from(HZ));
        self.set_optional(namespace, |l| l.keepalive_interval_default, 75 * u64::from(HZ));
        namespace
    }

    /// An established socket with its two first sequence numbers, its own first.
    pub fn socket(&mut self, own: u32, peer: u32) -> u64 {
        let sk = self.object();
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let namespace = self.namespace;
        let psock = self.object();
        let held = self.object();
        for (field, content) in [
            ((|l| l.cookie) as fn(&Layout) -> KernelField, cookie),
            (|l| l.namespace, namespace),
            (|l| l.receive_allocated, 0),
            (|l| l.receive_buffer, RECEIVE_BUFFER),
            (|l| l.rcv_wup, peer.into()),
            (|l| l.rcv_wnd, WINDOW),
            (|l| l.lock_owned, 0),
            (|l| l.wait_queue, 0),
            (|l| l.low_water, 1),
            (|l| l.socket, held),
            (|l| l.flags, 0),
            (|l| l.write_seq, own.into()),
            (|l| l.copied_seq, peer.into()),
            (|l| l.rcv_nxt, peer.into()),
            (|l| l.keepalive_idle, 0),
            (|l| l.keepalive_interval, 0),
            // Two tags of three.
            (|l| l.user_data, psock | 3),
        ] {
            self.set(sk, field, content);
        }
        self.set_optional(sk, |l| l.is_mptcp, 0);
        self.set_optional(sk, |l| l.asks_for_counts, 0);
        self.queue(sk, false);
        self.users_of_psock(sk, 1);
        let file = self.object();
        self.set(held, |l| l.socket_file, file);
        self.callers(sk, Callers::default());
        sk
    }

    /// Who may be in a call on a socket.
    pub fn callers(&mut self, sk: u64, Callers { connected, nonblocking, holders }: Callers) {
        let held = self.get(sk, |l| l.socket);
        self.set(held, |l| l.socket_state, if connected { 3 } else { 2 });
        let file = self.get(held, |l| l.socket_file);
        self.set(file, |l| l.file_flags, if nonblocking { 0o4002 } else { 2 });
        let holds = u64::from(self.kernel == Kernel::Bare) + holders - 1;
        self.set(file, |l| l.file_holders.field, holds);
    }

    /// How many hold on to a socket's psock: the socket map is one.
    pub fn users_of_psock(&mut self, sk: u64, users: u64) {
        self.set(self.psock(sk), |l| l.direct_users, users);
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

    fn psock(&self, sk: u64) -> u64 {
        self.get(sk, |l| l.user_data) & !7
    }

    /// Makes a socket's direct queue empty or not.
    pub fn queue(&mut self, sk: u64, holds: bool) {
        let psock = self.psock(sk);
        let head = psock + u64::from(self.host().datapath.layout.direct_queue.offset);
        self.set(psock, |l| l.direct_queue, if holds { psock + 512 } else { head });
    }

    /// The two sockets of a connection, client first, of which shunt knows nothing yet.
    pub fn connection(&mut self, client_isn: u32, server_isn: u32) -> (u64, u64) {
        let client = self.socket(client_isn + 1, server_isn + 1);
        let server = self.socket(server_isn + 1, client_isn + 1);
        self.peers.extend([(client, server), (server, client)]);
        (client, server)
    }

    /// A paired flow, client first.
    pub fn flow(&mut self) -> (u64, u64) {
        let isn = 7_000 * self.next_cookie as u32;
        let (client, server) = self.connection(isn, isn + 1_000);
        self.syn(isn, isn + 1_000);
        self.counted();
        self.establish(client, server);
        assert_eq!(self.counted(), [(Reason::Paired, 1)]);
        (client, server)
    }

    /// Both ends of a connection are established, the client first.
    pub fn establish(&mut self, client: u64, server: u64) {
        self.event(Event::new(Op::ActiveEstablished, client));
        self.event(Event::new(Op::PassiveEstablished, server));
    }

    /// The life of a connection of which both ends do all that they can, shunt willing or not.
    pub fn story(&mut self, client: u64, server: u64) {
        self.establish(client, server);
        for _ in 0..2 {
            for (sender, receiver) in [(client, server), (server, client)] {
                self.send(sender, 100);
                self.segment(receiver);
                self.send(sender, 1);
                self.read_direct(receiver);
                self.segment(receiver);
                self.read(receiver);
                self.segment(receiver);
            }
            self.time_passes(REFRESH);
        }
        self.state_becomes(client, FIN_WAIT1);
        self.state_becomes(server, LAST_ACK);
        self.state_becomes(server, CLOSE);
        self.state_becomes(client, CLOSE);
        self.leaves_socket_map(client);
        self.leaves_socket_map(server);
    }

    /// A paired flow in which each end has sent and read messages, so that both lanes are direct and no refresh is near, and a
    /// segment; client first.
    pub fn direct_flow(&mut self) -> (u64, u64) {
        let (client, server) = self.flow();
        self.time_passes(HZ);
        assert_eq!(self.send(client, 100), Way::Tcp);
        self.read(server);
        assert_eq!(self.send(client, 100), Way::Direct);
        assert_eq!(self.send(server, 100), Way::Tcp);
        self.read(client);
        assert_eq!(self.send(server, 100), Way::Direct);
        for sk in [client, server] {
            self.read(sk);
            self.segment(sk);
        }
        self.counted();
        self.options();
        (client, server)
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

    pub fn event(&mut self, Event { op, sk, shown, is_fullsock, args, tcp_flags, state }: Event) {
        let context = self.new_context();
        let memory = &self.host().memory;
        let numbers = [
            (bpf_sock_ops::op.offset(), 4, op as u64),
            (bpf_sock_ops::args.offset(), 4, args[0].into()),
            (bpf_sock_ops::args.index::<1>().offset(), 4, args[1].into()),
            (bpf_sock_ops::is_fullsock.offset(), 4, is_fullsock.into()),
            (bpf_sock_ops::sk.offset(), 8, if shown { sk } else { 0 }),
            (bpf_sock_ops::skb_tcp_flags.offset(), 4, tcp_flags.into()),
            (bpf_sock_ops::state.offset(), 4, state.into()),
            (bpf_sock_ops::bpf_sock_ops_cb_flags.offset(), 4, self.callbacks),
            (size_of::<bpf_sock_ops>(), 8, sk),
        ];
        self.show_addresses(context + bpf_sock_ops::family.offset() as u64);
        for (offset, size, number) in numbers {
            memory.set_number(context + offset as u64, size, number);
        }
        if matches!(op, Op::ActiveEstablished | Op::PassiveEstablished) {
            let numbers = [
                (bpf_sock_ops::snd_nxt.offset(), self.get(sk, |l| l.write_seq)),
                (bpf_sock_ops::rcv_nxt.offset(), self.get(sk, |l| l.rcv_nxt)),
            ];
            for (offset, number) in numbers {
                self.host().memory.set_number(context + offset as u64, 4, number);
            }
        }
        let result = self.run(Which::Establish);
        assert_eq!(result, 1, "sock_ops has no objection, ever");
    }

    /// Contexts show addresses from the family on, in one order: 13 words, each with its own number.
    fn show_addresses(&self, family: u64) {
        for word in 0..13 {
            self.host().memory.set_number(family + word * 4, 4, ADDRESSES + word);
        }
    }

    /// The callbacks that the last event chose for its socket.
    pub fn callbacks(&self) -> u64 {
        let host = self.host();
        host.memory.number(host.memory.addresses.context + bpf_sock_ops::bpf_sock_ops_cb_flags.offset() as u64, 4)
    }

    /// The callbacks that the next event's socket has.
    pub fn set_callbacks(&mut self, callbacks: u64) {
        self.callbacks = callbacks;
    }

    pub fn state_becomes(&mut self, sk: u64, state: u32) {
        self.event(Event { args: [1, state], ..Event::new(Op::State, sk) });
    }

    /// An application sets an option of a socket to these bytes. Whether it may, and how many of them the kernel is to take itself: 0
    /// for what the application gave, -1 for nothing.
    pub fn set_option(&mut self, sk: u64, level: i32, name: i32, value: &[u8]) -> (bool, i32) {
        let given = self.host_mut().memory.place(value.len());
        let context = self.new_context();
        let memory = &self.host().memory;
        memory.write(given, value);
        let numbers = [
            (bpf_sockopt::sk.offset(), 8, sk),
            (bpf_sockopt::optval.offset(), 8, given),
            (bpf_sockopt::optval_end.offset(), 8, given + value.len() as u64),
            (bpf_sockopt::level.offset(), 4, level as u64),
            (bpf_sockopt::optname.offset(), 4, name as u64),
            (bpf_sockopt::optlen.offset(), 4, value.len() as u64),
        ];
        for (offset, size, number) in numbers {
            memory.set_number(context + offset as u64, size, number);
        }
        let allowed = self.run(Which::Options);
        assert!(allowed <= 1, "it answers {allowed}");
        (allowed == 1, self.host().memory.number(context + bpf_sockopt::optlen.offset() as u64, 4) as i32)
    }

    /// An enrolled socket sends a segment.
    pub fn segment(&mut self, sk: u64) {
        self.event(Event::new(Op::HdrOptLen, sk));
    }

    /// A socket sends a message, which reaches its peer's queue: the one or the other.
    pub fn send(&mut self, sk: u64, size: u32) -> Way {
        let context = self.new_context();
        let memory = &self.host().memory;
        memory.set_number(context + sk_msg_md::size.offset() as u64, 4, size.into());
        memory.set_number(context + sk_msg_md::sk.offset() as u64, 8, sk);
        self.show_addresses(context + sk_msg_md::family.offset() as u64);
        let verdict = self.run(Which::Send);
        assert_eq!(verdict, 1, "a message always passes");

        let receiver = self.peers.get(&sk).copied();
        match self.host().state.redirected {
            Some(redirected) => {
                assert_eq!(Some(redirected), receiver, "a message reached a stranger");
                self.queue(redirected, true);
                if self.kernel == Kernel::Full {
                    let held = self.get(redirected, |l| l.receive_allocated);
                    self.set(redirected, |l| l.receive_allocated, held + u64::from(size));
                }
                Way::Direct
            }
            None => {
                if sk != 0 {
                    self.set(sk, |l| l.write_seq, self.get(sk, |l| l.write_seq) + u64::from(size));
                }
                if let Some(receiver) = receiver {
                    let next = self.get(receiver, |l| l.rcv_nxt) + u64::from(size);
                    self.set(receiver, |l| l.rcv_nxt, next);
                    self.set(receiver, |l| l.rcv_wup, next);
                }
                Way::Tcp
            }
        }
    }

    /// A socket's reader reads all that there is.
    pub fn read(&mut self, sk: u64) {
        self.set(sk, |l| l.copied_seq, self.get(sk, |l| l.rcv_nxt));
        self.read_direct(sk);
    }

    /// A socket's reader reads all that was redirected.
    pub fn read_direct(&mut self, sk: u64) {
        self.set(sk, |l| l.receive_allocated, 0);
        self.queue(sk, false);
    }

    /// What the program that looks at a socket says of the one with this name.
    pub fn look(&mut self, name: Isns) -> Option<FlowEnd> {
        let packet = self.host_mut().memory.place(super::RECORD_AT + size_of::<FlowEnd>());
        self.host_mut().state.packet = packet;
        let record = packet + super::RECORD_AT as u64;
        self.host().memory.write(record, bytemuck::bytes_of(&name));
        self.new_context();
        let found = self.run(Which::Look);
        assert!(found <= 1, "looking gave {found}");
        (found == 1).then(|| bytemuck::pod_read_unaligned(&self.host().memory.read(record, size_of::<FlowEnd>())))
    }

    pub fn time_passes(&mut self, jiffies: u32) {
        self.host_mut().jiffies += u64::from(jiffies);
    }

    pub fn now(&self) -> u64 {
        self.host().jiffies
    }

    // What the programs know.

    pub fn control(&mut self, control: Control) {
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
        let value = |address: u64| bytemuck::pod_read_unaligned(&self.host().memory.read(address, size_of::<V>()));
        entries.iter().map(|(key, &address)| (bytemuck::pod_read_unaligned(key), value(address))).collect()
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

    /// Lets a thread of this name make the next calls, in a process whose first thread has that one.
    pub fn caller(&mut self, process: &[u8; 16], thread: &[u8; 16]) {
        let (first, other) = (self.object(), self.object());
        for (task, name) in [(first, process), (other, thread)] {
            let at = u64::from(self.host().datapath.layout.thread_name.offset);
            self.host().memory.write(task + at, name);
            self.set(task, |l| l.first_thread, first);
        }
        self.host_mut().caller = other;
    }

    /// Gives a socket or a request socket IPv4 addresses, its own first.
    pub fn addresses(&mut self, sk: u64, local: [u8; 4], remote: [u8; 4]) {
        let l = self.host().datapath.layout.clone();
        for (address, v4, v6) in [(local, l.local_v4, l.local_v6), (remote, l.remote_v4, l.remote_v6)] {
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

    /// Faults that have not happened.
    pub fn pending_faults(&self) -> usize {
        self.host().state.faults.len()
    }

    /// Readers that an agent was told of since the last time.
    pub fn armed(&mut self) -> Vec<Isns> {
        let names = std::mem::take(&mut self.host_mut().state.armed);
        names.iter().map(|name| bytemuck::pod_read_unaligned(name)).collect()
    }

    /// Socket options set since the last time: level, name, value.
    pub fn options(&mut self) -> Vec<(u64, u64, u64)> {
        std::mem::take(&mut self.host_mut().state.options)
    }

    /// Everything that was counted since the last time.
    pub fn counted(&mut self) -> Vec<(Reason, u64)> {
        let mut counted = Vec::new();
        for (index, &reason) in Reason::ALL.iter().enumerate() {
            let total = self.host().memory.number(self.host().counters + index as u64 * 8, 8);
            let before = self.counted.insert(index, total).unwrap_or(0);
            if total != before {
                counted.push((reason, total - before));
            }
        }
        counted
    }

    /// Somebody says that he will trace for so many jiffies.
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

    /// A context full of zeros.
    fn new_context(&mut self) -> u64 {
        let memory = &self.host().memory;
        memory.write(memory.addresses.context, &[0; memory::CONTEXT]);
        memory.addresses.context
    }

    fn run(&mut self, which: Which) -> u64 {
        let (memory, state) = (self.host().memory.snapshot(), self.host().state.clone());
        let counters = (self.host().counters, Reason::ALL.len() * 8);
        let before = self.host().memory.read(counters.0, counters.1);

        self.host_mut().state.counters_missing = true;
        let without = (self.run_once(which), self.host().visible());
        assert_eq!(self.host().memory.read(counters.0, counters.1), before);

        self.host_mut().memory.restore(memory);
        self.host_mut().state = state;
        let with = (self.run_once(which), self.host().visible());
        assert_eq!(without.0, with.0, "counting has changed the result");
        assert!(without.1 == with.1, "counting has changed what happens:\n{:?}\n{:?}", without.1, with.1);
        with.0
    }

    fn run_once(&mut self, which: Which) -> u64 {
        let mut host = self.host.take().expect("no program runs");
        host.state.redirected = None;
        host.state.released.clear();
        host.memory.prepare_run();
        let (range, prepared) = (host.memory.range(), &self.prepared[which as usize]);
        let (host, result) = host.running(|| interpreter::run(prepared, range, HELPERS));
        coverage::note(self.kernel, &self.programs[which as usize], &host.memory.marks());
        self.host = Some(host);
        result
    }

    /// Sockets that the last run looked up and gave back.
    pub fn released(&self) -> &[u64] {
        &self.host().state.released
    }
}
