//! Stores to memory: classes ST and STX (RFC 9669 section 5.1).

use std::fmt;

use super::slot::{class, mode};
use super::{Register, Size, Slot, Source};

/// `*(size *)(base + offset) = src`.
///
/// ```text
///  7     5  4  3  2   0
/// +-------+------+-------+
/// | 3 MEM | size | class |   class 2: an immediate, 3: a register
/// +-------+------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// Size in bytes.
    pub size: Size,
    /// The pointer.
    pub base: Register,
    /// Offset in bytes.
    pub offset: i16,
    /// The source; an immediate is sign-extended to eight bytes.
    pub src: Source,
}

impl Store {
    pub(super) fn encode(&self) -> Slot {
        let class = match self.src {
            Source::Imm(_) => class::ST,
            Source::Reg(_) => class::STX,
        };
        Slot {
            opcode: mode::MEM | self.size.bits() | class,
            dst: self.base.number(),
            src: self.src.register_number(),
            offset: self.offset,
            imm: self.src.imm(),
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let src = match slot.class() {
            class::ST => Source::Imm(slot.imm),
            _ => Source::Reg(slot.src()?),
        };
        Some(Store { size: Size::of(slot)?, base: slot.dst()?, offset: slot.offset, src })
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*({} *)({} {:+}) = ", self.size, self.base, self.offset)?;
        match self.src {
            Source::Imm(imm) => write!(f, "{imm}"),
            Source::Reg(src) => write!(f, "{src}"),
        }
    }
}
