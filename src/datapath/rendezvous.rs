//! Which two sockets are the two ends of one flow.
//!
//! 1. *Hint.* A SYN has reached a listener here: the pair of sequence numbers that this connection will have is noted, with what the
//!    rules say of the listener's end.
//! 2. *Client.* A connection opened here whose pair was noted has its listener here: it is enrolled and leaves the address of its lane
//!    with the note. One whose pair was not noted leaves the node, and is not touched.
//! 3. *Server.* A connection accepted here finds its client there, and leaves the address of its own lane instead. Both are a flow
//!    from now on.
//! 4. *Peer.* At its first message the client finds its server, and takes the note away.
//!
//! The pair is 64 bits that only the two ends and the path between them know, and it is the same at both ends of any NAT. What nobody
//! takes away is evicted. The kernel gives a note's memory to another pair as soon as it has been taken away, perhaps between our
//! finding it and our writing to it; so nothing is believed of a lane until the name in it has been compared.

use bpf_asm::{Builder, Field, Label, NULL, Place, Ptr, Reg, Slot, bpf_sock, bpf_sock_ops, helper};

use super::count::count;
use super::peek::peek;
use super::reason::Reason;
use super::record::{BUCKETS, Control, End, Isns, Lane, Role, verdict};
use super::{Datapath, establish, gate, guard, policy, segment, trace};

/// `bpf_map_update_elem`: create or replace (include/uapi/linux/bpf.h).
const BPF_ANY: i32 = 0;
/// `bpf_map_update_elem`: create only (include/uapi/linux/bpf.h).
const BPF_NOEXIST: i32 = 1;
/// Create the storage if the socket has none (include/uapi/linux/bpf.h).
const BPF_SK_STORAGE_GET_F_CREATE: i32 = 1;
/// Callbacks that an enrolled socket needs: its changes of state and the segments that it sends (include/uapi/linux/bpf.h).
const CALLBACKS: i32 = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
pub(super) const BPF_SOCK_OPS_STATE_CB_FLAG: i32 = 1 << 2;
const BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG: i32 = 1 << 6;
/// The key is taken (include/uapi/asm-generic/errno-base.h).
const EEXIST: i32 = -17;
/// TCP flags of the segment that completed a handshake (RFC 9293).
const SYN_ACK: i32 = 0x12;

/// A listener answers a SYN: both initial sequence numbers are chosen and stand in the request socket, which sock_ops programs
/// cannot reach through their context, but by address.
///
/// With SYN cookies there is no request socket and no callback: such a connection is not hinted and goes by TCP.
pub(super) fn hint(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let done = b.label();
    let is_fullsock = b.load(event.at(bpf_sock_ops::is_fullsock));
    b.jump_if(is_fullsock.ne(0), &done);
    drop(is_fullsock);

    let request = b.slot::<u64>();
    b.store(request.place(), peek(b, event, d.layout.context_sk, &done));
    let pair = b.slot::<Isns>();
    for (isn, into) in [(d.layout.client_isn, Isns::own), (d.layout.server_isn, Isns::peer)] {
        let first = peek(b, b.load(request.place()), isn, &done);
        first.add(1);
        b.store(pair.at(into), &first);
    }
    let verdict = b.slot::<u64>();
    b.store(verdict.place(), 0);
    policy::judge_listener(b, d, &request, &verdict);
    b.call(helper::map_update_elem(&d.maps.rendezvous, &pair, &verdict, BPF_ANY));
    b.place(&done);
}

/// A connection that was opened here is established.
pub(super) fn client_established(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let done = b.label();
    let sk = b.load(event.at(bpf_sock_ops::sk));
    b.jump_if(sk.eq(0), &done);
    leave_earlier_flow(b, d, event, sk, &done);

    let pair = b.slot::<Isns>();
    b.store(pair.at(Isns::own), b.load(event.at(bpf_sock_ops::snd_nxt)));
    b.store(pair.at(Isns::peer), b.load(event.at(bpf_sock_ops::rcv_nxt)));
    let note = b.call(helper::map_lookup_elem(&d.maps.rendezvous, &pair));
    b.when(note.eq(0), || {
        count(b, d, Reason::NoHint);
        b.jump(&done);
    });
    let note = b.keep(note);
    let claimed = b.load(note.at_all());
    b.when(claimed.gt(verdict::ALL as i32), || {
        ambiguous(b, d, &pair);
        b.jump(&done);
    });
    drop(claimed);
    suitable(b, d, event, Role::Client, &done);
    policy::judge_client(b, d, event, &note, &done);

    let me = b.slot::<End>();
    let lane = enrol(b, d, event, &pair, &me, Role::Client, &done);
    b.store(note.at_all(), &lane);
    drop(note);
    segment::provide(b, d, event, &lane, &establish::socket_of(b, event, &done), &done);
    b.place(&done);
}

