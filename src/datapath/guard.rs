//! Guards: what the ingress queue cannot do for an application, and sockets that are left to TCP
//! because of it.
//!
//! *Options* that ask for something that only TCP's own functions do: more bytes before a wake-up
//! (`SO_RCVLOWAT`), completions of sent memory (`SO_ZEROCOPY`), times and counts beside bytes
//! (`SO_TIMESTAMP…`, `SO_TIMESTAMPING`, `TCP_INQ`), reading ahead (`SO_PEEK_OFF`), urgent bytes in
//! their place (`SO_OOBINLINE`), a rate (`SO_MAX_PACING_RATE`). They are looked at when a socket is
//! enrolled, whenever they were set, and by whom: the application or the listener. One that is set
//! later ends the lane: see [`super::options`].
//!
//! *Readers that do not call `recvmsg`*: `splice(2)` and `TCP_ZEROCOPY_RECEIVE` look into TCP's
//! receive queue, which is empty once a socket is enrolled. The latter begins with a mapping of the
//! socket, which is looked for; for the former see [`super::evidence`].

use bpf_asm::{Builder, KernelField, Label, Ptr, tcp_sock};

use super::Datapath;
use super::peek::peek;
use super::receiver;

/// Jumps to `asks` if the socket has an option set that asks for what only TCP does.
pub(super) fn options(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, asks: &Label) {
    let l = &d.layout;
    let set = |field: KernelField| b.load(socket.member(field));
    let flags = set(l.flags);
    flags.and(b.value(l.guarded_flags));
    b.jump_if(flags.ne(0), asks);
    b.jump_if(set(l.low_water).gt32(1), asks);
    b.jump_if(set(l.peek_offset).sge32(0), asks);
    b.jump_if(set(l.timestamping).ne32(0), asks);
    b.jump_if(set(l.max_pacing_rate).ne(-1), asks);
    if let Some(counts) = l.asks_for_counts {
        b.jump_if(set(counts).ne(0), asks);
    }
}

/// Jumps to `unsuitable` for a socket whose connection is being repaired (`TCP_REPAIR`), where a
/// process chooses the sequence numbers.
pub(super) fn repaired(b: &Builder, d: &Datapath, socket: &Ptr<tcp_sock>, unsuitable: &Label) {
    let repair = b.load(socket.member(d.layout.repair));
    b.jump_if(repair.ne(0), unsuitable);
}

/// Jumps to `mapped` if a process has mapped the socket at this address into its memory, or it
/// cannot be told.
pub(super) fn mapped(b: &Builder, d: &Datapath, sk: &bpf_asm::Reg, mapped: &Label) {
    let file = receiver::file(b, d, sk, mapped);
    let contents = peek(b, file, d.layout.file_mapping, mapped);
    let mapping = peek(b, contents, d.layout.mappings, mapped);
    b.jump_if(mapping.ne(0), mapped);
}
