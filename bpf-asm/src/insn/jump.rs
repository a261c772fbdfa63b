//! Jumps: classes JMP and JMP32 (RFC 9669 section 4.3).

use std::fmt;

use super::slot::class;
use super::{Isa, Register, Since, Slot, Source, Width};

const JA: u8 = 0x00;
const JCOND: u8 = 0xe0;
/// Source X: a register.
const TO_REGISTER: u8 = 0x08;

pub(super) const GOTO: u8 = JA | class::JMP;
pub(super) const GOTO_LONG: u8 = JA | class::JMP32;
pub(super) const GOTO_REGISTER: u8 = JA | TO_REGISTER | class::JMP;
pub(super) const MAY_GOTO: u8 = JCOND | class::JMP;
/// Returns r0.
pub(super) const EXIT: u8 = 0x90 | class::JMP;

/// Conditions of jumps.
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
    /// All comparisons.
    pub const ALL: [Compare; 11] = [
        Compare::Eq,
        Compare::Gt,
        Compare::Ge,
        Compare::Set,
        Compare::Ne,
        Compare::Sgt,
        Compare::Sge,
        Compare::Lt,
        Compare::Le,
        Compare::Slt,
        Compare::Sle,
    ];

    /// The opposite comparison; [`Compare::Set`] has none.
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

    /// The kernel's symbol for it.
    pub(crate) fn symbol(self) -> &'static str {
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

/// An unconditional jump; the distance is in slots from the next instruction.
///
/// ```text
/// +------+---+---+--------+---+
/// | 0x05 | 0 | 0 | offset | 0 |
/// +------+---+---+--------+---+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Distance in slots.
    pub offset: i16,
}

impl Jump {
    pub(super) fn encode(&self) -> Slot {
        Slot { opcode: GOTO, dst: 0, src: 0, offset: self.offset, imm: 0 }
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "goto pc{:+}", self.offset)
    }
}

/// An unconditional jump with a 32-bit distance in slots from the next instruction.
///
/// ```text
/// +------+---+---+---+-----------+
/// | 0x06 | 0 | 0 | 0 | immediate |
/// +------+---+---+---+-----------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JumpLong {
    /// Distance in slots.
    pub offset: i32,
}

impl JumpLong {
    pub(super) fn encode(&self) -> Slot {
        Slot { opcode: GOTO_LONG, dst: 0, src: 0, offset: 0, imm: self.offset }
    }

    pub(super) fn since(&self) -> Since {
        Since::new(Isa::V4, 6, 6)
    }
}

impl fmt::Display for JumpLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gotol pc{:+}", self.offset)
    }
}

/// A jump that is taken after it has been reached too often (8 million times; on newer kernels,
/// after a quarter of a second); until then execution continues with the next instruction. It
/// bounds a loop for the verifier.
///
/// ```text
/// +------+---+---+--------+---+
/// | 0xe5 | 0 | 0 | offset | 0 |
/// +------+---+---+--------+---+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MayGoto {
    /// Distance in slots from the next instruction.
    pub offset: i16,
}

impl MayGoto {
    pub(super) fn encode(&self) -> Slot {
        Slot { opcode: MAY_GOTO, dst: 0, src: 0, offset: self.offset, imm: 0 }
    }

    pub(super) fn since(&self) -> Since {
        Since::new(Isa::Extension, 6, 9)
    }
}

impl fmt::Display for MayGoto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "may_goto pc{:+}", self.offset)
    }
}

/// A jump to the address in a register, which was loaded from an instruction array map.
///
/// ```text
/// +------+---+-----+---+---+
/// | 0x0d | 0 | dst | 0 | 0 |
/// +------+---+-----+---+---+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JumpRegister {
    /// The register.
    pub target: Register,
}

impl JumpRegister {
    pub(super) fn encode(&self) -> Slot {
        Slot { opcode: GOTO_REGISTER, dst: self.target.number(), src: 0, offset: 0, imm: 0 }
    }

    pub(super) fn since(&self) -> Since {
        Since::new(Isa::V4, 6, 19)
    }
}

impl fmt::Display for JumpRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gotox {}", self.target)
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
    /// Distance in slots from the next instruction.
    pub offset: i16,
}

impl JumpIf {
    pub(super) fn encode(&self) -> Slot {
        let class = match self.width {
            Width::W32 => class::JMP32,
            Width::W64 => class::JMP,
        };
        Slot {
            opcode: self.compare as u8 | self.src.bit() | class,
            dst: self.dst.number(),
            src: self.src.register_number(),
            offset: self.offset,
            imm: self.src.imm(),
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let width = if slot.class() == class::JMP32 { Width::W32 } else { Width::W64 };
        let compare =
            Compare::ALL.into_iter().find(|compare| *compare as u8 == slot.operation())?;
        Some(JumpIf {
            width,
            compare,
            dst: slot.dst()?,
            src: Source::of(slot)?,
            offset: slot.offset,
        })
    }

    pub(super) fn since(&self) -> Since {
        match (self.width, self.compare) {
            (Width::W32, _) => Since::new(Isa::V3, 5, 1),
            (Width::W64, Compare::Lt | Compare::Le | Compare::Slt | Compare::Sle) => {
                Since::new(Isa::V2, 4, 14)
            }
            (Width::W64, _) => Since::FIRST,
        }
    }

    /// `if r1 == 0x5`
    pub(crate) fn condition(&self) -> String {
        let (letter, dst, symbol) = (self.width.letter(), self.dst.number(), self.compare.symbol());
        match self.src {
            // The kernel prints a negative number as unsigned 32 bits, which is ambiguous in a
            // 64-bit comparison.
            Source::Imm(imm) if imm < 0 => {
                format!("if {letter}{dst} {symbol} -{:#x}", imm.unsigned_abs())
            }
            Source::Imm(imm) => format!("if {letter}{dst} {symbol} {imm:#x}"),
            Source::Reg(src) => format!("if {letter}{dst} {symbol} {letter}{}", src.number()),
        }
    }
}

impl fmt::Display for JumpIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} goto pc{:+}", self.condition(), self.offset)
    }
}
