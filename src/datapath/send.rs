//! The sk_msg program: which way each message goes.
//!
//! ```text
//! not enrolled                                      -> TCP
//! shunt is being stopped                            -> TCP
//! a refresh is due                                  -> TCP
//! unless credit covers the message (as it mostly does):
//!   the lane has ended                              -> TCP
//!   the peer is not known yet, or is gone           -> TCP
//!   the lane goes by TCP and the order gate is shut -> TCP
//!   ... or a reader is in TCP's receive function    -> TCP
//!   the memory gate is shut                         -> TCP
//!   otherwise: new credit
//! the receiver has sent its FIN                     -> TCP
//! otherwise                                         -> redirect
//! ```
//!
//! The verdict is always `SK_PASS`: a message without a redirect goes by TCP, and so does one whose redirect failed.

use bpf_asm::{BuildErrors, Builder, Label, NULL, Program, ProgramType, Ptr, Reg, Slot, helper, sk_msg_md};

use super::count::add;
use super::reason::Reason;
use super::record::{Control, End, Lane, Mode};
use super::{Datapath, gate, guard, rendezvous, trace};

/// `enum sk_action` (include/uapi/linux/bpf.h).
const SK_PASS: i32 = 1;
/// The redirect goes into the other socket's receive queue (include/uapi/linux/bpf.h).
const BPF_F_INGRESS: i32 = 1;

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_send");
    let msg = b.keep(b.context::<sk_msg_md>());

    let sk = b.load(msg.at(sk_msg_md::sk));
    b.when(sk.eq(0), || b.ret(SK_PASS));
    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk, NULL, 0));
    b.when(lane.eq(0), || b.ret(SK_PASS));
    let lane = b.keep(lane);

    let by_tcp = ByTcp::new(&b);
    let no_peer = b.label();
    let now = b.keep(b.call(helper::jiffies64()));
    {
        let control = b.map_value(&d.maps.control, 0);
        let draining = b.load(control.at(Control::draining));
        b.when(draining.ne(0), || by_tcp.because(&b, Reason::Draining));
    }
    let size = b.keep(b.load(msg.at(sk_msg_md::size)));
    let refresh_at = b.load(lane.at(Lane::refresh_at));
    b.when(now.ge(&refresh_at), || gate::refresh(&b, d, &lane, &now, &by_tcp));
    drop(refresh_at);

    {
        let cost = cost(&b, d, &size);
        let credit = b.load(lane.at(Lane::credit));
        b.when(credit.lt(&cost), || {
            let mode = b.load(lane.at(Lane::mode));
            b.when(mode.eq(Mode::Ended as u32), || by_tcp.because(&b, Reason::Ended));
            drop(mode);
            rendezvous::find_peer(&b, d, &lane, &no_peer);
            gate::identity(&b, d, &lane, &by_tcp);
            let mode = b.load(lane.at(Lane::mode));
            b.when(mode.ne(Mode::Direct as u32), || {
                guard::sender(&b, d, &gate::sender(&b, &msg, &by_tcp), &lane, &by_tcp);
                gate::order(&b, d, &msg, &lane, &by_tcp);
                gate::readers(&b, d, &lane, &by_tcp);
                guard::receiver(&b, d, &lane, &by_tcp);
            });
            gate::memory(&b, d, &lane, &size, &by_tcp);
            let mode = b.load(lane.at(Lane::mode));
            b.when(mode.ne(Mode::Direct as u32), || {
                b.store(lane.at(Lane::mode), Mode::Direct as u32);
                b.store(lane.at(Lane::why), 0);
                trace::tell(&b, d, &lane, Reason::Paired as u32, &msg);
            });
        });
    }
    gate::end(&b, d, &lane, &by_tcp);
    spend(&b, d, &lane, &size, &now);
    let verdict =
        b.call(helper::msg_redirect_hash(&msg, &d.maps.socks, lane.at(Lane::peer).at(End::name), BPF_F_INGRESS));
    b.when(verdict.ne(SK_PASS), || {
        unspend(&b, &lane, &size);
        by_tcp.ended(&b, &lane, Reason::PeerGone);
    });
    drop(verdict);
    b.ret(SK_PASS);

    b.place(&no_peer);
    by_tcp.because(&b, Reason::NoPeer);
    by_tcp.place(&b, d, &msg, &lane, &now);
    b.finish(ProgramType::SkMsg)
}

