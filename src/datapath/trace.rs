//! The trace of a lane's changes.
//!
//! Each change of way, with its reason, goes into a ring buffer while a process has announced that
//! it reads the buffer. An announcement is valid for a few seconds, so that a killed reader does
//! not count for long. The common message changes nothing, so none of this is on its path.

use bpf_asm::{Builder, Label, Operand, Place, Ptr, Reg, bpf_sock_ops, helper, sk_msg_md};

use super::Datapath;
use super::count::count;
use super::counter::Total;
use super::record::{End, Event, Lane, Tracer};

/// From where in a context to where in an event.
type Way<T> = (Place<T>, Place<T>);

/// What a program's context says of its socket.
pub(super) struct Addresses {
    numbers: [Way<u32>; 5],
    v6: [Way<[u32; 4]>; 2],
}

macro_rules! addresses {
    ($context:ident: $type:ident, $event:ident) => {
        Addresses {
            numbers: [
                ($context.at($type::family), $event.at(Event::family)),
                ($context.at($type::local_port), $event.at(Event::local_port)),
                ($context.at($type::remote_port), $event.at(Event::remote_port)),
                ($context.at($type::local_ip4), $event.at(Event::local_v4)),
                ($context.at($type::remote_ip4), $event.at(Event::remote_v4)),
            ],
            v6: [
                ($context.at($type::local_ip6), $event.at(Event::local_v6)),
                ($context.at($type::remote_ip6), $event.at(Event::remote_v6)),
            ],
        }
    };
}

/// A context that knows its socket's addresses.
pub(super) trait Addressed {
    /// Where each of them is, and where it goes.
    fn addresses(&self, event: &bpf_asm::Slot<Event>) -> Addresses;
}

impl Addressed for Ptr<sk_msg_md> {
    fn addresses(&self, event: &bpf_asm::Slot<Event>) -> Addresses {
        addresses!(self: sk_msg_md, event)
    }
}

impl Addressed for Ptr<bpf_sock_ops> {
    fn addresses(&self, event: &bpf_asm::Slot<Event>) -> Addresses {
        addresses!(self: bpf_sock_ops, event)
    }
}

/// A lane goes another way than before, or by TCP for another reason: records it if a process
/// traces.
pub(super) fn tell(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    reason: impl Into<Operand>,
    context: &impl Addressed,
) {
    b.block(|nobody| {
        let lost = output(b, d, lane, reason.into(), context, nobody);
        b.when(lost.ne(0), || count(b, d, Total::TraceLost));
    });
}

/// Writes the record; gives 0, or why there was no room. Jumps to `nobody` if no process reads.
fn output(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    reason: Operand,
    context: &impl Addressed,
    nobody: &Label,
) -> Reg {
    let event = b.slot::<Event>();
    b.store(event.at(Event::reason), reason);
    let until = || b.load(b.map_value(&d.maps.tracer).at(Tracer::until));
    // Asking what time it is costs more than all the rest.
    b.jump_if(until().eq(0), nobody);
    let now = b.call(helper::ktime_get_ns());
    b.jump_if(now.ge(until()), nobody);
    b.store(event.at(Event::at), &now);

    b.copy(event.at(Event::name), lane.at(Lane::own).at(End::name));
    b.copy(event.at(Event::cookie), lane.at(Lane::own).at(End::cookie));
    b.copy(event.at(Event::direct_messages), lane.at(Lane::direct_messages));
    b.copy(event.at(Event::direct_bytes), lane.at(Lane::direct_bytes));
    b.copy(event.at(Event::mode), lane.at(Lane::mode));
    b.copy(event.at(Event::role), lane.at(Lane::role));
    let addresses = context.addresses(&event);
    // A context gives words only.
    for (from, to) in addresses.numbers {
        b.store(to, b.load(from));
    }
    for (from, to) in addresses.v6 {
        for word in 0..4 {
            b.store(to.clone().index(word), b.load(from.clone().index(word)));
        }
    }
    b.call(helper::ringbuf_output(&d.maps.events, &event, event.size(), 0))
}

#[cfg(test)]
mod tests;
