//! How a lane ends, and how its socket gets out of the socket map without losing a byte.

use bpf_asm::{Builder, Ptr, bpf_sock_ops, helper};

use super::count::count;
use super::peek::peek;
use super::reason::Reason;
use super::record::{End, Lane, Mode, Wake};
use super::rendezvous::BPF_SOCK_OPS_STATE_CB_FLAG;
use super::{Datapath, establish, gate, rendezvous, trace};

/// Nothing is sent directly any more, for this reason.
pub(super) fn end(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, lane: &Ptr<Lane>, reason: Reason) {
    mark(b, lane, reason);
    trace::tell(b, d, lane, reason as u32, event);
}

/// Marks a lane as one that has ended for this reason.
pub(super) fn mark(b: &Builder, lane: &Ptr<Lane>, reason: Reason) {
    b.store(lane.at(Lane::mode), Mode::Ended as u32);
    b.store(lane.at(Lane::credit), 0);
    b.store(lane.at(Lane::why), reason as u32);
}

/// An event's socket, whose lane has ended, is taken out if nothing can be on its way to it and nothing waits to be read; and not while
/// its keepalive timer is borrowed.
///
/// Whoever sleeps on a socket is woken when its FIN is acknowledged and when the peer's arrives (`tcp_rcv_state_process`, `tcp_fin`).
/// TCP's own receive function knows what to do; that of enrolled sockets answers `EAGAIN`, to a blocking reader, too
/// (`tcp_bpf_recvmsg`). So a program that sends all it has, shuts down, and then waits for the rest is to find TCP's function. A redirect
/// that is under way to a socket that has just been taken out would fail in its sender.
pub(super) fn leave(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let stays = b.label();
    let lane = establish::lane_of(b, d, event, &stays);
    let wake = b.load(lane.at(Lane::wake));
    b.jump_if(wake.ne(Wake::Idle as u32), &stays);
    drop(wake);

    rendezvous::find_peer(b, d, &lane, &stays);
    let cookie = peek(b, b.load(lane.at(Lane::peer).at(End::sk)), d.layout.cookie, &stays);
    b.jump_if(cookie.ne(b.load(lane.at(Lane::peer).at(End::cookie))), &stays);
    drop(cookie);
    gate::at_rest(b, d, &lane, &stays);
    let unread = gate::direct_unread(b, d, &b.load(lane.at(Lane::own).at(End::sk)), &stays);
    b.jump_if(unread.ne(0), &stays);
    drop(unread);
    b.call(helper::map_delete_elem(&d.maps.socks, lane.at(Lane::own).at(End::name)));
    drop(lane);
    // Its segments are of no interest any more.
    let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
    flags.and(BPF_SOCK_OPS_STATE_CB_FLAG);
    b.call(helper::sock_ops_cb_flags_set(event, flags));
    count(b, d, Reason::Left);
    b.place(&stays);
}

#[cfg(test)]
mod tests;
