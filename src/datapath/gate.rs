//! The gates: what has to hold before a lane becomes direct, and how much may then follow.
//!
//! The receiver has one queue: the verdict program puts its TCP segments where redirected messages
//! go, at the moment when they arrive. So a lane may go from TCP to direct when all that it sent by
//! TCP has arrived (the arrival gate), and back at any time. The sender is the lane's only
//! producer, so it can be lent a credit: so many bytes may follow before the receiver is looked at
//! again (the memory gate).

use bpf_asm::{Builder, Label, Ptr, Reg, Slot, tcp_sock};

use super::Datapath;
use super::counter::Cause;
use super::fallback::Fallback;
use super::lane;
use super::peek::peek_or_zero;
use super::receiver::{self, delivered};
use super::record::Lane;

/// The most redirected bytes, bookkeeping included, that a receiver holds for its reader: less than
/// half of what TCP holds in its send and receive buffers. With less, large messages fall to TCP
/// and back all the time.
const LIMIT: i32 = 7 << 18;

/// The part of the receive buffer that is lent whatever window has been offered: a sixteenth.
const LENT_IN_ANY_CASE: i32 = 4;

/// Messages from this size on are redirected in any case: TCP has little to join. Records of TLS,
/// of 16 KiB, do better with TCP: bulk through sidecars loses a fifth of its throughput if they are
/// redirected until the receiver is full.
const LARGE: i32 = 32 << 10;

/// How many bytes of small messages, bookkeeping included, may go unanswered in a jiffy before TCP
/// may join them: more than most answers are long.
const UNANSWERED: i32 = 512 << 10;

/// A lane that goes by TCP stays there until everything that its sender ever sent by TCP is in the
/// receiver's ingress queue.
///
/// A segment that is between the two queues at this moment is no danger: whoever moves it has the
/// receiver's lock, and the redirect waits for that.
pub(super) fn arrival(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    written: &Slot<u32>,
    fallback: &Fallback,
) {
    let look = |shut: &Label, unknown: &Label| {
        let arrived = peek_or_zero(b, d, receiver::sk(b, lane), d.layout.rcv_nxt);
        b.jump_if(arrived.ne32(b.load(written.place())), shut);
        delivered(b, d, &receiver::sk(b, lane), shut, unknown);
    };
    b.attempt(
        |unknown| {
            b.attempt(|shut| look(shut, unknown), || fallback.because(b, Cause::ArrivalGate));
        },
        || fallback.because(b, Cause::LookFailed),
    );
}

/// Small messages that nothing answers stay with TCP, which joins them, but for a few in each
/// jiffy: a stream goes by TCP, and who only has something to say now and then is not kept from it.
/// Puts into `most` how much may follow before the next look. `received` is how far the sender's
/// socket has received.
pub(super) fn one_way(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    (size, now): (&Reg, &Reg),
    received: &Slot<u32>,
    most: &Slot<u64>,
    fallback: &Fallback,
) {
    b.block(|open| {
        let (answered, unknown) = (b.label(), b.label());
        b.store(most.place(), LIMIT);
        b.jump_if(size.ge(LARGE), open);
        let answers = b.slot::<u64>();
        b.store(answers.place(), receiver::direct_messages(b, lane, &unknown));
        // One branch for the three, not one each: the verifier would follow the rest from every one
        // of them.
        let news = b.load(answers.place());
        news.xor(b.load(lane.at(Lane::answers_seen)));
        let passed = b.value(now);
        passed.xor(b.load(lane.at(Lane::unanswered_at)));
        news.or(&passed);
        let by_tcp = b.load(received.place());
        by_tcp.xor(b.load(lane.at(Lane::received_seen)));
        news.or(&by_tcp);
        b.jump_if(news.ne(0), &answered);
        let left = b.value(UNANSWERED);
        left.sub(b.load(lane.at(Lane::direct_bytes)));
        left.add(b.load(lane.at(Lane::bytes_at_answer)));
        let messages = b.load(lane.at(Lane::direct_messages));
        messages.sub(b.load(lane.at(Lane::messages_at_answer)));
        messages.mul(d.bookkeeping());
        left.sub(&messages);
        b.store(most.place(), &left);
        b.jump_if(left.sge(lane::cost(b, d, size)), open);
        fallback.because(b, Cause::OneWay);
        b.place(&unknown);
        fallback.because(b, Cause::LookFailed);
        b.place(&answered);
        b.store(most.place(), UNANSWERED);
        b.store(lane.at(Lane::answers_seen), b.load(answers.place()));
        b.store(lane.at(Lane::messages_at_answer), b.load(lane.at(Lane::direct_messages)));
        b.store(lane.at(Lane::bytes_at_answer), b.load(lane.at(Lane::direct_bytes)));
        b.store(lane.at(Lane::received_seen), b.load(received.place()));
        b.store(lane.at(Lane::unanswered_at), now);
    });
}

