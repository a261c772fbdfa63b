//! How the two ends of a flow find each other.
//!
//! The pair of initial sequence numbers, the client's first, is the same at both ends of any NAT,
//! and only sockets whose handshake was seen here are enrolled. Under it stands in `rendezvous`:
//!
//! 1. which ends could be enrolled, a bit each: neither is before both could, for an end that is
//!    alone only pays; or that one of them never will be;
//! 2. once one of them is enrolled, the address of its lane. The other finds it there, is enrolled,
//!    and leaves its own address instead;
//! 3. the first finds that at its next message and takes the entry away.
//!
//! What is not taken away is evicted. The kernel gives an entry's memory to another pair as soon as
//! it has been taken away, so nothing is believed of a lane until the name in it has been compared.

use bpf_asm::uapi::BPF_ANY;
use bpf_asm::{Builder, Field, Label, Place, Ptr, Reg, Slot, helper};

use super::peek::peek_record;
use super::record::{End, Isns, Lane, Role};
use super::{Datapath, lane};

/// In an entry: the client could be enrolled. The server's bit is the next.
pub(super) const CLIENT_READY: i32 = 1;
/// In an entry: one of the ends will not be enrolled. What is more than this is the address of a
/// lane.
pub(super) const ALONE: i32 = 4;

/// The halves of a name in the order of another: its own, and its peer's.
pub(super) type Order = (Field<Isns, u32>, Field<Isns, u32>);
/// As the end itself has them.
pub(super) const OWN: Order = (Isns::own, Isns::peer);
/// As its peer has them.
pub(super) const PEERS: Order = (Isns::peer, Isns::own);

/// Makes sure that a lane knows its peer. Jumps to `unknown` if there is none yet.
pub(super) fn find_peer(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, unknown: &Label) {
    b.block(|known| {
        let sk = b.load(lane.at(Lane::peer).at(End::sk));
        b.jump_if(sk.ne(0), known);

        let at = b.slot::<Isns>();
        pair(b, &lane.at(Lane::own).at(End::name), &b.load(lane.at(Lane::role)), &at);
        let other = b.slot::<End>();
        let entry = b.call(helper::map_lookup_elem(&d.maps.rendezvous, &at));
        b.jump_if(entry.eq(0), unknown);
        lane_at(b, &b.load(entry.at_all()), &other, unknown);
        named(b, &other, lane.at(Lane::own).at(End::name), PEERS, unknown);
        b.copy(lane.at(Lane::peer), other.place());
        b.call(helper::map_delete_elem(&d.maps.rendezvous, &at));
        lane::has_met(b, lane);
    });
}

/// The pair that a connection is known by, which is its client's name, from the name and the role
/// of either end.
pub(super) fn pair(b: &Builder, name: &Place<Isns>, role: &Reg, into: &Slot<Isns>) {
    let put = |(own, peer): Order| {
        b.store(into.at(Isns::own), b.load(name.clone().at(own)));
        b.store(into.at(Isns::peer), b.load(name.clone().at(peer)));
    };
    b.when_else(role.eq(Role::Client as u32), || put(OWN), || put(PEERS));
}

/// The other end of this connection need not wait: one of them will not be enrolled.
pub(super) fn alone(b: &Builder, d: &Datapath, pair: &Slot<Isns>) {
    let entry = b.slot::<u64>();
    b.store(entry.place(), ALONE);
    b.call(helper::map_update_elem(&d.maps.rendezvous, pair, &entry, BPF_ANY));
}

/// Reads whose lane is at this address, at which nothing can be read if it is not one.
pub(super) fn lane_at(b: &Builder, lane: &Reg, into: &Slot<End>, none: &Label) {
    peek_record(b, lane, Lane::own.offset(), into, none);
}

/// The end that was found has this name, whose halves are given in the order in which the end names
/// them; jumps to `other` if not.
pub(super) fn named(
    b: &Builder,
    found: &Slot<End>,
    name: Place<Isns>,
    (own, peer): Order,
    other: &Label,
) {
    for (theirs, expected) in [(Isns::own, own), (Isns::peer, peer)] {
        let theirs = b.load(found.at(End::name).at(theirs));
        let expected = b.load(name.at(expected));
        b.jump_if(theirs.ne(&expected), other);
    }
}

#[cfg(test)]
mod tests;