/// Two clients claim the same pair: one of them is an impostor. The server comes after both and must find neither.
fn ambiguous(b: &Builder, d: &Datapath, pair: &Slot<Isns>) {
    b.call(helper::map_delete_elem(&d.maps.rendezvous, pair));
    count(b, d, Reason::Ambiguous);
}

/// A connection that was accepted here is established. Its client, if it is here, came before.
pub(super) fn server_established(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let done = b.label();
    let sk = b.load(event.at(bpf_sock_ops::sk));
    b.jump_if(sk.eq(0), &done);
    leave_earlier_flow(b, d, event, sk, &done);

    let pair = b.slot::<Isns>();
    let name = b.slot::<Isns>();
    for (number, in_pair, in_name) in
        [(bpf_sock_ops::rcv_nxt, Isns::own, Isns::peer), (bpf_sock_ops::snd_nxt, Isns::peer, Isns::own)]
    {
        let number = b.load(event.at(number));
        b.store(pair.at(in_pair), &number);
        b.store(name.at(in_name), &number);
    }
    let no_client = b.label();
    let note = b.call(helper::map_lookup_elem(&d.maps.rendezvous, &pair));
    b.jump_if(note.eq(0), &no_client);
    let note = b.keep(note);
    let client = b.slot::<End>();
    owner(b, &b.load(note.at_all()), &client, &no_client);
    named(b, &client, pair.place(), (Isns::own, Isns::peer), &no_client);
    suitable(b, d, event, Role::Server, &done);

    let me = b.slot::<End>();
    let lane = enrol(b, d, event, &name, &me, Role::Server, &done);
    b.copy(lane.at(Lane::peer), client.place());
    b.store(note.at_all(), &lane);
    drop(note);
    trace::tell(b, d, &lane, Reason::Paired as u32, event);
    drop(lane);
    count(b, d, Reason::Paired);
    b.jump(&done);

    b.place(&no_client);
    b.call(helper::map_delete_elem(&d.maps.rendezvous, &pair));
    count(b, d, Reason::NoClient);
    b.place(&done);
}

/// Sees to it that a lane knows its peer: a client looks for the server that took it. Jumps to `unknown` if there is none yet.
pub(super) fn find_peer(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, unknown: &Label) {
    let known = b.label();
    let sk = b.load(lane.at(Lane::peer).at(End::sk));
    b.jump_if(sk.ne(0), &known);
    drop(sk);

    let own = || lane.at(Lane::own).at(End::name);
    let server = b.slot::<End>();
    let note = b.call(helper::map_lookup_elem(&d.maps.rendezvous, own()));
    b.jump_if(note.eq(0), unknown);
    owner(b, &b.load(note.at_all()), &server, unknown);
    drop(note);
    named(b, &server, own(), (Isns::peer, Isns::own), unknown);
    b.copy(lane.at(Lane::peer), server.place());
    b.call(helper::map_delete_elem(&d.maps.rendezvous, own()));
    b.place(&known);
}

/// Reads whose lane is at this address, at which nothing can be read if it is 0.
fn owner(b: &Builder, lane: &Reg, into: &Slot<End>, nobody: &Label) {
    let from = b.value(lane);
    from.add(Lane::own.offset() as i64);
    let refused = b.call(helper::probe_read_kernel(into, size_of::<End>() as i32, from));
    b.jump_if(refused.ne(0), nobody);
}

/// The end that was found has this name, whose halves are given in the order in which the end names them.
fn named(
    b: &Builder,
    found: &Slot<End>,
    name: Place<Isns>,
    (own, peer): (Field<Isns, u32>, Field<Isns, u32>),
    other: &Label,
) {
    for (theirs, expected) in [(Isns::own, own), (Isns::peer, peer)] {
        let theirs = b.load(found.at(End::name).at(theirs));
        let expected = b.load(name.at(expected));
        b.jump_if(theirs.ne(&expected), other);
    }
}

/// Takes back what an enrolled client left for its server, when it closes. Once it knows its peer, it has been taken away.
pub(super) fn client_closed(b: &Builder, d: &Datapath, lane: &Ptr<Lane>) {
    let peer = b.load(lane.at(Lane::peer).at(End::sk));
    b.when(peer.eq(0), || {
        b.call(helper::map_delete_elem(&d.maps.rendezvous, lane.at(Lane::own).at(End::name)));
    });
}

