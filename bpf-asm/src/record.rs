//! Records: Rust structures whose fields programs and user space access by name and type.

use std::marker::PhantomData;

use crate::insn::SignedSize;

/// A structure whose fields programs can access; declared by [`record!`](crate::record).
pub trait Record: FieldType {
    /// The name, as BTF shows it.
    const NAME: &'static str;
    /// The fields in memory order, without padding between them.
    const FIELDS: &'static [FieldInfo];
}

/// One field of a [`Record`], for descriptions such as BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// The name.
    pub name: &'static str,
    /// Offset from the record's start in bytes.
    pub offset: usize,
    /// The type.
    pub ty: Type,
}

/// The type of a field, of a map's key, or of a map's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An integer.
    Int {
        /// The name, as in Rust.
        name: &'static str,
        /// Size in bytes: 1, 2, 4 or 8.
        size: usize,
        /// Whether it is signed.
        signed: bool,
    },
    /// An array without padding.
    Array {
        /// The type of an element.
        element: &'static Type,
        /// The number of elements.
        len: usize,
    },
    /// A record.
    Record {
        /// The name.
        name: &'static str,
        /// Size in bytes.
        size: usize,
        /// The fields.
        fields: &'static [FieldInfo],
    },
}

impl Type {
    /// Size in bytes.
    pub fn size(&self) -> usize {
        match self {
            Type::Int { size, .. } | Type::Record { size, .. } => *size,
            Type::Array { element, len } => element.size() * len,
        }
    }
}

/// A type of a field, of a map's key or value, or of a stack slot.
pub trait FieldType: Copy + 'static {
    /// The description.
    const TYPE: Type;
    /// The value with all bytes zero.
    const ZERO: Self;
}

/// What one load or store transfers: an integer, an [`Address`], or a [`Dyn`](crate::Dyn).
pub trait Scalar {
    /// What a load gives: a [`Reg`](crate::Reg), or a [`Ptr`](crate::Ptr) for an [`Address`].
    type Loaded: crate::value::Held;
}

/// A signed integer that a load can sign-extend: `i8`, `i16` or `i32`.
pub trait Signed: Scalar {
    /// Size in bytes.
    #[doc(hidden)]
    const SIZE: SignedSize;
}

impl Signed for i8 {
    const SIZE: SignedSize = SignedSize::B;
}

impl Signed for i16 {
    const SIZE: SignedSize = SignedSize::H;
}

impl Signed for i32 {
    const SIZE: SignedSize = SignedSize::W;
}

macro_rules! integers {
    ($($int:ident $signed:literal),*) => {$(
        impl FieldType for $int {
            const TYPE: Type = Type::Int { name: stringify!($int), size: size_of::<$int>(), signed: $signed };
            const ZERO: Self = 0;
        }
        impl Scalar for $int {
            type Loaded = crate::Reg;
        }
    )*};
}

integers!(u8 false, u16 false, u32 false, u64 false, i8 true, i16 true, i32 true, i64 true);

impl<T: FieldType, const N: usize> FieldType for [T; N] {
    const TYPE: Type = Type::Array { element: &T::TYPE, len: N };
    const ZERO: Self = [T::ZERO; N];
}

/// A pointer as a field; loading it gives a [`Ptr<R>`](crate::Ptr).
#[repr(transparent)]
pub struct Address<R> {
    /// The address, 0 for null.
    pub address: u64,
    to: PhantomData<fn() -> R>,
}

impl<R> Clone for Address<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Address<R> {}

impl<R> PartialEq for Address<R> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl<R> Eq for Address<R> {}

impl<R> std::fmt::Debug for Address<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.address)
    }
}

impl<R: 'static> FieldType for Address<R> {
    const TYPE: Type = Type::Int { name: "address", size: 8, signed: false };
    const ZERO: Self = Address { address: 0, to: PhantomData };
}

impl<R: 'static> Scalar for Address<R> {
    type Loaded = crate::Ptr<R>;
}

/// The offset of a field of type `T` in a record `R`; made by [`record!`](crate::record).
pub struct Field<R, T> {
    pub(crate) offset: usize,
    of: PhantomData<fn() -> (R, T)>,
}

impl<R, T> Clone for Field<R, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, T> Copy for Field<R, T> {}

