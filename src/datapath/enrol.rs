//! Enrolment: a program that the agent runs over all candidates, pass after pass.
//!
//! | a candidate that | then |
//! |---|---|
//! | is closing, or whose peer will not be enrolled | is left alone |
//! | has an option set, is mapped, or is used by a process that splices | is left alone |
//! | is used by a process of which that is not known | waits for the agent, or for its history |
//! | has a file that blocks, unread bytes, or a thread that sleeps in a call on it | waits |
//! | has a small buffer, and has offered all of it to TCP | waits |
//! | has a peer that waits | waits |
//! | otherwise | is enrolled |
//!
//! One that waits is tried again ever more seldom, or as soon as its peer is ready, and is no
//! candidate any more when it has waited for long: its next segment makes it one again. So a pass
//! costs what is at work, not what is open. What a pass has found is in [`Pass`].
//!
//! It is an iterator over the storage of candidates, or over the open files of their processes, or
//! a classifier that is run for one after the other ([`Passes`]): its packet is a [`Request`], by
//! which the socket is found, and its result is 1 as long as that is a candidate.
//!
//! A call may be going on while a socket is enrolled: one that does not sleep in the kernel ends as
//! it began. A segment may arrive in this very moment, and be read in part: see [`super::verdict`].

use bpf_asm::helper::{Arg, Call};
use bpf_asm::uapi::{BPF_ANY, BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE};
use bpf_asm::{
    __sk_buff, BuildErrors, Builder, Label, NULL, Place, Program, ProgramType, Ptr, Reg, Slot,
    bpf_iter__bpf_sk_storage_map, bpf_iter__task_file, bpf_sock, helper, tcp_sock,
};

use super::candidate::SOON;
use super::count::count;
use super::counter::Outcome;
use super::packet::request;
use super::record::{Candidate, End, Isns, Lane, Pass, Reads, Refusal, Request, Role, Wait};
use super::rendezvous::{ALONE, CLIENT_READY, PEERS, alone, lane_at, named, pair};
use super::{
    Datapath, Passes, arrived, control, evidence, gate, guard, lane, receiver, refusal, waiters,
};

/// State of a connection (include/net/tcp_states.h).
const TCP_ESTABLISHED: i32 = 1;

/// The key is taken (include/uapi/asm-generic/errno-base.h).
const EEXIST: i32 = -17;

/// How often in a row a history has to show bytes that `recvmsg` did not give: calls that go on at
/// the moment of the look are not seen again and again.
const MISMATCHES: i32 = 64;
/// Instead of a count: the history has matched.
const NONE_AT_LAST: i32 = -1;

/// The longest pause between two attempts, in nanoseconds: one who has waited for that long and
/// still waits is no candidate any more.
const SELDOM: i32 = 640_000_000;
/// The longest pause while a history grows.
const OFTEN: i32 = 20_000_000;

/// The longest pause while the peer is enrolled, in nanoseconds: an end that is alone only pays,
/// and a busy one has unread bytes nearly always.
const HURRY: i32 = 1_600_000;
/// How often one that waits is tried in such a hurry.
const HURRIES: i32 = 1_024;

/// Instead of an outcome: the connection ends, or the other end is alone.
const NO_REASON: i32 = 0;
const _: () = assert!(Outcome::Paired as i32 == NO_REASON);

/// Where those go that are left to TCP, and why.
struct LeftAlone {
    label: Label,
    why: Slot<Refusal>,
}

impl LeftAlone {
    /// For a reason that the operator is told.
    fn because(&self, b: &Builder, outcome: Outcome) {
        b.store(self.why.at(Refusal::outcome), outcome as u32);
        b.jump(&self.label);
    }
}

/// Where those go that wait, and what for.
struct Waiting {
    label: Label,
    wait: Slot<u32>,
}

