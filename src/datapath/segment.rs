//! What happens when an enrolled socket sends a segment: room for its reader, once, the wake-up, and the way out.

use bpf_asm::{Builder, Label, Ptr, bpf_sock_ops, helper, tcp_sock};

use super::option::{SO_RCVLOWAT, SOL_SOCKET};
use super::reason::Reason;
use super::record::{End, Isns, Lane, Mode};
use super::{Datapath, establish, guard, leave, wake};

/// State of a connection (include/uapi/linux/bpf.h).
const BPF_TCP_ESTABLISHED: i32 = 1;

/// What a reader may ask TCP to provide for. TCP provides about twice as much.
const ROOM: u32 = 192 << 10;

/// An enrolled socket is about to send a segment. A direct lane sends none.
///
/// If its lane has ended it is to leave; and so is one that somebody waits for who has not said that he will not block.
pub(super) fn sent(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, leaving: &Label) {
    let done = b.label();
    let lane = establish::lane_of(b, d, event, &done);
    let socket = establish::socket_of(b, event, &done);

    let roomy = b.load(lane.at(Lane::roomy));
    let state = b.load(event.at(bpf_sock_ops::state));
    let needs_room = roomy.eq(0).and(state.eq(BPF_TCP_ESTABLISHED));
    drop((roomy, state));
    b.when(needs_room, || make_room(b, d, event, &lane, &socket));
    let looked = b.label();
    wake::look(b, d, event, &lane, &socket, &looked);
    b.place(&looked);

    let mode = b.load(lane.at(Lane::mode));
    b.jump_if(mode.eq(Mode::Ended as u32), leaving);
    drop(mode);
    guard::sleeper(b, d, &lane, &socket, &done);
    leave::end(b, d, event, &lane, Reason::Blocking);
    b.jump(leaving);
    b.place(&done);
}

/// Grows the receive buffer as TCP does while a reader keeps up, which it cannot see of redirected bytes; once the connection is used,
/// and its reader has read what came.
fn make_room(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, lane: &Ptr<Lane>, socket: &Ptr<tcp_sock>) {
    let not_yet = b.label();
    let used = b.label();
    for (now, first) in [(d.layout.write_seq, Isns::own), (d.layout.rcv_nxt, Isns::peer)] {
        let now = b.load(socket.member(now));
        let first = b.load(lane.at(Lane::own).at(End::name).at(first));
        b.jump_if(now.ne32(&first), &used);
    }
    b.jump(&not_yet);
    b.place(&used);
    let received = b.load(socket.member(d.layout.rcv_nxt));
    let read = b.load(socket.member(d.layout.copied_seq));
    b.jump_if(received.ne32(&read), &not_yet);
    drop((received, read));
    provide(b, d, event, lane, socket, &not_yet);
    b.place(&not_yet);
}

/// Asks TCP to provide room for a reader that falls behind.
///
/// Asking to be woken for many bytes at once makes TCP provide for them (`tcp_set_rcvlowat`), unless the application has chosen the
/// size itself; then its own low-water mark is put back. A socket that has not been accepted yet has to wait: for it the
/// option would only be stored.
pub(super) fn provide(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    lane: &Ptr<Lane>,
    socket: &Ptr<tcp_sock>,
    not_yet: &Label,
) {
    let held = b.load(socket.member(d.layout.socket));
    b.jump_if(held.eq(0), not_yet);
    drop(held);
    b.store(lane.at(Lane::roomy), 1);
    b.store(lane.at(Lane::low_water), b.load(socket.member(d.layout.low_water)));
    let room = b.slot::<u32>();
    b.store(room.place(), ROOM);
    b.call(helper::setsockopt(event, SOL_SOCKET, SO_RCVLOWAT, &room, 4));
    b.call(helper::setsockopt(event, SOL_SOCKET, SO_RCVLOWAT, lane.at(Lane::low_water), 4));
}

#[cfg(test)]
mod tests;