impl<R, T> Field<R, T> {
    /// The field at this offset from the record's start in bytes; an offset outside the record
    /// fails to compile.
    ///
    /// ```compile_fail
    /// bpf_asm::record! { struct Word { word: u32 } }
    /// let outside: bpf_asm::Field<Word, u32> = bpf_asm::Field::at_offset::<2>();
    /// ```
    pub const fn at_offset<const OFFSET: usize>() -> Self {
        const { assert!(OFFSET + size_of::<T>() <= size_of::<R>(), "the field is outside the record") };
        Field::at(OFFSET)
    }

    const fn at(offset: usize) -> Self {
        Field { offset, of: PhantomData }
    }

    /// Offset from the record's start in bytes.
    pub const fn offset(self) -> usize {
        self.offset
    }

    /// A field of this field.
    pub const fn field<U>(self, inner: Field<T, U>) -> Field<R, U> {
        Field::at(self.offset + inner.offset)
    }
}

impl<R, T, const N: usize> Field<R, [T; N]> {
    /// The element `I`; an index out of bounds fails to compile.
    pub const fn index<const I: usize>(self) -> Field<R, T> {
        const { assert!(I < N, "the index is out of bounds") };
        Field::at(self.offset + I * size_of::<T>())
    }
}

/// Declares records: `#[repr(C)]` structures with a constant for each field, of the field's name,
/// that gives its offset.
///
/// Fields are integers, arrays, other records and [`Address`]. A structure with padding fails to
/// compile, since the kernel compares keys byte by byte and padding is undefined. `Clone`, `Copy`,
/// `Debug`, `PartialEq`, `Eq` and a zeroed `Default` are implemented; further attributes are kept.
///
/// ```
/// bpf_asm::record! {
///     /// One end of a flow.
///     pub struct End {
///         /// Who it is.
///         pub cookie: u64,
///         /// Its ports, remote and local.
///         pub ports: [u16; 2],
///         /// Its state.
///         pub state: u32,
///     }
/// }
/// assert_eq!(End::state.offset(), 12);
/// assert_eq!(End::ports.index::<1>().offset(), 10);
/// assert_eq!(End::default().cookie, 0);
/// ```
///
/// ```compile_fail
/// bpf_asm::record! { struct Padded { byte: u8, word: u32 } }
/// ```
#[macro_export]
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $ty:ty ),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $ty, )*
        }

        #[allow(non_upper_case_globals, dead_code, reason = "the names are those of the fields")]
        impl $name {
            $(
                $(#[$field_meta])*
                $field_vis const $field: $crate::Field<$name, $ty> =
                    $crate::Field::at_offset::<{ ::core::mem::offset_of!($name, $field) }>();
            )*
        }

        impl $crate::FieldType for $name {
            const TYPE: $crate::Type = $crate::Type::Record {
                name: ::core::stringify!($name),
                size: ::core::mem::size_of::<$name>(),
                fields: <$name as $crate::Record>::FIELDS,
            };
            const ZERO: Self = $name { $( $field: <$ty as $crate::FieldType>::ZERO, )* };
        }

        impl $crate::Record for $name {
            const NAME: &'static str = ::core::stringify!($name);
            const FIELDS: &'static [$crate::FieldInfo] = &[
                $( $crate::FieldInfo {
                    name: ::core::stringify!($field),
                    offset: ::core::mem::offset_of!($name, $field),
                    ty: <$ty as $crate::FieldType>::TYPE,
                }, )*
            ];
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                <$name as $crate::FieldType>::ZERO
            }
        }

        const _: () = ::core::assert!(
            ::core::mem::size_of::<$name>() == 0 $( + ::core::mem::size_of::<$ty>() )*,
            "a record has no padding: order the fields by size, or declare the gap as a field"
        );
    )*};
}

#[cfg(test)]
mod tests {
    use super::*;

    record! {
        struct Inner { a: u16, b: [u8; 6] }
        struct Outer { id: u64, inner: [Inner; 2], address: Address<Inner>, large: [u64; 40] }
    }

    #[test]
    fn fields_know_their_offset_through_arrays_and_records() {
        assert_eq!(Outer::inner.index::<1>().field(Inner::b).index::<5>().offset(), 8 + 8 + 2 + 5);
        assert_eq!(Outer::TYPE.size(), size_of::<Outer>());
        assert_eq!(
            Outer::FIELDS.iter().map(|field| field.name).collect::<Vec<_>>(),
            ["id", "inner", "address", "large"]
        );
        assert_eq!(Outer::FIELDS[1].ty, Type::Array { element: &Inner::TYPE, len: 2 });
        assert_eq!(Outer::default().large, [0; 40]);
    }
}
