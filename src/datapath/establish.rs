//! The sock_ops program: called by TCP at the events of every connection in the cgroup.

use bpf_asm::uapi::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PARSE_HDR_OPT_CB,
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_RWND_INIT,
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB,
    BPF_SOCK_OPS_WRITE_HDR_OPT_CB, BPF_TCP_CLOSE, BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2,
    BPF_TCP_LAST_ACK,
};
use bpf_asm::{BuildErrors, Builder, Label, Program, ProgramType, Ptr, bpf_sock_ops};

use super::count::count;
use super::counter::{Ending, Total};
use super::event::lane_of;
use super::record::{Lane, Mode};
use super::{
    Datapath, arrived, candidate, handshake, lane, leave, policy, proof, segment, trace, watch,
};

/// The program had nothing to object to. The reply stays as programs before it left it.
const GO_ON: i32 = 1;

/// What an event does.
type Case = fn(&Builder, &Datapath, &Ptr<bpf_sock_ops>, &Label);

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_establish");
    let event = b.context::<bpf_sock_ops>();
    b.block(|leaving| {
        let cases: [(i32, Case); 10] = [
            (BPF_SOCK_OPS_HDR_OPT_LEN_CB, segment::sent),
            (BPF_SOCK_OPS_RTT_CB, |b, d, event, _| watch::round_trip(b, d, event)),
            (BPF_SOCK_OPS_STATE_CB, |b, d, event, _| state_changed(b, d, event)),
            (BPF_SOCK_OPS_RWND_INIT, |b, d, event, _| handshake::hint(b, d, event)),
            (BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, |b, d, event, _| {
                handshake::client_established(b, d, event)
            }),
            (BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, |b, d, event, _| {
                handshake::server_established(b, d, event)
            }),
            (BPF_SOCK_OPS_TCP_CONNECT_CB, |b, d, event, _| policy::connecting(b, d, event)),
            (BPF_SOCK_OPS_TCP_LISTEN_CB, |b, d, event, _| policy::listening(b, d, event)),
            (BPF_SOCK_OPS_PARSE_HDR_OPT_CB, |b, d, event, _| proof::hear(b, d, event)),
            (BPF_SOCK_OPS_WRITE_HDR_OPT_CB, |b, d, event, _| proof::say(b, d, event)),
        ];
        for (op, case) in cases {
            let found = b.load(event.at(bpf_sock_ops::op));
            b.when(found.eq(op), || {
                case(&b, d, &event, leaving);
                b.ret(GO_ON);
            });
        }
        b.ret(GO_ON);
    });
    leave::leave(&b, d, &event);
    b.ret(GO_ON);
    b.finish(ProgramType::SockOps)
}

/// An enrolled socket changes its state.
///
/// From its own FIN on it sends nothing directly, so that a write after `shutdown` meets TCP's
/// answer; what is sent to it goes on as before. At its end its counts go into the totals. It stays
/// in the socket map then: what was sent to it may not have been read.
fn state_changed(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|done| {
        let lane = lane_of(b, d, event, done);

        let to = b.load(event.at(bpf_sock_ops::args).index(1));
        // A bit for each, not a branch for each: the verifier would follow the rest from every one
        // of them.
        let ends = [BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK, BPF_TCP_CLOSE];
        let ending = b.value(ends.iter().fold(0, |bits, state| bits | 1 << state));
        ending.rsh(&to);
        ending.and(1);
        b.jump_if(ending.eq(0), done);
        let mode = b.load(lane.at(Lane::mode));
        b.when(mode.ne(Mode::Left as u32), || candidate::open_window(b, event));
        let mode = b.load(lane.at(Lane::mode));
        b.when(mode.lt(Mode::Ended as u32), || {
            lane::end(b, &lane, Ending::ShutDown);
            count(b, d, Ending::ShutDown);
            trace::tell(b, d, &lane, Ending::ShutDown as u32, event);
        });
        let to = b.load(event.at(bpf_sock_ops::args).index(1));
        b.jump_if(to.ne(BPF_TCP_CLOSE), done);
        trace::tell(b, d, &lane, Total::Closed as u32, event);
        lane::total(b, d, &lane);
        arrived::end(b, d, &lane);
        count(b, d, Total::Closed);
    });
}

#[cfg(test)]
mod tests;
