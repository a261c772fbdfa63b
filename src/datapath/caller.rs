//! Who is in a call: the thread that a program runs on, which is there while it runs. So no read of
//! it is asked for its success: the verifier would follow the rest from every one of them.

use bpf_asm::{Builder, Label, Reg, Slot, helper};

use super::Datapath;
use super::peek::peek_or_zero;
use super::record::{Comm, Process};

/// The first thread of the process, which stands for it.
fn first_thread(b: &Builder, d: &Datapath) -> Reg {
    let thread = b.call(helper::get_current_task());
    peek_or_zero(b, d, thread, d.layout.first_thread)
}

/// The process, by what does not change while it runs one program. Jumps to `none` in a thread of
/// the kernel.
pub(super) fn process(b: &Builder, d: &Datapath, none: &Label) -> Slot<Process> {
    let process = b.slot::<Process>();
    b.zero(process.place());
    let first = b.slot::<u64>();
    b.store(first.place(), first_thread(b, d));
    let first = || b.load(first.place());
    b.store(process.at(Process::started), peek_or_zero(b, d, first(), d.layout.started));
    b.store(process.at(Process::pid), peek_or_zero(b, d, first(), d.layout.process_id));
    let memory = peek_or_zero(b, d, first(), d.layout.memory);
    b.jump_if(memory.eq(0), none);
    b.store(process.at(Process::image), peek_or_zero(b, d, memory, d.layout.image));
    process
}

/// The name of the process. Jumps to `unknown` if it cannot be read.
pub(super) fn name(b: &Builder, d: &Datapath, unknown: &Label) -> Slot<Comm> {
    let name = b.slot::<Comm>();
    b.zero(name.place());
    let first = first_thread(b, d);
    first.add(i64::from(d.layout.thread_name.offset));
    let length = b.call(helper::probe_read_kernel_str(&name, name.size(), first));
    b.jump_if(length.slt(0), unknown);
    name
}
