//! The maps of the datapath. All of them are bounded; what nobody collects is evicted.

use bpf_asm::{MapDef, MapKind, MapRef};

use super::reason::Reason;
use super::record::{About, Comm, Control, Fins, Isns, Lane, Ports, Prefix, Tracer};

/// Memory as it is needed (include/uapi/linux/bpf.h); socket storage and tries know no other way.
const BPF_F_NO_PREALLOC: u32 = 1;

/// Connections whose SYN has reached a listener here and that come to nothing, or whose client is elsewhere: room for them beside the
/// flows, so that a flood of SYNs pushes out its own first.
const HANDSHAKES: u32 = 16_384;

/// How many rules of each kind there can be; ports have one entry for all of them.
pub const RULES: u32 = 4096;

/// Listeners whose process is known; those that accept nothing are forgotten first, and what they accept then goes by TCP.
const LISTENERS: u32 = 16_384;
/// Bytes of the ring buffer: two thousand changes that a tracer may fall behind.
const EVENTS: u32 = 256 << 10;
/// Bytes of the ring buffer for readers to wake: the least that every page size allows.
const ARMED: u32 = 64 << 10;

/// The maps that programs and agent share.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// Where the ends of a flow find each other, by the client's name: the address of the lane of whoever came last, before the
    /// client the verdict on the listener's end.
    pub rendezvous: MapRef<Isns, u64>,
    /// Every enrolled socket, by its name.
    pub socks: MapRef<Isns, u32>,
    /// Every enrolled socket's lane.
    pub lanes: MapRef<i32, Lane>,
    /// Who has sent its FIN; one entry.
    pub fins: MapRef<u32, Fins>,
    /// One counter per [`Reason`] and CPU.
    pub counters: MapRef<u32, u64>,
    /// What the agent tells the programs; one entry.
    pub control: MapRef<u32, Control>,
    /// Rules by port; one entry.
    pub ports: MapRef<u32, Ports>,
    /// Rules by address: a verdict each. Of a shorter prefix that covers a longer one, the longer one repeats the verdict.
    pub addresses: MapRef<Prefix, u64>,
    /// Rules by the name of the process: a verdict each.
    pub processes: MapRef<Comm, u64>,
    /// Rules by the identity of a cgroup, which hold for all below it: a verdict each, those of the cgroups above it repeated.
    pub cgroups: MapRef<u64, u64>,
    /// The process of every listener, by its cookie.
    pub listeners: MapRef<u64, Comm>,
    /// What the rules say of a client's process, if they say something.
    pub clients: MapRef<i32, u64>,
    /// Whether somebody traces; one entry.
    pub tracer: MapRef<u32, Tracer>,
    /// Changes of lanes, each an [`Event`](super::Event), while somebody traces.
    pub events: MapRef<(), ()>,
    /// Names of sockets whose keepalive timer was borrowed, for an agent that is quicker than that.
    pub armed: MapRef<(), ()>,
    /// What the agent tells whoever opens its pins; one entry.
    pub about: MapRef<u32, About>,
}

impl Maps {
    /// Maps for at most `flows` open flows.
    pub const fn new(flows: u32) -> Maps {
        Maps {
            rendezvous: MapRef::new("rendezvous", MapKind::LruHash, flows.saturating_add(HANDSHAKES)),
            socks: MapRef::new("socks", MapKind::SockHash, flows.saturating_mul(2)),
            lanes: MapRef::new("lanes", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC),
            fins: MapRef::new("fins", MapKind::Array, 1),
            counters: MapRef::new("counters", MapKind::PerCpuArray, Reason::ALL.len() as u32),
            control: MapRef::new("control", MapKind::Array, 1),
            ports: MapRef::new("ports", MapKind::Array, 1),
            addresses: MapRef::new("addresses", MapKind::LpmTrie, RULES).flags(BPF_F_NO_PREALLOC),
            processes: MapRef::new("processes", MapKind::Hash, RULES),
            cgroups: MapRef::new("cgroups", MapKind::Hash, RULES),
            listeners: MapRef::new("listeners", MapKind::LruHash, LISTENERS),
            clients: MapRef::new("clients", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC),
            tracer: MapRef::new("tracer", MapKind::Array, 1),
            events: MapRef::ring_buffer("events", EVENTS),
            armed: MapRef::ring_buffer("armed", ARMED),
            about: MapRef::new("about", MapKind::Array, 1),
        }
    }

    /// Each map's definition, in the order in which they are made.
    pub fn all(&self) -> [&MapDef; 16] {
        [
            self.rendezvous.def(),
            self.socks.def(),
            self.lanes.def(),
            self.fins.def(),
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
            self.armed.def(),
            self.about.def(),
        ]
    }
}