impl Waiting {
    fn until(&self, b: &Builder, wait: Wait) {
        b.store(self.wait.place(), wait as u32);
        b.jump(&self.label);
    }
}

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_enrol");
    let (none, done) = (b.label(), b.label());
    let left_alone = LeftAlone { label: b.label(), why: b.slot() };
    let waiting = Waiting { label: b.label(), wait: b.slot() };
    // What is needed for longer than there are registers; and whether the socket is a candidate at
    // the end.
    let (sk, address, remains) = (b.slot::<u64>(), b.slot::<u64>(), b.slot::<u64>());
    let asked_for = match d.settings.passes {
        Passes::Iterator => {
            let context = b.context::<bpf_iter__bpf_sk_storage_map>();
            let next = b.load(context.at(bpf_iter__bpf_sk_storage_map::sk));
            // The last call is for none.
            b.jump_if(next.eq(0), &none);
            b.store(sk.place(), &next);
            None
        }
        Passes::Files => {
            let context = b.context::<bpf_iter__task_file>();
            let file = b.load(context.at(bpf_iter__task_file::file));
            // The last call is for none.
            b.jump_if(file.eq(0), &none);
            let socket = b.call(helper::sock_from_file(file));
            b.jump_if(socket.eq(0), &none);
            let behind = b.load(socket.member(d.layout.socket_sk));
            b.jump_if(behind.eq(0), &none);
            b.store(sk.place(), &behind);
            None
        }
        Passes::Classifier => Some(asked_for(&b, &sk, &remains, &none)),
    };
    b.zero(left_alone.why.place());
    let shown = || b.load(sk.place()).cast::<bpf_sock>();
    let candidate = b.call(helper::sk_storage_get(&d.maps.candidates, shown(), NULL, 0));
    b.jump_if(candidate.eq(0), &done);
    if let Some(request) = asked_for {
        // Another connection may have its addresses by now.
        let cookie = b.load(candidate.at(Candidate::cookie));
        b.jump_if(cookie.ne(b.load(request.at(Request::cookie))), &done);
    }
    let refused = b.load(candidate.at(Candidate::refused));
    b.jump_if(refused.ne(0), &done);
    b.store(address.place(), b.load(candidate.at(Candidate::sk)));
    let at = b.slot::<Isns>();
    pair(&b, &candidate.at(Candidate::name), &b.load(candidate.at(Candidate::role)), &at);
    is_due(&b, d, &candidate, &at, &remains, &done);
    // An end whose peer would have the same name.
    let own = b.load(at.at(Isns::own));
    b.jump_if(own.eq(b.load(at.at(Isns::peer))), &left_alone.label);
    let socket = b.call(helper::skc_to_tcp_sock(shown()));
    b.jump_if(socket.eq(0), &left_alone.label);

    goes_on(&b, d, &socket, &left_alone);
    suitable(&b, d, &socket, &b.load(address.place()), &left_alone);
    reads(&b, d, &candidate, &socket, &waiting, &left_alone);
    polled(&b, d, &socket, &address, &waiting, &left_alone);
    let lane = {
        let peer = b.slot::<End>();
        b.zero(peer.place());
        meet(&b, d, &candidate, &at, &peer, &waiting, &left_alone);
        let create = BPF_SK_STORAGE_GET_F_CREATE;
        let lane = b.call(helper::sk_storage_get(&d.maps.lanes, shown(), NULL, create));
        b.when(lane.eq(0), || left_alone.because(&b, Outcome::NoMemory));
        introduce(&b, d, &candidate, &lane, &peer, &address);
        lane
    };
    b.block(|no_memory| {
        arrived::begin(&b, d, &lane, shown(), no_memory);
        put_into_map(&b, d, &lane, &shown, &left_alone);
        is_still_there(&b, d, &lane, &shown, &done);

        let entry = b.slot::<u64>();
        b.store(entry.place(), &lane);
        b.call(helper::map_update_elem(&d.maps.rendezvous, &at, &entry, BPF_ANY));
        let known = b.load(lane.at(Lane::peer).at(End::sk));
        b.when(known.ne(0), || count(&b, d, Outcome::Paired));
        b.call(helper::sk_storage_delete(&d.maps.candidates, shown()));
        add_to(&b, b.map_value(&d.maps.pass).at(Pass::enrolled));
        b.jump(&done);
    });
    b.call(helper::sk_storage_delete(&d.maps.lanes, shown()));
    left_alone.because(&b, Outcome::NoMemory);
    b.place(&left_alone.label);
    alone(&b, d, &at);
    let candidate = b.call(helper::sk_storage_get(&d.maps.candidates, shown(), NULL, 0));
    b.jump_if(candidate.eq(0), &done);
    b.store(candidate.at(Candidate::refused), 1);
    b.copy(left_alone.why.at(Refusal::program), candidate.at(Candidate::program));
    let why = b.load(left_alone.why.at(Refusal::outcome));
    b.jump_if(why.eq(NO_REASON), &done);
    refusal::count(&b, d, &left_alone.why);
    b.jump(&done);

    b.place(&waiting.label);
    try_again(&b, d, &waiting.wait, &at, &shown, &remains, &done);
    b.place(&done);
    match d.settings.passes {
        Passes::Iterator | Passes::Files => {
            b.place(&none);
            b.ret(0);
            b.finish(ProgramType::Iterator)
        }
        Passes::Classifier => {
            b.call(helper::sk_release(shown()));
            b.place(&none);
            b.ret(b.load(remains.place()));
            b.finish(ProgramType::Classifier)
        }
    }
}

