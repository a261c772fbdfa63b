//! Loads, stores, copies and slots.

use std::panic::Location as Caller;
use std::rc::Rc;

use super::{Builder, VALUE, alu_mov};
use crate::error::{ErrorKind, Location};
use crate::insn::{AluOp, Insn, Load, LoadSigned, Size, Source, Store, Width};
use crate::place::{Base, KernelField, Place, Shape, Slot, SlotClaim};
use crate::record::{FieldType, Scalar, Signed};
use crate::stack::{Access, SlotBytes};
use crate::value::{Held, Operand, Ptr, Reg, Value};

impl Builder {
    /// Loads what is at a place, as wide as the place's type. A signed type's sign is extended to
    /// 64 bits.
    #[track_caller]
    pub fn load<T: Scalar>(&self, place: Place<T>) -> T::Loaded {
        let at = Caller::caller();
        let value = self.new_value(at);
        let Some(size) = self.size("a load", place.shape.size, at) else {
            return T::Loaded::from_value(value);
        };
        self.load_from(&place.base, place.offset, size, &value, at);
        self.cut(&value, place.shape, at);
        T::Loaded::from_value(value)
    }

    /// Loads a signed number by one instruction, where [`Builder::load`] takes three. Linux 6.6
    /// (v4).
    ///
    /// ```
    /// bpf_asm::record! { struct Change { by: i32, signed: u32 } }
    /// use bpf_asm::{Builder, ProgramType};
    ///
    /// let b = Builder::new("change");
    /// let change = b.context::<Change>();
    /// b.ret(b.load_signed(change.at(Change::by)));
    /// assert!(b.finish(ProgramType::SocketFilter)?.to_string().contains("= *(s32 *)(r1 +0)"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn load_signed<T: Signed>(&self, place: Place<T>) -> Reg {
        let at = Caller::caller();
        let value = self.new_value(at);
        self.check_frame(&place.base, at);
        let (base, offset) = (place.base.register(), self.offset(place.offset, at));
        let insn = LoadSigned { size: T::SIZE, dst: VALUE, base, offset };
        self.write(Insn::LoadSigned(insn), Some(&value), place.base.value(), at);
        self.touch(&place.base, place.offset, place.shape.size, &[Access::Reads]);
        Reg(value)
    }

    /// Cuts what was loaded to the bits of a bit-field, and extends its sign.
    pub(super) fn cut(&self, value: &Value, shape: Shape, at: Location) {
        let Shape { size, signed, bits } = shape;
        let (shift, width) = bits.unwrap_or((0, (size * 8) as u8));
        if bits.is_some() || signed && width < 64 {
            let left = 64 - i64::from(shift) - i64::from(width);
            let right = if signed { AluOp::Arsh } else { AluOp::Rsh };
            for (op, by) in [(AluOp::Lsh, left), (right, 64 - i64::from(width))] {
                if by != 0 {
                    self.alu(value, Width::W64, op, Operand::Imm(by), at);
                }
            }
        }
    }

    /// Stores a number or a value at a place, as wide as the place's type. A number must fit the
    /// type's bits, with or without a sign; of a value the lower bits are stored. A `u64` above
    /// `i64::MAX` counts as the negative number of the same bits.
    #[track_caller]
    pub fn store<T: Scalar>(&self, place: Place<T>, content: impl Into<Operand>) {
        let at = Caller::caller();
        let content = content.into();
        if place.shape.bits.is_some() {
            return self.report(ErrorKind::BitfieldStore, at);
        }
        let Some(size) = self.size("a store", place.shape.size, at) else { return };
        let (src, behind) = match (&content, size) {
            (content @ Operand::Value(_), _) | (content @ Operand::Imm(_), Size::DW) => {
                self.source(content, Width::W64, at)
            }
            (Operand::Imm(imm), _) => {
                let bits = size.bytes() as u32 * 8;
                let fitting =
                    self.number("the field", *imm, -(1 << (bits - 1)), (1 << bits) - 1, at);
                (Source::Imm(fitting as i32), None)
            }
        };
        self.store_to(&place.base, place.offset, size, src, behind.as_ref(), at);
    }

    /// Copies a record, array or number from place to place, in the widest moves that the offsets
    /// allow. Both places are taken to be counted from addresses that are multiples of 8. They must
    /// not overlap, unless they are the same: this is C's `memcpy`.
    #[track_caller]
    pub fn copy<T: FieldType>(&self, to: Place<T>, from: Place<T>) {
        let at = Caller::caller();
        let value = self.new_value(at);
        for (start, size) in moves(T::TYPE.size(), to.offset, from.offset) {
            self.load_from(&from.base, from.offset.saturating_add(start), size, &value, at);
            let src = Source::Reg(VALUE);
            self.store_to(&to.base, to.offset.saturating_add(start), size, src, Some(&value), at);
        }
    }

    /// Sets every byte of a place to zero.
    #[track_caller]
    pub fn zero<T: FieldType>(&self, place: Place<T>) {
        let at = Caller::caller();
        for (start, size) in moves(T::TYPE.size(), place.offset, place.offset) {
            self.store_to(
                &place.base,
                place.offset.saturating_add(start),
                size,
                Source::Imm(0),
                None,
                at,
            );
        }
    }

    /// Bytes of the stack frame for a `T`, aligned to 8. They are reused once the slot is dropped,
    /// unless their address has escaped.
    #[track_caller]
    pub fn slot<T: FieldType>(&self) -> Slot<T> {
        let at = Caller::caller();
        let alive = Rc::new(());
        let (function, slot) = {
            let mut core = self.core();
            let function = core.current();
            let slot =
                core.function().frame.claim(T::TYPE.size(), &alive, at).unwrap_or_else(|kind| {
                    core.report(kind, at);
                    SlotBytes { number: 0, at, offset: -8, size: 0 }
                });
            (function, slot)
        };
        let claim = Rc::new(SlotClaim { builder: self.clone(), function, slot, _alive: alive });
        Slot { place: Place::new(Base::Frame(claim), slot.offset, Shape::of::<T>()) }
    }

    /// A pointer to a place. A slot whose address is taken keeps its bytes for the rest of the
    /// function, also when it is dropped: the pointer may be anywhere by then.
    #[track_caller]
    pub fn address_of<T>(&self, place: Place<T>) -> Ptr<T> {
        let at = Caller::caller();
        let value = self.new_value(at);
        self.check_frame(&place.base, at);
        let base = place.base.register();
        self.write(alu_mov(VALUE, Source::Reg(base)), Some(&value), place.base.value(), at);
        self.touch(&place.base, place.offset, place.shape.size, &[Access::Escapes]);
        if place.offset != 0 {
            self.alu(&value, Width::W64, AluOp::Add, Operand::Imm(place.offset), at);
        }
        Ptr::from_value(value)
    }

    /// How a member of a kernel structure is loaded.
    pub(crate) fn member_shape(&self, field: KernelField, at: Location) -> Shape {
        let size = usize::from(field.size);
        let bits = field.bitfield.filter(|&(shift, width)| {
            let inside = width > 0 && usize::from(shift) + usize::from(width) <= size.min(8) * 8;
            if !inside {
                self.report(ErrorKind::BitfieldRange { shift, width, size: field.size }, at);
            }
            inside
        });
        Shape { size, signed: field.signed, bits }
    }

    fn load_from(&self, base: &Base, offset: i64, size: Size, to: &Value, at: Location) {
        self.check_frame(base, at);
        let insn =
            Load { size, dst: VALUE, base: base.register(), offset: self.offset(offset, at) };
        self.write(Insn::Load(insn), Some(to), base.value(), at);
        self.touch(base, offset, size.bytes(), &[Access::Reads]);
    }

    fn store_to(
        &self,
        base: &Base,
        offset: i64,
        size: Size,
        src: Source,
        behind: Option<&Value>,
        at: Location,
    ) {
        self.check_frame(base, at);
        let insn = Store { size, base: base.register(), offset: self.offset(offset, at), src };
        self.write(Insn::Store(insn), base.value(), behind, at);
        self.touch(base, offset, size.bytes(), &[Access::Writes]);
    }

    /// Notes what the line just written does to memory, if that is a slot.
    pub(super) fn touch(&self, base: &Base, offset: i64, size: usize, accesses: &[Access]) {
        if let Base::Frame(claim) = base {
            self.core().touching(
                accesses.iter().map(|access| claim.touch(offset, size, *access)).collect(),
            );
        }
    }

    /// A slot can be used only by the function whose frame it lies in.
    pub(super) fn check_frame(&self, base: &Base, at: Location) {
        if let Base::Frame(claim) = base {
            if !self.same(&claim.builder) {
                self.report(ErrorKind::OtherBuilder, at);
            } else if claim.function != self.core().current() {
                self.report(ErrorKind::OtherFrame, at);
            }
        }
    }

    pub(super) fn offset(&self, offset: i64, at: Location) -> i16 {
        i16::try_from(offset).unwrap_or_else(|_| {
            self.report(ErrorKind::OffsetRange { offset }, at);
            0
        })
    }

    pub(super) fn size(&self, what: &'static str, bytes: usize, at: Location) -> Option<Size> {
        let size = Size::of_bytes(bytes);
        if size.is_none() {
            self.report(ErrorKind::Width { what, given: bytes, allowed: "1, 2, 4 or 8" }, at);
        }
        size
    }
}

