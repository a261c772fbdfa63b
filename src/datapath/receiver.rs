//! What a sender sees of the socket that receives: read by address, and believed only while the
//! cookie found there is the expected one.

use bpf_asm::{Builder, KernelField, Label, Operand, Ptr, Reg, Slot};

use super::Datapath;
use super::counter::{Cause, Ending};
use super::fallback::Fallback;
use super::lane::CONTENDED;
use super::peek::{peek, peek_or_zero};
use super::record::{End, Endings, Lane, Mode};

/// `O_NONBLOCK` (include/uapi/asm-generic/fcntl.h).
const O_NONBLOCK: i32 = 0o4000;

/// Members of another socket's lane.
const MODE: KernelField = of_lane(Lane::mode.offset(), 4);
const FALLBACKS: KernelField = of_lane(Lane::fallbacks.offset(), 4);
const LOOKING: KernelField = of_lane(Lane::looking.offset(), 4);
const DIRECT_MESSAGES: KernelField = of_lane(Lane::direct_messages.offset(), 8);

const fn of_lane(offset: usize, size: u8) -> KernelField {
    KernelField { structure: 0, offset: offset as u32, size, signed: false, bitfield: None }
}

/// The address of the receiver's `struct sock`.
pub(super) fn sk(b: &Builder, lane: &Ptr<Lane>) -> Reg {
    b.load(lane.at(Lane::peer).at(End::sk))
}

/// The memory at the receiver's address still is the receiver; the lane ends otherwise.
pub(super) fn identity(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, fallback: &Fallback) {
    b.attempt(|gone| same(b, d, lane, gone), || fallback.ended(b, lane, Ending::PeerGone));
}

/// Jumps to `gone` unless the memory at the receiver's address still is the receiver.
pub(super) fn same(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, gone: &Label) {
    let found = peek_or_zero(b, d, sk(b, lane), d.layout.cookie);
    b.jump_if(found.ne(b.load(lane.at(Lane::peer).at(End::cookie))), gone);
}

/// A message does not wait for a call on the receiving socket that takes its time: a thread that
/// takes a page fault there may hold the socket's lock for as long as it likes, and whose thread it
/// is cannot be told. Most calls end while this looks.
///
/// A call that itself looks here, to send in the other direction, takes no page fault before it
/// lets go of the lock: each would wait for the other otherwise. A call that begins between this
/// look and the redirect is waited for; security.md says for how long.
pub(super) fn busy(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, size: &Reg, fallback: &Fallback) {
    /// How often to look: about ten microseconds, which is more than most calls take, and about
    /// what a message by TCP costs both ends.
    const LOOKS: i32 = 200;
    /// Once more for every so many bytes of the message, which take as long by TCP: some seven
    /// microseconds for as many as count.
    const BYTES_BITS: i32 = 9;
    const AT_MOST: i32 = 64 << 10;
    let in_use = || peek_or_zero(b, d, sk(b, lane), d.layout.lock_owned);
    b.block(|open| {
        b.when(in_use().eq(0), || {
            let contended = b.load(lane.at(Lane::contended));
            b.jump_if(contended.eq(0), open);
            contended.sub(1);
            b.store(lane.at(Lane::contended), &contended);
            b.jump(open);
        });
        contend(b, lane, size, fallback);
        let looks = b.value(size);
        b.when(looks.gt(AT_MOST), || looks.set(AT_MOST));
        looks.rsh(BYTES_BITS);
        looks.add(LOOKS);
        b.store(lane.at(Lane::looking), &looks);
        let stop = |why: Cause| {
            b.store(lane.at(Lane::looking), 0);
            fallback.because(b, why);
        };
        b.block(|free| {
            b.attempt(
                |unknown| {
                    b.repeat(|enough| {
                        b.may_goto(enough);
                        let peer = b.load(lane.at(Lane::peer).at(End::lane));
                        b.jump_if(peek(b, peer, LOOKING, unknown).ne(0), free);
                        b.jump_if(in_use().eq(0), free);
                        // Counted in the lane, not in a register: of that the verifier would know
                        // too much to leave the loop alone.
                        let looks = b.load(lane.at(Lane::looking));
                        looks.sub(1);
                        b.store(lane.at(Lane::looking), &looks);
                        b.jump_if(looks.eq32(0), enough);
                    });
                    stop(Cause::ReceiverBusy);
                },
                || stop(Cause::LookFailed),
            );
        });
        b.store(lane.at(Lane::looking), 0);
    });
}

/// Two that are both at work all the time, on one connection, wait for its locks more than a
/// redirect saves: by TCP, what comes while a socket is in use is put aside. So if that happens at
/// more than a third of the messages, the sockets leave the map.
fn contend(b: &Builder, lane: &Ptr<Lane>, size: &Reg, fallback: &Fallback) {
    /// Smaller messages cost more by TCP than that.
    const LARGE: i32 = 4 << 10;
    const MORE: i32 = 2;
    b.block(|small| {
        b.jump_if(size.lt(LARGE), small);
        let contended = b.load(lane.at(Lane::contended));
        contended.add(MORE);
        b.store(lane.at(Lane::contended), &contended);
        b.when(contended.ge(CONTENDED), || fallback.because(b, Cause::ReceiverBusy));
    });
}

/// Nothing is redirected to a socket whose file blocks: a thread that sleeps in a receive call of
/// enrolled sockets may be answered `EAGAIN` (`tcp_bpf_recvmsg_parser`).
pub(super) fn blocks(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, fallback: &Fallback) {
    b.attempt(
        |blocks| b.jump_if(nonblocking(b, d, &sk(b, lane), blocks).eq(0), blocks),
        || fallback.because(b, Cause::Blocking),
    );
}

