//! Calls (RFC 9669 section 4.3.1 and 4.3.2).

use std::fmt;

use super::{Slot, jump::CLASS_JMP};
use crate::helper;

/// A call; arguments in r1 to r5, result in r0.
///
/// ```text
/// +------+-----+-----+--------+-----------+
/// | 0x85 | src |  0  |   0    | immediate |   src 0: helper number, 1: slots to the function
/// +------+-----+-----+--------+-----------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A function of the kernel by its number (`enum bpf_func_id`).
    Helper {
        /// The number.
        id: i32,
    },
    /// A function of the same program.
    Local {
        /// Slots from the next instruction to the function's first.
        offset: i32,
    },
}

impl Call {
    pub(super) fn encode(&self) -> Slot {
        let (src, imm) = match *self {
            Call::Helper { id } => (0, id),
            Call::Local { offset } => (1, offset),
        };
        Slot { opcode: 0x80 | CLASS_JMP, dst: 0, src, offset: 0, imm }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Call::Helper { id } => write!(f, "call {}#{id}", helper::name(id)),
            Call::Local { offset } => write!(f, "call pc{offset:+}"),
        }
    }
}
