//! Load-acquire and store-release: class STX, mode ATOMIC (kernel: `BPF_LOAD_ACQ`,
//! `BPF_STORE_REL`).

use std::fmt;

use super::slot::{class, mode};
use super::{Isa, Register, Since, Size, Slot};

const LOAD_ACQUIRE: i32 = 0x100;
const STORE_RELEASE: i32 = 0x110;
const SINCE: Since = Since::new(Isa::V4, 6, 15);

/// `dst = *(size *)(base + offset)`, zero-extended; ordered before all later memory accesses of the
/// program.
///
/// ```text
///  7        5  4  3  2   0
/// +----------+------+-------+
/// | 6 ATOMIC | size |   3   |   size 0: 4, 1: 2, 2: 1, 3: 8 bytes; immediate: 0x100
/// +----------+------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadAcquire {
    /// Size in bytes.
    pub size: Size,
    /// The destination.
    pub dst: Register,
    /// The pointer.
    pub base: Register,
    /// Offset in bytes.
    pub offset: i16,
}

impl LoadAcquire {
    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: mode::ATOMIC | self.size.bits() | class::STX,
            dst: self.dst.number(),
            src: self.base.number(),
            offset: self.offset,
            imm: LOAD_ACQUIRE,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        Some(LoadAcquire {
            size: Size::of(slot)?,
            dst: slot.dst()?,
            base: slot.src()?,
            offset: slot.offset,
        })
    }

    pub(super) fn since(&self) -> Since {
        SINCE
    }
}

impl fmt::Display for LoadAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = load_acquire(({} *)({} {:+}))", self.dst, self.size, self.base, self.offset)
    }
}

/// `*(size *)(base + offset) = src`; ordered after all earlier memory accesses of the program.
///
/// ```text
///  7        5  4  3  2   0
/// +----------+------+-------+
/// | 6 ATOMIC | size |   3   |   size 0: 4, 1: 2, 2: 1, 3: 8 bytes; immediate: 0x110
/// +----------+------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreRelease {
    /// Size in bytes.
    pub size: Size,
    /// The pointer.
    pub base: Register,
    /// Offset in bytes.
    pub offset: i16,
    /// The source.
    pub src: Register,
}

impl StoreRelease {
    pub(super) fn encode(&self) -> Slot {
        Slot {
            opcode: mode::ATOMIC | self.size.bits() | class::STX,
            dst: self.base.number(),
            src: self.src.number(),
            offset: self.offset,
            imm: STORE_RELEASE,
        }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        Some(StoreRelease {
            size: Size::of(slot)?,
            base: slot.dst()?,
            offset: slot.offset,
            src: slot.src()?,
        })
    }

    pub(super) fn since(&self) -> Since {
        SINCE
    }
}

impl fmt::Display for StoreRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store_release(({} *)({} {:+}), {})", self.size, self.base, self.offset, self.src)
    }
}
