//! Arithmetic: classes ALU and ALU64 (RFC 9669 section 4.1 and 4.2).

use std::fmt;

use super::{Register, Slot, Source, Width};

const CLASS_ALU: u8 = 0x04;
const CLASS_ALU64: u8 = 0x07;
const END: u8 = 0xd0;

/// What an arithmetic instruction computes, `dst = dst op src`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AluOp {
    /// `dst += src`
    Add = 0x00,
    /// `dst -= src`
    Sub = 0x10,
    /// `dst *= src`
    Mul = 0x20,
    /// `dst /= src`, unsigned; a division by zero gives 0
    Div = 0x30,
    /// `dst |= src`
    Or = 0x40,
    /// `dst &= src`
    And = 0x50,
    /// `dst <<= src`
    Lsh = 0x60,
    /// `dst >>= src`, unsigned
    Rsh = 0x70,
    /// `dst = -dst`
    Neg = 0x80,
    /// `dst %= src`, unsigned; modulo zero leaves dst
    Mod = 0x90,
    /// `dst ^= src`
    Xor = 0xa0,
    /// `dst = src`
    Mov = 0xb0,
    /// `dst >>= src`, signed
    Arsh = 0xc0,
}

impl AluOp {
    fn symbol(self) -> &'static str {
        match self {
            AluOp::Add => "+=",
            AluOp::Sub => "-=",
            AluOp::Mul => "*=",
            AluOp::Div => "/=",
            AluOp::Or => "|=",
            AluOp::And => "&=",
            AluOp::Lsh => "<<=",
            AluOp::Rsh => ">>=",
            AluOp::Neg => "= -",
            AluOp::Mod => "%=",
            AluOp::Xor => "^=",
            AluOp::Mov => "=",
            AluOp::Arsh => "s>>=",
        }
    }
}

/// An arithmetic instruction.
///
/// ```text
///  7     4  3   2   0
/// +-------+---+-------+
/// |  op   | s | class |   class 4: 32 bits, 7: 64 bits; s: register (1) or immediate (0)
/// +-------+---+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alu {
    /// 32 or 64 bits.
    pub width: Width,
    /// What is computed.
    pub op: AluOp,
    /// Left operand and result.
    pub dst: Register,
    /// Right operand; not looked at by [`AluOp::Neg`].
    pub src: Source,
}

impl Alu {
    pub(super) fn encode(&self) -> Slot {
        let class = match self.width {
            Width::W32 => CLASS_ALU,
            Width::W64 => CLASS_ALU64,
        };
        let src = if self.op == AluOp::Neg { Source::Imm(0) } else { self.src };
        Slot {
            opcode: self.op as u8 | src.bit() | class,
            dst: self.dst.number(),
            src: src.register_number(),
            offset: 0,
            imm: src.imm(),
        }
    }
}

impl fmt::Display for Alu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.width.letter();
        let dst = self.dst.number();
        match (self.op, self.src) {
            (AluOp::Neg, _) => write!(f, "{letter}{dst} = -{letter}{dst}"),
            (op, Source::Imm(imm)) => write!(f, "{letter}{dst} {} {imm}", op.symbol()),
            (op, Source::Reg(src)) => write!(f, "{letter}{dst} {} {letter}{}", op.symbol(), src.number()),
        }
    }
}

/// The byte order a register is brought into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Network order.
    Big,
}

/// How many bits a byte-order instruction treats; the others become zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndianBits {
    /// 16 bits.
    B16 = 16,
    /// 32 bits.
    B32 = 32,
    /// 64 bits.
    B64 = 64,
}

/// A conversion between host order and a given byte order (RFC 9669 section 4.2).
///
/// ```text
///  7     4  3   2   0
/// +-------+---+-------+
/// |  0xd  | o | class |   class 4; o: little (0) or big (1); immediate: 16, 32 or 64
/// +-------+---+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endian {
    /// The order.
    pub order: ByteOrder,
    /// The bits treated.
    pub bits: EndianBits,
    /// The register changed.
    pub dst: Register,
}

impl Endian {
    pub(super) fn encode(&self) -> Slot {
        let order = match self.order {
            ByteOrder::Little => 0x00,
            ByteOrder::Big => 0x08,
        };
        Slot { opcode: END | order | CLASS_ALU, dst: self.dst.number(), src: 0, offset: 0, imm: self.bits as i32 }
    }
}

impl fmt::Display for Endian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            ByteOrder::Little => "le",
            ByteOrder::Big => "be",
        };
        write!(f, "{} = {order}{} {}", self.dst, self.bits as i32, self.dst)
    }
}
