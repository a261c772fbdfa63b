//! The fields of an instruction slot.

use super::Register;

/// Bits 0 to 2 of an opcode (RFC 9669 section 3.1).
pub(super) mod class {
    pub const LD: u8 = 0x00;
    pub const LDX: u8 = 0x01;
    pub const ST: u8 = 0x02;
    pub const STX: u8 = 0x03;
    pub const ALU: u8 = 0x04;
    pub const JMP: u8 = 0x05;
    pub const JMP32: u8 = 0x06;
    pub const ALU64: u8 = 0x07;
}

/// Bits 5 to 7 of the opcode of a load or store (RFC 9669 section 5).
pub(super) mod mode {
    pub const IMM: u8 = 0x00;
    pub const ABS: u8 = 0x20;
    pub const IND: u8 = 0x40;
    pub const MEM: u8 = 0x60;
    pub const MEMSX: u8 = 0x80;
    pub const ATOMIC: u8 = 0xc0;
}

/// One instruction slot in memory (RFC 9669 section 3), little-endian.
///
/// ```text
///   byte 0     byte 1       byte 2..4   byte 4..8
/// +---------+------+------+-----------+-----------+
/// | opcode  | src  | dst  |  offset   | immediate |
/// | 8 bits  | 4    | 4    |  i16      | i32       |
/// +---------+------+------+-----------+-----------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Class, operation and mode.
    pub opcode: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register, or a sub-code.
    pub src: u8,
    /// Bytes for memory, slots for jumps.
    pub offset: i16,
    /// The immediate.
    pub imm: i32,
}

impl Slot {
    /// Encodes the fields; only the lower four bits of registers count.
    pub fn to_bytes(self) -> [u8; 8] {
        let [o0, o1] = self.offset.to_le_bytes();
        let [i0, i1, i2, i3] = self.imm.to_le_bytes();
        [self.opcode, self.src << 4 | self.dst & 0x0f, o0, o1, i0, i1, i2, i3]
    }

    /// Decodes eight bytes.
    pub fn from_bytes([opcode, registers, o0, o1, i0, i1, i2, i3]: [u8; 8]) -> Self {
        Slot {
            opcode,
            dst: registers & 0x0f,
            src: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    pub(super) fn class(self) -> u8 {
        self.opcode & 0x07
    }

    pub(super) fn mode(self) -> u8 {
        self.opcode & 0xe0
    }

    /// Bits 4 to 7: the operation of arithmetic and jumps.
    pub(super) fn operation(self) -> u8 {
        self.opcode & 0xf0
    }

    pub(super) fn dst(self) -> Option<Register> {
        Register::from_number(self.dst)
    }

    pub(super) fn src(self) -> Option<Register> {
        Register::from_number(self.src)
    }
}
