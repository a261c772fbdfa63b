//! The gates: what has to hold before a message may overtake the TCP/IP stack.
//!
//! The receiver reads its direct queue first and its TCP queue after. Hence a lane may go from TCP to direct only when its receiver
//! has read all that was sent by TCP (the order gate); from direct to TCP it may go at any time. The sender is the lane's only
//! producer, so it can be lent a credit: so many bytes may follow before the receiver is looked at again (the memory gate).

use bpf_asm::{AtomicOp, Builder, Field, KernelField, Label, Operand, Ptr, Reg, Slot, helper, sk_msg_md, tcp_sock};

use super::guard::O_NONBLOCK;
use super::peek::{peek, peek_or_zero};
use super::reason::Reason;
use super::record::{Control, End, Fins, Isns, Lane, Mode, Role};
use super::send::ByTcp;
use super::{Datapath, Meter};

/// A refresh is due: the message goes by TCP, to be seen by connection tracking, whose entry of a NAT hop would expire otherwise.
///
/// While redirected bytes wait to be read it is put off for another period at most, since a reader with bytes in both of its queues
/// can miss a wake-up. The period is found anew each time, since a packet that passes sets the time-out that is valid then.
pub(super) fn refresh(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, now: &Reg, by_tcp: &ByTcp) {
    let go_on = b.label();
    let unknown = b.label();
    let due = b.label();

    // A credit says that the lane is direct, hence that its peer is known.
    let credit = b.load(lane.at(Lane::credit));
    b.jump_if(credit.eq(0), &due);
    drop(credit);
    {
        let overdue = b.load(lane.at(Lane::refresh_at));
        let period = b.load(lane.at(Lane::period));
        overdue.add(&period);
        b.jump_if(now.ge(&overdue), &due);
    }
    let unread = direct_unread(b, d, &b.load(lane.at(Lane::peer).at(End::sk)), &unknown);
    b.jump_if(unread.ne(0), &go_on);
    drop(unread);
    b.place(&unknown);
    b.place(&due);

    find_period(b, d, lane);
    by_tcp.because(b, Reason::Refresh);

    b.place(&go_on);
}

/// The period, in jiffies, that no time-out of connection tracking is too short for: a third of a second, since the time-outs are whole
/// seconds.
pub(super) fn shortest_period(d: &Datapath) -> u32 {
    d.settings.hz / 3
}

/// Finds how long a lane may send nothing by TCP: the least of what the agent allows and a third of the time-out of connection
/// tracking in the namespaces of the ends that are known.
fn find_period(b: &Builder, d: &Datapath, lane: &Ptr<Lane>) {
    let period = b.slot::<u32>();
    {
        let control = b.map_value(&d.maps.control, 0);
        b.store(period.place(), b.load(control.at(Control::refresh)));
    }
    if let Some(timeout) = d.layout.conntrack_established {
        for end in [Lane::own, Lane::peer] {
            let no_namespace = b.label();
            let sk = b.load(lane.at(end).at(End::sk));
            b.jump_if(sk.eq(0), &no_namespace);
            let namespace = peek(b, sk, d.layout.namespace, &no_namespace);
            let third = peek(b, namespace, timeout, &no_namespace);
            third.div(3);
            let least = b.load(period.place());
            b.when(third.lt(&least), || b.store(period.place(), &third));
            drop((third, least));
            b.place(&no_namespace);
        }
    }
    b.store(lane.at(Lane::period), b.load(period.place()));
    drop(period);
}

/// The memory at the receiver's address still is the receiver.
pub(super) fn identity(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    let gone = b.label();
    let same = b.label();
    let found = peek(b, b.load(lane.at(Lane::peer).at(End::sk)), d.layout.cookie, &gone);
    let expected = b.load(lane.at(Lane::peer).at(End::cookie));
    b.jump_if(found.eq(&expected), &same);
    drop((found, expected));
    b.place(&gone);
    by_tcp.ended(b, lane, Reason::PeerGone);
    b.place(&same);
}

