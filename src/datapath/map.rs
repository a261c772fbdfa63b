//! The maps of the datapath. All of them are bounded; what nobody collects is evicted.

use bpf_asm::{MapDef, MapKind, MapRef};

use super::reason::Reason;
use super::record::{About, Control, Fins, Isns, Lane, Tracer};

/// Memory as it is needed (include/uapi/linux/bpf.h); socket storage knows no other way.
const BPF_F_NO_PREALLOC: u32 = 1;

/// Connections whose SYN has reached a listener here and that come to nothing, or whose client is elsewhere: room for them beside the
/// flows, so that a flood of SYNs pushes out its own first.
const HANDSHAKES: u32 = 16_384;

/// Bytes of the ring buffer: two thousand changes that a tracer may fall behind.
const EVENTS: u32 = 256 << 10;

/// The maps that programs and agent share.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// Where the ends of a flow find each other, by the client's name: the address of the lane of whoever came last, 0 before the
    /// client.
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
    /// Whether somebody traces; one entry.
    pub tracer: MapRef<u32, Tracer>,
    /// Changes of lanes, each an [`Event`](super::Event), while somebody traces.
    pub events: MapRef<(), ()>,
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
            tracer: MapRef::new("tracer", MapKind::Array, 1),
            events: MapRef::ring_buffer("events", EVENTS),
            about: MapRef::new("about", MapKind::Array, 1),
        }
    }

    /// Each map's definition, in the order in which they are made.
    pub fn all(&self) -> [&MapDef; 9] {
        [
            self.rendezvous.def(),
            self.socks.def(),
            self.lanes.def(),
            self.fins.def(),
            self.counters.def(),
            self.control.def(),
            self.tracer.def(),
            self.events.def(),
            self.about.def(),
        ]
    }
}
