//! The kernel's side of the simulation: maps, and the helpers that programs call.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bpf_asm::{MapDef, MapKind, bpf_sock_ops, uapi};

use super::kernel::STRUCTURE_ID;
use super::memory::{Memory, Snapshot};
use crate::datapath::{Counter, Datapath, Endings, Pass};

thread_local! {
    /// Helpers are plain functions: this is how they reach the host that a program runs on.
    static RUNNING: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// A helper function by the kernel's number (`enum bpf_func_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Helper {
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    KtimeGetNs = 5,
    SkbStoreBytes = 9,
    SkbLoadBytes = 26,
    GetCurrentTask = 35,
    GetSocketCookie = 46,
    Setsockopt = 49,
    SockOpsCbFlagsSet = 59,
    SkbAdjustRoom = 50,
    MsgRedirectHash = 71,
    SkLookupTcp = 84,
    SkRelease = 86,
    SkStorageGet = 107,
    SkStorageDelete = 108,
    ProbeReadKernel = 113,
    ProbeReadKernelStr = 115,
    Jiffies64 = 118,
    SeqWrite = 127,
    RingbufOutput = 130,
    SkcToTcpSock = 137,
    SockFromFile = 162,
    LoadHdrOpt = 142,
    StoreHdrOpt = 143,
    ReserveHdrOpt = 144,
    /// No helper, but `bpf_rdonly_cast`: a number that no helper has.
    RdonlyCast = 100_000,
}

macro_rules! table {
    ($($helper:ident),*) => {
        /// Every helper, as rbpf takes them.
        pub const HELPERS: &[(u32, rbpf::ebpf::Helper)] = &[
            $((Helper::$helper as u32, |a, b, c, d, e| call(Helper::$helper, [a, b, c, d, e])),)*
        ];
    };
}

table!(
    MapLookupElem,
    MapUpdateElem,
    MapDeleteElem,
    KtimeGetNs,
    SkbStoreBytes,
    SkbLoadBytes,
    GetCurrentTask,
    GetSocketCookie,
    Setsockopt,
    SockOpsCbFlagsSet,
    SkbAdjustRoom,
    MsgRedirectHash,
    SkLookupTcp,
    SkRelease,
    SkStorageGet,
    SkStorageDelete,
    ProbeReadKernel,
    ProbeReadKernelStr,
    Jiffies64,
    SeqWrite,
    RingbufOutput,
    LoadHdrOpt,
    StoreHdrOpt,
    ReserveHdrOpt,
    RdonlyCast,
    SkcToTcpSock,
    SockFromFile
);

fn call(helper: Helper, arguments: [u64; 5]) -> u64 {
    RUNNING.with_borrow_mut(|host| host.as_mut().expect("a running host").call(helper, arguments))
}

const ENOENT: i64 = -2;
const E2BIG: i64 = -7;
const EAGAIN: i64 = -11;
const ENOMEM: i64 = -12;
const EFAULT: i64 = -14;
const EEXIST: i64 = -17;
const EINVAL: i64 = -22;
const ENOSPC: i64 = -28;
const ENOMSG: i64 = -42;

const BPF_NOEXIST: u64 = uapi::BPF_NOEXIST as u64;
const BPF_SK_STORAGE_GET_F_CREATE: u64 = uapi::BPF_SK_STORAGE_GET_F_CREATE as u64;
const BPF_F_INGRESS: u64 = uapi::BPF_F_INGRESS as u64;
const SK_DROP: i64 = uapi::SK_DROP as i64;
const SK_PASS: i64 = uapi::SK_PASS as i64;

const SOL_SOCKET: u64 = 1;
const SO_RCVLOWAT: u64 = 18;
const SOL_TCP: u64 = 6;
const TCP_WINDOW_CLAMP: u64 = 10;
const TCP_BPF_SOCK_OPS_CB_FLAGS: u64 = uapi::TCP_BPF_SOCK_OPS_CB_FLAGS as u64;
/// The most that `sk_skb_adjust_room` cuts off at once.
const CUT_AT_ONCE: i32 = 0xfff;

