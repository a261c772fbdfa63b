//! Byte order: operation END of classes ALU and ALU64 (RFC 9669 section 4.2).

use std::fmt;

use super::slot::class;
use super::{Isa, Register, Since, Slot};

const END: u8 = 0xd0;
const BIG: u8 = 0x08;

/// The byte order to convert to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Network order.
    Big,
    /// Bytes reversed, whatever the host's order.
    Swapped,
}

impl ByteOrder {
    /// All orders.
    pub const ALL: [ByteOrder; 3] = [ByteOrder::Little, ByteOrder::Big, ByteOrder::Swapped];

    fn opcode(self) -> u8 {
        match self {
            ByteOrder::Little => END | class::ALU,
            ByteOrder::Big => END | BIG | class::ALU,
            ByteOrder::Swapped => END | class::ALU64,
        }
    }

    /// The kernel's symbol for it, without the number of bits.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            ByteOrder::Little => "le",
            ByteOrder::Big => "be",
            ByteOrder::Swapped => "bswap",
        }
    }
}

/// How many bits a byte-order instruction converts; the others become zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndianBits {
    /// 16 bits.
    B16 = 16,
    /// 32 bits.
    B32 = 32,
    /// 64 bits.
    B64 = 64,
}

impl EndianBits {
    /// All of them, the smallest first.
    pub const ALL: [EndianBits; 3] = [EndianBits::B16, EndianBits::B32, EndianBits::B64];
}

/// A conversion between host order and a byte order, or a byte swap.
///
/// ```text
///  7     4  3   2   0
/// +-------+---+-------+
/// |  0xd  | o | class |   class 4, o: to little (0) or big (1); class 7, o 0: swap;
/// +-------+---+-------+   immediate: 16, 32 or 64
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endian {
    /// The order.
    pub order: ByteOrder,
    /// The width.
    pub bits: EndianBits,
    /// The register.
    pub dst: Register,
}

impl Endian {
    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: self.order.opcode(),
            dst: self.dst.number(),
            src: 0,
            offset: 0,
            imm: self.bits as i32,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let order = ByteOrder::ALL.into_iter().find(|order| order.opcode() == slot.opcode)?;
        let bits = EndianBits::ALL.into_iter().find(|bits| *bits as i32 == slot.imm)?;
        Some(Endian { order, bits, dst: slot.dst()? })
    }

    pub(super) fn since(&self) -> Since {
        match self.order {
            ByteOrder::Little | ByteOrder::Big => Since::FIRST,
            ByteOrder::Swapped => Since::new(Isa::V4, 6, 6),
        }
    }
}

impl fmt::Display for Endian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}{} {}", self.dst, self.order.symbol(), self.bits as i32, self.dst)
    }
}
