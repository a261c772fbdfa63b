//! Loads from memory: class LDX (RFC 9669 section 5.1).

use std::fmt;

use super::{Register, Size, Slot};

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
    /// Bytes moved.
    pub size: Size,
    /// Where to.
    pub dst: Register,
    /// The pointer.
    pub base: Register,
    /// Bytes from the pointer.
    pub offset: i16,
}

impl Load {
    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: 0x60 | self.size.bits() | 0x01,
            dst: self.dst.number(),
            src: self.base.number(),
            offset: self.offset,
            imm: 0,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = *({} *)({} {:+})", self.dst, self.size, self.base, self.offset)
    }
}
