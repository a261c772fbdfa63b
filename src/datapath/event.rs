//! The socket of a sock_ops event, and its lane.

use bpf_asm::{Builder, Label, NULL, Ptr, bpf_sock, bpf_sock_ops, helper, tcp_sock};

use super::Datapath;
use super::record::Lane;

/// Callbacks that a socket can ask for (include/uapi/linux/bpf.h).
pub(super) const BPF_SOCK_OPS_RTO_CB_FLAG: i32 = 1 << 0;
pub(super) const BPF_SOCK_OPS_STATE_CB_FLAG: i32 = 1 << 2;
pub(super) const BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG: i32 = 1 << 6;

/// What marks a connection with both ends here: the program is called for each segment that the socket sends.
pub(super) const LOCAL: i32 = BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
/// What marks its client. Callback flags are the only memory that a socket has without an allocation; the callback itself, at a
/// retransmission time-out, does nothing.
pub(super) const CLIENT: i32 = BPF_SOCK_OPS_RTO_CB_FLAG;
/// All that shunt asks for.
pub(super) const CALLBACKS: i32 = LOCAL | CLIENT | BPF_SOCK_OPS_STATE_CB_FLAG;

/// The event's socket; jumps to `none` if the context shows none.
pub(super) fn sk_of(b: &Builder, event: &Ptr<bpf_sock_ops>, none: &Label) -> Ptr<bpf_sock> {
    let sk = b.load(event.at(bpf_sock_ops::sk));
    b.jump_if(sk.eq(0), none);
    sk
}

/// The lane of the event's socket; jumps to `none` if the context shows no socket or it has no lane.
pub(super) fn lane_of(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, none: &Label) -> Ptr<Lane> {
    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk_of(b, event, none), NULL, 0));
    b.jump_if(lane.eq(0), none);
    b.keep(lane)
}

/// The event's socket, with its members at hand; jumps to `none` if the context shows no socket or not a TCP socket.
pub(super) fn socket_of(b: &Builder, event: &Ptr<bpf_sock_ops>, none: &Label) -> Ptr<tcp_sock> {
    let socket = b.call(helper::skc_to_tcp_sock(sk_of(b, event, none)));
    b.jump_if(socket.eq(0), none);
    b.keep(socket)
}

/// Asks for these callbacks of shunt's, beside those that other programs have asked for.
pub(super) fn mark(b: &Builder, event: &Ptr<bpf_sock_ops>, callbacks: i32) {
    let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
    flags.or(callbacks);
    b.call(helper::sock_ops_cb_flags_set(event, flags));
}

/// The socket is of no interest any more: its segments cost nothing from here on.
pub(super) fn forget(b: &Builder, event: &Ptr<bpf_sock_ops>) {
    let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
    flags.and(!CALLBACKS);
    b.call(helper::sock_ops_cb_flags_set(event, flags));
}
