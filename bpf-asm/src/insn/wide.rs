//! Loads of 64-bit numbers, maps, map values, functions and variables: class LD, two slots (RFC
//! 9669 section 5.4).

use std::fmt;

use super::slot::{class, mode};
use super::{Isa, Register, Since, Slot};

pub(super) const WIDE: u8 = mode::IMM | 0x18 | class::LD;

/// What a [`Wide`] loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WideSource {
    /// A number.
    Imm(u64),
    /// A map by file descriptor (`BPF_PSEUDO_MAP_FD`).
    Map {
        /// The descriptor.
        fd: i32,
    },
    /// An address in the first value of an array map (`BPF_PSEUDO_MAP_VALUE`).
    MapValue {
        /// The descriptor.
        fd: i32,
        /// Offset into the value in bytes.
        offset: u32,
    },
    /// The address of a kernel variable (`BPF_PSEUDO_BTF_ID`).
    Variable {
        /// The variable's BTF id.
        id: i32,
        /// The file descriptor of the module's BTF; 0 for vmlinux.
        btf: i32,
    },
    /// The address of a function of the same program (`BPF_PSEUDO_FUNC`).
    Function {
        /// Slots from the load's second slot to the function's first.
        offset: i32,
    },
    /// A map by its index in the program's `fd_array` (`BPF_PSEUDO_MAP_IDX`).
    MapIndex {
        /// The index.
        index: i32,
    },
    /// An address in the first value of an array map in the `fd_array`
    /// (`BPF_PSEUDO_MAP_IDX_VALUE`).
    MapIndexValue {
        /// The index.
        index: i32,
        /// Offset into the value in bytes.
        offset: u32,
    },
}

/// `dst = imm64`, in two slots.
///
/// ```text
/// +------+-----+-----+--------+-------+  +------+-----+--------+-------+
/// | 0x18 | src | dst |   0    |  low  |  | 0x00 |  0  |   0    | high  |
/// +------+-----+-----+--------+-------+  +------+-----+--------+-------+
/// ```
///
/// | src | low | high | loads |
/// |---|---|---|---|
/// | 0 | number | number | the number |
/// | 1 | descriptor | 0 | a map |
/// | 2 | descriptor | offset | an address in a map's value |
/// | 3 | BTF id | descriptor of a module's BTF | the address of a variable |
/// | 4 | slots | 0 | the address of a function |
/// | 5 | index | 0 | a map |
/// | 6 | index | offset | an address in a map's value |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wide {
    /// The destination.
    pub dst: Register,
    /// The source.
    pub source: WideSource,
}

impl Wide {
    pub(super) fn encode(&self) -> [Slot; 2] {
        let (src, low, high) = match self.source {
            WideSource::Imm(imm) => {
                (0, (imm as u32).cast_signed(), ((imm >> 32) as u32).cast_signed())
            }
            WideSource::Map { fd } => (1, fd, 0),
            WideSource::MapValue { fd, offset } => (2, fd, offset.cast_signed()),
            WideSource::Variable { id, btf } => (3, id, btf),
            WideSource::Function { offset } => (4, offset, 0),
            WideSource::MapIndex { index } => (5, index, 0),
            WideSource::MapIndexValue { index, offset } => (6, index, offset.cast_signed()),
        };
        [
            Slot { opcode: WIDE, dst: self.dst.number(), src, offset: 0, imm: low },
            Slot { opcode: 0, dst: 0, src: 0, offset: 0, imm: high },
        ]
    }

    pub(super) fn decode(first: Slot, second: Slot) -> Option<Self> {
        let (low, high) = (first.imm, second.imm.cast_unsigned());
        let source = match first.src {
            0 => WideSource::Imm(u64::from(high) << 32 | u64::from(low.cast_unsigned())),
            1 => WideSource::Map { fd: low },
            2 => WideSource::MapValue { fd: low, offset: high },
            3 => WideSource::Variable { id: low, btf: second.imm },
            4 => WideSource::Function { offset: low },
            5 => WideSource::MapIndex { index: low },
            6 => WideSource::MapIndexValue { index: low, offset: high },
            _ => return None,
        };
        Some(Wide { dst: first.dst()?, source })
    }

    pub(super) fn since(&self) -> Since {
        match self.source {
            WideSource::Imm(_) | WideSource::Map { .. } => Since::FIRST,
            WideSource::MapValue { .. } => Since::new(Isa::V1, 5, 2),
            WideSource::Variable { btf: 0, .. } => Since::new(Isa::V1, 5, 10),
            WideSource::Variable { .. } => Since::new(Isa::V1, 5, 12),
            WideSource::Function { .. } => Since::new(Isa::V1, 5, 13),
            WideSource::MapIndex { .. } | WideSource::MapIndexValue { .. } => {
                Since::new(Isa::V1, 5, 14)
            }
        }
    }
}

/// A number is followed by `ll`, as compilers write it; otherwise it would look like a move.
impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = ", self.dst)?;
        match self.source {
            WideSource::Imm(imm) => write!(f, "{imm:#x} ll"),
            WideSource::Map { fd } => write!(f, "map[fd:{fd}]"),
            WideSource::MapValue { fd, offset } => write!(f, "map[fd:{fd}][0]+{offset}"),
            WideSource::Variable { id, btf: 0 } => write!(f, "btf[id:{id}]"),
            WideSource::Variable { id, btf } => write!(f, "btf[id:{id}, fd:{btf}]"),
            WideSource::Function { offset } => write!(f, "subprog[{offset:+}]"),
            WideSource::MapIndex { index } => write!(f, "map[idx:{index}]"),
            WideSource::MapIndexValue { index, offset } => {
                write!(f, "map[idx:{index}][0]+{offset}")
            }
        }
    }
}
