//! Adoption: connections that were open before shunt was there.
//!
//! The program goes over all TCP sockets of a network namespace, twice. The first time it shows the
//! agent every connection that is not marked, with its name, which can be computed at any time: the
//! sequence numbers with which a connection began are those of now without what has been
//! acknowledged and received since. The agent finds those of which both ends are here, and the
//! second time the program marks these, as [`super::handshake`] would have done.
//!
//! Equal numbers are no proof: a process that may use `TCP_REPAIR`, in a user namespace of its own,
//! chooses them.
//! So the ends have to prove that they belong together, see [`super::proof`].
//!
//! The kernel holds the lock of a socket while the program looks at it, for which it waits: another
//! process may make that take long. So the agent leaves the reading to a process of its own.

use bpf_asm::uapi::{BPF_SK_STORAGE_GET_F_CREATE, TCP_BPF_SOCK_OPS_CB_FLAGS};
use bpf_asm::{
    BuildErrors, Builder, Label, Program, ProgramType, Ptr, Slot, bpf_iter__tcp, helper, sock,
    tcp_sock,
};

use super::event::{CLIENT, LOCAL, SEGMENTS, UNPROVEN};
use super::option::SOL_TCP;
use super::record::{Adoption, End, FlowEnd, Isns, Role};
use super::{Datapath, control, guard, look, proof};

/// State of a connection (include/net/tcp_states.h).
const TCP_ESTABLISHED: i32 = 1;

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_adopt");
    let asked_about = b.label();
    b.block(|done| {
        let context = b.context::<bpf_iter__tcp>();
        let sk = b.slot::<u64>();
        {
            let next = b.load(context.at(bpf_iter__tcp::sk_common));
            b.store(sk.place(), &next);
            // The last call is for none.
            b.jump_if(next.eq(0), done);
        }
        let shown = || b.load(sk.place()).cast::<sock>();
        b.jump_if(control::draining(&b, d).ne(0), done);
        let socket = b.call(helper::skc_to_tcp_sock(shown()));
        b.jump_if(socket.eq(0), done);
        unmarked(&b, d, &socket, done);
        let end = b.slot::<FlowEnd>();
        b.zero(end.place());
        let cookie = || end.at(FlowEnd::own).at(End::cookie);
        b.store(cookie(), b.call(helper::get_socket_cookie(&socket)));
        let adoptee = b.call(helper::map_lookup_elem(&d.maps.adoptees, cookie()));
        b.jump_if(adoptee.eq(0), &asked_about);
        begin(&b, d, &shown, &socket, &adoptee, done);
        b.call(helper::map_delete_elem(&d.maps.adoptees, cookie()));
        b.jump(done);

        b.place(&asked_about);
        name(&b, d, &socket, &end);
        let address = b.load(sk.place());
        look::of_socket(&b, d, &address, &end);
        look::write(&b, &b.load(context.at(bpf_iter__tcp::meta)), &end);
    });
    b.ret(0);
    b.finish(ProgramType::Iterator)
}

/// An open connection that neither this nor another instance has marked, and that may be enrolled.
/// Jumps to `not` otherwise.
fn unmarked(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, not: &Label) {
    let state = b.load(socket.member(d.layout.state));
    b.jump_if(state.ne(TCP_ESTABLISHED), not);
    let flags = b.load(socket.member(d.layout.callback_flags));
    b.jump_if(flags.has(LOCAL), not);
    let user_data = b.load(socket.member(d.layout.user_data));
    b.jump_if(user_data.ne(0), not);
    if let Some(is_mptcp) = d.layout.is_mptcp {
        b.jump_if(b.load(socket.member(is_mptcp)).ne(0), not);
    }
    guard::repaired(b, d, socket, not);
}

/// The name of the end, as if it was the server's: a client's own number is one more, since its SYN
/// counts as acknowledged and a server's does not (`tcp_snd_una_update`).
fn name(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, end: &Slot<FlowEnd>) {
    let l = &d.layout;
    for (now, since, into) in
        [(l.snd_una, l.bytes_acked, Isns::own), (l.rcv_nxt, l.bytes_received, Isns::peer)]
    {
        let number = b.load(socket.member(now));
        number.sub32(b.load(socket.member(since)));
        b.store(end.at(FlowEnd::own).at(End::name).at(into), &number);
    }
}

/// Marks the socket, whose segments are to prove from here on that its peer is the right one. Jumps
/// to `done` if that is not possible.
fn begin(
    b: &Builder,
    d: &Datapath,
    shown: &dyn Fn() -> Ptr<sock>,
    socket: &Ptr<tcp_sock>,
    adoptee: &Ptr<Adoption>,
    done: &Label,
) {
    {
        // Whole, from the moment that a segment can find it.
        let adoption = b.slot::<Adoption>();
        b.copy(adoption.place(), adoptee.at_all());
        let until = b.call(helper::jiffies64());
        until.add(d.settings.hz * proof::SECONDS);
        b.store(adoption.at(Adoption::until), &until);
        b.call(helper::sk_storage_delete(&d.maps.adoptions, shown()));
        let stored = b.call(helper::sk_storage_get(
            &d.maps.adoptions,
            shown(),
            &adoption,
            BPF_SK_STORAGE_GET_F_CREATE,
        ));
        b.jump_if(stored.eq(0), done);
    }
    let flags = b.slot::<u32>();
    b.store(flags.place(), UNPROVEN | SEGMENTS);
    let role = b.load(adoptee.at(Adoption::role));
    b.when(role.eq(Role::Client as u32), || b.store(flags.place(), UNPROVEN | SEGMENTS | CLIENT));
    // Others may have asked for callbacks, too.
    let set = b.load(socket.member(d.layout.callback_flags));
    set.or(b.load(flags.place()));
    b.store(flags.place(), &set);
    let refused =
        b.call(helper::setsockopt(shown(), SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, 4));
    b.when(refused.ne(0), || {
        b.call(helper::sk_storage_delete(&d.maps.adoptions, shown()));
        b.jump(done);
    });
}

#[cfg(test)]
mod tests;