/// Whether calls on the socket at this address do not block: 0 if its file says nothing of it.
/// Jumps to `none` without a file.
pub(super) fn nonblocking(b: &Builder, d: &Datapath, sk: &Reg, none: &Label) -> Reg {
    let file = file(b, d, sk, none);
    let flags = peek_or_zero(b, d, file, d.layout.file_flags);
    flags.and(O_NONBLOCK);
    flags
}

/// The address of the file that an application has of the socket at this address. Jumps to `none`
/// without one.
pub(super) fn file(b: &Builder, d: &Datapath, sk: &Reg, none: &Label) -> Reg {
    let socket = peek_or_zero(b, d, sk, d.layout.socket);
    b.jump_if(socket.eq(0), none);
    let file = peek_or_zero(b, d, socket, d.layout.socket_file);
    b.jump_if(file.eq(0), none);
    file
}

/// A lane whose receiver's own lane has ended ends, so that the receiver can leave the socket map:
/// see [`super::leave`].
pub(super) fn ended(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, fallback: &Fallback) {
    b.block(|open| {
        let counted = b.load(endings(b, d, lane).at_all());
        b.jump_if(counted.eq(b.load(lane.at(Lane::endings))), open);
        b.store(lane.at(Lane::endings), &counted);

        b.block(|gone| {
            let mode = mode(b, lane, gone);
            b.jump_if(mode.lt(Mode::Leaving as u32), open);
        });
        fallback.ended(b, lane, Ending::PeerLeft);
    });
}

/// The count of a lane's bucket in [`Endings`].
pub(super) fn endings(b: &Builder, d: &Datapath, lane: &Ptr<Lane>) -> Ptr<u64> {
    let count = b.map_value(&d.maps.endings);
    let bucket = b.load(lane.at(Lane::bucket));
    // It is in there; the verifier wants to see it.
    bucket.and((size_of::<Endings>() - size_of::<u64>()) as i32);
    count.advance(&bucket);
    count.cast()
}

/// Messages that the receiver has itself redirected.
pub(super) fn direct_messages(b: &Builder, lane: &Ptr<Lane>, unknown: &Label) -> Reg {
    peek(b, b.load(lane.at(Lane::peer).at(End::lane)), DIRECT_MESSAGES, unknown)
}

/// How many messages in a row the peer has sent by TCP: 0 if its last one may be on its way
/// directly.
pub(super) fn fallbacks(b: &Builder, lane: &Ptr<Lane>, unknown: &Label) -> Reg {
    peek(b, b.load(lane.at(Lane::peer).at(End::lane)), FALLBACKS, unknown)
}

/// The mode of the peer's lane.
pub(super) fn mode(b: &Builder, lane: &Ptr<Lane>, unknown: &Label) -> Reg {
    peek(b, b.load(lane.at(Lane::peer).at(End::lane)), MODE, unknown)
}

/// Jumps to `unread` unless every byte that came to the socket at this address by TCP is in its
/// ingress queue or has been read: nothing is left where a segment stays between its arrival and
/// the verdict.
pub(super) fn delivered(b: &Builder, d: &Datapath, sk: &Reg, unread: &Label, unknown: &Label) {
    let at = b.slot::<u64>();
    b.store(at.place(), sk);
    let left = peek_or_zero(b, d, b.load(at.place()), d.layout.receive_queue_length);
    b.jump_if(left.ne(0), unread);
    let deferred = psock(b, d, b.load(at.place()), unknown);
    let deferred = peek_or_zero(b, d, deferred, d.layout.deferred_length);
    b.jump_if(deferred.ne(0), unread);
}

/// Whether bytes wait in the ingress queue of the socket at this address: 0 or not. A socket
/// without a psock is not enrolled any more.
pub(super) fn unread(b: &Builder, d: &Datapath, sk: &Reg, unknown: &Label) -> Reg {
    let queue = psock(b, d, sk, unknown);
    queue.add(d.layout.ingress_queue.offset);
    let (head, first) = list(b, d, queue, unknown);
    first.sub(b.load(head.place()));
    first
}

/// How many are in a call of enrolled sockets on this socket: they hold on to its psock, as the
/// socket map does.
pub(super) fn users_of_psock(b: &Builder, d: &Datapath, sk: &Reg, unknown: &Label) -> Reg {
    let users = peek_or_zero(b, d, psock(b, d, sk, unknown), d.layout.psock_users);
    users.sub(1);
    users
}

/// A list by the address of its head: that address, which is also what the last in the list points
/// to, and what the head points to.
pub(super) fn list(b: &Builder, d: &Datapath, at: Reg, unknown: &Label) -> (Slot<u64>, Reg) {
    let head = b.slot::<u64>();
    b.store(head.place(), &at);
    let first = peek(b, at, d.layout.first, unknown);
    (head, first)
}

/// The address of a socket's `struct sk_psock`.
fn psock(b: &Builder, d: &Datapath, sk: impl Into<Operand>, unknown: &Label) -> Reg {
    /// Tags in the low bits of `sk_user_data` (`SK_USER_DATA_*`, include/net/sock.h).
    const POINTER: i32 = !7;
    let psock = peek(b, sk, d.layout.user_data, unknown);
    psock.and(POINTER);
    b.jump_if(psock.eq(0), unknown);
    psock
}

#[cfg(test)]
mod tests;
