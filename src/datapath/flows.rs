//! The iterator program: one record for each open socket that has a lane.

use bpf_asm::{BuildErrors, Builder, Program, ProgramType, Ptr, bpf_iter__bpf_sk_storage_map, bpf_iter_meta, helper};

use super::gate::direct_unread;
use super::peek::peek;
use super::record::{FlowEnd, Lane};
use super::Datapath;

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_flows");
    let context = b.keep(b.context::<bpf_iter__bpf_sk_storage_map>());
    let sk = b.load(context.at(bpf_iter__bpf_sk_storage_map::sk));
    b.when(sk.eq(0), || b.ret(0));
    let sk = b.keep(sk.into_reg());
    let value = b.load(context.at(bpf_iter__bpf_sk_storage_map::value));
    b.when(value.eq(0), || b.ret(0));
    let lane: Ptr<Lane> = b.keep(value.cast());

    let end = b.slot::<FlowEnd>();
    b.zero(end.place());
    b.copy(end.at(FlowEnd::own), lane.at(Lane::own));
    b.copy(end.at(FlowEnd::peer), lane.at(Lane::peer));
    b.copy(end.at(FlowEnd::direct_messages), lane.at(Lane::direct_messages));
    b.copy(end.at(FlowEnd::direct_bytes), lane.at(Lane::direct_bytes));
    b.copy(end.at(FlowEnd::mode), lane.at(Lane::mode));
    b.copy(end.at(FlowEnd::role), lane.at(Lane::role));
    b.copy(end.at(FlowEnd::wake), lane.at(Lane::wake));

    // A member that cannot be read is shown as zero.
    macro_rules! show {
        ($($into:ident <- $field:ident),* $(,)?) => {$({
            let unreadable = b.label();
            b.store(end.at(FlowEnd::$into), peek(&b, &sk, d.layout.$field, &unreadable));
            b.place(&unreadable);
        })*};
    }
    show! {
        tcp_bytes <- bytes_sent, family <- family, state <- state, local_port <- local_port, remote_port <- remote_port,
        local_v4 <- local_v4, remote_v4 <- remote_v4,
    }
    {
        let unreadable = b.label();
        b.store(end.at(FlowEnd::tcp_unread), peek(&b, &sk, d.layout.rcv_nxt, &unreadable));
        let read = peek(&b, &sk, d.layout.copied_seq, &unreadable);
        let unread = b.load(end.at(FlowEnd::tcp_unread));
        unread.sub32(&read);
        b.store(end.at(FlowEnd::tcp_unread), &unread);
        b.place(&unreadable);
    }
    for (field, into) in [(d.layout.local_v6, FlowEnd::local_v6), (d.layout.remote_v6, FlowEnd::remote_v6)] {
        if let Some(field) = field {
            let from = b.value(&sk);
            from.add(field.offset);
            b.call(helper::probe_read_kernel(end.at(into), 16, from));
        }
    }
    {
        let unreadable = b.label();
        let socket = peek(&b, &sk, d.layout.socket, &unreadable);
        b.jump_if(socket.eq(0), &unreadable);
        b.store(end.at(FlowEnd::inode), peek(&b, socket, d.layout.socket_inode, &unreadable));
        b.place(&unreadable);
    }
    {
        let unreadable = b.label();
        let namespace = peek(&b, &sk, d.layout.namespace, &unreadable);
        b.store(end.at(FlowEnd::netns), peek(&b, namespace, d.layout.namespace_inode, &unreadable));
        b.place(&unreadable);
    }
    {
        let unreadable = b.label();
        let unread = direct_unread(&b, d, &sk, &unreadable);
        b.when(unread.ne(0), || b.store(end.at(FlowEnd::direct_unread), 1));
        drop(unread);
        b.place(&unreadable);
    }

    let meta: Ptr<bpf_iter_meta> = b.load(context.at(bpf_iter__bpf_sk_storage_map::meta));
    let seq = b.load(meta.at(bpf_iter_meta::seq));
    b.call(helper::seq_write(seq, &end, size_of::<FlowEnd>() as i32));
    b.ret(0);
    b.finish(ProgramType::Iterator)
}