/// A lane that goes by TCP stays there until the receiver has read everything that its sender ever sent by TCP. For a server that has
/// sent nothing yet, see [`earlier_callers`].
pub(super) fn order(b: &Builder, d: &Datapath, msg: &Ptr<sk_msg_md>, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    let open = b.label();
    let unknown = b.label();
    let written = b.slot::<u32>();
    let here = sender(b, msg, by_tcp);
    b.store(written.place(), b.load(here.member(d.layout.write_seq)));
    drop(here);
    let read = peek(b, b.load(lane.at(Lane::peer).at(End::sk)), d.layout.copied_seq, &unknown);
    b.jump_if(read.eq32(b.load(written.place())), &open);
    drop(read);
    by_tcp.because(b, Reason::OrderGate);
    b.place(&unknown);
    by_tcp.because(b, Reason::LookFailed);
    b.place(&open);

    let first = b.load(lane.at(Lane::own).at(End::name).at(Isns::own));
    let role = b.load(lane.at(Lane::role));
    let first_of_server = role.eq(Role::Server as u32).and(first.eq32(b.load(written.place())));
    drop((first, role, written));
    b.when(first_of_server, || earlier_callers(b, d, lane, by_tcp));
}

/// A server's first message goes by TCP if a thread may be in a call on the client since before the client was enrolled: in TCP's
/// receive function and about to sleep, where [`readers`] does not see it.
///
/// Threads that share their descriptors hold on to a file while they are in a call on it: whoever does, and has no part in the psock,
/// may be such a one. A thread that has its descriptors to itself holds on to nothing, but is in one call at a time: `connect` returned to
/// it when the client was enrolled already, or it waits in no call. Servers need no such look: nobody can call an accepted socket
/// before it is enrolled.
fn earlier_callers(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    /// `socket_state` (include/uapi/linux/net.h).
    const SS_CONNECTED: i32 = 3;
    let nobody = b.label();
    let perhaps = b.label();
    let peer = || b.load(lane.at(Lane::peer).at(End::sk));
    let socket = b.slot::<u64>();
    let file = b.slot::<u64>();
    b.store(socket.place(), peek(b, peer(), d.layout.socket, &perhaps));
    b.store(file.place(), peek(b, b.load(socket.place()), d.layout.socket_file, &perhaps));
    let connected = b.label();
    let state = peek(b, b.load(socket.place()), d.layout.socket_state, &perhaps);
    b.jump_if(state.eq(SS_CONNECTED), &connected);
    drop((state, socket));
    let flags = peek(b, b.load(file.place()), d.layout.file_flags, &perhaps);
    flags.and(O_NONBLOCK);
    b.jump_if(flags.eq(0), &perhaps);
    drop(flags);
    b.place(&connected);

    let held = b.slot::<u64>();
    b.store(held.place(), peek(b, b.load(file.place()), d.layout.file_holders.field, &perhaps));
    let users = users_of_psock(b, d, &peer(), &perhaps);
    // The descriptor holds on to the file.
    users.add(d.layout.file_holders.of_one);
    b.jump_if(users.ge(b.load(held.place())), &nobody);
    b.place(&perhaps);
    by_tcp.because(b, Reason::ReaderGate);
    b.place(&nobody);
}

/// A lane that goes by TCP stays there while a reader is in TCP's own receive function, where redirected bytes would not wake it, and
/// where it would read what comes by TCP later before them.
///
/// Readers get there before their socket is enrolled, or when TCP bytes wait; they stay while they want more than there is
/// (`MSG_WAITALL`, `SO_RCVLOWAT`). Nothing says where a thread sleeps, but it can be counted: the receive function of enrolled sockets
/// holds on to the socket's psock, TCP's does not. More threads asleep than users of the psock, and one of them is in TCP's.
/// A thread that is inside and awake owns the socket; it is on the list before it lets go.
pub(super) fn readers(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    let open = b.label();
    let shut = b.label();
    let unknown = b.label();
    let peer = || b.load(lane.at(Lane::peer).at(End::sk));

    let owned = peek(b, peer(), d.layout.lock_owned, &unknown);
    b.jump_if(owned.ne(0), &shut);
    drop(owned);
    let asleep = asleep(b, d, &peer(), &shut, &unknown);
    b.jump_if(b.load(asleep.place()).eq(0), &open);
    let users = users_of_psock(b, d, &peer(), &unknown);
    b.jump_if(users.ge(b.load(asleep.place())), &open);
    drop(users);
    b.place(&shut);
    by_tcp.because(b, Reason::ReaderGate);
    b.place(&unknown);
    by_tcp.because(b, Reason::LookFailed);
    b.place(&open);
}

