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

#[cfg(test)]
mod tests {
    use super::*;
    use Register::*;

    fn alu(width: Width, op: AluOp, src: Source) -> Insn {
        Insn::Alu(Alu { width, op, dst: R1, src })
    }

    fn jump(width: Width, compare: Compare, src: Source) -> Insn {
        Insn::JumpIf(JumpIf { width, compare, dst: R3, src, offset: -2 })
    }

    fn atomic(width: Width, op: AtomicOp) -> Insn {
        Insn::Atomic(Atomic { width, op, base: R10, offset: -8, src: R2 })
    }

    /// Opcodes are those of RFC 9669, appendix A; the text is what the kernel's disassembler prints.
    #[test]
    fn every_instruction_has_the_bytes_of_the_rfc_and_the_text_of_the_kernel() {
        use Source::{Imm, Reg};
        use Width::{W32, W64};
        let mut table: Vec<(Insn, u64, &str)> = vec![
            (alu(W64, AluOp::Neg, Imm(0)), 0x8701_0000_0000_0000, "r1 = -r1"),
            (alu(W32, AluOp::Neg, Reg(R2)), 0x8401_0000_0000_0000, "w1 = -w1"),
            (Insn::Jump(Jump { offset: -3 }), 0x0500_fdff_0000_0000, "goto pc-3"),
            (Insn::Call(Call::Helper { id: 1 }), 0x8500_0000_0100_0000, "call bpf_map_lookup_elem#1"),
            (Insn::Call(Call::Helper { id: 999 }), 0x8500_0000_e703_0000, "call unknown#999"),
            (Insn::Call(Call::Local { offset: -2 }), 0x8510_0000_feff_ffff, "call pc-2"),
            (Insn::Exit, 0x9500_0000_0000_0000, "exit"),
        ];
        let alus = [
            (AluOp::Add, 0x00, "+="),
            (AluOp::Sub, 0x10, "-="),
            (AluOp::Mul, 0x20, "*="),
            (AluOp::Div, 0x30, "/="),
            (AluOp::Or, 0x40, "|="),
            (AluOp::And, 0x50, "&="),
            (AluOp::Lsh, 0x60, "<<="),
            (AluOp::Rsh, 0x70, ">>="),
            (AluOp::Mod, 0x90, "%="),
            (AluOp::Xor, 0xa0, "^="),
            (AluOp::Mov, 0xb0, "="),
            (AluOp::Arsh, 0xc0, "s>>="),
        ];
        let mut texts: Vec<(Insn, u64, String)> = Vec::new();
        for (op, code, symbol) in alus {
            texts.push((alu(W64, op, Imm(-2)), (code | 0x07) << 56 | 0x0001_0000_feff_ffff, format!("r1 {symbol} -2")));
            texts.push((alu(W64, op, Reg(R9)), (code | 0x0f) << 56 | 0x0091_0000_0000_0000, format!("r1 {symbol} r9")));
            texts.push((alu(W32, op, Imm(-2)), (code | 0x04) << 56 | 0x0001_0000_feff_ffff, format!("w1 {symbol} -2")));
            texts.push((alu(W32, op, Reg(R9)), (code | 0x0c) << 56 | 0x0091_0000_0000_0000, format!("w1 {symbol} w9")));
        }
        let jumps = [
            (Compare::Eq, 0x10, "=="),
            (Compare::Gt, 0x20, ">"),
            (Compare::Ge, 0x30, ">="),
            (Compare::Set, 0x40, "&"),
            (Compare::Ne, 0x50, "!="),
            (Compare::Sgt, 0x60, "s>"),
            (Compare::Sge, 0x70, "s>="),
            (Compare::Lt, 0xa0, "<"),
            (Compare::Le, 0xb0, "<="),
            (Compare::Slt, 0xc0, "s<"),
            (Compare::Sle, 0xd0, "s<="),
        ];
        for (compare, code, symbol) in jumps {
            for (width, imm, reg, letter) in [(W64, 0x05, 0x0d, 'r'), (W32, 0x06, 0x0e, 'w')] {
                let text = format!("if {letter}3 {symbol} 0x7 goto pc-2");
                texts.push((jump(width, compare, Imm(7)), (code | imm) << 56 | 0x0003_feff_0700_0000, text));
                let text = format!("if {letter}3 {symbol} {letter}4 goto pc-2");
                texts.push((jump(width, compare, Reg(R4)), (code | reg) << 56 | 0x0043_feff_0000_0000, text));
            }
        }
        for (size, load, store_imm, store, name) in [
            (Size::W, 0x61, 0x62, 0x63, "u32"),
            (Size::H, 0x69, 0x6a, 0x6b, "u16"),
            (Size::B, 0x71, 0x72, 0x73, "u8"),
            (Size::DW, 0x79, 0x7a, 0x7b, "u64"),
        ] {
            let insn = Insn::Load(Load { size, dst: R1, base: R2, offset: 8 });
            texts.push((insn, load << 56 | 0x0021_0800_0000_0000, format!("r1 = *({name} *)(r2 +8)")));
            let insn = Insn::Store(Store { size, base: R10, offset: -16, src: Imm(-1) });
            texts.push((insn, store_imm << 56 | 0x000a_f0ff_ffff_ffff, format!("*({name} *)(r10 -16) = -1")));
            let insn = Insn::Store(Store { size, base: R10, offset: -16, src: Reg(R5) });
            texts.push((insn, store << 56 | 0x005a_f0ff_0000_0000, format!("*({name} *)(r10 -16) = r5")));
        }
        for (op, code, text32, text64) in [
            (AtomicOp::Add, 0x00, "lock *(u32 *)(r10 -8) += r2", "lock *(u64 *)(r10 -8) += r2"),
            (AtomicOp::Or, 0x40, "lock *(u32 *)(r10 -8) |= r2", "lock *(u64 *)(r10 -8) |= r2"),
            (AtomicOp::And, 0x50, "lock *(u32 *)(r10 -8) &= r2", "lock *(u64 *)(r10 -8) &= r2"),
            (AtomicOp::Xor, 0xa0, "lock *(u32 *)(r10 -8) ^= r2", "lock *(u64 *)(r10 -8) ^= r2"),
            (
                AtomicOp::FetchAdd,
                0x01,
                "r2 = atomic_fetch_add((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_add((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::FetchOr,
                0x41,
                "r2 = atomic_fetch_or((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_or((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::FetchAnd,
                0x51,
                "r2 = atomic_fetch_and((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_and((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::FetchXor,
                0xa1,
                "r2 = atomic_fetch_xor((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_xor((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::Exchange,
                0xe1,
                "r2 = atomic_xchg((u32 *)(r10 -8), r2)",
                "r2 = atomic64_xchg((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::CompareExchange,
                0xf1,
                "r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r2)",
                "r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r2)",
            ),
        ] {
            table.push((atomic(W32, op), 0xc32a_f8ff_0000_0000 | code << 24, text32));
            table.push((atomic(W64, op), 0xdb2a_f8ff_0000_0000 | code << 24, text64));
        }
        for (order, code, name) in [(ByteOrder::Little, 0xd4, "le"), (ByteOrder::Big, 0xdc, "be")] {
            for bits in [EndianBits::B16, EndianBits::B32, EndianBits::B64] {
                let text = format!("r1 = {name}{} r1", bits as u32);
                texts.push((
                    Insn::Endian(Endian { order, bits, dst: R1 }),
                    code << 56 | 1 << 48 | (bits as u64) << 24,
                    text,
                ));
            }
        }
        texts.extend(table.into_iter().map(|(insn, bytes, text)| (insn, bytes, text.to_owned())));
        assert_eq!(texts.len(), 48 + 44 + 12 + 20 + 6 + 7);
        for (insn, bytes, text) in texts {
            let mut encoded = Vec::new();
            insn.encode(&mut encoded);
            assert_eq!(encoded, bytes.to_be_bytes(), "{text}");
            assert_eq!(insn.to_string(), text);
            assert_eq!(insn.slots(), 1);
        }
    }

    #[test]
    fn a_wide_load_takes_two_slots() {
        let table = [
            (
                WideSource::Imm(0x1122_3344_5566_7788),
                0x01,
                [0x88, 0x77, 0x66, 0x55],
                [0x44, 0x33, 0x22, 0x11],
                "r1 = 0x1122334455667788",
            ),
            (WideSource::Map { fd: 5 }, 0x11, [5, 0, 0, 0], [0; 4], "r1 = map[fd:5]"),
            (WideSource::MapValue { fd: 5, offset: 8 }, 0x21, [5, 0, 0, 0], [8, 0, 0, 0], "r1 = map[fd:5][0]+8"),
        ];
        for (source, registers, low, high, text) in table {
            let insn = Insn::Wide(Wide { dst: R1, source });
            let mut encoded = Vec::new();
            insn.encode(&mut encoded);
            assert_eq!(encoded, [[0x18, registers, 0, 0], low, [0; 4], high].concat(), "{text}");
            assert_eq!((insn.to_string().as_str(), insn.slots()), (text, 2));
        }
    }
}