/// A map. Values are addresses: of a value, of a socket in a socket map.
#[derive(Clone)]
pub struct Map {
    def: MapDef,
    /// The most entries that it takes.
    pub capacity: usize,
    pub entries: BTreeMap<Vec<u8>, u64>,
}

impl Map {
    /// The value under the longest prefix that the key begins with: a length in bits, then the
    /// bytes.
    fn longest_prefix(&self, key: &[u8]) -> u64 {
        let split = |key: &[u8]| {
            let length = u32::from_ne_bytes([key[0], key[1], key[2], key[3]]);
            let address: [u8; 16] = key[4..].try_into().expect("an address");
            (length, u128::from_be_bytes(address))
        };
        let (most, address) = split(key);
        let covers = |prefix: u32, start: u128| {
            prefix <= most && (prefix == 0 || start >> (128 - prefix) == address >> (128 - prefix))
        };
        let candidates = self.entries.iter().map(|(key, &value)| (split(key), value));
        let longest = candidates
            .filter(|&((prefix, start), _)| covers(prefix, start))
            .max_by_key(|&((prefix, _), _)| prefix);
        longest.map_or(0, |(_, value)| value)
    }
}

/// What happens instead of a helper's work, or before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The helper fails, with what the kernel returns then.
    Fails,
    /// The context shows no socket any more.
    SocketHidden,
    /// Somebody sets the eight bytes at this address to zero.
    Zeroes(u64),
}

/// What changes while programs run, beside memory.
#[derive(Clone)]
pub struct State {
    pub maps: Vec<Map>,
    /// A fault, the helper that it is for, and how many of its calls still go well.
    pub faults: Vec<(Helper, u32, Fault)>,
    /// The receiver that the message was redirected to.
    pub redirected: Option<u64>,
    /// Options that were set: level, name, value.
    pub options: Vec<(u64, u64, u64)>,
    /// Sockets that a program has looked up and not given back.
    pub held: Vec<u64>,
    /// Network namespaces in which sockets were looked up.
    pub looked_in: Vec<i64>,
    /// Bytes that were cut off the segment.
    pub cut: u32,
    /// Counters cannot be looked up: nothing may depend on them.
    pub counters_missing: bool,
    /// Records in the ring buffer.
    pub events: Vec<Vec<u8>>,
    /// New candidates that the agent was told of.
    pub newcomers: Vec<Vec<u8>>,
    /// Bytes of a classifier's packet.
    pub packet: u64,
    /// What an iterator has written.
    pub output: Vec<u8>,
    /// The option of the TCP header that has come.
    pub option_in: Vec<u8>,
    /// Room that was made for an option of the next header, and the option.
    pub room: u64,
    pub option_out: Vec<u8>,
}

/// The simulated kernel.
pub struct Host {
    pub memory: Memory,
    pub state: State,
    pub jiffies: u64,
    pub datapath: Datapath,
    pub counters: u64,
    pub control: u64,
    pub endings: u64,
    pub ports: u64,
    /// The thread that is in a call.
    pub caller: u64,
    pub tracer: u64,
    pub pass: u64,
    /// What the kernel allocates for a socket that is put into a socket map.
    pub psocks: BTreeMap<u64, u64>,
    /// Sockets by address tuple.
    pub tuples: BTreeMap<Vec<u8>, u64>,
    /// What is behind open files: a `struct socket`.
    pub files: BTreeMap<u64, u64>,
    /// Where the context shows a socket.
    pub shown_at: u64,
    /// What another processor would have seen after each call of a helper, if that is asked for.
    pub moments: Option<Vec<(Snapshot, State)>>,
}

