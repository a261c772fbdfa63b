//! Operands: widths, sizes, and the second operand.

use std::fmt;

use super::{Register, Slot};

/// The width of an arithmetic instruction or comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// The lower 32 bits; arithmetic clears the upper half of its result.
    W32,
    /// All 64 bits.
    W64,
}

impl Width {
    /// Both.
    pub const ALL: [Width; 2] = [Width::W32, Width::W64];

    /// The kernel's letter for registers of this width.
    pub(crate) fn letter(self) -> char {
        match self {
            Width::W32 => 'w',
            Width::W64 => 'r',
        }
    }
}

/// The size of a load or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    DW,
}

impl Size {
    /// All sizes, the smallest first.
    pub const ALL: [Size; 4] = [Size::B, Size::H, Size::W, Size::DW];

    /// The size for this many bytes, if there is one.
    pub fn of_bytes(bytes: usize) -> Option<Size> {
        Size::ALL.into_iter().find(|size| size.bytes() == bytes)
    }

    /// Size in bytes: 1, 2, 4 or 8.
    pub fn bytes(self) -> usize {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::DW => 8,
        }
    }

    /// Bits 3 and 4 of an opcode.
    pub(super) fn bits(self) -> u8 {
        match self {
            Size::W => 0x00,
            Size::H => 0x08,
            Size::B => 0x10,
            Size::DW => 0x18,
        }
    }

    pub(super) fn of(slot: Slot) -> Option<Size> {
        Size::ALL.into_iter().find(|size| size.bits() == slot.opcode & 0x18)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.bytes() * 8)
    }
}

/// The size of a sign-extending load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedSize {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
}

impl SignedSize {
    /// All sizes, the smallest first.
    pub const ALL: [SignedSize; 3] = [SignedSize::B, SignedSize::H, SignedSize::W];

    /// The size without sign.
    pub fn size(self) -> Size {
        match self {
            SignedSize::B => Size::B,
            SignedSize::H => Size::H,
            SignedSize::W => Size::W,
        }
    }
}

impl fmt::Display for SignedSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.size().bytes() * 8)
    }
}

/// The second operand of an arithmetic instruction or comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An immediate, sign-extended to the instruction's width.
    Imm(i32),
    /// A register.
    Reg(Register),
}

impl Source {
    /// The bit of an opcode that distinguishes a register (X) from an immediate (K).
    const REGISTER: u8 = 0x08;

    pub(super) fn bit(self) -> u8 {
        match self {
            Source::Imm(_) => 0x00,
            Source::Reg(_) => Source::REGISTER,
        }
    }

    pub(super) fn register_number(self) -> u8 {
        match self {
            Source::Imm(_) => 0,
            Source::Reg(register) => register.number(),
        }
    }

    pub(super) fn imm(self) -> i32 {
        match self {
            Source::Imm(imm) => imm,
            Source::Reg(_) => 0,
        }
    }

    pub(super) fn of(slot: Slot) -> Option<Source> {
        match slot.opcode & Source::REGISTER {
            0 => Some(Source::Imm(slot.imm)),
            _ => slot.src().map(Source::Reg),
        }
    }
}
