//! The semantics of instructions, in Rust (RFC 9669 sections 4 and 5).

use bpf_asm::insn::{
    AluOp, AtomicOp, ByteOrder, Compare, EndianBits, Extension, SignedSize, Size, Width,
};

/// `a op b`. With 32 bits, the upper half of the result is zero.
pub fn alu(width: Width, op: AluOp, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => alu64(op, a, b),
        Width::W32 => u64::from(alu32(op, a as u32, b as u32)),
    }
}

fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => a.cast_signed().wrapping_div(b.cast_signed()).cast_unsigned(),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => a.cast_signed().wrapping_rem(b.cast_signed()).cast_unsigned(),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << (b & 63),
        AluOp::Rsh => a >> (b & 63),
        AluOp::Arsh => (a.cast_signed() >> (b & 63)).cast_unsigned(),
        AluOp::Neg => a.wrapping_neg(),
        AluOp::Mov => b,
    }
}

fn alu32(op: AluOp, a: u32, b: u32) -> u32 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => a.cast_signed().wrapping_div(b.cast_signed()).cast_unsigned(),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => a.cast_signed().wrapping_rem(b.cast_signed()).cast_unsigned(),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << (b & 31),
        AluOp::Rsh => a >> (b & 31),
        AluOp::Arsh => (a.cast_signed() >> (b & 31)).cast_unsigned(),
        AluOp::Neg => a.wrapping_neg(),
        AluOp::Mov => b,
    }
}

/// Whether a jump is taken.
pub fn compare(width: Width, compare: Compare, a: u64, b: u64) -> bool {
    let (a, b, signed_a, signed_b) = match width {
        Width::W64 => (a, b, a.cast_signed(), b.cast_signed()),
        Width::W32 => {
            let (a, b) = (a as u32, b as u32);
            (u64::from(a), u64::from(b), i64::from(a.cast_signed()), i64::from(b.cast_signed()))
        }
    };
    match compare {
        Compare::Eq => a == b,
        Compare::Ne => a != b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Set => a & b != 0,
        Compare::Sgt => signed_a > signed_b,
        Compare::Sge => signed_a >= signed_b,
        Compare::Slt => signed_a < signed_b,
        Compare::Sle => signed_a <= signed_b,
    }
}

/// A register converted to another byte order.
pub fn byte_order(order: ByteOrder, bits: EndianBits, a: u64) -> u64 {
    let swap = match order {
        ByteOrder::Little => cfg!(target_endian = "big"),
        ByteOrder::Big => cfg!(target_endian = "little"),
        ByteOrder::Swapped => true,
    };
    match (bits, swap) {
        (EndianBits::B16, true) => u64::from((a as u16).swap_bytes()),
        (EndianBits::B16, false) => u64::from(a as u16),
        (EndianBits::B32, true) => u64::from((a as u32).swap_bytes()),
        (EndianBits::B32, false) => u64::from(a as u32),
        (EndianBits::B64, true) => a.swap_bytes(),
        (EndianBits::B64, false) => a,
    }
}

/// Sign extension.
pub fn extend(extension: Extension, a: u64) -> u64 {
    let extended = signed(extension.from(), a);
    match extension.to() {
        Width::W64 => extended,
        Width::W32 => u64::from(extended as u32),
    }
}

/// The lower bytes, sign-extended.
pub fn signed(size: SignedSize, a: u64) -> u64 {
    let extended = match size {
        SignedSize::B => i64::from(a as i8),
        SignedSize::H => i64::from(a as i16),
        SignedSize::W => i64::from(a as i32),
    };
    extended.cast_unsigned()
}

/// The lower bytes, zero-extended.
pub fn lower(size: Size, a: u64) -> u64 {
    match size {
        Size::B => u64::from(a as u8),
        Size::H => u64::from(a as u16),
        Size::W => u64::from(a as u32),
        Size::DW => a,
    }
}

/// Eight bytes of memory after a store of the lower bytes.
pub fn stored(size: Size, memory: u64, a: u64) -> u64 {
    let mask = lower(size, u64::MAX);
    // The lower bytes come first in memory, or last.
    let shift = if cfg!(target_endian = "little") { 0 } else { 64 - 8 * size.bytes() as u32 };
    memory & !(mask << shift) | (a & mask) << shift
}

/// Eight bytes of memory after an atomic operation on the first of them, and the operation's
/// result.
pub fn atomic(
    width: Width,
    op: AtomicOp,
    memory: u64,
    operand: u64,
    expected: u64,
) -> (u64, Option<u64>) {
    let size = if width == Width::W64 { Size::DW } else { Size::W };
    let shift = if cfg!(target_endian = "little") || size == Size::DW { 0 } else { 32 };
    let old = lower(size, memory >> shift);
    let (new, fetches) = match op {
        AtomicOp::Add => (old.wrapping_add(operand), false),
        AtomicOp::Or => (old | operand, false),
        AtomicOp::And => (old & operand, false),
        AtomicOp::Xor => (old ^ operand, false),
        AtomicOp::FetchAdd => (old.wrapping_add(operand), true),
        AtomicOp::FetchOr => (old | operand, true),
        AtomicOp::FetchAnd => (old & operand, true),
        AtomicOp::FetchXor => (old ^ operand, true),
        AtomicOp::Exchange => (operand, true),
        AtomicOp::CompareExchange => {
            (if old == lower(size, expected) { operand } else { old }, true)
        }
    };
    (stored(size, memory, new), fetches.then_some(old))
}