/// Looks up the socket that the packet names and stores its pointer in `sk`; jumps to `none` if the
/// lookup fails.
fn asked_for(b: &Builder, sk: &Slot<u64>, remains: &Slot<u64>, none: &Label) -> Slot<Request> {
    let packet = b.context::<__sk_buff>();
    b.store(remains.place(), 0);
    let request = request::<Request>(b, &packet, none);
    b.store(sk.place(), find(b, &packet, &request, none));
    request
}

/// The socket that packets of a connection go to; jumps to `none` if there is none.
fn find(
    b: &Builder,
    packet: &Ptr<__sk_buff>,
    request: &Slot<Request>,
    none: &Label,
) -> Ptr<bpf_sock> {
    /// Address families (include/linux/socket.h), and the bytes of their tuples.
    const AF_INET: i32 = 2;
    const V4: i32 = 12;
    const V6: i32 = 36;
    let (v6, found) = (b.label(), b.label());
    let family = b.load(request.at(Request::family));
    b.jump_if(family.ne(AF_INET), &v6);
    let sk = b.slot::<u64>();
    let look_up = |size: i32| {
        let netns = b.load(request.at(Request::netns));
        // As `s32`.
        netns.lsh(32);
        netns.arsh(32);
        let socket =
            b.call(helper::sk_lookup_tcp(packet, request.at(Request::tuple), size, netns, 0));
        b.jump_if(socket.eq(0), none);
        b.store(sk.place(), &socket);
    };
    look_up(V4);
    b.jump(&found);
    b.place(&v6);
    look_up(V6);
    b.place(&found);
    b.load(sk.place()).cast()
}

/// Adds one to a number of [`Pass`].
fn add_to(b: &Builder, number: Place<u32>) {
    let more = b.load(number.clone());
    more.add(1);
    b.store(number, &more);
}

/// The pass will have to be followed by another one then.
fn soonest(b: &Builder, d: &Datapath, due: &Reg) {
    let first = || b.map_value(&d.maps.pass).at(Pass::due);
    b.when(due.lt(b.load(first())), || b.store(first(), due));
}

/// The candidate's next attempt is due, or its peer is ready, or never will be. Jumps to `not_yet`
/// otherwise.
fn is_due(
    b: &Builder,
    d: &Datapath,
    candidate: &Ptr<Candidate>,
    at: &Slot<Isns>,
    remains: &Slot<u64>,
    not_yet: &Label,
) {
    b.block(|due| {
        let by_time = b.label();
        let wait = b.load(candidate.at(Candidate::wait));
        b.jump_if(wait.ne(Wait::Peer as u32), &by_time);
        let entry = b.call(helper::map_lookup_elem(&d.maps.rendezvous, at));
        b.jump_if(entry.eq(0), &by_time);
        let own = ready_bit(b, candidate);
        b.when(own.ne(b.load(entry.at_all())), || {
            // The moment may not be right, but will come soon.
            b.store(candidate.at(Candidate::pause), SOON);
            b.jump(due);
        });

        b.place(&by_time);
        let now = b.call(helper::ktime_get_ns());
        b.jump_if(now.ge(b.load(candidate.at(Candidate::due))), due);
        let wait = b.load(candidate.at(Candidate::wait));
        b.when(wait.eq(Wait::History as u32), || {
            add_to(b, b.map_value(&d.maps.pass).at(Pass::histories))
        });
        soonest(b, d, &b.load(candidate.at(Candidate::due)));
        b.store(remains.place(), 1);
        b.jump(not_yet);
    });
}

