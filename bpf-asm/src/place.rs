//! Places: typed memory at a fixed offset from a pointer or in the stack frame.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::builder::{Builder, VALUE};
use crate::error::ErrorKind;
use crate::insn::Register;
use crate::record::{Field, FieldType, Scalar, Type};
use crate::stack::{Access, SlotBytes, Touch};
use crate::value::Value;

/// Memory that holds a `T`, to load, to store, or to pass to a helper by address.
#[must_use = "a place does nothing until it is loaded, stored or passed"]
pub struct Place<T> {
    pub(crate) base: Base,
    pub(crate) offset: i64,
    pub(crate) shape: Shape,
    of: PhantomData<fn() -> T>,
}

/// The base of a place.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    Value(Value),
    Frame(Rc<SlotClaim>),
}

impl Base {
    /// What an instruction names.
    pub(crate) fn register(&self) -> Register {
        match self {
            Base::Value(_) => VALUE,
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
    /// Accesses this many bytes at an offset from r10, all of them within the slot.
    pub(crate) fn touch(&self, offset: i64, size: usize, access: Access) -> Touch {
        let slot = self.slot;
        let inside = |offset: i64| {
            usize::try_from(offset.saturating_sub(slot.offset)).unwrap_or(0).min(slot.size)
        };
        let bytes = match access {
            // A pointer to one byte reaches the others as well.
            access if access.is_by_address() => 0..slot.size,
            _ => inside(offset)..inside(offset.saturating_add_unsigned(size as u64)),
        };
        Touch { slot, bytes: slot.start() + bytes.start..slot.start() + bytes.end, access }
    }
}

/// How the bytes of a place are read as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) signed: bool,
    /// Of a bit-field: bits to its right, and its width.
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

    /// Its bytes, for a helper that takes the size of memory beside its address.
    pub fn size(&self) -> usize {
        self.shape.size
    }

    /// A field of this record.
    pub fn at<U: FieldType>(&self, field: Field<T, U>) -> Place<U> {
        Place::new(
            self.base.clone(),
            self.offset.saturating_add(field.offset as i64),
            Shape::of::<U>(),
        )
    }
}

impl<T: FieldType, const N: usize> Place<[T; N]> {
    /// An element of this array; an index out of bounds is an error.
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

/// A typed part of the stack frame, freed when dropped. Uninitialised until it is stored to.
pub struct Slot<T> {
    pub(crate) place: Place<T>,
}

impl<T: FieldType> Slot<T> {
    /// Its bytes, for a helper that takes the size of memory beside its address.
    ///
    /// ```
    /// use bpf_asm::{__sk_buff, Builder, ProgramType, helper};
    ///
    /// let b = Builder::new("version");
    /// let packet = b.context::<__sk_buff>();
    /// let first = b.slot::<[u8; 4]>();
    /// b.call(helper::skb_load_bytes(&packet, 14, &first, first.size()));
    /// b.ret(b.load(first.place().index(0)));
    /// assert!(b.finish(ProgramType::Classifier)?.to_string().contains("r4 = 4"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    pub fn size(&self) -> usize {
        self.place.size()
    }

    /// The whole slot.
    pub fn place(&self) -> Place<T> {
        self.place.clone()
    }

    /// A field of the record in the slot.
    pub fn at<U: FieldType>(&self, field: Field<T, U>) -> Place<U> {
        self.place.at(field)
    }
}

/// The layout of a member of a kernel structure, from the running kernel's BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelField {
    /// The BTF id of the structure in vmlinux BTF; 0 if unknown.
    pub structure: u32,
    /// Offset from the structure's start in bytes; for a bit-field, of its storage.
    pub offset: u32,
    /// Bytes that a load reads: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether it is signed, so that a load extends it to 64 bits.
    pub signed: bool,
    /// For a bit-field: the bits to its right in the storage, and its width.
    pub bitfield: Option<(u8, u8)>,
}

/// The type of a place whose size is known only at run time; see [`KernelField`].
#[derive(Debug, Clone, Copy)]
pub struct Dyn;

impl Scalar for Dyn {
    type Loaded = crate::Reg;
}
