//! The programs that show enrolled sockets: one on request, and all of them.
//!
//! A classifier, which the kernel runs on demand over a packet of ours, looks up a socket by its
//! key: the request is a name, the answer a [`FlowEnd`] whose `own.name` is in the same place. The
//! result of the run is 1 if there is such a socket. An iterator goes over the socket map and
//! writes a [`FlowEnd`] for each, which takes a tenth of the time; some kernels forbid that even to
//! root, and there the map is asked for its keys.

use bpf_asm::{
    __sk_buff, BuildErrors, Builder, NULL, Program, ProgramType, Ptr, Reg, Slot, bpf_iter__sockmap,
    bpf_iter_meta, bpf_sock, helper,
};

use super::packet::{RECORD_AT, request};
use super::peek::{copy_v6, peek, peek_or_zero};
use super::receiver;
use super::record::{End, FlowEnd, Isns, Lane};
use super::{Datapath, policy};

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_look");
    let packet = b.context::<__sk_buff>();

    b.block(|short| {
        let socket: Ptr<bpf_sock> = {
            let name = request::<Isns>(&b, &packet, short);
            b.call(helper::map_lookup_elem(&d.maps.socks, &name)).cast()
        };
        b.when(socket.eq(0), || b.ret(0));

        let result = b.slot::<u64>();
        b.store(result.place(), 0);
        b.block(|release| {
            let lane = b.call(helper::sk_storage_get(&d.maps.lanes, &socket, NULL, 0));
            b.jump_if(lane.eq(0), release);
            let end = b.slot::<FlowEnd>();
            of_enrolled(&b, d, lane, &end);
            b.call(helper::skb_store_bytes(&packet, RECORD_AT as i32, &end, end.size(), 0));
            b.store(result.place(), 1);
        });
        b.call(helper::sk_release(socket));
        b.ret(b.load(result.place()));
    });
    b.ret(0);
    b.finish(ProgramType::Classifier)
}

pub(super) fn iterator(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_show");
    let context = b.context::<bpf_iter__sockmap>();
    b.block(|done| {
        // None after the last.
        let sk = b.load(context.at(bpf_iter__sockmap::sk));
        b.jump_if(sk.eq(0), done);
        let lane = b.call(helper::sk_storage_get(&d.maps.lanes, sk, NULL, 0));
        b.jump_if(lane.eq(0), done);
        let end = b.slot::<FlowEnd>();
        of_enrolled(&b, d, lane, &end);
        write(&b, &b.load(context.at(bpf_iter__sockmap::meta)), &end);
    });
    b.ret(0);
    b.finish(ProgramType::Iterator)
}

/// Writes a record to the reader of the iterator.
pub(super) fn write(b: &Builder, meta: &Ptr<bpf_iter_meta>, end: &Slot<FlowEnd>) {
    let output = b.load(meta.at(bpf_iter_meta::seq));
    b.call(helper::seq_write(output, end, end.size()));
}

/// The enrolled socket with this lane.
fn of_enrolled(b: &Builder, d: &Datapath, lane: Ptr<Lane>, end: &Slot<FlowEnd>) {
    of_lane(b, &lane, end);
    let sk = b.load(lane.at(Lane::own).at(End::sk));
    of_socket(b, d, &sk, end);
    unread(b, d, &sk, end);
}

fn of_lane(b: &Builder, lane: &Ptr<Lane>, end: &Slot<FlowEnd>) {
    b.zero(end.place());
    b.copy(end.at(FlowEnd::own), lane.at(Lane::own));
    b.copy(end.at(FlowEnd::peer), lane.at(Lane::peer));
    b.copy(end.at(FlowEnd::direct_messages), lane.at(Lane::direct_messages));
    b.copy(end.at(FlowEnd::direct_bytes), lane.at(Lane::direct_bytes));
    b.copy(end.at(FlowEnd::mode), lane.at(Lane::mode));
    b.copy(end.at(FlowEnd::role), lane.at(Lane::role));
    b.copy(end.at(FlowEnd::why), lane.at(Lane::why));
}

/// What the socket at this address itself says. A member that cannot be read is shown as zero.
pub(super) fn of_socket(b: &Builder, d: &Datapath, sk: &Reg, end: &Slot<FlowEnd>) {
    let l = &d.layout;
    for (field, into) in [
        (l.family, FlowEnd::family),
        (l.state, FlowEnd::state),
        (l.local_port, FlowEnd::local_port),
        (l.remote_port, FlowEnd::remote_port),
        (l.local_v4, FlowEnd::local_v4),
        (l.remote_v4, FlowEnd::remote_v4),
    ] {
        b.store(end.at(into), peek_or_zero(b, d, sk, field));
    }
    b.store(end.at(FlowEnd::tcp_bytes), peek_or_zero(b, d, sk, l.bytes_sent));
    let unread = peek_or_zero(b, d, sk, l.rcv_nxt);
    unread.sub32(peek_or_zero(b, d, sk, l.copied_seq));
    b.store(end.at(FlowEnd::tcp_unread), &unread);
    b.store(
        end.at(FlowEnd::netns),
        peek_or_zero(b, d, peek_or_zero(b, d, sk, l.namespace), l.namespace_inode),
    );
    let socket = peek_or_zero(b, d, sk, l.socket);
    b.when(socket.ne(0), || {
        b.store(end.at(FlowEnd::inode), peek_or_zero(b, d, &socket, l.socket_inode));
    });
    b.block(|unreadable| {
        // Not a pointer to the verifier: with those it allows no arithmetic.
        let cgroup = peek(b, sk, l.cgroup, unreadable);
        cgroup.and(policy::CGROUP_ADDRESS);
        let folder = peek_or_zero(b, d, &cgroup, l.cgroup_folder);
        b.store(end.at(FlowEnd::cgroup), peek_or_zero(b, d, &folder, l.folder_inode));
    });
    for (field, into) in [(l.local_v6, FlowEnd::local_v6), (l.remote_v6, FlowEnd::remote_v6)] {
        if let Some(field) = field {
            copy_v6(b, sk, field, end.at(into));
        }
    }
}

/// Whether redirected bytes wait to be read. None if the socket is not enrolled any more.
fn unread(b: &Builder, d: &Datapath, sk: &Reg, end: &Slot<FlowEnd>) {
    b.block(|unreadable| {
        let unread = receiver::unread(b, d, sk, unreadable);
        b.when(unread.ne(0), || b.store(end.at(FlowEnd::direct_unread), 1));
    });
}

#[cfg(test)]
mod tests;
