//! Values: what registers hold, from the line that makes it to the last that reads it.

use std::marker::PhantomData;

use crate::builder::Builder;
use crate::condition::Condition;
use crate::draft::ValueId;
use crate::insn::{AluOp, ByteOrder, Compare, EndianBits, Extension, Width};
use crate::place::{Base, KernelField, Place};
use crate::record::{Field, FieldType};
use crate::{Dyn, place::Shape};

/// A value by its number. Clones are the same value.
#[derive(Debug, Clone)]
pub struct Value {
    pub(crate) builder: Builder,
    pub(crate) function: usize,
    pub(crate) id: ValueId,
}

/// What a register can be seen as: a number ([`Reg`]) or a pointer ([`Ptr`]).
pub trait Held {
    #[doc(hidden)]
    fn from_value(value: Value) -> Self;
    #[doc(hidden)]
    fn as_value(&self) -> &Value;
}

/// A number in a register, which it gets when the program is finished.
///
/// Arithmetic changes it in place. `add` and the like operate on 64 bits; `add32` and the like on
/// the lower 32 bits, and clear the upper. The right side is a number, a [`Reg`] or a [`Ptr`]; a
/// number that does not fit in the instruction is loaded into another register for 64 bits, and is
/// an error for 32. A `u64` above `i64::MAX` counts as the negative number of the same bits.
///
/// Comparisons are methods, too: Rust's `==` would ask when the program is written, and is refused
/// by the compiler with what to write instead.
///
/// ```compile_fail,E0277
/// # let b = bpf_asm::Builder::new("compares");
/// let number = b.value(1);
/// if number == 1 {
///     b.ret(0);
/// }
/// ```
#[derive(Debug)]
pub struct Reg(pub(crate) Value);

/// A pointer to an `R` in a register.
pub struct Ptr<R> {
    pub(crate) value: Value,
    to: PhantomData<fn() -> R>,
}

impl Held for Reg {
    fn from_value(value: Value) -> Self {
        Reg(value)
    }
    fn as_value(&self) -> &Value {
        &self.0
    }
}

impl<R> Held for Ptr<R> {
    fn from_value(value: Value) -> Self {
        Ptr { value, to: PhantomData }
    }
    fn as_value(&self) -> &Value {
        &self.value
    }
}

/// What `==` and `<` compare a value of the program with: nothing, since a value is known only when
/// the program runs. Says so, and what to write.
#[diagnostic::on_unimplemented(
    message = "a value of the program cannot be compared while the program is written",
    label = "the value is known only when the program runs",
    note = "write the comparison into the program: `b.when(value.eq(number), || …)`, and `ne`, `lt`, \
            `le`, `gt`, `ge` (`slt` and so on if signed), `has` for bits"
)]
#[doc(hidden)]
pub trait KnownBeforehand {}

macro_rules! never_compared {
    ($($value:ident $(<$of:ident>)?),*) => {$(
        impl<$($of,)? T: KnownBeforehand> PartialEq<T> for $value$(<$of>)? {
            fn eq(&self, _: &T) -> bool {
                false
            }
        }

        impl<$($of,)? T: KnownBeforehand> PartialOrd<T> for $value$(<$of>)? {
            fn partial_cmp(&self, _: &T) -> Option<std::cmp::Ordering> {
                None
            }
        }
    )*};
}

never_compared!(Reg, Ptr<R>);

/// The right side of an operation: a number or a value.
#[derive(Debug, Clone)]
pub enum Operand {
    #[doc(hidden)]
    Imm(i64),
    #[doc(hidden)]
    Value(Value),
}

macro_rules! immediates {
    ($($int:ty),*) => {$(
        impl From<$int> for Operand {
            fn from(imm: $int) -> Self {
                Operand::Imm(i64::from(imm))
            }
        }
    )*};
}

immediates!(bool, u8, i8, u16, i16, u32, i32, i64);

/// The same 64 bits.
impl From<u64> for Operand {
    fn from(imm: u64) -> Self {
        Operand::Imm(imm as i64)
    }
}

