//! Threads that sleep in a call on a socket, told from those that poll it.

use bpf_asm::{Builder, Label, Reg, Slot};

use super::Datapath;
use super::peek::{peek, probe_or_zero};
use super::receiver::list;

/// Counts the threads that sleep on the socket at this address; jumps to `many` if more wait for
/// it, in whatever way, than are looked at, or it cannot be told.
pub(super) fn asleep(b: &Builder, d: &Datapath, sk: &Reg, many: &Label) -> Slot<u64> {
    /// How many of those that wait are looked at.
    const MOST: usize = 4;
    /// 64 KiB are more than any kernel's `THREAD_SIZE`. What lies so close above a stack and names
    /// its thread is on that stack.
    const STACK_BITS: i32 = 16;

    let asleep = b.slot::<u64>();
    b.store(asleep.place(), 0);
    b.block(|counted| {
        let queue = peek(b, sk, d.layout.wait_queue, many);
        // A socket that was not accepted yet has none.
        b.jump_if(queue.eq(0), counted);
        queue.add(d.layout.waiters.offset);
        let (head, first) = list(b, d, queue, many);
        let place = b.slot::<u64>();
        b.store(place.place(), first);

        for _ in 0..MOST {
            let entry = b.load(place.place());
            b.jump_if(entry.eq(b.load(head.place())), counted);
            entry.sub(d.layout.waiter_place.offset);
            let thread = peek(b, entry, d.layout.waiter_private, many);
            // epoll and poll name no thread here, or nothing that has a stack around this entry.
            // There is no branch in this: the verifier would follow every combination of them.
            let stack = probe_or_zero(b, thread, d.layout.thread_stack);
            let more = b.load(place.place());
            more.sub(&stack);
            more.rsh(STACK_BITS);
            more.sub(1);
            more.rsh(63);
            more.add(b.load(asleep.place()));
            b.store(asleep.place(), &more);
            b.store(place.place(), peek(b, b.load(place.place()), d.layout.first, many));
        }
        b.jump_if(b.load(place.place()).ne(b.load(head.place())), many);
    });
    asleep
}