/// What this end leaves at the rendezvous when it could be enrolled.
fn ready_bit(b: &Builder, candidate: &Ptr<Candidate>) -> Reg {
    let bit = b.load(candidate.at(Candidate::role));
    bit.add(CLIENT_READY);
    bit
}

/// Back-off: makes the candidate's pause a quarter longer, or deletes the candidate once that
/// exceeds [`SELDOM`], and its ready bit with it: the peer would be enrolled alone.
fn try_again(
    b: &Builder,
    d: &Datapath,
    wait: &Slot<u32>,
    at: &Slot<Isns>,
    shown: &dyn Fn() -> Ptr<bpf_sock>,
    remains: &Slot<u64>,
    done: &Label,
) {
    b.block(|gives_up| {
        let candidate = b.call(helper::sk_storage_get(&d.maps.candidates, shown(), NULL, 0));
        b.jump_if(candidate.eq(0), done);
        b.store(candidate.at(Candidate::wait), b.load(wait.place()));
        let pause = b.load(candidate.at(Candidate::pause));
        let quarter = b.value(&pause);
        quarter.rsh(2);
        pause.add(&quarter);
        let history = b.load(wait.place());
        b.when(history.eq(Wait::History as u32), || {
            add_to(b, b.map_value(&d.maps.pass).at(Pass::histories));
            let reads = b.load(candidate.at(Candidate::reads));
            b.when(reads.ne(b.load(candidate.at(Candidate::reads_seen))), || {
                b.store(candidate.at(Candidate::reads_seen), &reads);
                b.when(pause.gt(OFTEN), || pause.set(OFTEN));
            });
        });
        hurry(b, d, &candidate, at, &pause);
        b.jump_if(pause.gt(SELDOM), gives_up);
        b.store(candidate.at(Candidate::pause), &pause);
        let due = b.call(helper::ktime_get_ns());
        due.add(&pause);
        b.store(candidate.at(Candidate::due), &due);
        soonest(b, d, &due);
        b.store(remains.place(), 1);
        b.jump(done);
    });
    let entry = b.call(helper::map_lookup_elem(&d.maps.rendezvous, at));
    b.when(entry.ne(0), || {
        let said = b.load(entry.at_all());
        b.when(said.lt(ALONE), || {
            b.call(helper::map_delete_elem(&d.maps.rendezvous, at));
        });
    });
    b.call(helper::sk_storage_delete(&d.maps.candidates, shown()));
}

/// Shortens the pause of one whose peer is enrolled.
fn hurry(b: &Builder, d: &Datapath, candidate: &Ptr<Candidate>, at: &Slot<Isns>, pause: &Reg) {
    b.block(|patient| {
        let entry = b.call(helper::map_lookup_elem(&d.maps.rendezvous, at));
        b.jump_if(entry.eq(0), patient);
        b.jump_if(b.load(entry.at_all()).le(ALONE), patient);
        let hurried = b.load(candidate.at(Candidate::hurried));
        b.jump_if(hurried.ge(HURRIES), patient);
        hurried.add(1);
        b.store(candidate.at(Candidate::hurried), &hurried);
        b.when(pause.gt(HURRY), || pause.set(HURRY));
    });
}

/// An iterator over storage holds no reference to the socket, whose memory may be reused under RCU
/// (`SLAB_TYPESAFE_BY_RCU`): if the cookie has changed, another connection's socket was enrolled,
/// and is deleted from the socket map at once.
fn is_still_there(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    shown: &dyn Fn() -> Ptr<bpf_sock>,
    done: &Label,
) {
    let another = b.label();
    b.block(|same| {
        let socket = b.call(helper::skc_to_tcp_sock(shown()));
        b.jump_if(socket.eq(0), &another);
        let cookie = b.load(socket.member(d.layout.cookie));
        b.jump_if(cookie.eq(b.load(lane.at(Lane::own).at(End::cookie))), same);
        b.place(&another);
        b.call(helper::map_delete_elem(&d.maps.socks, lane.at(Lane::own).at(End::name)));
        arrived::end(b, d, lane);
        b.call(helper::sk_storage_delete(&d.maps.lanes, shown()));
        b.jump(done);
    });
}

