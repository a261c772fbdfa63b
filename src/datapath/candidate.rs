//! Candidates: connections with both ends here that have shown that they go on.
//!
//! To be enrolled costs a connection about as much as ten round trips. One that does all it has to
//! do at once and ends would never earn that. So an end that converses (see [`super::watch`])
//! becomes a candidate when it sends a message after a pause, which makes the cost a hundredth of
//! what it has lived, or when it has exchanged very much: in the call of the process that sends,
//! which is when it can be seen who uses the socket. The agent is told, and enrols both ends (see
//! [`super::enrol`]): sock_ops programs may put a socket into a map only while its connection is
//! being established, before anything is known of its readers.

use bpf_asm::uapi::{BPF_SK_STORAGE_GET_F_CREATE, BPF_TCP_ESTABLISHED};
use bpf_asm::{Builder, Label, NULL, Operand, Place, Ptr, Reg, Slot, bpf_sock_ops, helper};

use super::count::count;
use super::counter::{Outcome, Total};
use super::event::{CLIENT, STATES, forget, mark, sk_of, socket_of};
use super::option::{SO_RCVLOWAT, SOL_SOCKET, SOL_TCP, TCP_WINDOW_CLAMP};
use super::peek::{copy_v6, peek, peek_or_zero};
use super::record::{Candidate, Isns, Newcomer, Refusal, Role};
use super::{Datapath, caller, control, guard, receiver, refusal, rendezvous};

/// Segments with data in each direction of a connection that makes no pause.
const WORTH_IT: i32 = 32;

/// A connection whose file still blocks after so many segments is left alone for good.
const PATIENCE: i32 = 64;

/// How long a candidate waits for its first attempt, in nanoseconds: most connections that end soon
/// have ended then, and cost no more.
pub(super) const FIRST: i32 = 1_000_000;
/// Between the first two attempts, in nanoseconds. Each pause is a quarter longer than the one
/// before, so a fifth of the time that a candidate has waited: a busy one, whose bytes are unread
/// nearly always, needs many attempts.
pub(super) const SOON: i32 = 100_000;

/// What a reader may ask TCP to provide for; TCP takes about twice as much buffer for it. More
/// would be filled by TCP if the reader does not read.
const ROOM: u32 = 1 << 20;
/// The window that TCP may offer in it: its segments find room beside a mebibyte of redirected
/// bytes.
const WINDOW: i32 = 1 << 19;
/// What TCP begins with: as large as a window can be (`TCP_MAX_WSCALE`).
const ANY_WINDOW: i32 = 0xffff << 14;

/// A local connection that goes on and is not enrolled is about to send a segment.
pub(super) fn consider(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let done = b.label();
    let left_alone = b.label();
    let guarded = b.label();
    let foreign = b.label();
    let unsuitable = b.label();
    let blocking = b.label();
    let refused_before = b.label();

    let state = b.load(event.at(bpf_sock_ops::state));
    b.jump_if(state.ne(BPF_TCP_ESTABLISHED), &done);
    b.jump_if(control::draining(b, d).ne(0), &done);
    let known = b.call(helper::sk_storage_get(&d.maps.candidates, sk_of(b, event, &done), NULL, 0));
    b.when(known.ne(0), || {
        let refused = b.load(known.at(Candidate::refused));
        b.jump_if(refused.ne(0), &refused_before);
        keep_room(b, d, event, &b.load(known.at(Candidate::sk)));
        b.jump(&done);
    });
    let socket = socket_of(b, event, &done);
    let pause = b.call(helper::jiffies64());
    pause.sub32(b.load(socket.member(d.layout.sent_last)));
    b.when(pause.eq(0), || {
        for exchanged in [bpf_sock_ops::data_segs_in, bpf_sock_ops::data_segs_out] {
            b.jump_if(b.load(event.at(exchanged)).lt(WORTH_IT), &done);
        }
    });
    // In a call of the process that holds the lock, not in an interrupt: it is one that uses the
    // socket.
    let owned = b.load(socket.member(d.layout.lock_owned));
    b.jump_if(owned.eq(0), &done);

    let user_data = b.load(socket.member(d.layout.user_data));
    b.when(user_data.ne(0), || {
        // shunt's own: it has just been enrolled, or has left during a call that still holds its
        // psock.
        let lane = b.call(helper::sk_storage_get(&d.maps.lanes, &socket, NULL, 0));
        b.jump_if(lane.ne(0), &done);
        // Or of the version before, whose program still needs these callbacks to take it out.
        b.jump_if(control::older(b, d).ne(0), &done);
        b.jump(&foreign);
    });
    guard::repaired(b, d, &socket, &unsuitable);
    guard::options(b, d, &socket, &guarded);
    let address = b.slot::<u64>();
    b.store(address.place(), peek(b, event, d.layout.context_sk, &done));
    b.jump_if(receiver::nonblocking(b, d, &b.load(address.place()), &unsuitable).eq(0), &blocking);
    become_candidate(b, d, event, &address, &done);
    b.jump(&done);

    b.place(&refused_before);
    b.call(helper::sk_storage_delete(&d.maps.candidates, sk_of(b, event, &done)));
    give_window_back(b, event);
    forget(b, event);
    b.jump(&done);

    let why = b.slot::<Refusal>();
    b.place(&blocking);
    let segments = b.load(event.at(bpf_sock_ops::segs_out));
    b.jump_if(segments.lt(PATIENCE), &done);
    for (label, outcome) in [
        (None, Outcome::BlockingFile),
        (Some(&guarded), Outcome::Guarded),
        (Some(&foreign), Outcome::Foreign),
        (Some(&unsuitable), Outcome::Unsuitable),
    ] {
        if let Some(label) = label {
            b.place(label);
        }
        b.store(why.at(Refusal::outcome), outcome as u32);
        b.jump(&left_alone);
    }
    b.place(&left_alone);
    // The other end need not wait for this one.
    let name = b.slot::<Isns>();
    let role = b.slot::<u32>();
    name_of(b, event, name.place(), role.place());
    let pair = b.slot::<Isns>();
    rendezvous::pair(b, &name.place(), &b.load(role.place()), &pair);
    rendezvous::alone(b, d, &pair);
    forget(b, event);
    b.copy(why.at(Refusal::program), caller::name(b, d, &done).place());
    refusal::count(b, d, &why);
    b.place(&done);
}

