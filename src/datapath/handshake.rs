//! Which connections have both ends here.
//!
//! 1. *Hint.* A SYN has reached a listener here: the pair of sequence numbers that this connection
//!    will have is noted, with what the rules say of the listener's end.
//! 2. *Client.* A connection opened here whose pair was noted has its listener here: its socket is
//!    marked, and so is the note. One whose pair was not noted leaves the node, and is not touched.
//! 3. *Server.* A connection accepted here whose note is marked has its client here: its socket is
//!    marked, and the note taken away.
//!
//! A mark is a callback flag: it costs the connection no memory, and an unmarked one nothing.

use bpf_asm::uapi::BPF_ANY;
use bpf_asm::{Builder, Field, Label, NULL, Ptr, Slot, bpf_sock_ops, helper};

use super::count::count;
use super::counter::Outcome;
use super::event::{CLIENT, LOCAL, ROUND_TRIPS, UNPROVEN, forget, mark, sk_of};
use super::peek::peek;
use super::record::{End, Isns, Lane, ruling};
use super::{Datapath, arrived, control, policy};

/// In a note: the client has come.
const CLIENT_SEEN: u64 = 4;
const _: () = assert!(CLIENT_SEEN & ruling::ALL == 0);

/// TCP flags of the segment that completed a handshake (RFC 9293).
const SYN_ACK: i32 = 0x12;

/// A listener answers a SYN: both initial sequence numbers are chosen and stand in the request
/// socket, which sock_ops programs cannot reach through their context, but by address.
///
/// With SYN cookies there is no request socket and no callback: such a connection is not hinted and
/// goes by TCP.
pub(super) fn hint(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|done| {
        let is_fullsock = b.load(event.at(bpf_sock_ops::is_fullsock));
        b.jump_if(is_fullsock.ne(0), done);

        let request = b.slot::<u64>();
        b.store(request.place(), peek(b, event, d.layout.context_sk, done));
        let pair = b.slot::<Isns>();
        for (isn, into) in [(d.layout.client_isn, Isns::own), (d.layout.server_isn, Isns::peer)] {
            let first = peek(b, b.load(request.place()), isn, done);
            first.add(1);
            b.store(pair.at(into), &first);
        }
        let verdict = b.slot::<u64>();
        b.store(verdict.place(), 0);
        policy::judge_listener(b, d, &request, &verdict);
        b.call(helper::map_update_elem(&d.maps.hints, &pair, &verdict, BPF_ANY));
    });
}

/// A connection that was opened here is established.
pub(super) fn client_established(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.attempt(
        |left_alone| {
            earlier_flow(b, d, event, left_alone);
            let pair = pair(b, event, bpf_sock_ops::snd_nxt, bpf_sock_ops::rcv_nxt);
            let note = b.call(helper::map_lookup_elem(&d.maps.hints, &pair));
            b.when(note.eq(0), || {
                count(b, d, Outcome::NoHint);
                b.jump(left_alone);
            });
            let seen = b.load(note.at_all());
            b.when(seen.ge(CLIENT_SEEN as i32), || {
                // Two clients claim the same pair: one of them is an impostor. The server comes
                // after both and must find neither.
                b.call(helper::map_delete_elem(&d.maps.hints, &pair));
                count(b, d, Outcome::Ambiguous);
                b.jump(left_alone);
            });
            suitable(b, d, event, left_alone);
            policy::judge_client(b, d, event, &note, left_alone);
            let seen = b.load(note.at_all());
            seen.or(CLIENT_SEEN as i32);
            b.store(note.at_all(), &seen);
            mark(b, event, LOCAL | CLIENT | ROUND_TRIPS);
        },
        || {
            forget_the_last(b, event);
        },
    );
}

/// A connection that was accepted here is established. Its client, if it is here, came before.
pub(super) fn server_established(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|done| {
        b.block(|left_alone| {
            let elsewhere = b.label();
            earlier_flow(b, d, event, left_alone);
            let pair = pair(b, event, bpf_sock_ops::rcv_nxt, bpf_sock_ops::snd_nxt);
            let note = b.call(helper::map_lookup_elem(&d.maps.hints, &pair));
            b.jump_if(note.eq(0), &elsewhere);
            let seen = b.load(note.at_all());
            b.jump_if(seen.lt(CLIENT_SEEN as i32), &elsewhere);
            b.call(helper::map_delete_elem(&d.maps.hints, &pair));
            suitable(b, d, event, left_alone);
            mark(b, event, LOCAL | ROUND_TRIPS);
            b.jump(done);

            b.place(&elsewhere);
            b.call(helper::map_delete_elem(&d.maps.hints, &pair));
            count(b, d, Outcome::NoClient);
        });
        forget_the_last(b, event);
    });
}

/// The client's name of the event's connection, from its two next sequence numbers.
fn pair(
    b: &Builder,
    event: &Ptr<bpf_sock_ops>,
    client: Field<bpf_sock_ops, u32>,
    server: Field<bpf_sock_ops, u32>,
) -> Slot<Isns> {
    let pair = b.slot::<Isns>();
    b.store(pair.at(Isns::own), b.load(event.at(client)));
    b.store(pair.at(Isns::peer), b.load(event.at(server)));
    pair
}

/// A socket that is connected a second time may still be marked by its first connection.
fn forget_the_last(b: &Builder, event: &Ptr<bpf_sock_ops>) {
    let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
    b.when(flags.has(LOCAL | UNPROVEN), || forget(b, event));
}

/// A socket that had a flow before (`connect` to `AF_UNSPEC`, then a new connection) is taken out:
/// its old peer, which may not have noticed yet, must not reach the new connection. It is not
/// enrolled a second time.
fn earlier_flow(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, left_alone: &Label) {
    b.block(|fresh| {
        let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
        flags.and(LOCAL | UNPROVEN);
        b.jump_if(flags.eq(0), fresh);
        let lane =
            b.call(helper::sk_storage_get(&d.maps.lanes, sk_of(b, event, left_alone), NULL, 0));
        b.when(lane.ne(0), || {
            b.call(helper::map_delete_elem(&d.maps.socks, lane.at(Lane::own).at(End::name)));
            arrived::end(b, d, &lane);
        });
        b.call(helper::sk_storage_delete(&d.maps.lanes, sk_of(b, event, left_alone)));
        b.call(helper::sk_storage_delete(&d.maps.candidates, sk_of(b, event, left_alone)));
        count(b, d, Outcome::Reused);
        b.jump(left_alone);
    });
}

/// Leaves alone what has no handshake that was seen (`TCP_REPAIR` lets a process choose both
/// numbers), what MPTCP has made, and everything while shunt is being stopped.
fn suitable(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, left_alone: &Label) {
    let unsuitable = b.label();
    b.block(|suitable| {
        b.jump_if(control::draining(b, d).ne(0), left_alone);

        let flags = b.load(event.at(bpf_sock_ops::skb_tcp_flags));
        flags.and(SYN_ACK);
        b.jump_if(flags.eq(0), &unsuitable);
        if let Some(is_mptcp) = d.layout.is_mptcp {
            // The address, since the verifier allows no pointer arithmetic on the context's socket.
            let sk = peek(b, event, d.layout.context_sk, &unsuitable);
            let subflow = peek(b, sk, is_mptcp, &unsuitable);
            b.jump_if(subflow.eq(0), suitable);
        } else {
            b.jump(suitable);
        }
        b.place(&unsuitable);
        count(b, d, Outcome::Unsuitable);
        b.jump(left_alone);
    });
}

#[cfg(test)]
mod tests;
