//! Reading kernel objects that the verifier knows nothing about, by address.

use bpf_asm::{Builder, Dyn, KernelField, Label, Operand, Place, Ptr, Reg, Slot, helper, kfunc};

use super::Datapath;

// A member is read into the low bytes of a zeroed 64-bit slot.
#[cfg(target_endian = "big")]
compile_error!("the programs are written for little-endian machines");

/// Reads `field` of the object at address `object` into a temporary register, by a call. Jumps to
/// `failed` where no memory is.
///
/// What is read may belong to another object by then: the caller checks whose it is.
#[track_caller]
pub(super) fn peek(
    b: &Builder,
    object: impl Into<Operand>,
    field: KernelField,
    failed: &Label,
) -> Reg {
    let (value, refused) = read(b, object, field);
    b.jump_if(refused.ne(0), failed);
    member(b, &value, field)
}

/// Copies the record `offset` bytes into the object at address `object`. Jumps to `failed` where no
/// memory is.
#[track_caller]
pub(super) fn peek_record<T: bpf_asm::FieldType>(
    b: &Builder,
    object: &Reg,
    offset: usize,
    into: &Slot<T>,
    failed: &Label,
) {
    b.jump_if(copy(b, object, offset as i64, into.place(), into.size()).ne(0), failed);
}

/// Copies the IPv6 address that is `field` of the object at address `object`. What the helper
/// answers: 0 unless no memory is there.
#[track_caller]
pub(super) fn copy_v6<T>(
    b: &Builder,
    object: impl Into<Operand>,
    field: KernelField,
    into: Place<T>,
) -> Reg {
    let size = into.size();
    copy(b, object, field.offset.into(), into, size)
}

/// The same as [`peek`], but 0 where no memory is, and a load instead of a call: for where 0 is
/// answer enough.
///
/// A member that is a pointer in the kernel's BTF is loaded as a pointer, with which the verifier
/// allows no arithmetic; [`peek`] and [`probe_or_zero`] give a scalar.
///
/// Slab memory stays mapped after a socket is freed, so no single member of a socket whose cookie
/// was right reads as 0 because of a fault.
#[track_caller]
pub(super) fn peek_or_zero(
    b: &Builder,
    d: &Datapath,
    object: impl Into<Operand>,
    field: KernelField,
) -> Reg {
    let object: Ptr<Dyn> =
        b.call(kfunc::rdonly_cast(d.layout.rdonly_cast, object.into(), field.structure));
    b.load(object.member(field))
}

/// The same by `bpf_probe_read_kernel`: a scalar also where the member is a pointer.
#[track_caller]
pub(super) fn probe_or_zero(b: &Builder, object: impl Into<Operand>, field: KernelField) -> Reg {
    let (value, _) = read(b, object, field);
    member(b, &value, field)
}

#[track_caller]
fn read(b: &Builder, object: impl Into<Operand>, field: KernelField) -> (Slot<u64>, Reg) {
    let value = b.slot::<u64>();
    b.store(value.place(), 0);
    let refused = copy(b, object, field.offset.into(), value.place(), field.size.into());
    (value, refused)
}

#[track_caller]
fn copy<T>(
    b: &Builder,
    object: impl Into<Operand>,
    offset: i64,
    into: Place<T>,
    size: usize,
) -> Reg {
    let from = b.value(object);
    from.add(offset);
    b.call(helper::probe_read_kernel(into, size, from))
}

#[track_caller]
fn member(b: &Builder, value: &Slot<u64>, field: KernelField) -> Reg {
    let read = b.load(value.place());
    if let Some((shift, width)) = field.bitfield {
        read.rsh(i64::from(shift));
        read.and((1i64 << width) - 1);
    }
    read
}