/// Notes what has to be known to enrol the socket, and tells the agent. If that is not possible,
/// the next segment tries again.
///
/// A pass may come to a candidate as soon as it is one, however far its sender has come: all of it
/// has to be said by then, and the low-water mark has to be back.
fn become_candidate(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    address: &Slot<u64>,
    done: &Label,
) {
    let (no_memory, unheard) = (b.label(), b.label());
    let candidate = b.slot::<Candidate>();
    b.zero(candidate.place());
    b.copy(candidate.at(Candidate::program), caller::name(b, d, done).place());
    let newcomer = b.slot::<Newcomer>();
    b.zero(newcomer.place());
    {
        let thread = b.call(helper::get_current_task());
        b.store(newcomer.at(Newcomer::thread), peek_or_zero(b, d, thread, d.layout.thread_id));
        let process = caller::process(b, d, done);
        b.copy(newcomer.at(Newcomer::process), process.place());
        let cookie = b.call(helper::get_socket_cookie(event));
        b.store(newcomer.at(Newcomer::cookie), &cookie);
    }
    where_it_is(b, d, address, &newcomer, done);
    provide(b, event);
    keep_room(b, d, event, &b.load(address.place()));

    {
        b.copy(candidate.at(Candidate::process), newcomer.at(Newcomer::process));
        b.copy(candidate.at(Candidate::cookie), newcomer.at(Newcomer::cookie));
        b.store(candidate.at(Candidate::sk), b.load(address.place()));
        name_of(b, event, candidate.at(Candidate::name), candidate.at(Candidate::role));
        b.store(candidate.at(Candidate::pause), SOON);
        let due = b.call(helper::ktime_get_ns());
        due.add(FIRST);
        b.store(candidate.at(Candidate::due), &due);
        let sk = sk_of(b, event, done);
        let stored = b.call(helper::sk_storage_get(
            &d.maps.candidates,
            sk,
            &candidate,
            BPF_SK_STORAGE_GET_F_CREATE,
        ));
        b.jump_if(stored.eq(0), &no_memory);
    }
    let lost = b.call(helper::ringbuf_output(&d.maps.newcomers, &newcomer, newcomer.size(), 0));
    b.jump_if(lost.ne(0), &unheard);
    mark(b, event, STATES);
    count(b, d, Total::Candidates);
    b.jump(done);

    b.place(&unheard);
    b.call(helper::sk_storage_delete(&d.maps.candidates, sk_of(b, event, done)));
    b.place(&no_memory);
    count(b, d, Outcome::NoMemory);
}

