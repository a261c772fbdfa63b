//! Reading kernel objects that the verifier knows nothing about, by address.

use bpf_asm::{Builder, KernelField, Label, Operand, Reg, helper};

// A member is read into the low bytes of a zeroed 64-bit slot.
#[cfg(target_endian = "big")]
compile_error!("the programs are written for little-endian machines");

/// Reads `field` of the object at address `object` into a temporary register. Jumps to `failed` where no memory is.
///
/// What is read may belong to another object by then: the caller checks whose it is.
#[track_caller]
pub(super) fn peek(b: &Builder, object: impl Into<Operand>, field: KernelField, failed: &Label) -> Reg {
    let value = b.slot::<u64>();
    b.store(value.place(), 0);
    let from = b.value(object);
    from.add(i64::from(field.offset));
    let refused = b.call(helper::probe_read_kernel(&value, i32::from(field.size), from));
    b.jump_if(refused.ne(0), failed);
    let read = b.load(value.place());
    if let Some((shift, width)) = field.bitfield {
        read.rsh(i64::from(shift));
        read.and((1i64 << width) - 1);
    }
    read
}