/// Counts the threads that sleep on a socket; jumps to `many` if more wait for it, in whatever way, than are looked at.
fn asleep(b: &Builder, d: &Datapath, sk: &Reg, many: &Label, unknown: &Label) -> Slot<u64> {
    /// How many of those that wait are looked at.
    const MOST: usize = 4;
    /// 64 KiB are more than any kernel's `THREAD_SIZE`. What lies so close above a stack and names its thread is on that stack.
    const STACK_BITS: i32 = 16;

    let asleep = b.slot::<u64>();
    b.store(asleep.place(), 0);
    let counted = b.label();
    let (head, first) = waiters(b, d, sk, &counted, unknown);
    let place = b.slot::<u64>();
    b.store(place.place(), first);

    for _ in 0..MOST {
        let entry = b.load(place.place());
        b.jump_if(entry.eq(b.load(head.place())), &counted);
        entry.sub(d.layout.waiter_place.offset);
        let thread = peek(b, entry, d.layout.waiter_private, unknown);
        // epoll and poll name no thread here, or nothing that has a stack around this entry. There is no branch in this: the verifier
        // would follow every combination of them.
        let stack = peek_or_zero(b, thread, d.layout.thread_stack);
        let more = b.load(place.place());
        more.sub(&stack);
        drop(stack);
        more.rsh(STACK_BITS);
        more.sub(1);
        more.rsh(63);
        more.add(b.load(asleep.place()));
        b.store(asleep.place(), &more);
        drop(more);
        b.store(place.place(), peek(b, b.load(place.place()), FIRST, unknown));
    }
    b.jump_if(b.load(place.place()).ne(b.load(head.place())), many);
    b.place(&counted);
    asleep
}

/// Jumps to `nobody` if no thread waits for a socket, asleep or polling, or it cannot be told.
pub(super) fn nobody_waits(b: &Builder, d: &Datapath, sk: &Reg, nobody: &Label) {
    let (head, first) = waiters(b, d, sk, nobody, nobody);
    b.jump_if(first.eq(b.load(head.place())), nobody);
}

/// The list of those who wait for a socket, as [`list`] gives it; jumps to `nobody` before the socket was accepted.
fn waiters(b: &Builder, d: &Datapath, sk: &Reg, nobody: &Label, unknown: &Label) -> (Slot<u64>, Reg) {
    let queue = peek(b, sk, d.layout.wait_queue, unknown);
    b.jump_if(queue.eq(0), nobody);
    queue.add(d.layout.waiters.offset);
    list(b, queue, unknown)
}

/// How many are in a call of enrolled sockets on this socket: they hold on to its psock, as the socket map does.
fn users_of_psock(b: &Builder, d: &Datapath, sk: &Reg, unknown: &Label) -> Reg {
    let users = peek(b, psock(b, d, sk, unknown), d.layout.direct_users, unknown);
    users.sub(1);
    users
}

/// A lane whose receiver has sent its FIN ends, so that the receiver can leave the socket map: see [`at_rest`].
pub(super) fn end(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    let open = b.label();
    let fins = b.load(fins(b, d, lane).at_all());
    b.jump_if(fins.eq(b.load(lane.at(Lane::fins))), &open);
    b.store(lane.at(Lane::fins), &fins);
    drop(fins);

    let gone = b.label();
    peer_ended(b, lane, &gone, &open);
    b.place(&gone);
    by_tcp.ended(b, lane, Reason::Ended);
    b.place(&open);
}

/// Jumps to `goes_on` unless the peer's own lane has ended, to `gone` where there is no lane.
pub(super) fn peer_ended(b: &Builder, lane: &Ptr<Lane>, gone: &Label, goes_on: &Label) {
    let mode = peek(b, b.load(lane.at(Lane::peer).at(End::lane)), MODE, gone);
    b.jump_if(mode.ne(Mode::Ended as u32), goes_on);
}

/// The count of a lane's bucket in [`Fins`].
pub(super) fn fins(b: &Builder, d: &Datapath, lane: &Ptr<Lane>) -> Ptr<u64> {
    let count = b.map_value(&d.maps.fins, 0);
    let bucket = b.load(lane.at(Lane::bucket));
    // It is in there; the verifier wants to see it.
    bucket.and((size_of::<Fins>() - size_of::<u64>()) as i32);
    count.advance(&bucket);
    count
}