/// The receiver may hold for its reader, redirected and unread, as much as [`LIMIT`], and no more
/// than its receive buffer has beside the window that it has offered to TCP. What is left of that
/// is the lane's new credit, and at most `most`.
///
/// Each message counts with what the kernel allocates to queue it: a million messages of one byte
/// are not a megabyte. How many of those sent are still queued is not known, but they are the last
/// ones: if all unread bytes were sent since one of the last two looks at the receiver, no more
/// than were sent since then; otherwise no more than since the queue was last seen empty, and no
/// more than the unread bytes divided by the smallest of them. So that there is a recent look to
/// count from, what is left is lent by halves.
pub(super) fn memory(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    size: &Reg,
    most: &Slot<u64>,
    fallback: &Fallback,
) {
    let left = b.slot::<i64>();
    room(b, d, lane, &left);
    let unread = peek_or_zero(b, d, receiver::sk(b, lane), d.layout.receive_allocated);
    b.when_else(
        unread.ne(0),
        || {
            take(b, &left, &unread);
            take(b, &left, &overhead(b, d, lane, &unread));
        },
        || {
            b.store(lane.at(Lane::messages_at_empty), b.load(lane.at(Lane::direct_messages)));
            b.store(lane.at(Lane::smallest), u32::MAX);
        },
    );
    let cost = lane::cost(b, d, size);
    let left = b.load(left.place());
    b.when(left.slt(&cost), || fallback.because(b, Cause::MemoryGate));
    left.rsh(1);
    let most = b.load(most.place());
    b.when(left.gt(&most), || left.set(&most));
    b.when(left.lt(&cost), || left.set(&cost));
    b.store(lane.at(Lane::credit), &left);
    for (before, last, now) in [
        (Lane::messages_at_look_before, Lane::messages_at_look, Lane::direct_messages),
        (Lane::bytes_at_look_before, Lane::bytes_at_look, Lane::direct_bytes),
    ] {
        b.store(lane.at(before), b.load(lane.at(last)));
        b.store(lane.at(last), b.load(lane.at(now)));
    }
}

/// What the kernel may have allocated beside the bytes that the receiver has not read, which are
/// more than none.
fn overhead(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, unread: &Reg) -> Reg {
    let queued = b.load(lane.at(Lane::direct_messages));
    b.block(|counted| {
        for (messages, bytes) in [
            (Lane::messages_at_look, Lane::bytes_at_look),
            (Lane::messages_at_look_before, Lane::bytes_at_look_before),
        ] {
            b.block(|older| {
                let sent = b.load(lane.at(Lane::direct_bytes));
                sent.sub(b.load(lane.at(bytes)));
                b.jump_if(sent.lt(unread), older);
                queued.sub(b.load(lane.at(messages)));
                b.jump(counted);
            });
        }
        queued.sub(b.load(lane.at(Lane::messages_at_empty)));
        // unread / smallest + 1: the first of them may have been read in part.
        let most = b.value(unread);
        most.div(b.load(lane.at(Lane::smallest)));
        most.add(1);
        b.when(most.lt(&queued), || queued.set(&most));
    });
    queued.mul(d.bookkeeping());
    queued
}

