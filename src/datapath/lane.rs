//! A lane: the way that a socket's messages take, and every transition of it.
//!
//! ```text
//!            become_direct
//!      Tcp ───────────────▶ Direct
//!       │ ◀─────────────── │
//!       │    turn_to_tcp   │
//!       └──▶ Ended ◀───────┘   end: every further message goes by TCP, the socket stays in the map
//!              │
//!              ▼
//!           Leaving            leave: nothing is redirected to the socket any more
//!              │
//!              ▼
//!            Left              left: it is out of the map; `enrol` may let the lane begin again
//! ```
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `own`, `bucket`, `role` | [`begin`], once | everyone |
//! | `peer` | `rendezvous`, once | the lane's sender; `look` |
//! | `mode`, `why`, `credit` | the transitions below | the lane's sender, `look`; `mode` also the peer's sender |
//! | `refresh_at`, `period` | [`begin`], [`by_tcp`], `refresh` | the lane's sender |
//! | `direct_messages`, `direct_bytes` | [`spend`], [`unspend`], [`total`] | the lane's sender, `look`; the first also the peer's sender |
//! | `smallest`, `…_at_empty`, `…_at_look` | [`begin`], [`spend`], `gate::memory`, [`total`] | `gate::memory` |
//! | `answers_seen`, `received_seen`, `unanswered_at`, `…_at_answer` | `gate::one_way` | `gate::one_way` |
//! | `endings` | `receiver::ended` | `receiver::ended` |
//! | `fallbacks` | [`begin`], [`has_met`], [`become_direct`], [`by_tcp`] | [`rest`]; the peer that leaves |
//! | `segments_in`, `segments_out` | [`left`] | `watch` |
//! | `times_left`, `rests_until` | [`left`] | [`left`], `watch` |
//! | `looking`, `contended` | `receiver::busy` | the same; `looking` also the peer's sender |
//!
//! Invariants, which the simulation asserts after every run:
//!
//! 1. A lane is changed under the lock of its own socket only, in its sk_msg, sock_ops or
//!    setsockopt program: plain loads and stores are enough. The one exception is `enrol`, which
//!    makes it before the socket is in the map.
//! 2. Credit is 0 unless the lane is direct.
//! 3. `why` is 0 exactly while the lane is direct, or nothing has been sent since it began.
//! 4. A lane that has ended is not direct again before its socket has left the map and has come
//!    back.
//! 5. A direct lane knows its peer, whose name is its own with the halves swapped.

use bpf_asm::{Builder, Modify, Ptr, Reg, Slot, helper};

use super::count::{add, count};
use super::counter::{Cause, Ending, Total};
use super::record::{BUCKETS, Control, End, Isns, Lane, Mode};
use super::{Datapath, receiver, refresh};

/// How many messages in a row may go by TCP. It costs a socket in the map more than one that is not
/// in it: segments are copied into other records, and small writes are not joined.
const FALLBACKS: i32 = 64;
/// The same while the peer is not known: it is about to be enrolled.
const FALLBACKS_ALONE: i32 = 4096;

/// How high [`Lane::contended`] may rise.
pub(super) const CONTENDED: i32 = 128;

/// How often a rest becomes twice as long: it is more than an hour then.
const DOUBLED: i32 = 12;

/// A fresh lane, or one of a socket that comes back, goes by TCP. `own` and `peer` are in it
/// already.
pub(super) fn begin(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, role: &Reg) {
    b.store(lane.at(Lane::mode), Mode::Tcp as u32);
    b.store(lane.at(Lane::why), 0);
    b.store(lane.at(Lane::fallbacks), 0);
    b.store(lane.at(Lane::received_seen), 0);
    b.store(lane.at(Lane::contended), 0);
    b.store(lane.at(Lane::role), role);
    b.store(lane.at(Lane::smallest), u32::MAX);
    {
        let name = || lane.at(Lane::own).at(End::name);
        let bucket = b.load(name().at(Isns::own));
        bucket.xor(b.load(name().at(Isns::peer)));
        bucket.and(BUCKETS as i32 - 1);
        bucket.mul(size_of::<u64>() as i32);
        b.store(lane.at(Lane::bucket), &bucket);
    }
    // The first refresh looks for the period that its namespaces allow.
    {
        let control = b.map_value(&d.maps.control);
        let longest = b.load(control.at(Control::refresh));
        let period = b.value(refresh::shortest_period(d));
        b.when(longest.lt(&period), || period.set(&longest));
        b.store(lane.at(Lane::period), &period);
    }
    let refresh_at = b.call(helper::jiffies64());
    refresh_at.add(b.load(lane.at(Lane::period)));
    b.store(lane.at(Lane::refresh_at), &refresh_at);
}

