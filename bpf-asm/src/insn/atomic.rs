//! Atomic read-modify-write: class STX, mode ATOMIC (RFC 9669 section 5.3).

use std::fmt;

use super::slot::{class, mode};
use super::{Isa, Register, Since, Size, Slot, Width};

const FETCH: i32 = 0x01;

/// Atomic operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicOp {
    /// `*p += src`
    Add,
    /// `*p |= src`
    Or,
    /// `*p &= src`
    And,
    /// `*p ^= src`
    Xor,
    /// `*p += src`; src becomes the old content
    FetchAdd,
    /// `*p |= src`; src becomes the old content
    FetchOr,
    /// `*p &= src`; src becomes the old content
    FetchAnd,
    /// `*p ^= src`; src becomes the old content
    FetchXor,
    /// `*p = src`; src becomes the old content
    Exchange,
    /// `*p = src` if `*p == r0`; r0 becomes the old content
    CompareExchange,
}

impl AtomicOp {
    /// All operations.
    pub const ALL: [AtomicOp; 10] = [
        AtomicOp::Add,
        AtomicOp::Or,
        AtomicOp::And,
        AtomicOp::Xor,
        AtomicOp::FetchAdd,
        AtomicOp::FetchOr,
        AtomicOp::FetchAnd,
        AtomicOp::FetchXor,
        AtomicOp::Exchange,
        AtomicOp::CompareExchange,
    ];

    fn imm(self) -> i32 {
        match self {
            AtomicOp::Add => 0x00,
            AtomicOp::Or => 0x40,
            AtomicOp::And => 0x50,
            AtomicOp::Xor => 0xa0,
            AtomicOp::FetchAdd => FETCH,
            AtomicOp::FetchOr => 0x40 | FETCH,
            AtomicOp::FetchAnd => 0x50 | FETCH,
            AtomicOp::FetchXor => 0xa0 | FETCH,
            AtomicOp::Exchange => 0xe0 | FETCH,
            AtomicOp::CompareExchange => 0xf0 | FETCH,
        }
    }
}

/// An atomic instruction on 4 or 8 bytes.
///
/// ```text
///  7        5  4  3  2   0
/// +----------+------+-------+
/// | 6 ATOMIC | size |   3   |   size 0: 4, 3: 8 bytes; immediate: operation, bit 0: fetch
/// +----------+------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atomic {
    /// 4 or 8 bytes.
    pub width: Width,
    /// The operation.
    pub op: AtomicOp,
    /// The pointer.
    pub base: Register,
    /// Bytes from the pointer.
    pub offset: i16,
    /// The operand; receives the old content if the operation fetches.
    pub src: Register,
}

impl Atomic {
    fn size(&self) -> Size {
        match self.width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        }
    }

    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: mode::ATOMIC | self.size().bits() | class::STX,
            dst: self.base.number(),
            src: self.src.number(),
            offset: self.offset,
            imm: self.op.imm(),
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        let width = match Size::of(slot)? {
            Size::W => Width::W32,
            Size::DW => Width::W64,
            Size::B | Size::H => return None,
        };
        let op = AtomicOp::ALL.into_iter().find(|op| op.imm() == slot.imm)?;
        Some(Atomic { width, op, base: slot.dst()?, offset: slot.offset, src: slot.src()? })
    }

    pub(super) fn since(&self) -> Since {
        match self.op {
            AtomicOp::Add => Since::FIRST,
            _ => Since::new(Isa::V3, 5, 12),
        }
    }
}

impl fmt::Display for Atomic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, base, offset, src) = (self.size(), self.base, self.offset, self.src);
        let bits = match self.width {
            Width::W32 => "",
            Width::W64 => "64",
        };
        let memory = format_args!("({size} *)({base} {offset:+})");
        match self.op {
            AtomicOp::Add => write!(f, "lock *{memory} += {src}"),
            AtomicOp::Or => write!(f, "lock *{memory} |= {src}"),
            AtomicOp::And => write!(f, "lock *{memory} &= {src}"),
            AtomicOp::Xor => write!(f, "lock *{memory} ^= {src}"),
            AtomicOp::FetchAdd => write!(f, "{src} = atomic{bits}_fetch_add({memory}, {src})"),
            AtomicOp::FetchOr => write!(f, "{src} = atomic{bits}_fetch_or({memory}, {src})"),
            AtomicOp::FetchAnd => write!(f, "{src} = atomic{bits}_fetch_and({memory}, {src})"),
            AtomicOp::FetchXor => write!(f, "{src} = atomic{bits}_fetch_xor({memory}, {src})"),
            AtomicOp::Exchange => write!(f, "{src} = atomic{bits}_xchg({memory}, {src})"),
            AtomicOp::CompareExchange => {
                write!(f, "r0 = atomic{bits}_cmpxchg({memory}, r0, {src})")
            }
        }
    }
}