/// Sizes, such as those from `size_of`.
impl From<usize> for Operand {
    fn from(imm: usize) -> Self {
        Operand::from(imm as u64)
    }
}

impl From<&Reg> for Operand {
    fn from(reg: &Reg) -> Self {
        Operand::Value(reg.0.clone())
    }
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Operand::Value(reg.0)
    }
}

impl<R> From<&Ptr<R>> for Operand {
    fn from(ptr: &Ptr<R>) -> Self {
        Operand::Value(ptr.value.clone())
    }
}

impl<R> From<Ptr<R>> for Operand {
    fn from(ptr: Ptr<R>) -> Self {
        Operand::Value(ptr.value)
    }
}

macro_rules! arithmetic {
    ($($(#[doc = $doc:literal])* $name:ident $name32:ident $op:ident),* $(,)?) => {$(
        $(#[doc = $doc])*
        #[track_caller]
        pub fn $name(&self, right: impl Into<Operand>) {
            self.0.builder.alu(&self.0, Width::W64, AluOp::$op, right.into(), std::panic::Location::caller());
        }

        $(#[doc = $doc])*
        ///
        /// Operates on the lower 32 bits; the upper are cleared.
        #[track_caller]
        pub fn $name32(&self, right: impl Into<Operand>) {
            self.0.builder.alu(&self.0, Width::W32, AluOp::$op, right.into(), std::panic::Location::caller());
        }
    )*};
}

macro_rules! comparisons {
    ($value:tt: $($(#[doc = $doc:literal])* $name:ident $name32:ident $compare:ident),* $(,)?) => {$(
        $(#[doc = $doc])*
        pub fn $name(&self, right: impl Into<Operand>) -> Condition {
            Condition::compare(Width::W64, Compare::$compare, self.$value.clone(), right.into())
        }

        $(#[doc = $doc])*
        ///
        /// Compares the lower 32 bits.
        pub fn $name32(&self, right: impl Into<Operand>) -> Condition {
            Condition::compare(Width::W32, Compare::$compare, self.$value.clone(), right.into())
        }
    )*};
}

impl Reg {
    arithmetic! {
        /// `self += right`
        add add32 Add,
        /// `self -= right`
        sub sub32 Sub,
        /// `self *= right`
        mul mul32 Mul,
        /// `self /= right`, unsigned. Division by a register that is zero gives 0, by the number 0
        /// is an error.
        div div32 Div,
        /// `self %= right`, unsigned. Modulo a register that is zero leaves self unchanged, modulo
        /// the number 0 is an error.
        rem rem32 Mod,
        /// `self /= right`, signed, truncated. Division by a register that is zero gives 0, by the
        /// number 0 is an error. Linux 6.6 (v4).
        sdiv sdiv32 Sdiv,
        /// `self %= right`, signed, with the sign of self. Modulo a register that is zero leaves
        /// self unchanged, modulo the number 0 is an error. Linux 6.6 (v4).
        srem srem32 Smod,
        /// `self |= right`
        or or32 Or,
        /// `self &= right`
        and and32 And,
        /// `self ^= right`
        xor xor32 Xor,
        /// `self <<= right`; a number must be less than the width, of a register the lower 6 bits
        /// count (5 for 32 bits).
        lsh lsh32 Lsh,
        /// `self >>= right`, logical; a number must be less than the width, of a register the
        /// lower 6 bits count (5 for 32 bits).
        rsh rsh32 Rsh,
        /// `self >>= right`, arithmetic; a number must be less than the width, of a register the
        /// lower 6 bits count (5 for 32 bits).
        arsh arsh32 Arsh,
        /// `self = right`; the value need not be valid before.
        set set32 Mov,
    }

    /// `self = -self`
    #[track_caller]
    pub fn neg(&self) {
        self.0.builder.alu(
            &self.0,
            Width::W64,
            AluOp::Neg,
            Operand::Imm(0),
            std::panic::Location::caller(),
        );
    }

    /// `self = -self` on the lower 32 bits; the upper are cleared.
    #[track_caller]
    pub fn neg32(&self) {
        self.0.builder.alu(
            &self.0,
            Width::W32,
            AluOp::Neg,
            Operand::Imm(0),
            std::panic::Location::caller(),
        );
    }

    /// Converts the lower bits between host order and network order; the other bits are cleared.
    #[track_caller]
    pub fn to_be(&self, bits: EndianBits) {
        self.0.builder.endian(&self.0, ByteOrder::Big, bits, std::panic::Location::caller());
    }

    /// Converts the lower bits between host order and little-endian; the other bits are cleared.
    #[track_caller]
    pub fn to_le(&self, bits: EndianBits) {
        self.0.builder.endian(&self.0, ByteOrder::Little, bits, std::panic::Location::caller());
    }

    /// Reverses the bytes of the lower bits, whatever the host's order; the other bits are cleared.
    /// Linux 6.6 (v4).
    #[track_caller]
    pub fn swap_bytes(&self, bits: EndianBits) {
        self.0.builder.endian(&self.0, ByteOrder::Swapped, bits, std::panic::Location::caller());
    }

    /// Sign-extends the lower 8, 16 or 32 bits. Linux 6.6 (v4); older kernels need two shifts.
    #[track_caller]
    pub fn extend(&self, extension: Extension) {
        self.0.builder.extend(&self.0, extension, std::panic::Location::caller());
    }

    comparisons! { 0:
        /// Equal.
        eq eq32 Eq,
        /// Not equal.
        ne ne32 Ne,
        /// Greater, unsigned.
        gt gt32 Gt,
        /// Greater or equal, unsigned.
        ge ge32 Ge,
        /// Less, unsigned.
        lt lt32 Lt,
        /// Less or equal, unsigned.
        le le32 Le,
        /// Greater, signed.
        sgt sgt32 Sgt,
        /// Greater or equal, signed.
        sge sge32 Sge,
        /// Less, signed.
        slt slt32 Slt,
        /// Less or equal, signed.
        sle sle32 Sle,
        /// Some bit is set in both (`&`).
        has has32 Set,
    }

    /// The same register, seen as a pointer.
    pub fn cast<R>(self) -> Ptr<R> {
        Ptr::from_value(self.0)
    }
}

impl<R> Ptr<R> {
    comparisons! { value:
        /// Equal; with 0, the null check that the verifier requires.
        eq eq32 Eq,
        /// Not equal; with 0, the null check that the verifier requires.
        ne ne32 Ne,
        /// Greater, unsigned.
        gt gt32 Gt,
        /// Greater or equal, unsigned.
        ge ge32 Ge,
        /// Less, unsigned.
        lt lt32 Lt,
        /// Less or equal, unsigned.
        le le32 Le,
    }

    /// A field of the record it points to.
    pub fn at<T: FieldType>(&self, field: Field<R, T>) -> Place<T> {
        self.offset(field.offset as i64)
    }

    /// All of what it points to.
    pub fn at_all(&self) -> Place<R>
    where
        R: FieldType,
    {
        self.offset(0)
    }

    /// A `T` at this offset from it in bytes.
    pub fn offset<T: FieldType>(&self, bytes: i64) -> Place<T> {
        Place::new(Base::Value(self.value.clone()), bytes, Shape::of::<T>())
    }

    /// A member whose offset is known only at run time, from the kernel's BTF.
    #[track_caller]
    pub fn member(&self, field: KernelField) -> Place<Dyn> {
        let shape = self.value.builder.member_shape(field, std::panic::Location::caller());
        Place::new(Base::Value(self.value.clone()), i64::from(field.offset), shape)
    }

    /// Moves the pointer by a number of bytes.
    #[track_caller]
    pub fn advance(&self, bytes: impl Into<Operand>) {
        let at = std::panic::Location::caller();
        self.value.builder.alu(&self.value, Width::W64, AluOp::Add, bytes.into(), at);
    }

    /// The same register, seen as a pointer to something else.
    pub fn cast<U>(self) -> Ptr<U> {
        Ptr::from_value(self.value)
    }

    /// The same register, seen as a number.
    pub fn into_reg(self) -> Reg {
        Reg(self.value)
    }
}
