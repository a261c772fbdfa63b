//! Sign-extending moves: operation MOV of classes ALU and ALU64, with an offset (RFC 9669 section
//! 4.1).

use std::fmt;

use super::slot::class;
use super::{Isa, Register, SignedSize, Since, Slot, Width};

const MOV_REGISTER: u8 = 0xb8;

/// Source and destination width of a sign extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// One byte to 32 bits; the upper half becomes zero.
    ByteTo32,
    /// Two bytes to 32 bits; the upper half becomes zero.
    HalfTo32,
    /// One byte to 64 bits.
    ByteTo64,
    /// Two bytes to 64 bits.
    HalfTo64,
    /// Four bytes to 64 bits.
    WordTo64,
}

impl Extension {
    /// All of them.
    pub const ALL: [Extension; 5] = [
        Extension::ByteTo32,
        Extension::HalfTo32,
        Extension::ByteTo64,
        Extension::HalfTo64,
        Extension::WordTo64,
    ];

    /// The source size.
    pub fn from(self) -> SignedSize {
        match self {
            Extension::ByteTo32 | Extension::ByteTo64 => SignedSize::B,
            Extension::HalfTo32 | Extension::HalfTo64 => SignedSize::H,
            Extension::WordTo64 => SignedSize::W,
        }
    }

    /// The destination width.
    pub fn to(self) -> Width {
        match self {
            Extension::ByteTo32 | Extension::HalfTo32 => Width::W32,
            Extension::ByteTo64 | Extension::HalfTo64 | Extension::WordTo64 => Width::W64,
        }
    }

    fn offset(self) -> i16 {
        match self.from() {
            SignedSize::B => 8,
            SignedSize::H => 16,
            SignedSize::W => 32,
        }
    }

    fn class(self) -> u8 {
        match self.to() {
            Width::W32 => class::ALU,
            Width::W64 => class::ALU64,
        }
    }
}

/// `dst = (sN)src`.
///
/// ```text
///  7     4  3   2   0
/// +-------+---+-------+
/// |  0xb  | 1 | class |   class 4: to 32 bits, 7: to 64 bits; offset: 8, 16 or, to 64 bits, 32
/// +-------+---+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignExtend {
    /// The widths.
    pub extension: Extension,
    /// The destination.
    pub dst: Register,
    /// The source.
    pub src: Register,
}

impl SignExtend {
    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: MOV_REGISTER | self.extension.class(),
            dst: self.dst.number(),
            src: self.src.number(),
            offset: self.extension.offset(),
            imm: 0,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let extension = Extension::ALL.into_iter().find(|extension| {
            (extension.class(), extension.offset()) == (slot.class(), slot.offset)
        })?;
        Some(SignExtend { extension, dst: slot.dst()?, src: slot.src()? })
    }

    pub(super) fn since(&self) -> Since {
        Since::new(Isa::V4, 6, 6)
    }
}

impl fmt::Display for SignExtend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.extension.to().letter();
        write!(
            f,
            "{letter}{} = ({}){letter}{}",
            self.dst.number(),
            self.extension.from(),
            self.src.number()
        )
    }
}
