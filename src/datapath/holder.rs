//! Which processes hold the enrolled sockets: an iterator over the open files of all processes that
//! writes a [`Holder`] for each file that is a socket with something attached, as all enrolled ones
//! have their psock. That is cheaper to see than whether they have a lane; there are few others.
//!
//! `/proc/PID/fd` tells the same, but has to be asked for each open file of every process, whatever
//! it is, and makes an inode for it: with 200,000 flows that takes seconds, and this a tenth of one.

use bpf_asm::{
    BuildErrors, Builder, Dyn, Program, ProgramType, bpf_iter__task_file, bpf_iter_meta, helper,
};

use super::Datapath;
use super::peek::peek_or_zero;
use super::record::Holder;

pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_holders");
    let context = b.context::<bpf_iter__task_file>();
    b.block(|done| {
        // The last call is for none.
        let file = b.load(context.at(bpf_iter__task_file::file));
        b.jump_if(file.eq(0), done);
        let task = b.load(context.at(bpf_iter__task_file::task));
        b.jump_if(task.eq(0), done);
        let socket = b.call(helper::sock_from_file(file));
        b.jump_if(socket.eq(0), done);
        let holder = b.slot::<Holder>();
        b.store(holder.at(Holder::inode), peek_or_zero(&b, d, &socket, d.layout.socket_inode));
        b.store(holder.at(Holder::pid), b.load(task.member(d.layout.process_id)));
        b.store(holder.at(Holder::fd), b.load(context.at(bpf_iter__task_file::fd)));
        let sk = b.load(socket.member(d.layout.socket_sk)).cast::<Dyn>();
        b.jump_if(sk.eq(0), done);
        b.jump_if(b.load(sk.member(d.layout.user_data)).eq(0), done);
        let meta = b.load(context.at(bpf_iter__task_file::meta));
        let output = b.load(meta.at(bpf_iter_meta::seq));
        b.call(helper::seq_write(output, &holder, holder.size()));
    });
    b.ret(0);
    b.finish(ProgramType::Iterator)
}

#[cfg(test)]
mod tests;
