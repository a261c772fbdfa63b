//! The program that is asked about each `setsockopt` in the cgroup: options that an application
//! sets on an enrolled socket.
//!
//! * One that asks for what only TCP does ends the lanes of the flow, before the application can
//!   wait for what does not come: see [`super::guard`].
//! * `TCP_ULP` is refused while the socket is enrolled, as the kernel refuses to enrol a socket
//!   that has one. Redirected bytes would not be decrypted. Programs that turn on kTLS go on with
//!   their own.

use bpf_asm::{
    BuildErrors, Builder, Label, NULL, Program, ProgramType, Ptr, Reg, bpf_sockopt, helper,
};

use super::count::count;
use super::counter::Ending;
use super::option::{
    SO_MAX_PACING_RATE, SO_OOBINLINE, SO_PEEK_OFF, SO_RCVLOWAT, SO_TIMESTAMP_NEW, SO_TIMESTAMP_OLD,
    SO_TIMESTAMPING_NEW, SO_TIMESTAMPING_OLD, SO_TIMESTAMPNS_NEW, SO_TIMESTAMPNS_OLD, SO_ZEROCOPY,
    SOL_SOCKET, SOL_TCP, TCP_INQ, TCP_REPAIR, TCP_ULP,
};
use super::peek::peek;
use super::record::{End, Lane, Mode};
use super::{Datapath, lane as lanes};

/// The option is set as the application wants it.
const GO_ON: i32 = 1;
/// The application is told `EPERM`.
const REFUSE: i32 = 0;

/// Options that ask for what only TCP does, if they are set to more than this.
const ASKS: [(i32, i32, i32); 13] = [
    (SOL_SOCKET, SO_OOBINLINE, 0),
    (SOL_SOCKET, SO_RCVLOWAT, 1),
    (SOL_SOCKET, SO_TIMESTAMP_OLD, 0),
    (SOL_SOCKET, SO_TIMESTAMPNS_OLD, 0),
    (SOL_SOCKET, SO_TIMESTAMPING_OLD, 0),
    (SOL_SOCKET, SO_PEEK_OFF, -1),
    (SOL_SOCKET, SO_ZEROCOPY, 0),
    // -1 is no limit.
    (SOL_SOCKET, SO_MAX_PACING_RATE, -1),
    (SOL_SOCKET, SO_TIMESTAMP_NEW, 0),
    (SOL_SOCKET, SO_TIMESTAMPNS_NEW, 0),
    (SOL_SOCKET, SO_TIMESTAMPING_NEW, 0),
    (SOL_TCP, TCP_REPAIR, 0),
    (SOL_TCP, TCP_INQ, 0),
];

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_options");
    let event = b.context::<bpf_sockopt>();
    let (untouched, asks) = (b.label(), b.label());
    let most = b.value(0);
    for level in [SOL_SOCKET, SOL_TCP] {
        b.block(|other_level| {
            let found = b.load(event.at(bpf_sockopt::level));
            b.jump_if(found.ne32(level), other_level);
            let name = b.load(event.at(bpf_sockopt::optname));
            for (_, option, harmless) in ASKS.into_iter().filter(|(of, ..)| *of == level) {
                most.set(harmless);
                b.jump_if(name.eq32(option), &asks);
            }
            if level == SOL_TCP {
                b.when(name.eq32(TCP_ULP), || upper_protocol(&b, d, &event, &untouched));
            }
            b.jump(&untouched);
        });
    }
    b.jump(&untouched);

    b.place(&asks);
    let value = value(&b, &event, &untouched);
    b.jump_if(value.sle32(&most), &untouched);
    {
        let lane = lane(&b, d, &event, &untouched);
        let mode = b.load(lane.at(Lane::mode));
        b.when(mode.ne(Mode::Leaving as u32), || {
            lanes::leave(&b, d, &lane, Ending::OptionSet);
            count(&b, d, Ending::OptionSet);
        });
    }

    b.place(&untouched);
    // The kernel need not copy the value for us.
    set_length(&b, &event, 0);
    b.ret(GO_ON);
    b.finish(ProgramType::SetSockOpt)
}

/// A protocol above TCP, such as kTLS.
fn upper_protocol(b: &Builder, d: &Datapath, event: &Ptr<bpf_sockopt>, untouched: &Label) {
    let lane = lane(b, d, event, untouched);
    let psock = peek(b, b.load(lane.at(Lane::own).at(End::sk)), d.layout.user_data, untouched);
    b.jump_if(psock.eq(0), untouched);
    b.ret(REFUSE);
}

/// From a register: kernels before 6.4 refuse to store a constant into a context.
fn set_length(b: &Builder, event: &Ptr<bpf_sockopt>, length: i32) {
    b.store(event.at(bpf_sockopt::optlen), b.value(length));
}

/// The lane of the socket that the option is for, if it has one.
fn lane(b: &Builder, d: &Datapath, event: &Ptr<bpf_sockopt>, untouched: &Label) -> Ptr<Lane> {
    let sk = b.load(event.at(bpf_sockopt::sk));
    let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk, NULL, 0));
    b.jump_if(lane.eq(0), untouched);
    lane
}

/// The number that the option is set to.
fn value(b: &Builder, event: &Ptr<bpf_sockopt>, untouched: &Label) -> Reg {
    let first = b.load(event.at(bpf_sockopt::optval));
    let end = b.value(&first).cast::<u8>();
    end.advance(size_of::<i32>());
    b.jump_if(end.gt(b.load(event.at(bpf_sockopt::optval_end))), untouched);
    b.load(first.offset::<i32>(0))
}

#[cfg(test)]
mod tests;
