//! Loads from the packet: class LD, modes ABS and IND (RFC 9669 section 5.5).

use std::fmt;

use super::slot::{class, mode};
use super::{Register, Since, Size, Slot};
use crate::insn::Isa;

/// The size of a [`Packet`] load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketSize {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
}

impl PacketSize {
    /// All sizes, the smallest first.
    pub const ALL: [PacketSize; 3] = [PacketSize::B, PacketSize::H, PacketSize::W];

    /// The same size for other loads.
    pub fn size(self) -> Size {
        match self {
            PacketSize::B => Size::B,
            PacketSize::H => Size::H,
            PacketSize::W => Size::W,
        }
    }
}

/// `r0 = *(size *)skb[index + offset]`, converted from network order; past the packet's end, the
/// program returns 0.
///
/// Legacy of classic BPF: only for programs on packets; r6 must hold the context, and r1 to r5 are
/// clobbered.
///
/// ```text
///  7     5  4  3  2   0
/// +-------+------+-------+
/// | mode  | size |   0   |   mode 1: ABS, 2: IND (src is added); size 0: 4, 1: 2, 2: 1 byte;
/// +-------+------+-------+   immediate: offset
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Size in bytes.
    pub size: PacketSize,
    /// A register that is added to the offset.
    pub index: Option<Register>,
    /// Offset from the packet's start in bytes.
    pub offset: i32,
}

impl Packet {
    pub(super) fn encode(&self) -> Slot {
        let (mode, src) = match self.index {
            None => (mode::ABS, 0),
            Some(index) => (mode::IND, index.number()),
        };
        Slot {
            opcode: mode | self.size.size().bits() | class::LD,
            dst: 0,
            src,
            offset: 0,
            imm: self.offset,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let size = PacketSize::ALL.into_iter().find(|size| Some(size.size()) == Size::of(slot))?;
        let index = match slot.mode() {
            mode::IND => Some(slot.src()?),
            _ => None,
        };
        Some(Packet { size, index, offset: slot.imm })
    }

    pub(super) fn since(&self) -> Since {
        Since::new(Isa::V1, 3, 19)
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, offset) = (self.size.size(), self.offset);
        match self.index {
            None => write!(f, "r0 = *({size} *)skb[{offset}]"),
            Some(index) => write!(f, "r0 = *({size} *)skb[{index} + {offset}]"),
        }
    }
}