impl Host {
    pub fn new(datapath: Datapath) -> Host {
        let mut memory = Memory::new();
        let array = |memory: &mut Memory, size: usize| {
            let address = memory.place(size);
            memory.write(address, &vec![0; size]);
            address
        };
        let counters = array(&mut memory, Counter::ALL.len() * 8);
        let control = array(&mut memory, datapath.maps.control.def().value_size as usize);
        let endings = array(&mut memory, size_of::<Endings>());
        let ports = array(&mut memory, datapath.maps.ports.def().value_size as usize);
        let tracer = array(&mut memory, datapath.maps.tracer.def().value_size as usize);
        let pass = array(&mut memory, size_of::<Pass>());
        let maps = datapath
            .maps
            .all()
            .map(|def| Map {
                def: *def,
                capacity: def.max_entries as usize,
                entries: BTreeMap::new(),
            })
            .into();
        let state = State {
            maps,
            faults: Vec::new(),
            redirected: None,
            options: Vec::new(),
            held: Vec::new(),
            looked_in: Vec::new(),
            cut: 0,
            counters_missing: false,
            events: Vec::new(),
            newcomers: Vec::new(),
            packet: 0,
            output: Vec::new(),
            option_in: Vec::new(),
            room: 0,
            option_out: Vec::new(),
        };
        Host {
            memory,
            state,
            jiffies: 0,
            datapath,
            counters,
            control,
            endings,
            ports,
            caller: 0,
            tracer,
            pass,
            psocks: BTreeMap::new(),
            tuples: BTreeMap::new(),
            files: BTreeMap::new(),
            shown_at: bpf_sock_ops::sk.offset() as u64,
            moments: None,
        }
    }

    /// Runs `program` with this host behind its helpers.
    pub fn running(self, program: impl FnOnce() -> u64) -> (Host, u64) {
        RUNNING.set(Some(self));
        let result = program();
        (RUNNING.take().expect("the host that was put there"), result)
    }

    /// What stands for a map in a program: a number that nobody can load from, the value's address
    /// for a map of one value.
    pub fn handle(&self, def: &MapDef) -> u64 {
        let maps = &self.datapath.maps;
        for (of_one, value) in [
            (maps.control.def(), self.control),
            (maps.endings.def(), self.endings),
            (maps.ports.def(), self.ports),
            (maps.tracer.def(), self.tracer),
            (maps.pass.def(), self.pass),
        ] {
            if def.name == of_one.name {
                return value;
            }
        }
        let index = self.state.maps.iter().position(|map| map.def.name == def.name);
        index.unwrap_or_else(|| panic!("no map is called {}", def.name)) as u64 + 1
    }

    /// The map of this name.
    pub fn map(&mut self, name: &str) -> &mut Map {
        let found = self.state.maps.iter_mut().find(|map| map.def.name == name);
        found.unwrap_or_else(|| panic!("no map is called {name}"))
    }

    fn map_of(&mut self, handle: u64) -> &mut Map {
        &mut self.state.maps[handle as usize - 1]
    }

    /// Everything that a program can change, but the counters.
    pub fn visible(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let entries: Vec<(&str, Vec<u8>, Vec<u8>)> = self
            .state
            .maps
            .iter()
            .flat_map(|map| map.entries.iter().map(move |entry| (map, entry)))
            .map(|(map, (key, &value))| {
                // Of a socket map the socket itself counts.
                let size =
                    if map.def.kind == MapKind::SockHash { 0 } else { map.def.value_size as usize };
                (map.def.name, key.clone(), self.memory.read(value, size))
            })
            .collect();
        let of_one = [(self.endings, size_of::<Endings>()), (self.pass, size_of::<Pass>())];
        (
            entries,
            of_one.map(|(value, size)| self.memory.read(value, size)),
            self.state.events.clone(),
            self.state.newcomers.clone(),
            self.state.redirected,
            self.state.options.clone(),
            (self.state.held.clone(), self.state.looked_in.clone(), self.state.cut),
            (self.state.output.clone(), self.state.room, self.state.option_out.clone()),
        )
    }