/// The connection goes on, and so does shunt.
fn goes_on(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, left_alone: &LeftAlone) {
    let state = b.load(socket.member(d.layout.state));
    b.jump_if(state.ne(TCP_ESTABLISHED), &left_alone.label);
    b.jump_if(control::draining(b, d).ne(0), &left_alone.label);
}

/// Nothing asks for what only TCP does.
fn suitable(
    b: &Builder,
    d: &Datapath,
    socket: &Ptr<tcp_sock>,
    address: &Reg,
    left_alone: &LeftAlone,
) {
    let (guarded, unsuitable, mapped) = (b.label(), b.label(), b.label());
    b.block(|suitable| {
        let at = b.slot::<u64>();
        b.store(at.place(), address);
        guard::repaired(b, d, socket, &unsuitable);
        guard::options(b, d, socket, &guarded);
        guard::mapped(b, d, &b.load(at.place()), &mapped);
        b.jump(suitable);
        for (label, outcome) in [
            (guarded, Outcome::Guarded),
            (unsuitable, Outcome::Unsuitable),
            (mapped, Outcome::Splices),
        ] {
            b.place(&label);
            left_alone.because(b, outcome);
        }
    });
}

/// There is evidence that its process reads by `recvmsg`.
fn reads(
    b: &Builder,
    d: &Datapath,
    candidate: &Ptr<Candidate>,
    socket: &Ptr<tcp_sock>,
    waiting: &Waiting,
    left_alone: &LeftAlone,
) {
    b.block(|receives| {
        b.block(|splices| {
            let known =
                b.call(helper::map_lookup_elem(&d.maps.readers, candidate.at(Candidate::process)));
            b.when(known.eq(0), || waiting.until(b, Wait::Process));
            let how = b.load(known.at_all());
            b.jump_if(how.eq(Reads::Receives as u32), receives);
            b.jump_if(how.ne(Reads::MaySplice as u32), splices);
            // A history that has matched once counts for good: the tracepoint may be detached
            // since, and its counts stale.
            let mismatches = b.load(candidate.at(Candidate::mismatches));
            b.jump_if(mismatches.eq32(NONE_AT_LAST), receives);
            let reads = b.load(candidate.at(Candidate::reads));
            b.when(reads.lt(evidence::READS), || waiting.until(b, Wait::History));
            let taken = b.load(socket.member(d.layout.copied_seq));
            taken.sub32(b.load(candidate.at(Candidate::read_from)));
            let received = b.load(candidate.at(Candidate::received));
            b.when(taken.eq32(&received), || {
                b.store(candidate.at(Candidate::mismatches), NONE_AT_LAST);
                b.jump(receives);
            });
            // The tracepoint is at the end of a call that has taken its bytes before: one may be
            // going on.
            let mismatches = b.load(candidate.at(Candidate::mismatches));
            mismatches.add(1);
            b.store(candidate.at(Candidate::mismatches), &mismatches);
            b.when(mismatches.lt(MISMATCHES), || waiting.until(b, Wait::History));
        });
        left_alone.because(b, Outcome::Splices);
    });
}

/// Its file does not block, its buffer has room, and no thread sleeps on it: in TCP's own receive
/// function it would not see another byte.
fn polled(
    b: &Builder,
    d: &Datapath,
    socket: &Ptr<tcp_sock>,
    address: &Slot<u64>,
    waiting: &Waiting,
    left_alone: &LeftAlone,
) {
    let (blocking, foreign, unread, full) = (b.label(), b.label(), b.label(), b.label());
    b.block(|polled| {
        let at = || b.load(address.place());
        let user_data = b.load(socket.member(d.layout.user_data));
        b.jump_if(user_data.ne(0), &foreign);
        b.jump_if(receiver::nonblocking(b, d, &at(), &blocking).eq(0), &blocking);
        let left = b.load(socket.member(d.layout.receive_queue_length));
        b.jump_if(left.ne(0), &unread);
        gate::holds_some(b, d, socket, &full);
        let asleep = waiters::asleep(b, d, &at(), &blocking);
        b.jump_if(b.load(asleep.place()).eq(0), polled);
        b.place(&blocking);
        waiting.until(b, Wait::Blocking);
        b.place(&unread);
        waiting.until(b, Wait::Unread);
        b.place(&full);
        waiting.until(b, Wait::Room);
        b.place(&foreign);
        left_alone.because(b, Outcome::Foreign);
    });
}

