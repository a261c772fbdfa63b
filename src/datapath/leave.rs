//! The way out of the socket map, without losing a byte.
//!
//! Taking a socket out destroys what its reader has not read, and a redirect that is under way to
//! it would fail in its sender. So a socket leaves by itself, in its own sock_ops program, which
//! runs under its lock: no segment arrives meanwhile. It leaves when it sends a segment after its
//! lane has ended in both directions, or its peer's has, or while shunt is being stopped, if its
//! queues are empty and its peer is in no call that could redirect to it. A socket that is at rest
//! sends no segment, and stays until it closes: it goes by TCP.
//!
//! A socket that has left is a plain one. It may come back once the connection is one of messages
//! and answers again.

use bpf_asm::{Builder, Label, Ptr, Reg, Slot, bpf_sock_ops, helper};

use super::count::count;
use super::counter::{Ending, Outcome};
use super::event::{SEGMENTS, lane_of, socket_of, unmark};
use super::receiver::{delivered, fallbacks, mode, same, sk, unread, users_of_psock};
use super::record::{End, Isns, Lane, Mode};
use super::rendezvous::{find_peer, pair};
use super::waiters::asleep;
use super::{Datapath, arrived, candidate, control, lane};

/// Takes an event's socket out, if nothing can be on its way to it and nothing waits to be read.
pub(super) fn leave(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|stays| {
        let lane = lane_of(b, d, event, stays);
        let at = b.slot::<u64>();
        b.store(at.place(), b.load(lane.at(Lane::own).at(End::sk)));
        delivered(b, d, &b.load(at.place()), stays, stays);
        let unread = unread(b, d, &b.load(at.place()), stays);
        b.jump_if(unread.ne(0), stays);
        no_other_call(b, d, event, &b.load(at.place()), stays);
        at_rest(b, d, &lane, stays);
        b.call(helper::map_delete_elem(&d.maps.socks, lane.at(Lane::own).at(End::name)));
        arrived::end(b, d, &lane);
        // An end that has met nobody is not to be met any more.
        let known = b.load(lane.at(Lane::peer).at(End::sk));
        b.when(known.eq(0), || {
            let at = b.slot::<Isns>();
            pair_of(b, &lane, &at);
            b.call(helper::map_delete_elem(&d.maps.rendezvous, &at));
        });
        let received = b.load(event.at(bpf_sock_ops::data_segs_in));
        let sent = b.load(event.at(bpf_sock_ops::data_segs_out));
        lane::left(b, d, &lane, &received, &sent);
        lane::total(b, d, &lane);
        candidate::give_window_back(b, event);
        unmark(b, event, SEGMENTS);
        count(b, d, Outcome::Left);
    });
}

/// No thread is in a call on the event's own socket but the one that the event comes from: one that
/// is in a redirect has let go of the lock, and once the socket has left, its receiver could not
/// see it any more.
fn no_other_call(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, at: &Reg, stays: &Label) {
    let users = b.slot::<u64>();
    b.store(users.place(), users_of_psock(b, d, at, stays));
    let socket = socket_of(b, event, stays);
    let owned = b.load(socket.member(d.layout.lock_owned));
    // A number of 0 or 1.
    owned.and(1);
    b.jump_if(owned.lt(b.load(users.place())), stays);
}

/// Sees to it that nothing is on its way from the peer; jumps to `perhaps` if something may be.
///
/// Calls on the peer from now on find that this lane has ended. A message whose program ran before
/// is in the queue as soon as its call ends: a thread that is in a call on the peer holds a
/// reference to its psock, and no sender sleeps in the redirect itself unless it waits for this
/// socket's lock. A peer that is not in the map had no such call when it left.
fn at_rest(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, perhaps: &Label) {
    b.block(|at_rest| {
        let alone = b.label();
        b.block(|met| {
            find_peer(b, d, lane, &alone);
            b.jump(met);
            // An end that has met nobody is alone as long as its own address is where the other
            // would find it.
            b.place(&alone);
            {
                let pair = b.slot::<Isns>();
                pair_of(b, lane, &pair);
                let entry = b.call(helper::map_lookup_elem(&d.maps.rendezvous, &pair));
                b.jump_if(entry.eq(0), perhaps);
                let found = b.load(entry.at_all());
                b.jump_if(found.ne(b.load(lane.at(Lane::own).at(End::lane))), perhaps);
            }
            b.jump(at_rest);
        });
        same(b, d, lane, at_rest);
        // Only the peer's own sk_msg program says so, and becomes direct again only if it has not
        // seen that this lane leaves.
        let by_tcp = fallbacks(b, lane, at_rest);
        b.jump_if(by_tcp.ne(0), at_rest);
        let asleep = asleep(b, d, &sk(b, lane), perhaps);
        let users = users_of_psock(b, d, &sk(b, lane), at_rest);
        b.jump_if(users.gt(b.load(asleep.place())), perhaps);
    });
}

fn pair_of(b: &Builder, lane: &Ptr<Lane>, into: &Slot<Isns>) {
    pair(b, &lane.at(Lane::own).at(End::name), &b.load(lane.at(Lane::role)), into);
}

/// Goes to `leaving` if the lane of an event's socket, or that of its peer, has ended in both
/// directions, or shunt is being stopped.
pub(super) fn wanted(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, leaving: &Label) {
    b.block(|stays| {
        let own = b.load(lane.at(Lane::mode));
        b.jump_if(own.eq(Mode::Leaving as u32), leaving);
        b.when(control::draining(b, d).ne(0), || {
            lane::leave(b, d, lane, Ending::Stopped);
            count(b, d, Ending::Stopped);
            b.jump(leaving);
        });
        find_peer(b, d, lane, stays);
        same(b, d, lane, stays);
        let peers = mode(b, lane, stays);
        b.jump_if(peers.lt(Mode::Leaving as u32), stays);
        lane::leave(b, d, lane, Ending::PeerLeft);
        count(b, d, Ending::PeerLeft);
        b.jump(leaving);
    });
}

#[cfg(test)]
mod tests;
