//! The few instructions of feature probes, encoded as in RFC 9669 section 3.

/// One instruction: `opcode:8 src:4 dst:4 offset:16 imm:32`, little-endian.
pub(crate) const fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let off = off.to_le_bytes();
    let imm = imm.to_le_bytes();
    [opcode, src << 4 | dst, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
}

/// `dst = imm`
pub(crate) const fn mov(dst: u8, imm: i32) -> [u8; 8] {
    insn(0xb7, dst, 0, 0, imm)
}

/// `call helper`
pub(crate) const fn call(helper: u32) -> [u8; 8] {
    insn(0x85, 0, 0, 0, helper as i32)
}

/// `exit`
pub(crate) const EXIT: [u8; 8] = insn(0x95, 0, 0, 0, 0);
