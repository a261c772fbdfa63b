//! A local connection that goes on sends a segment: its socket is considered, or is on its way out.
//! A direct lane sends none.

use bpf_asm::{Builder, Label, Ptr, bpf_sock_ops};

use super::counter::Ending;
use super::event::{LOCAL, UNPROVEN, lane_of};
use super::record::{End, Lane, Mode};
use super::{Datapath, candidate, lane, leave, proof, receiver, trace, waiters};

/// A marked socket is about to send a segment.
pub(super) fn sent(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, leaving: &Label) {
    b.block(|done| {
        let local = b.label();
        b.block(|considered| {
            let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
            b.jump_if(flags.has(LOCAL), &local);
            b.when(flags.has(UNPROVEN), || proof::make_room(b, d, event));
            b.jump(done);
            b.place(&local);
            {
                let lane = lane_of(b, d, event, considered);
                let mode = b.load(lane.at(Lane::mode));
                b.jump_if(mode.eq(Mode::Left as u32), considered);
                leave::wanted(b, d, &lane, leaving);
                candidate::keep_room(b, d, event, &b.load(lane.at(Lane::own).at(End::sk)));
                sleeper(b, d, event, &lane, leaving, done);
            }
        });
        candidate::consider(b, d, event);
    });
}

/// A thread sleeps on an enrolled socket, whose file an application has made to block: it has to
/// find TCP's own receive function the next time, since that of enrolled sockets may answer
/// `EAGAIN`.
fn sleeper(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    lane: &Ptr<Lane>,
    leaving: &Label,
    done: &Label,
) {
    let sk = || b.load(lane.at(Lane::own).at(End::sk));
    b.jump_if(receiver::nonblocking(b, d, &sk(), done).ne(0), done);
    let asleep = waiters::asleep(b, d, &sk(), done);
    b.jump_if(b.load(asleep.place()).eq(0), done);
    lane::leave(b, d, lane, Ending::Sleeper);
    super::count::count(b, d, Ending::Sleeper);
    trace::tell(b, d, lane, Ending::Sleeper as u32, event);
    b.jump(leaving);
}

#[cfg(test)]
mod tests;
