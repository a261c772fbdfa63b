//! What happens when an enrolled socket sends a segment: room for its reader, once, and the wake-up.

use bpf_asm::{Builder, NULL, Ptr, bpf_sock_ops, helper, tcp_sock};

use super::record::Lane;
use super::{Datapath, option, wake};

/// What a reader may ask TCP to provide for. TCP provides about twice as much.
const ROOM: u32 = 192 << 10;

/// An enrolled socket is about to send a segment. A direct lane sends none.
pub(super) fn sent(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let done = b.label();
    let sk = b.load(event.at(bpf_sock_ops::sk));
    b.jump_if(sk.eq(0), &done);
    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk, NULL, 0));
    b.jump_if(lane.eq(0), &done);
    let lane = b.keep(lane);

    let sk = b.load(event.at(bpf_sock_ops::sk));
    b.jump_if(sk.eq(0), &done);
    let socket = b.call(helper::skc_to_tcp_sock(sk));
    b.jump_if(socket.eq(0), &done);
    let socket = b.keep(socket);

    let roomy = b.load(lane.at(Lane::roomy));
    b.when(roomy.eq(0), || make_room(b, d, event, &lane, &socket));
    drop(roomy);
    wake::look(b, d, event, &lane, &socket, &done);
    b.place(&done);
}

/// Grows the receive buffer as TCP does while a reader keeps up, which it cannot see of redirected bytes.
///
/// Asking to be woken for many bytes at once makes TCP provide for them (`tcp_set_rcvlowat`), unless the application has chosen the
/// size itself; then its own low-water mark is put back. A socket that has not been accepted yet has to wait: for it the
/// option would only be stored.
fn make_room(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, lane: &Ptr<Lane>, socket: &Ptr<tcp_sock>) {
    let held = b.load(socket.member(d.layout.socket));
    b.when(held.ne(0), || {
        b.store(lane.at(Lane::roomy), 1);
        b.store(lane.at(Lane::low_water), b.load(socket.member(d.layout.low_water)));
        let room = b.slot::<u32>();
        b.store(room.place(), ROOM);
        b.call(helper::setsockopt(event, option::SOL_SOCKET, option::SO_RCVLOWAT, &room, 4));
        b.call(helper::setsockopt(event, option::SOL_SOCKET, option::SO_RCVLOWAT, lane.at(Lane::low_water), 4));
    });
}

#[cfg(test)]
mod tests;