/// The other end is enrolled, and is put into `peer`, or could be.
fn meet(
    b: &Builder,
    d: &Datapath,
    candidate: &Ptr<Candidate>,
    at: &Slot<Isns>,
    peer: &Slot<End>,
    waiting: &Waiting,
    left_alone: &LeftAlone,
) {
    let (enrolled, ambiguous) = (b.label(), b.label());
    b.block(|met| {
        let ready = b.slot::<u64>();
        b.store(ready.place(), ready_bit(b, candidate));
        let entry = b.call(helper::map_lookup_elem(&d.maps.rendezvous, at));
        b.when(entry.eq(0), || {
            b.call(helper::map_update_elem(&d.maps.rendezvous, at, &ready, BPF_NOEXIST));
            waiting.until(b, Wait::Peer);
        });
        let said = b.load(entry.at_all());
        b.jump_if(said.eq(ALONE), &left_alone.label);
        b.jump_if(said.gt(ALONE), &enrolled);
        said.or(b.load(ready.place()));
        b.store(entry.at_all(), &said);
        b.jump_if(said.eq(CLIENT_READY | CLIENT_READY << 1), met);
        waiting.until(b, Wait::Peer);

        b.place(&enrolled);
        let lane = b.call(helper::map_lookup_elem(&d.maps.rendezvous, at));
        b.jump_if(lane.eq(0), &ambiguous);
        lane_at(b, &b.load(lane.at_all()), peer, &ambiguous);
        named(b, peer, candidate.at(Candidate::name), PEERS, &ambiguous);
        b.jump(met);
        b.place(&ambiguous);
        left_alone.because(b, Outcome::Ambiguous);
    });
}

/// Says in a fresh lane whose it is, and whose is the other end's, if that is known.
fn introduce(
    b: &Builder,
    d: &Datapath,
    candidate: &Ptr<Candidate>,
    lane: &Ptr<Lane>,
    peer: &Slot<End>,
    address: &Slot<u64>,
) {
    let own = || lane.at(Lane::own);
    b.copy(own().at(End::name), candidate.at(Candidate::name));
    b.copy(own().at(End::cookie), candidate.at(Candidate::cookie));
    b.store(own().at(End::sk), b.load(address.place()));
    b.store(own().at(End::lane), lane);
    b.copy(lane.at(Lane::peer), peer.place());
    lane::begin(b, d, lane, &b.load(candidate.at(Candidate::role)));
}

/// Puts the socket into the socket map under its name.
fn put_into_map(
    b: &Builder,
    d: &Datapath,
    lane: &Ptr<Lane>,
    shown: &dyn Fn() -> Ptr<bpf_sock>,
    left_alone: &LeftAlone,
) {
    /// `bpf_map_update_elem`, whose value for a socket map is a socket.
    const MAP_UPDATE_ELEM: i32 = 2;
    let name: Arg = lane.at(Lane::own).at(End::name).into();
    let arguments = vec![(&d.maps.socks).into(), name, shown().into(), BPF_NOEXIST.into()];
    let refused: Call<Reg> = Call::raw(MAP_UPDATE_ELEM, arguments);
    let refused = b.call(refused);
    b.when(refused.ne(0), || {
        b.block(|full| {
            arrived::end(b, d, lane);
            b.call(helper::sk_storage_delete(&d.maps.lanes, shown()));
            b.jump_if(refused.ne(EEXIST), full);
            left_alone.because(b, Outcome::Ambiguous);
        });
        left_alone.because(b, Outcome::SocksFull);
    });
}

/// A role is what [`CLIENT_READY`] is shifted by.
const _: () = assert!(Role::Client as u32 == 0 && Role::Server as u32 == 1);

#[cfg(test)]
mod tests;