/// Sees to it that nothing is on its way from the peer to a socket whose own lane has ended; jumps to `perhaps` if something may be.
///
/// Whoever calls the peer from now on finds that this end has sent its FIN. A message whose program ran before is in the queue very soon.
/// It is there if that was a while ago, or if all who are in a call on the peer are asleep: no sender sleeps after its program
/// has run.
pub(super) fn at_rest(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, perhaps: &Label) {
    let at_rest = b.label();
    let peer_s_lane = || b.load(lane.at(Lane::peer).at(End::lane));
    let peer = || b.load(lane.at(Lane::peer).at(End::sk));
    // An atomic operation: what follows is not looked at before the lane's end and this can be seen.
    b.atomic(AtomicOp::Add, fins(b, d, lane).at_all(), &b.value(1));
    let mode = peek(b, peer_s_lane(), MODE, perhaps);
    b.jump_if(mode.ne(Mode::Direct as u32), &at_rest);
    drop(mode);

    let last = b.slot::<u64>();
    b.store(last.place(), peek(b, peer_s_lane(), REDIRECTED_AT, perhaps));
    let since = b.call(helper::jiffies64());
    since.sub(b.load(last.place()));
    b.jump_if(since.gt(d.settings.hz / 50 + 1), &at_rest);
    drop((since, last));

    let asleep = asleep(b, d, &peer(), perhaps, perhaps);
    let users = users_of_psock(b, d, &peer(), perhaps);
    b.jump_if(users.gt(b.load(asleep.place())), perhaps);
    b.place(&at_rest);
}

/// Notes that the peer's lane has turned from redirecting to TCP; jumps to `known` if that has been noted before.
pub(super) fn turned(b: &Builder, lane: &Ptr<Lane>, known: &Label) {
    let unknown = b.label();
    let turned_at = peek(b, b.load(lane.at(Lane::peer).at(End::lane)), TURNED_AT, &unknown);
    b.jump_if(turned_at.eq(b.load(lane.at(Lane::peer_turned_at))), known);
    b.store(lane.at(Lane::peer_turned_at), &turned_at);
    b.place(&unknown);
}

/// The receiver may hold for its reader, redirected and unread, as much as its receive buffer. What is left of that is the lane's new
/// credit.
///
/// Each message counts with what the kernel allocates to queue it: a million messages of one byte are not a megabyte. How many of
/// those sent are still queued nobody knows, but they are the last ones: if all unread bytes were sent since the receiver was last looked
/// at, no more than were sent since then; otherwise no more than since the queue was last seen empty, and no more than the unread bytes
/// divided by the smallest of them. So that there is a recent look to count from, what is left is lent by halves.
pub(super) fn memory(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, size: &Reg, by_tcp: &ByTcp) {
    let unknown = b.label();
    let known = b.label();
    let peer = || b.load(lane.at(Lane::peer).at(End::sk));
    let left = b.slot::<i64>();
    let room = peek(b, peer(), d.layout.receive_buffer, &unknown);
    b.store(left.place(), &room);
    drop(room);
    if d.settings.meter == Meter::Charged {
        spare_the_window(b, d, lane, &left, &unknown);
    }

    let empty = b.label();
    match d.settings.meter {
        Meter::Charged => {
            let unread = peek(b, peer(), d.layout.receive_allocated, &unknown);
            b.jump_if(unread.eq(0), &empty);
            take(b, &left, &unread);
            let sent = sent_since(b, lane, Lane::direct_bytes, Lane::bytes_at_look);
            b.when_else(
                sent.ge(&unread),
                || unread.set(sent_since(b, lane, Lane::direct_messages, Lane::messages_at_look)),
                || {
                    // unread / smallest + 1: the first of them may have been read in part.
                    unread.div(b.load(lane.at(Lane::smallest)));
                    unread.add(1);
                    let queued = sent_since(b, lane, Lane::direct_messages, Lane::messages_at_empty);
                    b.when(queued.lt(&unread), || unread.set(&queued));
                },
            );
            drop(sent);
            let queued = unread;
            queued.mul(d.bookkeeping());
            take(b, &left, &queued);
        }
        Meter::Counted => {
            let unread = direct_unread(b, d, &peer(), &unknown);
            b.jump_if(unread.eq(0), &empty);
            drop(unread);
            take(b, &left, &sent_since(b, lane, Lane::direct_bytes, Lane::bytes_at_empty));
            let queued = sent_since(b, lane, Lane::direct_messages, Lane::messages_at_empty);
            queued.mul(d.bookkeeping());
            take(b, &left, &queued);
        }
    }
    b.jump(&known);

    b.place(&unknown);
    by_tcp.because(b, Reason::LookFailed);

    b.place(&empty);
    b.store(lane.at(Lane::messages_at_empty), b.load(lane.at(Lane::direct_messages)));
    b.store(lane.at(Lane::bytes_at_empty), b.load(lane.at(Lane::direct_bytes)));
    b.store(lane.at(Lane::smallest), u32::MAX);

    b.place(&known);
    let cost = b.value(size);
    cost.add(d.bookkeeping());
    let left = b.load(left.place());
    b.when(left.slt(&cost), || by_tcp.because(b, Reason::MemoryGate));
    left.rsh(1);
    b.when(left.lt(&cost), || left.set(&cost));
    drop(cost);
    b.store(lane.at(Lane::credit), &left);
    b.store(lane.at(Lane::messages_at_look), b.load(lane.at(Lane::direct_messages)));
    b.store(lane.at(Lane::bytes_at_look), b.load(lane.at(Lane::direct_bytes)));
}