/// A socket that had a flow before (`connect` to `AF_UNSPEC`, then a new connection) is taken out: its old peer, which may not have
/// noticed yet, must not reach the new connection. It is not enrolled a second time.
fn leave_earlier_flow(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, sk: Ptr<bpf_sock>, done: &Label) {
    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk, NULL, 0));
    b.when(lane.ne(0), || {
        b.call(helper::map_delete_elem(&d.maps.socks, lane.at(Lane::own).at(End::name)));
        let sk = b.load(event.at(bpf_sock_ops::sk));
        b.jump_if(sk.eq(0), done);
        b.call(helper::sk_storage_delete(&d.maps.lanes, sk));
        count(b, d, Reason::Reused);
        b.jump(done);
    });
}

/// Leaves alone what has no handshake that anybody saw (`TCP_REPAIR` lets a process choose both numbers), what MPTCP has made, what
/// [`guard`] keeps out, and everything while shunt is being stopped.
fn suitable(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, role: Role, done: &Label) {
    let unsuitable = b.label();
    let suitable = b.label();
    let control = b.map_value(&d.maps.control, 0);
    let draining = b.load(control.at(Control::draining));
    b.jump_if(draining.ne(0), done);
    drop((control, draining));

    let flags = b.load(event.at(bpf_sock_ops::skb_tcp_flags));
    flags.and(SYN_ACK);
    b.jump_if(flags.eq(0), &unsuitable);
    drop(flags);
    if let Some(is_mptcp) = d.layout.is_mptcp {
        // The address, since the verifier lets nobody count from the socket that the context shows.
        let sk = peek(b, event, d.layout.context_sk, &unsuitable);
        let subflow = peek(b, sk, is_mptcp, &unsuitable);
        b.jump_if(subflow.eq(0), &suitable);
    } else {
        b.jump(&suitable);
    }
    b.place(&unsuitable);
    count(b, d, Reason::Unsuitable);
    b.jump(done);
    b.place(&suitable);

    let socket = establish::socket_of(b, event, done);
    guard::established(b, d, &socket, done);
    if role == Role::Client {
        guard::client(b, d, &socket, done);
    }
}

/// Puts the event's socket into the socket map under `name`, with a fresh lane, and says who it is in `me`.
fn enrol(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    name: &Slot<Isns>,
    me: &Slot<End>,
    role: Role,
    done: &Label,
) -> Ptr<Lane> {
    b.copy(me.at(End::name), name.place());
    let cookie = b.call(helper::get_socket_cookie(event));
    b.store(me.at(End::cookie), &cookie);
    drop(cookie);
    let sk = b.load(event.at(bpf_sock_ops::sk));
    b.jump_if(sk.eq(0), done);
    b.store(me.at(End::sk), &sk);

    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE));
    b.when(lane.eq(0), || {
        count(b, d, Reason::LaneFull);
        b.jump(done);
    });
    let lane = b.keep(lane);
    b.store(me.at(End::lane), &lane);
    b.copy(lane.at(Lane::own), me.place());
    b.store(lane.at(Lane::role), role as u32);
    b.store(lane.at(Lane::smallest), u32::MAX);
    {
        let bucket = b.load(name.at(Isns::own));
        bucket.xor(b.load(name.at(Isns::peer)));
        bucket.and(BUCKETS as i32 - 1);
        bucket.mul(size_of::<u64>() as i32);
        b.store(lane.at(Lane::bucket), &bucket);
    }
    // The first refresh looks for the period that its namespaces allow.
    {
        let control = b.map_value(&d.maps.control, 0);
        let longest = b.load(control.at(Control::refresh));
        let period = b.value(gate::shortest_period(d));
        b.when(longest.lt(&period), || period.set(&longest));
        b.store(lane.at(Lane::period), &period);
    }
    let refresh_at = b.call(helper::jiffies64());
    refresh_at.add(b.load(lane.at(Lane::period)));
    b.store(lane.at(Lane::refresh_at), &refresh_at);
    drop(refresh_at);

    let refused = b.keep(b.call(helper::sock_hash_update(event, &d.maps.socks, name, BPF_NOEXIST)));
    b.when(refused.ne(0), || {
        let sk = b.load(event.at(bpf_sock_ops::sk));
        b.jump_if(sk.eq(0), done);
        b.call(helper::sk_storage_delete(&d.maps.lanes, sk));
        if role == Role::Client {
            b.when(refused.eq(EEXIST), || {
                ambiguous(b, d, name);
                b.jump(done);
            });
        }
        count(b, d, Reason::SocksFull);
        b.jump(done);
    });
    drop(refused);
    let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
    flags.or(CALLBACKS);
    b.call(helper::sock_ops_cb_flags_set(event, flags));
    lane
}

#[cfg(test)]
mod tests;