/// A receiver whose cgroup limits its socket memory is looked at before each message: a redirect
/// that finds no memory is an error of its sender (`bpf_tcp_ingress`), which TCP would have sent
/// later.
pub(super) fn limit(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    size: &Reg,
    most: &Slot<u64>,
    fallback: &Fallback,
) {
    /// A limit from here on is none: that many pages are more than any machine has.
    const NO_LIMIT: i32 = 1 << 30;
    /// Pages that other sockets may take meanwhile, and what is lost by rounding.
    const SPARE: i32 = 8;
    const PAGE_BITS: i32 = 12;
    let l = &d.layout;
    let (Some(cgroup), Some(used), Some(limit)) =
        (l.memory_cgroup, l.socket_memory_used, l.socket_memory_limit)
    else {
        return;
    };
    b.block(|open| {
        let charged = b.slot::<u64>();
        b.store(charged.place(), peek_or_zero(b, d, receiver::sk(b, lane), cgroup));
        b.jump_if(b.load(charged.place()).eq(0), open);
        let left = b.slot::<u64>();
        b.store(left.place(), peek_or_zero(b, d, b.load(charged.place()), limit));
        b.jump_if(b.load(left.place()).ge(NO_LIMIT), open);
        b.store(most.place(), 0);
        let wanted = peek_or_zero(b, d, b.load(charged.place()), used);
        let pages = b.value(size);
        pages.rsh(PAGE_BITS);
        wanted.add(&pages);
        wanted.add(SPARE);
        b.jump_if(wanted.le(b.load(left.place())), open);
        fallback.because(b, Cause::ShortOfMemory);
    });
}

/// What the receive buffer has beside the window that has been offered to TCP, at most [`LIMIT`].
///
/// The sender's TCP learns nothing of redirected bytes: bytes that it sends into the window that it
/// was offered must find their place, or they are dropped and sent again a retransmission time-out
/// later. TCP counts a byte of window as about two of buffer.
fn room(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, left: &Slot<i64>) {
    let at = || receiver::sk(b, lane);
    let offered = b.slot::<u32>();
    b.store(offered.place(), peek_or_zero(b, d, at(), d.layout.rcv_wup));
    let window = peek_or_zero(b, d, at(), d.layout.rcv_wnd);
    window.add32(b.load(offered.place()));
    b.store(offered.place(), &window);
    let window = peek_or_zero(b, d, at(), d.layout.rcv_nxt);
    window.neg32();
    window.add32(b.load(offered.place()));
    window.lsh(1);
    b.store(left.place(), &window);

    let room = peek_or_zero(b, d, at(), d.layout.receive_buffer);
    // After a bulk transfer the window may be as large as the buffer, and only bytes by TCP take it
    // back: a part of the buffer is lent in any case, which is less than TCP's own estimate is
    // wrong by.
    let least = b.slot::<i64>();
    {
        let part = b.value(&room);
        part.rsh(LENT_IN_ANY_CASE);
        b.store(least.place(), &part);
    }
    room.sub(b.load(left.place()));
    let least = b.load(least.place());
    b.when(room.slt(&least), || room.set(&least));
    b.when(room.sgt(LIMIT), || room.set(LIMIT));
    b.store(left.place(), &room);
}

/// Jumps to `not_yet` if the memory gate would be shut to all but a few bytes. A small buffer that
/// an application has fixed may have been offered to TCP as a whole; enrolled, it would go by TCP
/// and pay for the verdict.
pub(super) fn holds_some(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, not_yet: &Label) {
    /// Some eight small messages with their bookkeeping.
    const SOME: i32 = 8 << 10;
    /// Of a buffer that never holds so much beside a window: a quarter.
    const OF_SMALL: i32 = 2;
    let l = &d.layout;
    b.block(|open| {
        let buffer = || b.load(socket.member(l.receive_buffer));
        let some = buffer();
        some.rsh(OF_SMALL);
        b.when(some.gt(SOME), || some.set(SOME));
        let in_any_case = buffer();
        in_any_case.rsh(LENT_IN_ANY_CASE);
        b.jump_if(in_any_case.ge(&some), open);
        let window = b.load(socket.member(l.rcv_wup));
        window.add32(b.load(socket.member(l.rcv_wnd)));
        window.sub32(b.load(socket.member(l.rcv_nxt)));
        window.lsh(1);
        window.add(&some);
        b.jump_if(window.gt(buffer()), not_yet);
    });
}

fn take(b: &Builder, left: &Slot<i64>, amount: &Reg) {
    let remaining = b.load(left.place());
    remaining.sub(amount);
    b.store(left.place(), &remaining);
}

#[cfg(test)]
mod tests;
