//! Memory that others use at the same time: changes in one step, and loads and stores that keep an
//! order.

use std::panic::Location as Caller;

use super::{Builder, VALUE};
use crate::error::{ErrorKind, Location};
use crate::insn::{Atomic, AtomicOp, Insn, LoadAcquire, Register, StoreRelease, Width};
use crate::place::{Place, Shape};
use crate::record::Scalar;
use crate::stack::Access;
use crate::value::{Held, Operand, Reg, Value};

/// How [`Builder::atomic`] changes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modify {
    /// `*p += operand`
    Add,
    /// `*p |= operand`; Linux 5.12 (v3), as all but the addition.
    Or,
    /// `*p &= operand`
    And,
    /// `*p ^= operand`
    Xor,
}

/// How [`Builder::fetch`] changes memory whose old content it gives. Linux 5.12 (v3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fetch {
    /// `*p += operand`
    Add,
    /// `*p |= operand`
    Or,
    /// `*p &= operand`
    And,
    /// `*p ^= operand`
    Xor,
    /// `*p = operand`
    Exchange,
}

impl Builder {
    /// Changes 4 or 8 bytes of memory in one step, without looking at what was there.
    /// [`Builder::fetch`] tells that.
    ///
    /// ```
    /// use bpf_asm::{Builder, MapKind, MapRef, Modify, ProgramType};
    ///
    /// const PACKETS: MapRef<u32, u64> = MapRef::new("packets", MapKind::Array, 1);
    ///
    /// let b = Builder::new("count");
    /// b.atomic(Modify::Add, b.map_value(&PACKETS).at_all(), &b.value(1));
    /// b.ret(0);
    /// let program = b.finish(ProgramType::SocketFilter)?;
    /// assert!(program.to_string().contains("lock *(u64 *)(r1 +0) += r2"), "{program}");
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    ///
    /// An operation that gives the old content is another type's:
    ///
    /// ```compile_fail
    /// # use bpf_asm::{Builder, Fetch, MapKind, MapRef};
    /// # const PACKETS: MapRef<u32, u64> = MapRef::new("packets", MapKind::Array, 1);
    /// # let b = Builder::new("count");
    /// b.atomic(Fetch::Exchange, b.map_value(&PACKETS).at_all(), &b.value(1));
    /// ```
    #[track_caller]
    pub fn atomic<T: Scalar>(&self, how: Modify, place: Place<T>, operand: &Reg) {
        let op = match how {
            Modify::Add => AtomicOp::Add,
            Modify::Or => AtomicOp::Or,
            Modify::And => AtomicOp::And,
            Modify::Xor => AtomicOp::Xor,
        };
        self.atomically(op, &place, &operand.0, Caller::caller());
    }

    /// Changes 4 or 8 bytes of memory in one step; the operand's register then holds what was
    /// there. [`Builder::compare_exchange`] has its own method, since it takes two operands.
    ///
    /// ```
    /// use bpf_asm::{Builder, Fetch, MapKind, MapRef, ProgramType};
    ///
    /// const NEXT: MapRef<u32, u64> = MapRef::new("next", MapKind::Array, 1);
    ///
    /// let b = Builder::new("number");
    /// let number = b.fetch(Fetch::Add, b.map_value(&NEXT).at_all(), b.value(1));
    /// b.ret(&number);
    /// let program = b.finish(ProgramType::SocketFilter)?;
    /// assert!(program.to_string().contains("atomic64_fetch_add((u64 *)(r1 +0)"), "{program}");
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn fetch<T: Scalar>(&self, how: Fetch, place: Place<T>, operand: Reg) -> Reg {
        let op = match how {
            Fetch::Add => AtomicOp::FetchAdd,
            Fetch::Or => AtomicOp::FetchOr,
            Fetch::And => AtomicOp::FetchAnd,
            Fetch::Xor => AtomicOp::FetchXor,
            Fetch::Exchange => AtomicOp::Exchange,
        };
        self.atomically(op, &place, &operand.0, Caller::caller());
        operand
    }