/// The gates are open: messages are redirected from here on, as long as credit lasts.
///
/// An atomic operation: a receiver that leaves looks at `fallbacks` after it has counted its
/// leaving, and this sender looks at the count after it has become direct. One of them sees the
/// other.
pub(super) fn become_direct(b: &Builder, lane: &Ptr<Lane>) {
    b.store(lane.at(Lane::mode), Mode::Direct as u32);
    b.store(lane.at(Lane::fallbacks), 0);
    b.atomic(Modify::Add, lane.at(Lane::why), &b.value(0));
    b.store(lane.at(Lane::why), 0);
}

/// The lane knows its peer from here on. What went by TCP while it waited is no reason to rest.
pub(super) fn has_met(b: &Builder, lane: &Ptr<Lane>) {
    b.store(lane.at(Lane::fallbacks), 0);
}

/// After many messages in a row that went by TCP, or once the receiver's lock was contended too
/// often, the socket leaves, to be a plain one.
pub(super) fn rest(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, cause: &Slot<u32>) {
    let rests = b.label();
    b.block(|stays| {
        let contended = b.load(lane.at(Lane::contended));
        b.jump_if(contended.ge(CONTENDED), &rests);
        let enough = b.value(FALLBACKS);
        b.when(b.load(cause.place()).eq(Cause::NoPeer as u32), || enough.set(FALLBACKS_ALONE));
        let fallbacks = b.load(lane.at(Lane::fallbacks));
        b.jump_if(fallbacks.lt(&enough), stays);
        b.place(&rests);
        let mode = b.load(lane.at(Lane::mode));
        b.when(mode.eq(Mode::Tcp as u32), || {
            leave(b, d, lane, Ending::Resting);
            count(b, d, Ending::Resting);
        });
    });
}

/// The socket is out of the socket map. It had received and sent so many segments with data, and is
/// left alone for a second; for twice as long each time.
pub(super) fn left(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, received: &Reg, sent: &Reg) {
    b.store(lane.at(Lane::mode), Mode::Left as u32);
    b.store(lane.at(Lane::segments_in), received);
    b.store(lane.at(Lane::segments_out), sent);
    let until = b.slot::<u64>();
    {
        let times = b.load(lane.at(Lane::times_left));
        b.when(times.gt(DOUBLED), || times.set(DOUBLED));
        let rest = b.value(d.settings.hz);
        rest.lsh(&times);
        b.store(until.place(), &rest);
        times.add(1);
        b.store(lane.at(Lane::times_left), &times);
    }
    let now = b.call(helper::jiffies64());
    now.add(b.load(until.place()));
    b.store(lane.at(Lane::rests_until), &now);
}

/// A message goes by TCP: the gates are looked at again before the next. What has ended stays as it
/// is.
pub(super) fn turn_to_tcp(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, now: &Reg) {
    b.store(lane.at(Lane::credit), 0);
    let mode = b.load(lane.at(Lane::mode));
    b.when(mode.lt(Mode::Ended as u32), || b.store(lane.at(Lane::mode), Mode::Tcp as u32));
    by_tcp(b, d, lane, now);
}

