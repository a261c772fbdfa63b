//! The gates: what has to hold before a message may overtake the TCP/IP stack.
//!
//! The receiver reads its direct queue first and its TCP queue after. Hence a lane may go from TCP to direct only when its receiver
//! has read all that was sent by TCP (the order gate); from direct to TCP it may go at any time. The sender is the lane's only
//! producer, so it can be lent a credit: so many bytes may follow before the receiver is looked at again (the memory gate).

use bpf_asm::{Builder, Ptr, Reg, Slot, helper, sk_msg_md, sock, tcp_sock};

use super::peek::peek;
use super::reason::Reason;
use super::record::{Control, End, Lane, Mode};
use super::send::ByTcp;
use super::{Datapath, Meter};

/// The application chose the size of its send buffer itself (include/net/sock.h).
const SOCK_SNDBUF_LOCK: i32 = 1;

/// A refresh is due: the message goes by TCP, to be seen by connection tracking, whose entry of a NAT hop would expire otherwise.
///
/// While redirected bytes wait to be read it is put off for another period at most, since a reader with bytes in both of its queues
/// can miss a wake-up. The period is found anew each time: the least of what the agent allows and a third of the established
/// time-out of both ends' namespaces, which a packet sets as it passes.
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
    by_tcp.because(b, Reason::Refresh);

    b.place(&go_on);
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

/// A lane that goes by TCP stays there until the receiver has read everything that its sender ever sent by TCP.
pub(super) fn order(b: &Builder, d: &Datapath, msg: &Ptr<sk_msg_md>, lane: &Ptr<Lane>, by_tcp: &ByTcp) {
    let open = b.label();
    let unknown = b.label();
    let mode = b.load(lane.at(Lane::mode));
    b.jump_if(mode.eq(Mode::Direct as u32), &open);
    drop(mode);

    let written = b.slot::<u32>();
    let here = sender(b, msg, by_tcp);
    b.store(written.place(), b.load(here.member(d.layout.write_seq)));
    drop(here);
    let read = peek(b, b.load(lane.at(Lane::peer).at(End::sk)), d.layout.copied_seq, &unknown);
    let written = b.load(written.place());
    b.jump_if(read.eq32(&written), &open);
    drop((read, written));
    by_tcp.because(b, Reason::OrderGate);
    b.place(&unknown);
    by_tcp.because(b, Reason::LookFailed);
    b.place(&open);
}

