//! Places: typed pieces of memory at a fixed distance from a pointer or in the stack frame.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::builder::Builder;
use crate::error::ErrorKind;
use crate::insn::Register;
use crate::record::{Field, FieldType, Scalar, Type};
use crate::stack::{Access, SlotBytes, Touch};
use crate::value::Value;

/// Memory that holds a `T`, to load from, to store to, or to pass to a helper by address.
#[must_use = "a place does nothing until it is loaded, stored or passed"]
pub struct Place<T> {
    pub(crate) base: Base,
    pub(crate) offset: i64,
    pub(crate) shape: Shape,
    of: PhantomData<fn() -> T>,
}

/// What a place is counted from.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    Value(Value),
    Frame(Rc<SlotClaim>),
}

impl Base {
    pub(crate) fn register(&self) -> Register {
        match self {
            Base::Value(value) => value.register,
            Base::Frame(_) => Register::R10,
        }
    }

    pub(crate) fn value(&self) -> Option<&Value> {
        match self {
            Base::Value(value) => Some(value),
            Base::Frame(_) => None,
        }
    }

    pub(crate) fn builder(&self) -> &Builder {
        match self {
            Base::Value(value) => &value.builder,
            Base::Frame(claim) => &claim.builder,
        }
    }
}

/// Bytes of the stack frame, taken until the last clone is dropped.
#[derive(Debug)]
pub(crate) struct SlotClaim {
    pub(crate) builder: Builder,
    pub(crate) function: usize,
    pub(crate) slot: SlotBytes,
    pub(crate) _alive: Rc<()>,
}

impl SlotClaim {
    /// What happens to so many bytes at an offset from r10, of which none is outside the slot.
    pub(crate) fn touch(&self, offset: i64, size: usize, access: Access) -> Touch {
        let slot = self.slot;
        let inside = |offset: i64| {
            usize::try_from(offset.saturating_sub(slot.offset)).unwrap_or(0).min(slot.size)
        };
        let bytes = match access {
            // From one byte whoever has its address reaches the others.
            access if access.is_by_address() => 0..slot.size,
            _ => inside(offset)..inside(offset.saturating_add_unsigned(size as u64)),
        };
        Touch { slot, bytes: slot.start() + bytes.start..slot.start() + bytes.end, access }
    }
}

/// How the bytes of a place become a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) signed: bool,
    /// Bits to the right of a bit-field, and its width.
    pub(crate) bits: Option<(u8, u8)>,
}

impl Shape {
    pub(crate) fn of<T: FieldType>() -> Shape {
        let signed = matches!(T::TYPE, Type::Int { signed: true, .. });
        Shape { size: T::TYPE.size(), signed, bits: None }
    }
}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        Place::new(self.base.clone(), self.offset, self.shape)
    }
}

impl<T> Place<T> {
    pub(crate) fn new(base: Base, offset: i64, shape: Shape) -> Self {
        Place { base, offset, shape, of: PhantomData }
    }

    /// A field of the record here.
    pub fn at<U: FieldType>(&self, field: Field<T, U>) -> Place<U> {
        Place::new(
            self.base.clone(),
            self.offset.saturating_add(field.offset as i64),
            Shape::of::<U>(),
        )
    }
}

impl<T: FieldType, const N: usize> Place<[T; N]> {
    /// An element of the array here; one that it does not have is an error.
    #[track_caller]
    pub fn index(&self, index: usize) -> Place<T> {
        let inside = if index < N {
            index
        } else {
            let kind = ErrorKind::IndexRange { index, len: N };
            self.base.builder().report(kind, std::panic::Location::caller());
            0
        };
        Place::new(
            self.base.clone(),
            self.offset.saturating_add((inside * T::TYPE.size()) as i64),
            Shape::of::<T>(),
        )
    }
}

/// A typed piece of the stack frame; free again when dropped. Its content is undefined until it is
/// stored to.
pub struct Slot<T> {
    pub(crate) place: Place<T>,
}

impl<T: FieldType> Slot<T> {
    /// All of it.
    pub fn place(&self) -> Place<T> {
        self.place.clone()
    }

    /// A field of the record in it.
    pub fn at<U: FieldType>(&self, field: Field<T, U>) -> Place<U> {
        self.place.at(field)
    }
}

/// Where a member of a kernel structure lies, as the running kernel's BTF tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelField {
    /// The structure, by its id in the kernel's own BTF; 0 if it is not known.
    pub structure: u32,
    /// Bytes from the structure's start; for a bit-field, those of its storage.
    pub offset: u32,
    /// Bytes that a load reads: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether it has a sign, which a load then extends to 64 bits.
    pub signed: bool,
    /// For a bit-field: the bits to its right within the storage, and its width in bits.
    pub bitfield: Option<(u8, u8)>,
}

/// The type of a place whose size is known only at run time; see [`KernelField`].
#[derive(Debug, Clone, Copy)]
pub struct Dyn;

impl Scalar for Dyn {
    type Loaded = crate::Reg;
}