/// What a message takes of the credit: its bytes, and what the kernel allocates to queue it.
fn cost(b: &Builder, d: &Datapath, size: &Reg) -> Reg {
    let cost = b.value(size);
    cost.add(d.bookkeeping());
    cost
}

/// Takes a message off the credit and counts it in its lane.
fn spend(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, size: &Reg, now: &Reg) {
    let credit = b.load(lane.at(Lane::credit));
    credit.sub(cost(b, d, size));
    b.store(lane.at(Lane::credit), &credit);
    drop(credit);

    let messages = b.load(lane.at(Lane::direct_messages));
    messages.add(1);
    b.store(lane.at(Lane::direct_messages), &messages);
    let bytes = b.load(lane.at(Lane::direct_bytes));
    bytes.add(size);
    b.store(lane.at(Lane::direct_bytes), &bytes);

    b.store(lane.at(Lane::redirected_at), now);

    let smallest = b.load(lane.at(Lane::smallest));
    b.when(size.lt(&smallest), || b.store(lane.at(Lane::smallest), size));
}

/// Takes a message that was not redirected out of its lane's counts again.
fn unspend(b: &Builder, lane: &Ptr<Lane>, size: &Reg) {
    let messages = b.load(lane.at(Lane::direct_messages));
    messages.sub(1);
    b.store(lane.at(Lane::direct_messages), &messages);
    let bytes = b.load(lane.at(Lane::direct_bytes));
    bytes.sub(size);
    b.store(lane.at(Lane::direct_bytes), &bytes);
}

/// The end of the program that sends a message by TCP, whatever the reason.
pub(super) struct ByTcp {
    label: Label,
    reason: Slot<u32>,
}

impl ByTcp {
    fn new(b: &Builder) -> ByTcp {
        ByTcp { label: b.label(), reason: b.slot() }
    }

    /// This message goes by TCP.
    #[track_caller]
    pub(super) fn because(&self, b: &Builder, reason: Reason) {
        b.store(self.reason.place(), reason as u32);
        b.jump(&self.label);
    }

    /// This message and all that follow go by TCP.
    #[track_caller]
    pub(super) fn ended(&self, b: &Builder, lane: &Ptr<Lane>, reason: Reason) {
        b.store(lane.at(Lane::mode), Mode::Ended as u32);
        self.because(b, reason);
    }

    /// The message is a packet that connection tracking sees, so the next refresh is a whole period away.
    fn place(&self, b: &Builder, d: &Datapath, msg: &Ptr<sk_msg_md>, lane: &Ptr<Lane>, now: &Reg) {
        b.place(&self.label);
        b.store(lane.at(Lane::credit), 0);
        let redirected_at = b.load(lane.at(Lane::redirected_at));
        let turned_at = b.load(lane.at(Lane::turned_at));
        b.when(redirected_at.ge(&turned_at), || b.store(lane.at(Lane::turned_at), now));
        drop((redirected_at, turned_at));
        let mode = b.load(lane.at(Lane::mode));
        b.when(mode.ne(Mode::Ended as u32), || b.store(lane.at(Lane::mode), Mode::Tcp as u32));
        drop(mode);
        let refresh_at = b.load(lane.at(Lane::period));
        refresh_at.add(now);
        b.store(lane.at(Lane::refresh_at), &refresh_at);
        drop(refresh_at);
        add(b, d, self.reason.place(), 1);
        let reason = || b.load(self.reason.place());
        let why = b.load(lane.at(Lane::why));
        b.when(why.ne(reason()), || {
            b.store(lane.at(Lane::why), reason());
            trace::tell(b, d, lane, reason(), msg);
        });
        drop(why);
        b.ret(SK_PASS);
    }
}

#[cfg(test)]
mod tests;
