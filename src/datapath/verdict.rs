//! The verdict program: each segment that arrives at an enrolled socket goes into the queue that
//! messages are redirected to.
//!
//! That is what makes one queue of two: the kernel takes the segment out of TCP's receive queue at
//! the moment of its arrival (`sk_psock_verdict_data_ready`), and reads are served in the order of
//! arrival (`tcp_bpf_recvmsg_parser`).
//!
//! A segment comes whole (`tcp_read_skb`), although a part of it may have come before, and that is
//! cut off: of one that was in TCP's queue when the socket was enrolled what TCP's own receive
//! function has given out, and of one that is sent again what has arrived ([`super::arrived`]).
//! None comes of which nothing is new: TCP drops those (`tcp_data_queue`, `tcp_ofo_queue`).

use bpf_asm::uapi::SK_PASS;
use bpf_asm::{__sk_buff, BuildErrors, Builder, Program, ProgramType, helper};

use super::peek::peek;
use super::{Datapath, arrived};

/// How many bytes the kernel cuts off at once (`sk_skb_adjust_room`).
const AT_ONCE: i32 = 0xfff;
/// As often as the longest segment needs it: 512 KiB with BIG TCP.
const TIMES: i32 = (512 << 10) / AT_ONCE + 1;

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_verdict");
    let segment = b.context::<__sk_buff>();
    b.block(|pass| {
        let sk = b.load(segment.at(__sk_buff::sk));
        b.jump_if(sk.eq(0), pass);
        let socket = b.call(helper::skc_to_tcp_sock(sk));
        b.jump_if(socket.eq(0), pass);
        let read = b.load(socket.member(d.layout.copied_seq));
        let cookie = b.slot::<u64>();
        b.store(cookie.place(), b.load(socket.member(d.layout.cookie)));
        let first = peek(&b, &segment, d.layout.segment_sequence, pass);
        let length = b.load(segment.at(__sk_buff::len));
        arrived::advance(&b, d, cookie.place(), &read, &first, &length);
        read.sub32(&first);
        // A segment that begins behind what has come before, as nearly all do.
        b.jump_if(read.sle32(0), pass);

        let left = b.value(TIMES);
        let again = b.label();
        b.block(|rest| {
            b.place(&again);
            b.jump_if(read.le32(AT_ONCE), rest);
            let refused = b.call(helper::skb_adjust_room(&segment, -AT_ONCE, 0, 0));
            b.jump_if(refused.ne(0), pass);
            read.sub32(AT_ONCE);
            left.sub(1);
            b.jump_if(left.ne(0), &again);
            b.jump(pass);
        });
        let cut = b.value(&read);
        cut.neg();
        b.call(helper::skb_adjust_room(&segment, cut, 0, 0));
    });
    b.ret(SK_PASS);
    b.finish(ProgramType::SkSkbVerdict)
}

#[cfg(test)]
mod tests;
