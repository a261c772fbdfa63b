//! Casts between address spaces: operation MOV of class ALU64 with offset 1 (kernel:
//! `BPF_ADDR_SPACE_CAST`).

use std::fmt;

use super::slot::class;
use super::{Isa, Register, Since, Slot};

const MOV_REGISTER: u8 = 0xb8 | class::ALU64;
const CAST: i16 = 1;

/// `dst = addr_space_cast(src, to, from)`: turns a pointer into an arena (space 1) into one that a
/// program can dereference (space 0), or back.
///
/// ```text
/// +------+-----+-----+----------+------------------+
/// | 0xbf | src | dst | offset 1 | to 16 | from 16  |
/// +------+-----+-----+----------+------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressSpaceCast {
    /// The destination.
    pub dst: Register,
    /// The pointer.
    pub src: Register,
    /// The address space of the result. Kernels accept only casts from 1 to 0 and from 0 to 1.
    pub to: u16,
    /// The address space of the pointer.
    pub from: u16,
}

impl AddressSpaceCast {
    pub(super) fn encode(&self) -> Slot {
        let imm = (u32::from(self.to) << 16 | u32::from(self.from)).cast_signed();
        Slot {
            opcode: MOV_REGISTER,
            dst: self.dst.number(),
            src: self.src.number(),
            offset: CAST,
            imm,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let imm = slot.imm.cast_unsigned();
        Some(AddressSpaceCast {
            dst: slot.dst()?,
            src: slot.src()?,
            to: (imm >> 16) as u16,
            from: imm as u16,
        })
    }

    pub(super) fn since(&self) -> Since {
        Since::new(Isa::Extension, 6, 9)
    }
}

impl fmt::Display for AddressSpaceCast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = addr_space_cast({}, {}, {})", self.dst, self.src, self.to, self.from)
    }
}
