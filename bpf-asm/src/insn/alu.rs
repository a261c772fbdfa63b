//! Arithmetic: classes ALU and ALU64 (RFC 9669 section 4.1).

use std::fmt;

use super::slot::class;
use super::{Isa, Register, Since, Slot, Source, Width};

/// Operations of arithmetic instructions, `dst = dst op src`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AluOp {
    /// `dst += src`
    Add,
    /// `dst -= src`
    Sub,
    /// `dst *= src`
    Mul,
    /// `dst /= src`, unsigned; a division by zero gives 0
    Div,
    /// `dst /= src`, signed; a division by zero gives 0, and `MIN / -1` gives `MIN`
    Sdiv,
    /// `dst |= src`
    Or,
    /// `dst &= src`
    And,
    /// `dst <<= src`
    Lsh,
    /// `dst >>= src`, unsigned
    Rsh,
    /// `dst = -dst`
    Neg,
    /// `dst %= src`, unsigned; modulo zero leaves dst unchanged
    Mod,
    /// `dst %= src`, signed, with the sign of dst; modulo zero leaves dst unchanged, `MIN % -1`
    /// gives 0
    Smod,
    /// `dst ^= src`
    Xor,
    /// `dst = src`
    Mov,
    /// `dst >>= src`, signed
    Arsh,
}

impl AluOp {
    /// All operations.
    pub const ALL: [AluOp; 15] = [
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::Sdiv,
        AluOp::Or,
        AluOp::And,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Neg,
        AluOp::Mod,
        AluOp::Smod,
        AluOp::Xor,
        AluOp::Mov,
        AluOp::Arsh,
    ];

    /// The operation's bits of the opcode, and its offset.
    fn code(self) -> (u8, i16) {
        match self {
            AluOp::Add => (0x00, 0),
            AluOp::Sub => (0x10, 0),
            AluOp::Mul => (0x20, 0),
            AluOp::Div => (0x30, 0),
            AluOp::Sdiv => (0x30, 1),
            AluOp::Or => (0x40, 0),
            AluOp::And => (0x50, 0),
            AluOp::Lsh => (0x60, 0),
            AluOp::Rsh => (0x70, 0),
            AluOp::Neg => (0x80, 0),
            AluOp::Mod => (0x90, 0),
            AluOp::Smod => (0x90, 1),
            AluOp::Xor => (0xa0, 0),
            AluOp::Mov => (0xb0, 0),
            AluOp::Arsh => (0xc0, 0),
        }
    }

    /// The kernel's symbol for it; `neg` is not a binary operator.
    pub(crate) fn symbol(self) -> Option<&'static str> {
        Some(match self {
            AluOp::Add => "+=",
            AluOp::Sub => "-=",
            AluOp::Mul => "*=",
            AluOp::Div => "/=",
            AluOp::Sdiv => "s/=",
            AluOp::Or => "|=",
            AluOp::And => "&=",
            AluOp::Lsh => "<<=",
            AluOp::Rsh => ">>=",
            AluOp::Neg => return None,
            AluOp::Mod => "%=",
            AluOp::Smod => "s%=",
            AluOp::Xor => "^=",
            AluOp::Mov => "=",
            AluOp::Arsh => "s>>=",
        })
    }
}

/// An arithmetic instruction.
///
/// ```text
///  7     4  3   2   0
/// +-------+---+-------+
/// |  op   | s | class |   class 4: 32 bits, 7: 64 bits; s: register (1) or immediate (0)
/// +-------+---+-------+   offset 1: signed division and modulo
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alu {
    /// 32 or 64 bits.
    pub width: Width,
    /// The operation.
    pub op: AluOp,
    /// Left operand and result.
    pub dst: Register,
    /// Right operand; ignored by [`AluOp::Neg`].
    pub src: Source,
}

impl Alu {
    pub(super) fn encode(&self) -> Slot {
        let class = match self.width {
            Width::W32 => class::ALU,
            Width::W64 => class::ALU64,
        };
        let src = if self.op == AluOp::Neg { Source::Imm(0) } else { self.src };
        let (code, offset) = self.op.code();
        Slot {
            opcode: code | src.bit() | class,
            dst: self.dst.number(),
            src: src.register_number(),
            offset,
            imm: src.imm(),
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let width = if slot.class() == class::ALU { Width::W32 } else { Width::W64 };
        let op = AluOp::ALL.into_iter().find(|op| op.code() == (slot.operation(), slot.offset))?;
        Some(Alu { width, op, dst: slot.dst()?, src: Source::of(slot)? })
    }

    pub(super) fn since(&self) -> Since {
        match (self.op, self.width) {
            (AluOp::Sdiv | AluOp::Smod, _) => Since::new(Isa::V4, 6, 6),
            // Verifiers before 5.0 reject it: "BPF_ARSH not supported for 32 bit ALU".
            (AluOp::Arsh, Width::W32) => Since::new(Isa::V1, 5, 0),
            _ => Since::FIRST,
        }
    }
}

impl fmt::Display for Alu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.width.letter();
        let dst = self.dst.number();
        match (self.op.symbol(), self.src) {
            (None, _) => write!(f, "{letter}{dst} = -{letter}{dst}"),
            (Some(symbol), Source::Imm(imm)) => write!(f, "{letter}{dst} {symbol} {imm}"),
            (Some(symbol), Source::Reg(src)) => {
                write!(f, "{letter}{dst} {symbol} {letter}{}", src.number())
            }
        }
    }
}