/// A message goes by TCP: a count above 0 tells the peer that no redirect is in flight. It does not
/// rise while another thread is in a call on the socket, which may be a redirect. Connection
/// tracking sees the message, so the next that has to be by TCP is a whole period away.
pub(super) fn by_tcp(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, now: &Reg) {
    b.block(|others| {
        let users = receiver::users_of_psock(b, d, &b.load(lane.at(Lane::own).at(End::sk)), others);
        b.jump_if(users.gt(1), others);
        let fallbacks = b.load(lane.at(Lane::fallbacks));
        fallbacks.add(1);
        b.store(lane.at(Lane::fallbacks), &fallbacks);
    });
    let refresh_at = b.load(lane.at(Lane::period));
    refresh_at.add(now);
    b.store(lane.at(Lane::refresh_at), &refresh_at);
}

/// Every message from here on goes by TCP. The socket stays in the map: what it has not read is in
/// its queue.
pub(super) fn end(b: &Builder, lane: &Ptr<Lane>, why: Ending) {
    b.store(lane.at(Lane::mode), Mode::Ended as u32);
    b.store(lane.at(Lane::credit), 0);
    b.store(lane.at(Lane::why), why as u32);
}

/// The lane ends in both directions: its socket is to leave the map, as soon as nothing can be on
/// its way to it.
///
/// The peer asks as soon as the count has changed. An atomic operation, so that what is read of the
/// peer afterwards is not older than this.
pub(super) fn leave(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, why: Ending) {
    end(b, lane, why);
    b.store(lane.at(Lane::mode), Mode::Leaving as u32);
    b.atomic(Modify::Add, receiver::endings(b, d, lane).at_all(), &b.value(1));
}

/// What a message takes of the credit: its bytes, and what the kernel allocates to queue it.
pub(super) fn cost(b: &Builder, d: &Datapath, size: &Reg) -> Reg {
    let cost = b.value(size);
    cost.add(d.bookkeeping());
    cost
}

/// Takes a message off the credit and counts it.
pub(super) fn spend(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, size: &Reg) {
    let credit = b.load(lane.at(Lane::credit));
    credit.sub(cost(b, d, size));
    b.store(lane.at(Lane::credit), &credit);
    redirected(b, lane, |sum, amount| sum.add(amount), size);
    let smallest = b.load(lane.at(Lane::smallest));
    b.when(size.lt(&smallest), || b.store(lane.at(Lane::smallest), size));
}

/// A message that was counted was not redirected after all. Its credit is lost: the lane is about
/// to end.
pub(super) fn unspend(b: &Builder, lane: &Ptr<Lane>, size: &Reg) {
    redirected(b, lane, |sum, amount| sum.sub(amount), size);
}

fn redirected(b: &Builder, lane: &Ptr<Lane>, change: impl Fn(&Reg, &Reg), size: &Reg) {
    let messages = b.load(lane.at(Lane::direct_messages));
    change(&messages, &b.value(1));
    b.store(lane.at(Lane::direct_messages), &messages);
    let bytes = b.load(lane.at(Lane::direct_bytes));
    change(&bytes, size);
    b.store(lane.at(Lane::direct_bytes), &bytes);
}

/// What it has redirected goes into the totals, and it counts from nothing again: its socket
/// closes, or is not seen in the map any more.
pub(super) fn total(b: &Builder, d: &Datapath, lane: &Ptr<Lane>) {
    for (total, of_lane) in
        [(Total::DirectMessages, Lane::direct_messages), (Total::DirectBytes, Lane::direct_bytes)]
    {
        let index = b.slot::<u32>();
        b.store(index.place(), total as u32);
        let amount = b.load(lane.at(of_lane));
        add(b, d, index.place(), &amount);
    }
    for count in [
        Lane::direct_messages,
        Lane::direct_bytes,
        Lane::messages_at_empty,
        Lane::messages_at_look,
        Lane::bytes_at_look,
        Lane::messages_at_look_before,
        Lane::bytes_at_look_before,
        Lane::answers_seen,
        Lane::messages_at_answer,
        Lane::bytes_at_answer,
    ] {
        b.store(lane.at(count), 0);
    }
}
