//! The maps of the datapath. All of them are bounded; entries that are not collected are evicted.

use bpf_asm::uapi::BPF_F_NO_PREALLOC;
use bpf_asm::{MapDef, MapKind, MapRef};

use super::counter::Counter;
use super::record::{
    About, Adoption, Candidate, Comm, Control, Endings, Isns, Lane, Pass, Ports, Prefix, Process,
    Refusal, Tracer,
};

/// Connections whose SYN has reached a listener here and whose handshake goes on, or comes to
/// nothing.
const HANDSHAKES: u32 = 16_384;

/// Sockets that are about to be enrolled are noted before the socket map has them, or has no room
/// for them.
const AHEAD: u32 = 16;

/// Connections whose ends look for each other, or of which one has none to look for.
const MEETING: u32 = 65_536;

/// How many rules of each kind there can be; ports have one entry for all of them.
pub const RULES: u32 = 4096;

/// Listeners whose process is known; those that accept nothing are forgotten first, and what they
/// accept then goes by TCP.
const LISTENERS: u32 = 16_384;
/// Bytes of the ring buffer: two thousand changes that a tracer may fall behind.
const EVENTS: u32 = 256 << 10;
/// Ends of open connections that are adopted in one go; more are, in several.
pub const ADOPTEES: u32 = 65_536;
/// Processes of which is known how they read; the least recently used are asked for again.
const READERS: u32 = 16_384;
/// Reasons and programs for which connections were left to TCP; the least recent are forgotten.
const REFUSALS: u32 = 1024;
/// Bytes of the ring buffer for new candidates: two thousand that the agent may fall behind.
const NEWCOMERS: u32 = 256 << 10;

/// The maps that programs and agent share.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// What is known of a connection while its handshake goes on, by its client's name: the verdict
    /// on the listener's end, and whether the client has come.
    pub hints: MapRef<Isns, u64>,
    /// Where the ends of a flow find each other, by the client's name.
    pub rendezvous: MapRef<Isns, u64>,
    /// Every enrolled socket, by its name.
    pub socks: MapRef<Isns, u32>,
    /// Every enrolled socket's lane.
    pub lanes: MapRef<i32, Lane>,
    /// Up to which sequence number TCP's bytes are in the queue of every enrolled socket, by its
    /// cookie.
    pub arrived: MapRef<u64, u32>,
    /// Every socket that waits to be enrolled.
    pub candidates: MapRef<i32, Candidate>,
    /// Open connections that are to be adopted, by cookie, while the program goes over them that
    /// begins it.
    pub adoptees: MapRef<u64, Adoption>,
    /// Every socket that is being adopted.
    pub adoptions: MapRef<i32, Adoption>,
    /// How processes read: a [`Reads`](super::Reads) each.
    pub readers: MapRef<Process, u32>,
    /// How many ends of connections were left to TCP, by reason and program.
    pub refusals: MapRef<Refusal, u64>,
    /// Which lanes have ended; one entry.
    pub endings: MapRef<u32, Endings>,
    /// One number per [`Counter`] and CPU.
    pub counters: MapRef<u32, u64>,
    /// What the agent tells the programs; one entry.
    pub control: MapRef<u32, Control>,
    /// Rules by port; one entry.
    pub ports: MapRef<u32, Ports>,
    /// Rules by address: a verdict each. Of a shorter prefix that covers a longer one, the longer
    /// one repeats the verdict.
    pub addresses: MapRef<Prefix, u64>,
    /// Rules by the name of the process: a verdict each.
    pub processes: MapRef<Comm, u64>,
    /// Rules by the identity of a cgroup, which hold for all below it: a verdict each, those of the
    /// cgroups above it repeated.
    pub cgroups: MapRef<u64, u64>,
    /// The process of every listener, by its cookie.
    pub listeners: MapRef<u64, Comm>,
    /// What the rules say of a client's process, if they say something.
    pub clients: MapRef<i32, u64>,
    /// Whether somebody traces; one entry.
    pub tracer: MapRef<u32, Tracer>,
    /// Changes of lanes, each an [`Event`](super::Event), while somebody traces.
    pub events: MapRef<(), ()>,
    /// New candidates, each a [`Newcomer`](super::Newcomer), for the agent.
    pub newcomers: MapRef<(), ()>,
    /// What the last pass over the candidates has found; one entry.
    pub pass: MapRef<u32, Pass>,
    /// What the agent states for processes that open its pins; one entry.
    pub about: MapRef<u32, About>,
}

impl Maps {
    /// Maps for at most `flows` open flows.
    pub const fn new(flows: u32) -> Maps {
        Maps {
            hints: MapRef::new("hints", MapKind::LruHash, HANDSHAKES),
            rendezvous: MapRef::new(
                "rendezvous",
                MapKind::LruHash,
                if flows < MEETING { flows } else { MEETING },
            ),
            socks: MapRef::new("socks", MapKind::SockHash, flows.saturating_mul(2)),
            lanes: MapRef::new("lanes", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC),
            arrived: MapRef::new(
                "arrived",
                MapKind::Hash,
                flows.saturating_mul(2).saturating_add(AHEAD),
            )
            .flags(BPF_F_NO_PREALLOC),
            candidates: MapRef::new("candidates", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC),
            adoptees: MapRef::new("adoptees", MapKind::Hash, ADOPTEES).flags(BPF_F_NO_PREALLOC),
            adoptions: MapRef::new("adoptions", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC),
            readers: MapRef::new("readers", MapKind::LruHash, READERS),
            refusals: MapRef::new("refusals", MapKind::LruHash, REFUSALS),
            endings: MapRef::new("endings", MapKind::Array, 1),
            counters: MapRef::new("counters", MapKind::PerCpuArray, Counter::ALL.len() as u32),
            control: MapRef::new("control", MapKind::Array, 1),
            ports: MapRef::new("ports", MapKind::Array, 1),
            addresses: MapRef::new("addresses", MapKind::LpmTrie, RULES).flags(BPF_F_NO_PREALLOC),
            processes: MapRef::new("processes", MapKind::Hash, RULES),
            cgroups: MapRef::new("cgroups", MapKind::Hash, RULES),
            listeners: MapRef::new("listeners", MapKind::LruHash, LISTENERS),
            clients: MapRef::new("clients", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC),
            tracer: MapRef::new("tracer", MapKind::Array, 1),
            events: MapRef::ring_buffer("events", EVENTS),
            newcomers: MapRef::ring_buffer("newcomers", NEWCOMERS),
            pass: MapRef::new("pass", MapKind::Array, 1),
            about: MapRef::new("about", MapKind::Array, 1),
        }
    }

    /// Each map's definition, in the order in which they are made.
    pub fn all(&self) -> [&MapDef; 24] {
        [
            self.hints.def(),
            self.rendezvous.def(),
            self.socks.def(),
            self.lanes.def(),
            self.arrived.def(),
            self.candidates.def(),
            self.adoptees.def(),
            self.adoptions.def(),
            self.readers.def(),
            self.refusals.def(),
            self.endings.def(),
            self.counters.def(),
            self.control.def(),
            self.ports.def(),
            self.addresses.def(),
            self.processes.def(),
            self.cgroups.def(),
            self.listeners.def(),
            self.clients.def(),
            self.tracer.def(),
            self.events.def(),
            self.newcomers.def(),
            self.pass.def(),
            self.about.def(),
        ]
    }
}
