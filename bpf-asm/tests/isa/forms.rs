//! All forms of instructions, found by decoding every combination of the fields that matter.

use std::sync::LazyLock;

use bpf_asm::insn::{Decoded, Insn, decode};

/// Offsets: zero, the sub-codes, small ones, and the limits.
const OFFSETS: [i16; 10] = [0, 1, -1, 8, 16, 32, 7, -8, i16::MIN, i16::MAX];

/// Immediates: zero, the sub-codes of atomics and byte orders, small ones, and the limits.
const IMMEDIATES: [i32; 26] = [
    0,
    1,
    -1,
    2,
    7,
    16,
    32,
    64,
    0x40,
    0x41,
    0x50,
    0x51,
    0xa0,
    0xa1,
    0xe1,
    0xf1,
    0x100,
    0x110,
    0x1_0000,
    211,
    212,
    0xffff,
    -2,
    -32769,
    i32::MIN,
    i32::MAX,
];

/// Destinations: the first, the last, and an invalid one.
const DESTINATIONS: [u8; 3] = [0, 10, 11];

/// All sources, since they are also sub-codes.
const SOURCES: std::ops::Range<u8> = 0..12;

/// Contents of the second slot of a 64-bit load.
const UPPER: [i32; 4] = [0, 1, -1, i32::MIN];

/// All instructions with their bytes.
pub static ALL: LazyLock<Vec<(Vec<u8>, Insn)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    each(|bytes, code| all.extend(instruction(code).map(|insn| (bytes.to_vec(), insn))));
    all
});

/// Calls `with` for the bytes of every combination and their decoding.
pub fn each(mut with: impl FnMut(&[u8], &[Decoded])) {
    for opcode in 0..=255u8 {
        for dst in DESTINATIONS {
            for src in SOURCES {
                for offset in OFFSETS {
                    for imm in IMMEDIATES {
                        let first = bytes(opcode, src << 4 | dst, offset, imm);
                        if opcode != 0x18 {
                            with(&first, &decode(&first));
                            continue;
                        }
                        for upper in UPPER {
                            let both = [first, bytes(0, 0, 0, upper)].concat();
                            with(&both, &decode(&both));
                        }
                    }
                }
            }
        }
    }
}

/// The instruction, if the code is exactly one.
pub fn instruction(code: &[Decoded]) -> Option<Insn> {
    match code {
        [Decoded::Insn(insn)] => Some(*insn),
        _ => None,
    }
}

fn bytes(opcode: u8, registers: u8, offset: i16, imm: i32) -> [u8; 8] {
    let ([o0, o1], [i0, i1, i2, i3]) = (offset.to_le_bytes(), imm.to_le_bytes());
    [opcode, registers, o0, o1, i0, i1, i2, i3]
}