    /// Stores `new` if `expected` is there, in one step; gives what was there. Linux 5.12 (v3).
    ///
    /// ```
    /// use bpf_asm::{Builder, MapKind, MapRef, ProgramType};
    ///
    /// const OWNER: MapRef<u32, u64> = MapRef::new("owner", MapKind::Array, 1);
    ///
    /// // 1 for the first to come, 0 for all others.
    /// let b = Builder::new("first");
    /// let owner = b.map_value(&OWNER).at_all();
    /// let before = b.compare_exchange(owner, 0, &b.value(1));
    /// b.when(before.eq(0), || b.ret(1));
    /// b.ret(0);
    /// b.finish(ProgramType::SocketFilter)?;
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn compare_exchange<T: Scalar>(
        &self,
        place: Place<T>,
        expected: impl Into<Operand>,
        new: &Reg,
    ) -> Reg {
        let at = Caller::caller();
        // The instruction compares with r0, and leaves there what was in memory.
        self.set_register(Register::R0, &expected.into(), at);
        self.atomically(AtomicOp::CompareExchange, &place, &new.0, at);
        Reg(self.value_from(Register::R0, at))
    }

    /// Loads as [`Builder::load`] does, before everything that follows: what a
    /// [`store_release`](Builder::store_release) of another CPU stored is seen together with all
    /// that CPU stored before it. Linux 6.15 (v4).
    ///
    /// ```
    /// use bpf_asm::{Builder, MapKind, MapRef, ProgramType, record};
    ///
    /// record! {
    ///     pub struct Mail { full: u32, letter: u32 }
    /// }
    /// const MAIL: MapRef<u32, Mail> = MapRef::new("mail", MapKind::Array, 1);
    ///
    /// let b = Builder::new("receive");
    /// let mail = b.map_value(&MAIL);
    /// // The sender stored the letter before its store-release of this flag.
    /// let full = b.load_acquire(mail.at(Mail::full));
    /// b.when(full.eq(0), || b.ret(0));
    /// b.ret(b.load(mail.at(Mail::letter)));
    /// b.finish(ProgramType::SocketFilter)?;
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn load_acquire<T: Scalar>(&self, place: Place<T>) -> T::Loaded {
        let at = Caller::caller();
        let value = self.new_value(at);
        let Some(size) = self.size("a load", place.shape.size, at) else {
            return T::Loaded::from_value(value);
        };
        self.check_frame(&place.base, at);
        let (base, offset) = (place.base.register(), self.offset(place.offset, at));
        let insn = LoadAcquire { size, dst: VALUE, base, offset };
        self.write(Insn::LoadAcquire(insn), Some(&value), place.base.value(), at);
        self.touch(&place.base, place.offset, size.bytes(), &[Access::Reads]);
        self.cut(&value, place.shape, at);
        T::Loaded::from_value(value)
    }

    /// Stores the lower bits of a value, as wide as the place's type, after everything that went
    /// before. Linux 6.15 (v4).
    #[track_caller]
    pub fn store_release<T: Scalar>(&self, place: Place<T>, content: &Reg) {
        let at = Caller::caller();
        if place.shape.bits.is_some() {
            return self.report(ErrorKind::BitfieldStore, at);
        }
        let Some(size) = self.size("a store", place.shape.size, at) else { return };
        self.check_frame(&place.base, at);
        let (base, offset) = (place.base.register(), self.offset(place.offset, at));
        let insn = StoreRelease { size, base, offset, src: VALUE };
        self.write(Insn::StoreRelease(insn), place.base.value(), Some(&content.0), at);
        self.touch(&place.base, place.offset, size.bytes(), &[Access::Writes]);
    }

    fn atomically<T>(&self, op: AtomicOp, place: &Place<T>, operand: &Value, at: Location) {
        let width = match place.shape {
            Shape { size: 4, bits: None, .. } => Width::W32,
            Shape { size: 8, bits: None, .. } => Width::W64,
            Shape { size, .. } => {
                let kind = ErrorKind::Width {
                    what: "an atomic operation",
                    given: size,
                    allowed: "4 or 8",
                };
                return self.report(kind, at);
            }
        };
        let offset = self.offset(place.offset, at);
        self.check_frame(&place.base, at);
        let insn = Atomic { width, op, base: place.base.register(), offset, src: VALUE };
        self.write(Insn::Atomic(insn), place.base.value(), Some(operand), at);
        self.touch(&place.base, place.offset, place.shape.size, &[Access::Reads, Access::Writes]);
    }
}