/// The receiver may hold for its reader, unread and redirected, what TCP would hold in its own receive buffer and in the sender's
/// send buffer. What is left of that is the lane's new credit.
///
/// Each message counts with what the kernel allocates to queue it: a million messages of one byte are not a megabyte. How many of
/// those sent are still queued nobody knows; no more than were sent since the queue was last seen empty, and no more than the
/// unread bytes divided by the smallest of them.
pub(super) fn memory(b: &Builder, d: &Datapath, msg: &Ptr<sk_msg_md>, lane: &Ptr<Lane>, size: &Reg, by_tcp: &ByTcp) {
    let unknown = b.label();
    let known = b.label();
    let left = limit(b, d, msg, lane, by_tcp, &unknown);

    let peer = || b.load(lane.at(Lane::peer).at(End::sk));
    let empty = b.label();
    match d.settings.meter {
        Meter::Charged => {
            let unread = peek(b, peer(), d.layout.receive_allocated, &unknown);
            b.jump_if(unread.eq(0), &empty);
            let remaining = b.load(left.place());
            remaining.sub(&unread);
            b.store(left.place(), &remaining);
            drop(remaining);

            // unread / smallest + 1: the first of them may have been read in part.
            let smallest = b.load(lane.at(Lane::smallest));
            unread.div(&smallest);
            unread.add(1);
            drop(smallest);
            let queued = sent_since_empty(b, lane);
            b.when(unread.lt(&queued), || queued.set(&unread));
            drop(unread);
            charge_bookkeeping(b, d, &left, &queued);
        }
        Meter::Counted => {
            let unread = direct_unread(b, d, &peer(), &unknown);
            b.jump_if(unread.eq(0), &empty);
            drop(unread);
            let unread = b.load(lane.at(Lane::direct_bytes));
            let before = b.load(lane.at(Lane::bytes_at_empty));
            unread.sub(&before);
            drop(before);
            let remaining = b.load(left.place());
            remaining.sub(&unread);
            b.store(left.place(), &remaining);
            drop((remaining, unread));
            charge_bookkeeping(b, d, &left, &sent_since_empty(b, lane));
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
    drop(cost);
    let most = b.value(u32::MAX);
    b.when(left.gt(&most), || left.set(&most));
    b.store(lane.at(Lane::credit), &left);
}

/// What TCP would hold for the receiver, in bytes.
fn limit(
    b: &Builder,
    d: &Datapath,
    msg: &Ptr<sk_msg_md>,
    lane: &Ptr<Lane>,
    by_tcp: &ByTcp,
    unknown: &bpf_asm::Label,
) -> Slot<i64> {
    let limit = b.slot::<i64>();
    {
        let here = sender(b, msg, by_tcp);
        let sending = b.load(here.member(d.layout.send_buffer));
        let grows = || {
            let namespace = b.load(here.member(d.layout.namespace)).cast::<sock>();
            let most = b.load(namespace.member(d.layout.send_buffer_max));
            b.when(most.gt(&sending), || sending.set(&most));
        };
        match d.layout.buffer_locks {
            Some(locks) => {
                let locked = b.load(here.member(locks));
                locked.and(SOCK_SNDBUF_LOCK);
                b.when(locked.eq(0), grows);
            }
            None => grows(),
        }
        b.store(limit.place(), &sending);
    }
    let receiving = peek(b, b.load(lane.at(Lane::peer).at(End::sk)), d.layout.receive_buffer, unknown);
    let sum = b.load(limit.place());
    sum.add(&receiving);
    b.store(limit.place(), &sum);
    limit
}

fn sent_since_empty(b: &Builder, lane: &Ptr<Lane>) -> Reg {
    let sent = b.load(lane.at(Lane::direct_messages));
    sent.sub(b.load(lane.at(Lane::messages_at_empty)));
    sent
}

fn charge_bookkeeping(b: &Builder, d: &Datapath, left: &Slot<i64>, messages: &Reg) {
    let cost = b.value(messages);
    cost.mul(d.bookkeeping());
    let remaining = b.load(left.place());
    remaining.sub(&cost);
    b.store(left.place(), &remaining);
}

/// The sending socket, with its members at hand.
fn sender(b: &Builder, msg: &Ptr<sk_msg_md>, by_tcp: &ByTcp) -> Ptr<tcp_sock> {
    let here = b.call(helper::skc_to_tcp_sock(b.load(msg.at(sk_msg_md::sk))));
    b.when(here.eq(0), || by_tcp.because(b, Reason::LookFailed));
    here
}

/// Whether redirected bytes wait at the socket at this address: 0 or not. A socket without a psock is enrolled no more.
pub(super) fn direct_unread(b: &Builder, d: &Datapath, sk: &Reg, unknown: &bpf_asm::Label) -> Reg {
    /// Tags in the low bits of `sk_user_data` (`SK_USER_DATA_*`, include/net/sock.h).
    const POINTER: i32 = !7;
    let psock = peek(b, sk, d.layout.user_data, unknown);
    psock.and(POINTER);
    psock.add(d.layout.direct_queue.offset);
    let head = b.slot::<u64>();
    b.store(head.place(), &psock);
    let first = peek(b, psock, bpf_asm::KernelField { offset: 0, size: 8, signed: false, bitfield: None }, unknown);
    first.sub(b.load(head.place()));
    first
}

#[cfg(test)]
mod tests;