/// The moves that cover `size` bytes and are aligned at both offsets, as (start, size).
fn moves(size: usize, to: i64, from: i64) -> impl Iterator<Item = (i64, Size)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let offsets = to.wrapping_add(start as i64) | from.wrapping_add(start as i64);
        let aligned = 1 << (offsets | 8).trailing_zeros();
        let size = [Size::DW, Size::W, Size::H, Size::B]
            .into_iter()
            .find(|move_size| move_size.bytes() <= aligned && move_size.bytes() <= size - start)?;
        let this = start as i64;
        start += size.bytes();
        Some((this, size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_moves_every_byte_once_and_aligned() {
        for size in 0..40 {
            for offset in 0..16 {
                let mut next = 0;
                for (start, move_size) in moves(size, offset, offset & 4) {
                    assert_eq!(start, next);
                    assert_eq!((start + offset) % move_size.bytes() as i64, 0);
                    assert_eq!((start + (offset & 4)) % move_size.bytes() as i64, 0);
                    next += move_size.bytes() as i64;
                }
                assert_eq!(next, size as i64);
            }
        }
        assert_eq!(moves(16, 0, -512).count(), 2);
        assert_eq!(moves(12, 4, -4).map(|(_, size)| size.bytes()).collect::<Vec<_>>(), [4, 8]);
    }
}