    /// Puts a value into a map of values.
    pub fn put(&mut self, name: &str, key: &[u8], value: &[u8]) {
        let address = self.memory.place(value.len());
        self.memory.write(address, value);
        self.map(name).entries.insert(key.to_vec(), address);
    }

    fn call(&mut self, helper: Helper, arguments: [u64; 5]) -> u64 {
        let mut fails = false;
        let mut hides = false;
        self.state.faults.retain_mut(|(of, calls_before, fault)| {
            if *of != helper {
                return true;
            }
            if *calls_before > 0 {
                *calls_before -= 1;
                return true;
            }
            match fault {
                Fault::Fails => fails = true,
                Fault::SocketHidden => hides = true,
                Fault::Zeroes(address) => self.memory.set_number(*address, 8, 0),
            }
            false
        });
        if hides {
            self.memory.set_number(self.memory.addresses.context + self.shown_at, 8, 0);
        }
        let result =
            if fails { self.failure(helper, arguments) } else { self.work(helper, arguments) };
        if let Some(moments) = &mut self.moments {
            moments.push((self.memory.snapshot(), self.state.clone()));
        }
        result as u64
    }

    /// What the kernel answers when a helper cannot do its work.
    fn failure(&mut self, helper: Helper, [to, size, ..]: [u64; 5]) -> i64 {
        match helper {
            Helper::MapLookupElem
            | Helper::SkStorageGet
            | Helper::SkcToTcpSock
            | Helper::SkLookupTcp => 0,
            Helper::MsgRedirectHash => SK_DROP,
            Helper::MapUpdateElem | Helper::SkbAdjustRoom => ENOMEM,
            Helper::ProbeReadKernel | Helper::ProbeReadKernelStr => {
                self.memory.write(to, &vec![0; size as usize]);
                EFAULT
            }
            Helper::RdonlyCast => self.memory.zeroes as i64,
            Helper::SkbLoadBytes => EFAULT,
            Helper::Setsockopt => EINVAL,
            Helper::RingbufOutput => EAGAIN,
            other => panic!("{other:?} does not fail where the programs call it"),
        }
    }

