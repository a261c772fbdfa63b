//! The socket of a sock_ops event, and its lane.

use bpf_asm::uapi::{
    BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG,
    BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG,
};
use bpf_asm::{Builder, Label, NULL, Ptr, Reg, bpf_sock, bpf_sock_ops, helper, tcp_sock};

use super::Datapath;
use super::record::Lane;

/// The program is called about once in a round trip.
pub(super) const ROUND_TRIPS: i32 = BPF_SOCK_OPS_RTT_CB_FLAG;
/// The program is called for each segment that the socket sends, and at each write, when TCP asks
/// how large a segment may be.
pub(super) const SEGMENTS: i32 = BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
/// The program is called when the socket changes its state.
pub(super) const STATES: i32 = BPF_SOCK_OPS_STATE_CB_FLAG;
/// What marks a connection with both ends here. Callback flags are the only memory that a socket
/// has without an allocation; the callback itself, at an option that the kernel does not know, does
/// nothing.
pub(super) const LOCAL: i32 = BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG;
/// What marks a connection that was open before, until its ends have proved that they belong
/// together: the program is called for each segment that comes. Whoever finds it marked without an
/// [`Adoption`](super::record::Adoption) makes nothing of it.
pub(super) const UNPROVEN: i32 = BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG;
/// What marks its client. The callback itself, at a retransmission time-out, does nothing.
pub(super) const CLIENT: i32 = BPF_SOCK_OPS_RTO_CB_FLAG;
/// All that shunt asks for.
const CALLBACKS: i32 = LOCAL | UNPROVEN | CLIENT | ROUND_TRIPS | SEGMENTS | STATES;

/// The event's socket; jumps to `none` if the context shows none.
pub(super) fn sk_of(b: &Builder, event: &Ptr<bpf_sock_ops>, none: &Label) -> Ptr<bpf_sock> {
    let sk = b.load(event.at(bpf_sock_ops::sk));
    b.jump_if(sk.eq(0), none);
    sk
}

/// The lane of the event's socket; jumps to `none` if the context shows no socket or it has no
/// lane.
pub(super) fn lane_of(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    none: &Label,
) -> Ptr<Lane> {
    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk_of(b, event, none), NULL, 0));
    b.jump_if(lane.eq(0), none);
    lane
}

/// The event's socket, with its members at hand; jumps to `none` if the context shows no socket or
/// not a TCP socket.
pub(super) fn socket_of(b: &Builder, event: &Ptr<bpf_sock_ops>, none: &Label) -> Ptr<tcp_sock> {
    let socket = b.call(helper::skc_to_tcp_sock(sk_of(b, event, none)));
    b.jump_if(socket.eq(0), none);
    socket
}

/// Sets these flags, beside those that are set.
pub(super) fn mark(b: &Builder, event: &Ptr<bpf_sock_ops>, flags: i32) {
    change(b, event, |set| set.or(flags));
}

/// Takes these flags away.
pub(super) fn unmark(b: &Builder, event: &Ptr<bpf_sock_ops>, flags: i32) {
    change(b, event, |set| set.and(!flags));
}

/// The socket is of no interest any more: it costs nothing from here on.
pub(super) fn forget(b: &Builder, event: &Ptr<bpf_sock_ops>) {
    unmark(b, event, CALLBACKS);
}

/// What is marked as unproven is local, as after a handshake.
pub(super) fn proven(b: &Builder, event: &Ptr<bpf_sock_ops>) {
    change(b, event, |set| {
        set.or(LOCAL | ROUND_TRIPS);
        set.and(!UNPROVEN);
    });
}

fn change(b: &Builder, event: &Ptr<bpf_sock_ops>, change: impl FnOnce(&Reg)) {
    let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
    change(&flags);
    b.call(helper::sock_ops_cb_flags_set(event, flags));
}