/// Of a buffer that redirected bytes are charged to, they may have what is left beside the window that has been offered to TCP; a quarter
/// of the buffer in any case.
///
/// The sender's TCP learns nothing of them: bytes that it sends into the window that it was offered would be dropped, sent again ever
/// later, and nothing would hurry them, since reading redirected bytes offers no window. TCP counts a byte of window as about two of
/// buffer.
fn spare_the_window(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, left: &Slot<i64>, unknown: &Label) {
    let peer = || b.load(lane.at(Lane::peer).at(End::sk));
    let offered = b.slot::<u32>();
    b.store(offered.place(), peek(b, peer(), d.layout.rcv_wup, unknown));
    let window = peek(b, peer(), d.layout.rcv_wnd, unknown);
    window.add32(b.load(offered.place()));
    b.store(offered.place(), &window);
    drop(window);
    let window = peek(b, peer(), d.layout.rcv_nxt, unknown);
    window.neg32();
    window.add32(b.load(offered.place()));
    window.lsh(1);

    let room = b.load(left.place());
    let quarter = b.value(&room);
    quarter.rsh(2);
    room.sub(&window);
    drop(window);
    b.when(room.slt(&quarter), || room.set(&quarter));
    b.store(left.place(), &room);
}

fn take(b: &Builder, left: &Slot<i64>, amount: &Reg) {
    let remaining = b.load(left.place());
    remaining.sub(amount);
    b.store(left.place(), &remaining);
}

fn sent_since(b: &Builder, lane: &Ptr<Lane>, now: Field<Lane, u64>, then: Field<Lane, u64>) -> Reg {
    let sent = b.load(lane.at(now));
    sent.sub(b.load(lane.at(then)));
    sent
}

/// The sending socket, with its members at hand.
pub(super) fn sender(b: &Builder, msg: &Ptr<sk_msg_md>, by_tcp: &ByTcp) -> Ptr<tcp_sock> {
    let here = b.call(helper::skc_to_tcp_sock(b.load(msg.at(sk_msg_md::sk))));
    b.when(here.eq(0), || by_tcp.because(b, Reason::LookFailed));
    here
}

/// Members of another socket's lane.
const MODE: KernelField = KernelField { offset: Lane::mode.offset() as u32, size: 4, signed: false, bitfield: None };
const REDIRECTED_AT: KernelField =
    KernelField { offset: Lane::redirected_at.offset() as u32, size: 8, signed: false, bitfield: None };
const TURNED_AT: KernelField =
    KernelField { offset: Lane::turned_at.offset() as u32, size: 8, signed: false, bitfield: None };

/// The pointer at the beginning of a `struct list_head`.
const FIRST: KernelField = KernelField { offset: 0, size: 8, signed: false, bitfield: None };

/// Whether redirected bytes wait at the socket at this address: 0 or not. A socket without a psock is enrolled no more.
pub(super) fn direct_unread(b: &Builder, d: &Datapath, sk: &Reg, unknown: &Label) -> Reg {
    let queue = psock(b, d, sk, unknown);
    queue.add(d.layout.direct_queue.offset);
    let (head, first) = list(b, queue, unknown);
    first.sub(b.load(head.place()));
    first
}

/// A list by the address of its head: that address, which is also what the last in the list points to, and what the head points to.
fn list(b: &Builder, at: Reg, unknown: &Label) -> (Slot<u64>, Reg) {
    let head = b.slot::<u64>();
    b.store(head.place(), &at);
    let first = peek(b, at, FIRST, unknown);
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
