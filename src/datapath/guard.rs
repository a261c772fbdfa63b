//! Guards: what redirected bytes cannot do for an application, and how its sockets are left to TCP before it can tell.
//!
//! *Blocking readers.* The receive function of enrolled sockets (`tcp_bpf_recvmsg`) waits once. A thread that sleeps in it and is woken by
//! anything but bytes, such as a signal or a second thread's `send` that may go on, is answered `EAGAIN`, where TCP's own would sleep
//! on or say `EINTR`; and it returns with fewer bytes than `MSG_WAITALL` asks for. Nobody sleeps in it who has `O_NONBLOCK` set and waits in epoll,
//! poll or io_uring. So a client whose file blocks is not enrolled; a server, whose file is not made yet when it is enrolled, is
//! sent to by TCP until it is seen to be non-blocking, and leaves when it is found asleep. The operator may accept the difference.
//!
//! *Options* that ask for something that only TCP's own functions do: more bytes before a wake-up (`SO_RCVLOWAT`), completions
//! of sent memory (`SO_ZEROCOPY`), times and counts beside received bytes (`SO_TIMESTAMP…`, `TCP_INQ`), urgent bytes in their place
//! (`SO_OOBINLINE`). A socket that has one set is not enrolled, and one that sets one leaves: see [`super::options`].

use bpf_asm::{Builder, Label, Ptr, Reg, sock, tcp_sock};

use super::count::count;
use super::peek::peek;
use super::reason::Reason;
use super::record::{Control, End, Lane};
use super::send::ByTcp;
use super::{Datapath, gate};

/// `O_NONBLOCK` (include/uapi/asm-generic/fcntl.h).
pub(super) const O_NONBLOCK: i32 = 0o4000;

/// Leaves alone what has asked, before it was established, for what only TCP does.
pub(super) fn established(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, done: &Label) {
    let plain = b.label();
    let asks = b.label();
    let flags = b.load(socket.member(d.layout.flags));
    flags.and(b.value(d.layout.guarded_flags));
    b.jump_if(flags.ne(0), &asks);
    drop(flags);
    let low_water = b.load(socket.member(d.layout.low_water));
    b.jump_if(low_water.gt32(1), &asks);
    drop(low_water);
    match d.layout.asks_for_counts {
        Some(field) => b.jump_if(b.load(socket.member(field)).eq(0), &plain),
        None => b.jump(&plain),
    }
    b.place(&asks);
    count(b, d, Reason::Guarded);
    b.jump(done);
    b.place(&plain);
}

/// Leaves a client alone whose readers block; or that has no file, because the kernel itself reads from it.
pub(super) fn client(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, done: &Label) {
    let fine = b.label();
    does_not_block(b, d, socket, &fine);
    count(b, d, Reason::Blocking);
    b.jump(done);
    b.place(&fine);
}

/// A lane does not become direct while its sender is of a kind that has to leave, or has to be left alone.
///
/// The sender's own file: whoever sends has made it what it is to be. Its lane ends, so that it leaves at the segment that this message
/// makes.
pub(super) fn sender(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    let asks = b.load(lane.at(Lane::guarded));
    b.when(asks.ne(0), || by_tcp.ended(b, lane, Reason::Guarded));
    drop(asks);
    let fine = b.label();
    does_not_block(b, d, socket, &fine);
    by_tcp.ended(b, lane, Reason::Blocking);
    b.place(&fine);
}

/// A lane does not become direct while its receiver's file blocks, or is not made yet.
///
/// Many programs make an accepted socket non-blocking a moment after they accepted it: so the lane does not end.
pub(super) fn receiver(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    let fine = b.label();
    accepted_difference(b, d, &fine);
    let blocks = b.label();
    let socket = peek(b, b.load(lane.at(Lane::peer).at(End::sk)), d.layout.socket, &blocks);
    let file = peek(b, socket, d.layout.socket_file, &blocks);
    let flags = peek(b, file, d.layout.file_flags, &blocks);
    flags.and(O_NONBLOCK);
    b.jump_if(flags.ne(0), &fine);
    drop(flags);
    b.place(&blocks);
    // Or it has left already, and this end need not stay.
    let stays = b.label();
    let gone = b.label();
    gate::peer_ended(b, lane, &gone, &stays);
    b.place(&gone);
    by_tcp.ended(b, lane, Reason::Ended);
    b.place(&stays);
    by_tcp.because(b, Reason::Blocking);
    b.place(&fine);
}

/// Somebody waits, in whatever way, for an enrolled socket whose file blocks; jumps to `nobody` otherwise, or if nobody is to mind.
pub(super) fn sleeper(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, socket: &Ptr<tcp_sock>, nobody: &Label) {
    accepted_difference(b, d, nobody);
    let flags = file_flags(b, d, socket, nobody);
    b.jump_if(flags.ne(0), nobody);
    drop(flags);
    gate::nobody_waits(b, d, &b.load(lane.at(Lane::own).at(End::sk)), nobody);
}

/// Jumps to `fine` unless the file of a socket blocks, or it has none, and that is to matter.
fn does_not_block(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, fine: &Label) {
    accepted_difference(b, d, fine);
    let blocks = b.label();
    let flags = file_flags(b, d, socket, &blocks);
    b.jump_if(flags.ne(0), fine);
    drop(flags);
    b.place(&blocks);
}

/// Jumps to `fine` where the operator wants blocking readers to be accelerated.
fn accepted_difference(b: &Builder, d: &Datapath, fine: &Label) {
    let control = b.map_value(&d.maps.control, 0);
    let accepted = b.load(control.at(Control::blocking_readers));
    b.jump_if(accepted.ne(0), fine);
}

/// `O_NONBLOCK` of the file that an application has of a socket, or 0. Jumps to `none` without a file.
fn file_flags(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, none: &Label) -> Reg {
    let held = b.load(socket.member(d.layout.socket));
    b.jump_if(held.eq(0), none);
    let file = b.load(held.cast::<sock>().member(d.layout.socket_file));
    b.jump_if(file.eq(0), none);
    let flags = b.load(file.cast::<sock>().member(d.layout.file_flags));
    flags.and(O_NONBLOCK);
    flags
}

#[cfg(test)]
mod tests;
