//! Atomic read-modify-write: class STX, mode ATOMIC (RFC 9669 section 5.3).

use std::fmt;

use super::{Register, Size, Slot, Width};

const FETCH: i32 = 0x01;

/// What happens to the memory in one step.
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
    /// `*p += src`, and src becomes what was there
    FetchAdd,
    /// `*p |= src`, and src becomes what was there
    FetchOr,
    /// `*p &= src`, and src becomes what was there
    FetchAnd,
    /// `*p ^= src`, and src becomes what was there
    FetchXor,
    /// `*p = src`, and src becomes what was there
    Exchange,
    /// `*p = src` if r0 was there; r0 becomes what was there
    CompareExchange,
}

impl AtomicOp {
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
    /// What happens.
    pub op: AtomicOp,
    /// The pointer.
    pub base: Register,
    /// Bytes from the pointer.
    pub offset: i16,
    /// The operand, and the old content where the operation fetches.
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
            opcode: 0xc0 | self.size().bits() | 0x03,
            dst: self.base.number(),
            src: self.src.number(),
            offset: self.offset,
            imm: self.op.imm(),
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
        match self.op {
            AtomicOp::Add => write!(f, "lock *({size} *)({base} {offset:+}) += {src}"),
            AtomicOp::Or => write!(f, "lock *({size} *)({base} {offset:+}) |= {src}"),
            AtomicOp::And => write!(f, "lock *({size} *)({base} {offset:+}) &= {src}"),
            AtomicOp::Xor => write!(f, "lock *({size} *)({base} {offset:+}) ^= {src}"),
            AtomicOp::FetchAdd => write!(f, "{src} = atomic{bits}_fetch_add(({size} *)({base} {offset:+}), {src})"),
            AtomicOp::FetchOr => write!(f, "{src} = atomic{bits}_fetch_or(({size} *)({base} {offset:+}), {src})"),
            AtomicOp::FetchAnd => write!(f, "{src} = atomic{bits}_fetch_and(({size} *)({base} {offset:+}), {src})"),
            AtomicOp::FetchXor => write!(f, "{src} = atomic{bits}_fetch_xor(({size} *)({base} {offset:+}), {src})"),
            AtomicOp::Exchange => write!(f, "{src} = atomic{bits}_xchg(({size} *)({base} {offset:+}), {src})"),
            AtomicOp::CompareExchange => {
                write!(f, "r0 = atomic{bits}_cmpxchg(({size} *)({base} {offset:+}), r0, {src})")
            }
        }
    }
}
