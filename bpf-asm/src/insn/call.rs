//! Calls (RFC 9669 section 4.3.1 and 4.3.2).

use std::fmt;

use super::slot::class;
use super::{Isa, Register, Since, Slot, helper_name};

const CALL: u8 = 0x80 | class::JMP;
const CALL_REGISTER: u8 = 0x88 | class::JMP;

/// A call; arguments in r1 to r5, result in r0.
///
/// ```text
/// +------+-----+-----+--------+-----------+   src 0: helper number, 1: slots to the function,
/// | 0x85 | src |  0  | offset | immediate |       2: BTF id of a kfunc, offset: index of its BTF
/// +------+-----+-----+--------+-----------+
/// +------+-----+-----+--------+-----------+
/// | 0x8d |  0  | dst |   0    |     0     |   the address in a register
/// +------+-----+-----+--------+-----------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A helper function by its number (`enum bpf_func_id`).
    Helper {
        /// The number.
        id: i32,
    },
    /// A function of the same program.
    Local {
        /// Slots from the next instruction to the function's first.
        offset: i32,
    },
    /// A kernel function (kfunc).
    Kernel {
        /// The function's BTF id.
        id: i32,
        /// Which BTF: 0 for vmlinux, else an index into the program's `fd_array`.
        btf: i16,
    },
    /// The function at the address in a register. Compilers emit it; no kernel accepts it yet.
    Register(Register),
}

impl Call {
    pub(super) fn encode(&self) -> Slot {
        let (src, offset, imm) = match *self {
            Call::Helper { id } => (0, 0, id),
            Call::Local { offset } => (1, 0, offset),
            Call::Kernel { id, btf } => (2, btf, id),
            Call::Register(target) => {
                return Slot {
                    opcode: CALL_REGISTER,
                    dst: target.number(),
                    src: 0,
                    offset: 0,
                    imm: 0,
                };
            }
        };
        Slot { opcode: CALL, dst: 0, src, offset, imm }
    }

    pub(super) fn decode(slot: Slot) -> Option<Self> {
        Some(match (slot.opcode, slot.src) {
            (CALL, 0) => Call::Helper { id: slot.imm },
            (CALL, 1) => Call::Local { offset: slot.imm },
            (CALL, 2) => Call::Kernel { id: slot.imm, btf: slot.offset },
            (CALL_REGISTER, _) => Call::Register(slot.dst()?),
            _ => return None,
        })
    }

    pub(super) fn since(&self) -> Since {
        match self {
            Call::Helper { .. } => Since::FIRST,
            Call::Local { .. } => Since::new(Isa::V1, 4, 16),
            Call::Kernel { btf: 0, .. } => Since::new(Isa::V1, 5, 13),
            Call::Kernel { .. } => Since::new(Isa::V1, 5, 16),
            Call::Register(_) => Since { isa: Isa::Extension, kernel: None },
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Call::Helper { id } => write!(f, "call {}#{id}", helper_name(id).unwrap_or("unknown")),
            Call::Local { offset } => write!(f, "call pc{offset:+}"),
            Call::Kernel { id, btf: 0 } => write!(f, "call kernel-function#{id}"),
            Call::Kernel { id, btf } => write!(f, "call kernel-function#{id}, btf {btf}"),
            Call::Register(target) => write!(f, "callx {target}"),
        }
    }
}
