//! Loads from memory: class LDX (RFC 9669 section 5.1 and 5.2).

use std::fmt;

use super::slot::{class, mode};
use super::{Isa, Register, SignedSize, Since, Size, Slot};

/// `dst = *(size *)(base + offset)`, zero-extended.
///
/// ```text
///  7     5  4  3  2   0
/// +-------+------+-------+
/// | 3 MEM | size |   1   |   size 0: 4, 1: 2, 2: 1, 3: 8 bytes
/// +-------+------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Size in bytes.
    pub size: Size,
    /// The destination.
    pub dst: Register,
    /// The pointer.
    pub base: Register,
    /// Offset in bytes.
    pub offset: i16,
}

impl Load {
    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: mode::MEM | self.size.bits() | class::LDX,
            dst: self.dst.number(),
            src: self.base.number(),
            offset: self.offset,
            imm: 0,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        Some(Load {
            size: Size::of(slot)?,
            dst: slot.dst()?,
            base: slot.src()?,
            offset: slot.offset,
        })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = *({} *)({} {:+})", self.dst, self.size, self.base, self.offset)
    }
}

/// `dst = *(size *)(base + offset)`, sign-extended to 64 bits.
///
/// ```text
///  7       5  4  3  2   0
/// +---------+------+-------+
/// | 4 MEMSX | size |   1   |   size 0: 4, 1: 2, 2: 1 byte
/// +---------+------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSigned {
    /// Size in bytes.
    pub size: SignedSize,
    /// The destination.
    pub dst: Register,
    /// The pointer.
    pub base: Register,
    /// Offset in bytes.
    pub offset: i16,
}

impl LoadSigned {
    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: mode::MEMSX | self.size.size().bits() | class::LDX,
            dst: self.dst.number(),
            src: self.base.number(),
            offset: self.offset,
            imm: 0,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let size = SignedSize::ALL.into_iter().find(|size| Some(size.size()) == Size::of(slot))?;
        Some(LoadSigned { size, dst: slot.dst()?, base: slot.src()?, offset: slot.offset })
    }

    pub(super) fn since(&self) -> Since {
        Since::new(Isa::V4, 6, 6)
    }
}

impl fmt::Display for LoadSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = *({} *)({} {:+})", self.dst, self.size, self.base, self.offset)
    }
}