    fn work(&mut self, helper: Helper, arguments: [u64; 5]) -> i64 {
        let [a, b, c, d, e] = arguments;
        match helper {
            Helper::MapLookupElem => self.lookup(a, b) as i64,
            Helper::MapUpdateElem => self.update(a, b, c, d),
            Helper::MapDeleteElem => {
                let key = self.key(a, b);
                let Some(value) = self.map_of(a).entries.remove(&key) else { return ENOENT };
                if self.map_of(a).def.kind == MapKind::SockHash {
                    self.memory.set_member(value, self.datapath.layout.user_data, 0);
                }
                0
            }
            Helper::SkbAdjustRoom => {
                let cut = -(b as i32);
                assert!((1..=CUT_AT_ONCE).contains(&cut) && c == 0 && d == 0, "cuts {cut}");
                self.state.cut += cut as u32;
                0
            }
            Helper::SkLookupTcp => {
                self.state.looked_in.push(d as i64);
                let tuple = self.memory.read(b, c as usize);
                let found = self.tuples.get(&tuple).copied().unwrap_or(0);
                if found != 0 {
                    self.state.held.push(found);
                }
                found as i64
            }
            Helper::SkbLoadBytes => {
                let bytes = self.memory.read(self.state.packet + b, d as usize);
                self.memory.write(c, &bytes);
                0
            }
            Helper::SkbStoreBytes => {
                let bytes = self.memory.read(c, d as usize);
                self.memory.write(self.state.packet + b, &bytes);
                0
            }
            Helper::GetSocketCookie => {
                let sk = if a == self.memory.addresses.context { self.socket(a) } else { a };
                self.memory.member(sk, self.datapath.layout.cookie) as i64
            }
            Helper::Setsockopt if c == TCP_BPF_SOCK_OPS_CB_FLAGS => {
                assert_eq!((b, e), (SOL_TCP, 4));
                let flags = self.memory.number(d, 4);
                self.memory.set_member(a, self.datapath.layout.callback_flags, flags);
                0
            }
            Helper::Setsockopt => self.set_option(a, [b, c], self.memory.number(d, e as usize)),
            Helper::SockOpsCbFlagsSet => {
                self.memory.set_number(
                    a + bpf_sock_ops::bpf_sock_ops_cb_flags.offset() as u64,
                    4,
                    b,
                );
                0
            }
            Helper::MsgRedirectHash => {
                assert_eq!(d, BPF_F_INGRESS, "a redirect goes into the receiver's queue");
                let key = self.key(b, c);
                self.state.redirected = self.map_of(b).entries.get(&key).copied();
                if self.state.redirected.is_some() { SK_PASS } else { SK_DROP }
            }
            Helper::SockFromFile => self.files.get(&a).copied().unwrap_or(0) as i64,
            Helper::SkRelease => {
                let held = self.state.held.iter().position(|&held| held == a);
                self.state.held.remove(held.expect("it gives back what it has looked up"));
                0
            }
            Helper::SkStorageGet => {
                let key = b.to_le_bytes().to_vec();
                if let Some(&value) = self.map_of(a).entries.get(&key) {
                    return value as i64;
                }
                let size = self.map_of(a).def.value_size as usize;
                if d & BPF_SK_STORAGE_GET_F_CREATE == 0 {
                    return 0;
                }
                let initial = if c == 0 { vec![0; size] } else { self.memory.read(c, size) };
                let value = self.memory.object(size);
                self.memory.write(value, &initial);
                self.map_of(a).entries.insert(key, value);
                value as i64
            }
            Helper::SkStorageDelete => {
                let key = b.to_le_bytes();
                self.map_of(a).entries.remove(key.as_slice()).map_or(ENOENT, |_| 0)
            }
            Helper::RdonlyCast => {
                assert_eq!(b, u64::from(STRUCTURE_ID), "a structure of the kernel");
                if self.memory.is_mapped(a, 1) { a as i64 } else { self.failure(helper, arguments) }
            }
            Helper::ProbeReadKernel => {
                if !self.memory.is_mapped(c, b as usize) {
                    return self.failure(helper, arguments);
                }
                let bytes = self.memory.read(c, b as usize);
                self.memory.write(a, &bytes);
                0
            }
            Helper::ProbeReadKernelStr => {
                if !self.memory.is_mapped(c, b as usize) {
                    return self.failure(helper, arguments);
                }
                let mut text = self.memory.read(c, b as usize);
                let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len() - 1);
                text.truncate(end);
                text.push(0);
                self.memory.write(a, &text);
                text.len() as i64
            }
            Helper::GetCurrentTask => self.caller as i64,
            Helper::Jiffies64 => self.jiffies as i64,
            Helper::KtimeGetNs => self.nanoseconds() as i64,
            Helper::RingbufOutput => {
                assert_eq!(d, 0, "whoever reads is woken");
                let record = self.memory.read(b, c as usize);
                if self.map_of(a).capacity == 0 {
                    return EAGAIN;
                }
                match self.map_of(a).def.name {
                    "events" => self.state.events.push(record),
                    "newcomers" => self.state.newcomers.push(record),
                    other => panic!("{other} is no ring buffer"),
                }
                0
            }
            Helper::SkcToTcpSock => a as i64,
            Helper::SeqWrite => {
                let record = self.memory.read(b, c as usize);
                self.state.output.extend(record);
                0
            }
            Helper::LoadHdrOpt => {
                let wanted = self.memory.read(b, c as usize);
                assert_eq!(
                    (wanted[0], wanted[1]),
                    (254, 6),
                    "an experimental option is found by six bytes"
                );
                let came = self.state.option_in.clone();
                if came.len() < 6 || came[0] != wanted[0] || came[2..6] != wanted[2..6] {
                    return ENOMSG;
                }
                self.memory.write(b, &came[..came.len().min(c as usize)]);
                if came.len() > c as usize { ENOSPC } else { came.len() as i64 }
            }
            Helper::StoreHdrOpt => {
                let option = self.memory.read(b, c as usize);
                assert_eq!(
                    (u64::from(option[1]), c),
                    (self.state.room, self.state.room),
                    "it fills the room"
                );
                self.state.option_out = option;
                0
            }
            Helper::ReserveHdrOpt => {
                assert_eq!(c, 0);
                self.state.room = b;
                0
            }
        }
    }

    /// `CLOCK_MONOTONIC`.
    pub fn nanoseconds(&self) -> u64 {
        self.jiffies * 1_000_000_000 / u64::from(self.datapath.settings.hz)
    }

    /// The socket of a sock_ops context, where the kernel keeps it.
    fn socket(&self, context: u64) -> u64 {
        self.memory.member(context, self.datapath.layout.context_sk)
    }

    fn key(&mut self, map: u64, address: u64) -> Vec<u8> {
        let size = self.map_of(map).def.key_size as usize;
        self.memory.read(address, size)
    }

    fn lookup(&mut self, map: u64, key: u64) -> u64 {
        let key = self.key(map, key);
        let counters = self.datapath.maps.counters.def().name;
        if self.map_of(map).def.name == counters {
            let index = u64::from_le_bytes([key[0], key[1], key[2], key[3], 0, 0, 0, 0]);
            let inside = index < Counter::ALL.len() as u64 && !self.state.counters_missing;
            return if inside { self.counters + index * 8 } else { 0 };
        }
        let map = self.map_of(map);
        if map.def.kind == MapKind::LpmTrie {
            return map.longest_prefix(&key);
        }
        let found = map.entries.get(&key).copied().unwrap_or(0);
        if found != 0 && map.def.kind == MapKind::SockHash {
            self.state.held.push(found);
        }
        found
    }

    fn update(&mut self, map: u64, key: u64, value: u64, flags: u64) -> i64 {
        let key = self.key(map, key);
        if self.map_of(map).def.kind == MapKind::SockHash {
            return self.enrol(map, key, value, flags);
        }
        let size = self.map_of(map).def.value_size as usize;
        let address = self.memory.place(size);
        self.memory.write(address, &self.memory.read(value, size));
        self.insert(map, key, address, flags)
    }

    fn enrol(&mut self, map: u64, key: Vec<u8>, sk: u64, flags: u64) -> i64 {
        let refused = self.insert(map, key, sk, flags);
        if refused == 0 {
            // Two tags of three.
            self.memory.set_member(sk, self.datapath.layout.user_data, self.psocks[&sk] | 3);
        }
        refused
    }

    fn insert(&mut self, map: u64, key: Vec<u8>, value: u64, flags: u64) -> i64 {
        let map = self.map_of(map);
        let exists = map.entries.contains_key(&key);
        if exists && flags & BPF_NOEXIST != 0 {
            return EEXIST;
        }
        if !exists && map.entries.len() >= map.capacity {
            if map.def.kind == MapKind::LruHash {
                map.entries.pop_first();
                map.entries.insert(key, value);
                return 0;
            }
            return E2BIG;
        }
        map.entries.insert(key, value);
        0
    }

    fn set_option(&mut self, context: u64, [level, name]: [u64; 2], value: u64) -> i64 {
        let sk = self.socket(context);
        self.state.options.push((level, name, value));
        let layout = &self.datapath.layout;
        match (level, name) {
            (SOL_SOCKET, SO_RCVLOWAT) => {
                self.memory.set_member(sk, layout.low_water, value);
                // TCP provides for it (`tcp_set_rcvlowat`).
                let buffer = self.memory.member(sk, layout.receive_buffer).max(2 * value);
                self.memory.set_member(sk, layout.receive_buffer, buffer);
            }
            (SOL_TCP, TCP_WINDOW_CLAMP) => {}
            _ => panic!("level {level} option {name} is not simulated"),
        }
        0
    }
}
