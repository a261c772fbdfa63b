//! How far TCP has come in the queue of an enrolled socket: up to which of its sequence numbers all
//! bytes have been put there.
//!
//! A segment may carry bytes that have come before: what is sent again need not be cut where it was
//! cut the first time. TCP queues such a segment whole, and its own receive function skips what it
//! has given out already. The receive function of enrolled sockets does not
//! (`tcp_bpf_recvmsg_parser`), so the verdict program cuts that off, and has to know how much. Its
//! type may not use socket storage (`sk_skb_func_proto`), so a hash map by socket cookie has it.

use bpf_asm::uapi::BPF_ANY;
use bpf_asm::{Builder, Label, Place, Ptr, Reg, bpf_sock, helper};

use super::Datapath;
use super::record::{End, Lane};

/// A socket is about to be enrolled: what TCP has read of it until now is not to come again. Jumps
/// to `refused` if that cannot be noted.
pub(super) fn begin(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    shown: Ptr<bpf_sock>,
    refused: &Label,
) {
    let socket = b.call(helper::skc_to_tcp_sock(shown));
    b.jump_if(socket.eq(0), refused);
    let read = b.slot::<u32>();
    b.store(read.place(), b.load(socket.member(d.layout.copied_seq)));
    let full = b.call(helper::map_update_elem(&d.maps.arrived, cookie(lane), &read, BPF_ANY));
    b.jump_if(full.ne(0), refused);
}

/// The socket is not in the socket map any more, or no segment can come to it.
pub(super) fn end(b: &Builder, d: &Datapath, lane: &Ptr<Lane>) {
    b.call(helper::map_delete_elem(&d.maps.arrived, cookie(lane)));
}

fn cookie(lane: &Ptr<Lane>) -> Place<u64> {
    lane.at(Lane::own).at(End::cookie)
}

/// A segment of `length` bytes, the first of which has the number `first`, comes to the socket with
/// this cookie. `from` is up to where the reader has read, and becomes up to where bytes have come
/// before: in the queue there may be more.
pub(super) fn advance(
    b: &Builder,
    d: &Datapath,
    cookie: Place<u64>,
    from: &Reg,
    first: &Reg,
    length: &Reg,
) {
    let read = b.label();
    b.block(|done| {
        let arrived = b.call(helper::map_lookup_elem(&d.maps.arrived, cookie));
        b.jump_if(arrived.eq(0), done);
        let ahead = b.load(arrived.at_all());
        ahead.sub32(from);
        b.jump_if(ahead.sle32(0), &read);
        from.add32(&ahead);
        b.place(&read);
        let end = b.value(first);
        end.add32(length);
        let further = b.value(&end);
        further.sub32(b.load(arrived.at_all()));
        b.jump_if(further.sle32(0), done);
        b.store(arrived.at_all(), &end);
    });
}
