//! A connection with both ends here is watched until it converses.
//!
//! The program is called about once in a round trip (`BPF_SOCK_OPS_RTT_CB`), which costs a stream
//! next to nothing. Once both ends have sent segments with data twice, it asks to be called for
//! each segment that the socket sends: see [`super::segment`], and [`super::candidate`] for what
//! else it takes to be enrolled.

use bpf_asm::{Builder, Ptr, bpf_sock_ops, helper};

use super::Datapath;
use super::event::{LOCAL, SEGMENTS, lane_of, mark};
use super::record::{Lane, Mode};

/// Segments with data in each direction.
const CONVERSES: i32 = 2;

/// TCP has measured a round trip.
pub(super) fn round_trip(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|done| {
        let judged = b.label();
        let flags = b.load(event.at(bpf_sock_ops::bpf_sock_ops_cb_flags));
        flags.and(LOCAL | SEGMENTS);
        // Others may have asked for these callbacks, too.
        b.jump_if(flags.ne(LOCAL), done);
        let (received, sent) = (b.slot::<u32>(), b.slot::<u32>());
        b.store(received.place(), 0);
        b.store(sent.place(), 0);
        {
            // A socket that has left the map rests for a while, and is judged by what has come
            // since it left.
            let lane = lane_of(b, d, event, &judged);
            let mode = b.load(lane.at(Lane::mode));
            b.jump_if(mode.ne(Mode::Left as u32), done);
            b.store(received.place(), b.load(lane.at(Lane::segments_in)));
            b.store(sent.place(), b.load(lane.at(Lane::segments_out)));
            let now = b.call(helper::jiffies64());
            b.jump_if(now.lt(b.load(lane.at(Lane::rests_until))), done);
        }
        b.place(&judged);
        for (exchanged, since) in
            [(bpf_sock_ops::data_segs_in, &received), (bpf_sock_ops::data_segs_out, &sent)]
        {
            let exchanged = b.load(event.at(exchanged));
            exchanged.sub32(b.load(since.place()));
            b.jump_if(exchanged.lt(CONVERSES), done);
        }
        mark(b, event, SEGMENTS);
    });
}

#[cfg(test)]
mod tests;
