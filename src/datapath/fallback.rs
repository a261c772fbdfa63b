//! Fallback to TCP: the end of the sk_msg program for every message that is not redirected.

use bpf_asm::uapi::SK_PASS;
use bpf_asm::{Builder, Label, Ptr, Reg, Slot, sk_msg_md};

use super::count::add;
use super::counter::{Cause, Ending};
use super::record::{Lane, Mode};
use super::{Datapath, lane, trace};

/// Where messages go that are not redirected, and why.
pub(super) struct Fallback {
    message: Label,
    lane: Label,
    /// The index of a [`Cause`].
    cause: Slot<u32>,
    /// The index of an [`Ending`].
    ending: Slot<u32>,
}

impl Fallback {
    pub(super) fn new(b: &Builder) -> Fallback {
        Fallback { message: b.label(), lane: b.label(), cause: b.slot(), ending: b.slot() }
    }

    /// This message goes by TCP.
    #[track_caller]
    pub(super) fn because(&self, b: &Builder, cause: Cause) {
        b.store(self.cause.place(), cause as u32);
        b.jump(&self.message);
    }

    /// This message and all that follow go by TCP.
    #[track_caller]
    pub(super) fn ended(&self, b: &Builder, lane: &Ptr<Lane>, ending: Ending) {
        lane::end(b, lane, ending);
        b.store(self.ending.place(), ending as u32);
        b.jump(&self.lane);
    }

    /// What is done about such a message.
    pub(super) fn place(
        &self,
        b: &Builder,
        d: &Datapath,
        msg: &Ptr<sk_msg_md>,
        lane: &Ptr<Lane>,
        now: &Reg,
    ) {
        b.place(&self.lane);
        add(b, d, self.ending.place(), 1);
        trace::tell(b, d, lane, b.load(self.ending.place()), msg);
        b.store(self.cause.place(), Cause::Ended as u32);
        b.place(&self.message);
        add(b, d, self.cause.place(), 1);
        lane::turn_to_tcp(b, d, lane, now);
        let cause = || b.load(self.cause.place());
        // A lane that has ended says why it has.
        b.when(cause().ne(Cause::Ended as u32), || {
            lane::rest(b, d, lane, &self.cause);
            let mode = b.load(lane.at(Lane::mode));
            b.when(mode.ge(Mode::Ended as u32), || {
                trace::tell(b, d, lane, b.load(lane.at(Lane::why)), msg);
                b.ret(SK_PASS);
            });
            let why = b.load(lane.at(Lane::why));
            b.when(why.ne(cause()), || {
                b.store(lane.at(Lane::why), cause());
                trace::tell(b, d, lane, cause(), msg);
            });
        });
        b.ret(SK_PASS);
    }
}
