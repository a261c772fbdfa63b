//! Counting.

use bpf_asm::{Builder, Modify, Operand, Place, helper};

use super::Datapath;
use super::counter::Counter;

/// Adds one to a counter.
#[track_caller]
pub(super) fn count(b: &Builder, d: &Datapath, counted: impl Into<Counter>) {
    let index = b.slot::<u32>();
    b.store(index.place(), counted.into() as u32);
    add(b, d, index.place(), 1);
}

/// Adds `amount` to the counter whose index is in memory at `index`.
///
/// Atomic although the counter is this CPU's own: sock_ops in a softirq can interrupt a program
/// between load and store.
#[track_caller]
pub(super) fn add(b: &Builder, d: &Datapath, index: Place<u32>, amount: impl Into<Operand>) {
    let counter = b.call(helper::map_lookup_elem(&d.maps.counters, index));
    b.when(counter.ne(0), || {
        let amount = b.value(amount);
        b.atomic(Modify::Add, counter.offset::<u64>(0), &amount);
    });
}
