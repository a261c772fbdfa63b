//! Ends of connections that are left to TCP for good, counted by reason and program: for the
//! operator, who can do something about most of them.

use bpf_asm::uapi::BPF_NOEXIST;
use bpf_asm::{Builder, Modify, Slot, helper};

use super::Datapath;
use super::count::add;
use super::record::Refusal;

/// Counts one more.
pub(super) fn count(b: &Builder, d: &Datapath, refusal: &Slot<Refusal>) {
    b.block(|counted| {
        add(b, d, refusal.at(Refusal::outcome), 1);
        let times = b.call(helper::map_lookup_elem(&d.maps.refusals, refusal));
        b.when(times.ne(0), || {
            let one = b.value(1);
            b.atomic(Modify::Add, times.offset::<u64>(0), &one);
            b.jump(counted);
        });
        let first = b.slot::<u64>();
        b.store(first.place(), 1);
        b.call(helper::map_update_elem(&d.maps.refusals, refusal, &first, BPF_NOEXIST));
    });
}