/// By what the agent finds the socket: its network namespace, its addresses and ports.
fn where_it_is(
    b: &Builder,
    d: &Datapath,
    address: &Slot<u64>,
    into: &Slot<Newcomer>,
    unknown: &Label,
) {
    let at = || b.load(address.place());
    let l = &d.layout;
    let namespace = b.slot::<u64>();
    b.store(namespace.place(), peek(b, at(), l.namespace, unknown));
    b.store(
        into.at(Newcomer::netns),
        peek(b, b.load(namespace.place()), l.namespace_inode, unknown),
    );
    b.store(
        into.at(Newcomer::netns_cookie),
        peek(b, b.load(namespace.place()), l.namespace_cookie, unknown),
    );
    // The socket is there: its namespace has been read.
    for (field, to) in [
        (l.family, Newcomer::family),
        (l.local_port, Newcomer::local_port),
        (l.remote_port, Newcomer::remote_port),
        (l.local_v4, Newcomer::local_v4),
        (l.remote_v4, Newcomer::remote_v4),
    ] {
        b.store(into.at(to), peek_or_zero(b, d, at(), field));
    }
    for (field, to) in [(l.local_v6, Newcomer::local_v6), (l.remote_v6, Newcomer::remote_v6)] {
        if let Some(field) = field {
            copy_v6(b, at(), field, into.at(to));
        }
    }
}

/// An end's name, and its role: the sequence numbers with which the connection began, which are
/// those of now without what has been acknowledged and received since. A client's SYN counts as
/// acknowledged, a server's does not (`tcp_snd_una_update`).
fn name_of(b: &Builder, event: &Ptr<bpf_sock_ops>, name: Place<Isns>, role: Place<u32>) {
    let is_client = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
    is_client.and(CLIENT);
    let own = b.load(event.at(bpf_sock_ops::snd_una));
    own.sub32(b.load(event.at(bpf_sock_ops::bytes_acked)));
    own.add32(&is_client);
    b.store(name.at(Isns::own), &own);
    // The mark is 1, and the role of a client 0.
    const { assert!(CLIENT == 1 && Role::Client as u32 == 0 && Role::Server as u32 == 1) };
    is_client.xor(1);
    b.store(role, &is_client);
    let peer = b.load(event.at(bpf_sock_ops::rcv_nxt));
    peer.sub32(b.load(event.at(bpf_sock_ops::bytes_received)));
    b.store(name.at(Isns::peer), &peer);
}

/// An enrolled socket sends its FIN, perhaps since it is closed by one who has not read everything.
/// TCP would reset such a connection, but sees nothing of what is in the ingress queue, and its
/// window stays shut if that is full: a sender that waits for room would only be told when the
/// connection is forgotten. So the FIN comes with a window, and what is sent into it is answered
/// with a reset.
pub(super) fn open_window(b: &Builder, event: &Ptr<bpf_sock_ops>) {
    ask_for(b, event, 4 * ROOM);
}

/// Asks TCP to provide room for a reader that falls behind.
///
/// Asking to be woken for many bytes at once makes TCP provide for them (`tcp_set_rcvlowat`),
/// unless the application has chosen the size itself; then its low-water mark, which is 1 or it
/// would not be a candidate, is put back.
fn provide(b: &Builder, event: &Ptr<bpf_sock_ops>) {
    ask_for(b, event, ROOM);
}

fn ask_for(b: &Builder, event: &Ptr<bpf_sock_ops>, room: u32) {
    let value = b.slot::<u32>();
    for number in [room, 1] {
        b.store(value.place(), number);
        b.call(helper::setsockopt(event, SOL_SOCKET, SO_RCVLOWAT, &value, 4));
    }
}

/// Has TCP offer no more than half of what the receive buffer of the socket at this address has
/// room for: TCP counts a byte of window as up to two of buffer.
///
/// It is asked for at each segment, since TCP forgets it when it makes the buffer of a busy reader
/// larger (`tcp_rcvbuf_grow`), and when it finds that segments take more or less memory than before
/// (`tcp_measure_rcv_mss`). The window itself never shrinks, but is used up, by messages of a KiB
/// and more: it is rounded up.
pub(super) fn keep_room(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, sk: &Reg) {
    let window = peek_or_zero(b, d, sk, d.layout.receive_buffer);
    window.rsh(2);
    b.when(window.gt(WINDOW), || window.set(WINDOW));
    window_of(b, event, &window);
}

/// Lets TCP offer what it does without shunt: the socket is no candidate any more, or has left.
pub(super) fn give_window_back(b: &Builder, event: &Ptr<bpf_sock_ops>) {
    window_of(b, event, ANY_WINDOW);
}

/// Has TCP offer no more than this.
fn window_of(b: &Builder, event: &Ptr<bpf_sock_ops>, most: impl Into<Operand>) {
    let value = b.slot::<u32>();
    b.store(value.place(), most);
    b.call(helper::setsockopt(event, SOL_TCP, TCP_WINDOW_CLAMP, &value, 4));
}

#[cfg(test)]
mod tests;
