//! Instructions, typed by class: RFC 9669, up to version 3 of the instruction set.
//!
//! Every number in an instruction has the type of its bits in the encoding, so a number that does not fit cannot be
//! written down; who computes one has to say what happens when it does not fit.

mod alu;
mod atomic;
mod call;
mod jump;
mod load;
mod store;
mod wide;

pub use alu::{Alu, AluOp, ByteOrder, Endian, EndianBits};
pub use atomic::{Atomic, AtomicOp};
pub use call::Call;
pub use jump::{Compare, Jump, JumpIf};
pub use load::Load;
pub use store::Store;
pub use wide::{Wide, WideSource};

use std::fmt;

/// One of the eleven registers (RFC 9669 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Register {
    /// Result of calls, and of the program.
    R0,
    /// First argument; lost in calls.
    R1,
    /// Second argument; lost in calls.
    R2,
    /// Third argument; lost in calls.
    R3,
    /// Fourth argument; lost in calls.
    R4,
    /// Fifth argument; lost in calls.
    R5,
    /// Kept by calls.
    R6,
    /// Kept by calls.
    R7,
    /// Kept by calls.
    R8,
    /// Kept by calls.
    R9,
    /// The frame's end; read only.
    R10,
}

impl Register {
    /// The registers that a call destroys.
    pub const TEMPORARY: [Register; 6] =
        [Register::R0, Register::R1, Register::R2, Register::R3, Register::R4, Register::R5];
    /// The registers that survive a call.
    pub const KEPT: [Register; 4] = [Register::R6, Register::R7, Register::R8, Register::R9];
    /// The registers in which arguments travel, first to last.
    pub const ARGUMENTS: [Register; 5] = [Register::R1, Register::R2, Register::R3, Register::R4, Register::R5];

    /// Its number, 0 to 10.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.number())
    }
}

/// How many bits an arithmetic or comparing instruction looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// The lower half; arithmetic clears the upper half of its result.
    W32,
    /// The whole register.
    W64,
}

impl Width {
    /// The letter that the kernel's notation gives a register of this width.
    fn letter(self) -> char {
        match self {
            Width::W32 => 'w',
            Width::W64 => 'r',
        }
    }
}

/// How many bytes a load or store moves.
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
    /// The size that moves this many bytes, if there is one.
    pub fn of_bytes(bytes: usize) -> Option<Size> {
        match bytes {
            1 => Some(Size::B),
            2 => Some(Size::H),
            4 => Some(Size::W),
            8 => Some(Size::DW),
            _ => None,
        }
    }

    /// Bytes moved: 1, 2, 4 or 8.
    pub fn bytes(self) -> usize {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::DW => 8,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Size::W => 0x00,
            Size::H => 0x08,
            Size::B => 0x10,
            Size::DW => 0x18,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.bytes() * 8)
    }
}

/// The second operand of an arithmetic or comparing instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A number in the instruction, sign-extended to the instruction's width.
    Imm(i32),
    /// A register.
    Reg(Register),
}

impl Source {
    /// The bit that tells a register (X) from an immediate (K).
    fn bit(self) -> u8 {
        match self {
            Source::Imm(_) => 0x00,
            Source::Reg(_) => 0x08,
        }
    }

    fn register_number(self) -> u8 {
        match self {
            Source::Imm(_) => 0,
            Source::Reg(register) => register.number(),
        }
    }

    fn imm(self) -> i32 {
        match self {
            Source::Imm(imm) => imm,
            Source::Reg(_) => 0,
        }
    }
}

/// One instruction slot as it lies in memory (RFC 9669 section 3), little-endian.
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
    /// The eight bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        let [o0, o1] = self.offset.to_le_bytes();
        let [i0, i1, i2, i3] = self.imm.to_le_bytes();
        [self.opcode, self.src << 4 | self.dst & 0x0f, o0, o1, i0, i1, i2, i3]
    }
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insn {
    /// Arithmetic.
    Alu(Alu),
    /// Byte order.
    Endian(Endian),
    /// Memory to register.
    Load(Load),
    /// Register or immediate to memory.
    Store(Store),
    /// Atomic read-modify-write.
    Atomic(Atomic),
    /// 64-bit immediate, map, or map value.
    Wide(Wide),
    /// Unconditional jump.
    Jump(Jump),
    /// Conditional jump.
    JumpIf(JumpIf),
    /// Call.
    Call(Call),
    /// Return r0.
    Exit,
}

impl Insn {
    /// Instruction slots taken: 2 for a [`Wide`], else 1.
    pub fn slots(&self) -> usize {
        if matches!(self, Insn::Wide(_)) { 2 } else { 1 }
    }

    /// Appends the instruction's bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let slot = match self {
            Insn::Alu(insn) => insn.encode(),
            Insn::Endian(insn) => insn.encode(),
            Insn::Load(insn) => insn.encode(),
            Insn::Store(insn) => insn.encode(),
            Insn::Atomic(insn) => insn.encode(),
            Insn::Wide(insn) => {
                let [first, second] = insn.encode();
                bytes.extend(first.to_bytes());
                second
            }
            Insn::Jump(insn) => insn.encode(),
            Insn::JumpIf(insn) => insn.encode(),
            Insn::Call(insn) => insn.encode(),
            Insn::Exit => Slot { opcode: jump::EXIT, dst: 0, src: 0, offset: 0, imm: 0 },
        };
        bytes.extend(slot.to_bytes());
    }
}

/// The kernel's own notation, as verifier logs and bpftool print it.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Insn::Alu(insn) => insn.fmt(f),
            Insn::Endian(insn) => insn.fmt(f),
            Insn::Load(insn) => insn.fmt(f),
            Insn::Store(insn) => insn.fmt(f),
            Insn::Atomic(insn) => insn.fmt(f),
            Insn::Wide(insn) => insn.fmt(f),
            Insn::Jump(insn) => insn.fmt(f),
            Insn::JumpIf(insn) => insn.fmt(f),
            Insn::Call(insn) => insn.fmt(f),
            Insn::Exit => f.write_str("exit"),
        }
    }
}
