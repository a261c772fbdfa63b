//! The sk_msg program: which way each message goes.
//!
//! ```text
//! not enrolled                                        -> TCP
//! shunt is being stopped                              -> TCP
//! a refresh is due                                    -> TCP
//! unless credit covers the message (as it mostly does):
//!   the lane has ended                                -> TCP
//!   the peer is not known yet, or is gone             -> TCP
//!   the receiver's file blocks                        -> TCP
//! the receiver's socket lock stays held               -> TCP
//! unless credit covers the message:
//!   the lane goes by TCP and the arrival gate is shut -> TCP
//!   small messages that nothing answers               -> TCP
//!   the receiver's cgroup is short of memory          -> TCP
//!   the memory gate is shut                           -> TCP
//!   otherwise: new credit
//! the receiver's lane has ended                       -> TCP
//! otherwise                                           -> redirect
//! ```
//!
//! Who is in a call is looked at before the gates: what was sent by TCP to a socket that is in use
//! arrives when that call ends.
//!
//! The verdict is always `SK_PASS`: a message without a redirect goes by TCP, and so does one whose
//! redirect failed.

use bpf_asm::uapi::{BPF_F_INGRESS, SK_PASS};
use bpf_asm::{BuildErrors, Builder, NULL, Program, ProgramType, Ptr, Reg, helper, sk_msg_md};

use super::counter::{Cause, Counter, Ending};
use super::fallback::Fallback;
use super::record::{End, Lane, Mode};
use super::{Datapath, control, gate, lane, receiver, refresh, rendezvous, trace};

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_send");
    let msg = b.context::<sk_msg_md>();

    let sk = b.load(msg.at(sk_msg_md::sk));
    b.when(sk.eq(0), || b.ret(SK_PASS));
    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk, NULL, 0));
    b.when(lane.eq(0), || b.ret(SK_PASS));

    let fallback = Fallback::new(&b);
    let now = b.call(helper::jiffies64());
    b.when(control::draining(&b, d).ne(0), || fallback.because(&b, Cause::Draining));
    let size = b.load(msg.at(sk_msg_md::size));
    let refresh_at = b.load(lane.at(Lane::refresh_at));
    b.when(now.ge(&refresh_at), || refresh::due(&b, d, &lane, &fallback));

    let without_credit = |then: &dyn Fn()| {
        let cost = lane::cost(&b, d, &size);
        let credit = b.load(lane.at(Lane::credit));
        b.when(credit.lt(&cost), then);
    };
    without_credit(&|| look(&b, d, &lane, &fallback));
    receiver::busy(&b, d, &lane, &size, &fallback);
    without_credit(&|| gates(&b, d, &msg, &lane, (&size, &now), &fallback));
    receiver::ended(&b, d, &lane, &fallback);
    lane::spend(&b, d, &lane, &size);
    let verdict = b.call(helper::msg_redirect_hash(
        &msg,
        &d.maps.socks,
        lane.at(Lane::peer).at(End::name),
        BPF_F_INGRESS,
    ));
    b.when(verdict.ne(SK_PASS), || {
        lane::unspend(&b, &lane, &size);
        fallback.ended(&b, &lane, Ending::PeerGone);
    });
    b.ret(SK_PASS);

    fallback.place(&b, d, &msg, &lane, &now);
    b.finish(ProgramType::SkMsg)
}

/// Looks whether there is a receiver.
fn look(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, fallback: &Fallback) {
    let mode = b.load(lane.at(Lane::mode));
    b.when(mode.ge(Mode::Ended as u32), || fallback.because(b, Cause::Ended));
    b.attempt(
        |alone| rendezvous::find_peer(b, d, lane, alone),
        || fallback.because(b, Cause::NoPeer),
    );
    receiver::identity(b, d, lane, fallback);
    receiver::blocks(b, d, lane, fallback);
}

/// Gives the lane new credit if the gates are open.
fn gates(
    b: &Builder,
    d: &Datapath,
    msg: &Ptr<sk_msg_md>,
    lane: &Ptr<Lane>,
    (size, now): (&Reg, &Reg),
    fallback: &Fallback,
) {
    let mode = || b.load(lane.at(Lane::mode));
    let most = b.slot::<u64>();
    {
        let socket = b.call(helper::skc_to_tcp_sock(b.load(msg.at(sk_msg_md::sk))));
        b.when(socket.eq(0), || fallback.because(b, Cause::LookFailed));
        let written = b.slot::<u32>();
        let received = b.slot::<u32>();
        b.store(written.place(), b.load(socket.member(d.layout.write_seq)));
        b.store(received.place(), b.load(socket.member(d.layout.rcv_nxt)));
        b.when(mode().ne(Mode::Direct as u32), || gate::arrival(b, d, lane, &written, fallback));
        gate::one_way(b, d, lane, (size, now), &received, &most, fallback);
    }
    gate::limit(b, d, lane, size, &most, fallback);
    gate::memory(b, d, lane, size, &most, fallback);
    b.when(mode().ne(Mode::Direct as u32), || {
        lane::become_direct(b, lane);
        trace::tell(b, d, lane, Counter::Paired as u32, msg);
    });
}

#[cfg(test)]
mod tests;
