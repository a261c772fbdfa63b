//! Guards: what the ingress queue cannot do for an application, and sockets that are left to TCP because of it.
//!
//! *Options* that ask for something that only TCP's own functions do: more bytes before a wake-up (`SO_RCVLOWAT`), completions of
//! sent memory (`SO_ZEROCOPY`), times and counts beside bytes (`SO_TIMESTAMP…`, `SO_TIMESTAMPING`, `TCP_INQ`), reading ahead
//! (`SO_PEEK_OFF`), urgent bytes in their place (`SO_OOBINLINE`), a rate (`SO_MAX_PACING_RATE`). They are looked at when a socket is
//! enrolled, whenever they were set, and by whom: the application or the listener. One that is set later ends the lane: see
//! [`super::options`].
//!
//! *Readers that do not call `recvmsg`*: `splice(2)` and `TCP_ZEROCOPY_RECEIVE` look into TCP's receive queue, which is empty once a
//! socket is enrolled. The latter begins with a mapping of the socket, which is looked for; for the former see [`super::evidence`].

use bpf_asm::{Builder, Label, Ptr, tcp_sock};

use super::Datapath;
use super::peek::peek;
use super::receiver;

/// Jumps to `asks` if the socket has an option set that asks for what only TCP does.
pub(super) fn options(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, asks: &Label) {
    let flags = b.load(socket.member(d.layout.flags));
    flags.and(b.value(d.layout.guarded_flags));
    b.jump_if(flags.ne(0), asks);
    drop(flags);
    let low_water = b.load(socket.member(d.layout.low_water));
    b.jump_if(low_water.gt32(1), asks);
    drop(low_water);
    let peek_offset = b.load(socket.member(d.layout.peek_offset));
    b.jump_if(peek_offset.sge32(0), asks);
    drop(peek_offset);
    let stamps = b.load(socket.member(d.layout.timestamping));
    b.jump_if(stamps.ne32(0), asks);
    drop(stamps);
    let rate = b.load(socket.member(d.layout.max_pacing_rate));
    b.jump_if(rate.ne(-1), asks);
    drop(rate);
    if let Some(field) = d.layout.asks_for_counts {
        let counts = b.load(socket.member(field));
        b.jump_if(counts.ne(0), asks);
    }
}

/// Jumps to `unsuitable` for a socket whose connection is being repaired (`TCP_REPAIR`), where a process chooses the sequence
/// numbers.
pub(super) fn repaired(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, unsuitable: &Label) {
    let repair = b.load(socket.member(d.layout.repair));
    b.jump_if(repair.ne(0), unsuitable);
}

/// Jumps to `mapped` if a process has mapped the socket at this address into its memory, or it cannot be told.
pub(super) fn mapped(b: &Builder, d: &Datapath, sk: &bpf_asm::Reg, mapped: &Label) {
    let file = receiver::file(b, d, sk, mapped);
    let contents = peek(b, file, d.layout.file_mapping, mapped);
    let mapping = peek(b, contents, d.layout.mappings, mapped);
    b.jump_if(mapping.ne(0), mapped);
}
