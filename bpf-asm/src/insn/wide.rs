//! Loads of 64-bit numbers, maps and map values: class LD, two slots (RFC 9669 section 5.4).

use std::fmt;

use super::{Register, Slot};

/// What a [`Wide`] loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WideSource {
    /// A number.
    Imm(u64),
    /// The map behind a file descriptor (`BPF_PSEUDO_MAP_FD`).
    Map {
        /// The descriptor.
        fd: i32,
    },
    /// The address of a byte in the first value of an array map (`BPF_PSEUDO_MAP_VALUE`).
    MapValue {
        /// The descriptor.
        fd: i32,
        /// Bytes into the value.
        offset: u32,
    },
}

/// `dst = imm64`, in two slots.
///
/// ```text
/// +------+-----+-----+--------+-------+  +------+-----+--------+-------+
/// | 0x18 | src | dst |   0    |  low  |  | 0x00 |  0  |   0    | high  |   src 0: number, 1: map, 2: map value
/// +------+-----+-----+--------+-------+  +------+-----+--------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wide {
    /// Where to.
    pub dst: Register,
    /// What.
    pub source: WideSource,
}

impl Wide {
    pub(super) fn encode(&self) -> [Slot; 2] {
        let (src, low, high) = match self.source {
            WideSource::Imm(imm) => (0, imm as u32, (imm >> 32) as u32),
            WideSource::Map { fd } => (1, fd as u32, 0),
            WideSource::MapValue { fd, offset } => (2, fd as u32, offset),
        };
        [
            Slot { opcode: 0x18, dst: self.dst.number(), src, offset: 0, imm: low as i32 },
            Slot { opcode: 0, dst: 0, src: 0, offset: 0, imm: high as i32 },
        ]
    }
}

impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            WideSource::Imm(imm) => write!(f, "{} = {imm:#x}", self.dst),
            WideSource::Map { fd } => write!(f, "{} = map[fd:{fd}]", self.dst),
            WideSource::MapValue { fd, offset } => write!(f, "{} = map[fd:{fd}][0]+{offset}", self.dst),
        }
    }
}
