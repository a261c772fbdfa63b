//! Jumps: classes JMP and JMP32 (RFC 9669 section 4.3).

use std::fmt;

use super::{Register, Slot, Source, Width};

pub(super) const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;
/// Returns r0.
pub(super) const EXIT: u8 = 0x90 | CLASS_JMP;

/// When a conditional jump is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Compare {
    /// `dst == src`
    Eq = 0x10,
    /// `dst > src`, unsigned
    Gt = 0x20,
    /// `dst >= src`, unsigned
    Ge = 0x30,
    /// `dst & src` is not zero
    Set = 0x40,
    /// `dst != src`
    Ne = 0x50,
    /// `dst > src`, signed
    Sgt = 0x60,
    /// `dst >= src`, signed
    Sge = 0x70,
    /// `dst < src`, unsigned
    Lt = 0xa0,
    /// `dst <= src`, unsigned
    Le = 0xb0,
    /// `dst < src`, signed
    Slt = 0xc0,
    /// `dst <= src`, signed
    Sle = 0xd0,
}

impl Compare {
    /// The comparison that holds exactly when this one does not; [`Compare::Set`] has none.
    pub fn negated(self) -> Option<Compare> {
        Some(match self {
            Compare::Eq => Compare::Ne,
            Compare::Ne => Compare::Eq,
            Compare::Gt => Compare::Le,
            Compare::Le => Compare::Gt,
            Compare::Ge => Compare::Lt,
            Compare::Lt => Compare::Ge,
            Compare::Sgt => Compare::Sle,
            Compare::Sle => Compare::Sgt,
            Compare::Sge => Compare::Slt,
            Compare::Slt => Compare::Sge,
            Compare::Set => return None,
        })
    }

    fn symbol(self) -> &'static str {
        match self {
            Compare::Eq => "==",
            Compare::Gt => ">",
            Compare::Ge => ">=",
            Compare::Set => "&",
            Compare::Ne => "!=",
            Compare::Sgt => "s>",
            Compare::Sge => "s>=",
            Compare::Lt => "<",
            Compare::Le => "<=",
            Compare::Slt => "s<",
            Compare::Sle => "s<=",
        }
    }
}

/// An unconditional jump, counted in slots from the next instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Slots to skip; negative goes back.
    pub offset: i16,
}

impl Jump {
    pub(super) fn encode(&self) -> Slot {
        Slot { opcode: CLASS_JMP, dst: 0, src: 0, offset: self.offset, imm: 0 }
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "goto pc{:+}", self.offset)
    }
}

/// A conditional jump.
///
/// ```text
///  7     4  3   2   0
/// +-------+---+-------+
/// | cond  | s | class |   class 5: 64 bits, 6: 32 bits; s: register (1) or immediate (0)
/// +-------+---+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JumpIf {
    /// 32 or 64 bits.
    pub width: Width,
    /// The condition.
    pub compare: Compare,
    /// Left side.
    pub dst: Register,
    /// Right side.
    pub src: Source,
    /// Slots to skip; negative goes back.
    pub offset: i16,
}

impl JumpIf {
    pub(super) fn encode(&self) -> Slot {
        let class = match self.width {
            Width::W32 => CLASS_JMP32,
            Width::W64 => CLASS_JMP,
        };
        Slot {
            opcode: self.compare as u8 | self.src.bit() | class,
            dst: self.dst.number(),
            src: self.src.register_number(),
            offset: self.offset,
            imm: self.src.imm(),
        }
    }
}

impl fmt::Display for JumpIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.width.letter();
        let (dst, symbol) = (self.dst.number(), self.compare.symbol());
        match self.src {
            Source::Imm(imm) => write!(f, "if {letter}{dst} {symbol} {imm:#x} goto pc{:+}", self.offset),
            Source::Reg(src) => {
                write!(f, "if {letter}{dst} {symbol} {letter}{} goto pc{:+}", src.number(), self.offset)
            }
        }
    }
}
