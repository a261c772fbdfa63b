//! The wake-up that mixing can lose.
//!
//! A reader on edge-triggered epoll that takes a short read for "drained" hangs in this order: redirected bytes are queued; the lane
//! goes to TCP and bytes arrive; one `epoll_wait` consumes that edge; the redirected bytes are read to their end, a short read; the
//! bytes that came by TCP wait, and no further edge comes. Setting `SO_RCVLOWAT`, even to its present value, makes TCP look whether
//! its bytes should wake somebody, which is the missing edge.
//!
//! The kernel alone sees to it, so that it works when the agent is dead: sock_ops is called for every segment that an enrolled
//! socket sends, of which a direct lane has none. One that acknowledges bytes while both queues hold some borrows the socket's
//! keepalive timer, at one second. At the first segment after the redirected bytes have been read, an acknowledgement or a probe of that
//! timer, the reader is woken if TCP bytes wait, and the application's own keepalive settings are put back: from then on every byte
//! comes by TCP, which makes its edges itself, until all have been read. A reader that has read the redirected bytes before the first
//! acknowledgement, which may be delayed, is woken by that, once for each time that its peer turns from redirecting to TCP.
//!
//! A timer of one second is slow. So an agent that lives is told of such a reader, and wakes it as soon as it sees that the redirected
//! bytes have been read. On kernels where the option only stores its value nobody else does.

use bpf_asm::{Builder, KernelField, Label, Operand, Place, Ptr, bpf_sock_ops, helper, sock, tcp_sock};

use super::Datapath;
use super::count::count;
use super::gate::{self, direct_unread};
use super::option::{SO_KEEPALIVE, SO_RCVLOWAT, SOL_SOCKET, SOL_TCP, TCP_KEEPIDLE, TCP_KEEPINTVL};
use super::reason::Reason;
use super::record::{End, Isns, Lane, Wake};

/// Bit of `SO_KEEPALIVE` in `sk_flags` (`enum sock_flags`, include/net/sock.h).
const SOCK_KEEPOPEN: u32 = 3;

/// Seconds between two looks at a reader: the timer knows no less.
const LOOK: u32 = 1;

/// Looks at what a socket's two queues hold, and does what that asks for.
pub(super) fn look(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    lane: &Ptr<Lane>,
    socket: &Ptr<tcp_sock>,
    done: &Label,
) {
    let tcp_unread = b.load(socket.member(d.layout.rcv_nxt));
    tcp_unread.sub32(b.load(socket.member(d.layout.copied_seq)));
    let tcp_unread = b.keep(tcp_unread);
    let armed = b.load(lane.at(Lane::wake));
    b.jump_if(tcp_unread.eq(0).and(armed.eq(Wake::Idle as u32)), done);
    drop(armed);

    let direct_unread = direct_unread(b, d, &b.load(lane.at(Lane::own).at(super::End::sk)), done);
    let armed = b.load(lane.at(Lane::wake));
    b.when(armed.eq(Wake::Idle as u32), || {
        // Here because TCP bytes wait.
        b.when_else(
            direct_unread.ne(0),
            || arm(b, d, event, lane, socket),
            || {
                gate::turned(b, lane, done);
                wake(b, d, event, lane, socket);
            },
        );
        b.jump(done);
    });
    drop(armed);
    b.jump_if(direct_unread.ne(0), done);
    drop(direct_unread);
    let known = b.label();
    gate::turned(b, lane, &known);
    b.place(&known);
    b.when(tcp_unread.ne(0), || wake(b, d, event, lane, socket));
    disarm(b, event, lane, socket, d);
}

/// Borrows the keepalive timer, having noted how the application had set it.
fn arm(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, lane: &Ptr<Lane>, socket: &Ptr<tcp_sock>) {
    let on = b.load(socket.member(d.layout.flags));
    on.rsh(SOCK_KEEPOPEN);
    on.and(1);
    b.store(lane.at(Lane::keepalive_on), &on);
    drop(on);
    note_seconds(b, d, lane.at(Lane::keepalive_idle), socket, d.layout.keepalive_idle, d.layout.keepalive_idle_default);
    let (interval, default) = (d.layout.keepalive_interval, d.layout.keepalive_interval_default);
    note_seconds(b, d, lane.at(Lane::keepalive_interval), socket, interval, default);

    set(b, event, SOL_TCP, TCP_KEEPINTVL, LOOK);
    set(b, event, SOL_TCP, TCP_KEEPIDLE, LOOK);
    set(b, event, SOL_SOCKET, SO_KEEPALIVE, 1);
    b.store(lane.at(Lane::wake), Wake::Armed as u32);
    count(b, d, Reason::WakeArmed);
    // A full buffer has no reader: then the timer has to do.
    b.call(helper::ringbuf_output(&d.maps.armed, lane.at(Lane::own).at(End::name), size_of::<Isns>() as i32, 0));
}

/// The edge that is missing.
fn wake(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>, lane: &Ptr<Lane>, socket: &Ptr<tcp_sock>) {
    b.store(lane.at(Lane::low_water), b.load(socket.member(d.layout.low_water)));
    b.call(helper::setsockopt(event, SOL_SOCKET, SO_RCVLOWAT, lane.at(Lane::low_water), 4));
    count(b, d, Reason::Woken);
}

/// Gives the keepalive timer back, unless the application has set it anew in the meantime.
fn disarm(b: &Builder, event: &Ptr<bpf_sock_ops>, lane: &Ptr<Lane>, socket: &Ptr<tcp_sock>, d: &Datapath) {
    b.store(lane.at(Lane::wake), Wake::Idle as u32);
    let look = LOOK * d.settings.hz;
    let settings = [
        (TCP_KEEPINTVL, d.layout.keepalive_interval, Lane::keepalive_interval),
        (TCP_KEEPIDLE, d.layout.keepalive_idle, Lane::keepalive_idle),
    ];
    for (option, field, noted) in settings {
        let present = b.load(socket.member(field));
        b.when(present.eq32(look), || {
            b.call(helper::setsockopt(event, SOL_TCP, option, lane.at(noted), 4));
        });
    }
    b.call(helper::setsockopt(event, SOL_SOCKET, SO_KEEPALIVE, lane.at(Lane::keepalive_on), 4));
}

/// Notes a setting of the keepalive timer in seconds, as the option takes it; the namespace's default where the application has set
/// none.
fn note_seconds(
    b: &Builder,
    d: &Datapath,
    into: Place<u32>,
    socket: &Ptr<tcp_sock>,
    field: KernelField,
    default: Option<KernelField>,
) {
    let jiffies = b.load(socket.member(field));
    if let Some(default) = default {
        b.when(jiffies.eq32(0), || {
            let namespace = b.load(socket.member(d.layout.namespace)).cast::<sock>();
            jiffies.set(b.load(namespace.member(default)));
        });
    }
    jiffies.div32(d.settings.hz);
    b.when(jiffies.eq32(0), || jiffies.set(1));
    b.store(into, &jiffies);
}

fn set(b: &Builder, event: &Ptr<bpf_sock_ops>, level: i32, option: i32, value: impl Into<Operand>) {
    let slot = b.slot::<u32>();
    b.store(slot.place(), value);
    b.call(helper::setsockopt(event, level, option, &slot, 4));
}

#[cfg(test)]
mod tests;
