use bpf_asm::{Builder, EndianBits, Reg};
use proptest::prelude::*;

use crate::machine::{finish, result, run};

#[derive(Debug, Clone, Copy)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
    Arsh,
    Set,
    Neg,
}

const OPS: [Op; 13] = [
    Op::Add,
    Op::Sub,
    Op::Mul,
    Op::Div,
    Op::Rem,
    Op::Or,
    Op::And,
    Op::Xor,
    Op::Lsh,
    Op::Rsh,
    Op::Arsh,
    Op::Set,
    Op::Neg,
];

#[derive(Debug, Clone, Copy)]
enum Right {
    Value(usize),
    Number(i64),
}

/// RFC 9669 section 4.1, in Rust.
fn compute(op: Op, wide: bool, a: u64, b: u64) -> u64 {
    if wide {
        match op {
            Op::Add => a.wrapping_add(b),
            Op::Sub => a.wrapping_sub(b),
            Op::Mul => a.wrapping_mul(b),
            Op::Div => a.checked_div(b).unwrap_or(0),
            Op::Rem => a.checked_rem(b).unwrap_or(a),
            Op::Or => a | b,
            Op::And => a & b,
            Op::Xor => a ^ b,
            Op::Lsh => a << (b & 63),
            Op::Rsh => a >> (b & 63),
            Op::Arsh => (a as i64 >> (b & 63)) as u64,
            Op::Set => b,
            Op::Neg => a.wrapping_neg(),
        }
    } else {
        let (a, b) = (a as u32, b as u32);
        u64::from(match op {
            Op::Add => a.wrapping_add(b),
            Op::Sub => a.wrapping_sub(b),
            Op::Mul => a.wrapping_mul(b),
            Op::Div => a.checked_div(b).unwrap_or(0),
            Op::Rem => a.checked_rem(b).unwrap_or(a),
            Op::Or => a | b,
            Op::And => a & b,
            Op::Xor => a ^ b,
            Op::Lsh => a << (b & 31),
            Op::Rsh => a >> (b & 31),
            Op::Arsh => (a as i32 >> (b & 31)) as u32,
            Op::Set => b,
            Op::Neg => a.wrapping_neg(),
        })
    }
}

fn write(op: Op, wide: bool, a: &Reg, b: impl Into<bpf_asm::Operand>) {
    match (op, wide) {
        (Op::Add, true) => a.add(b),
        (Op::Add, false) => a.add32(b),
        (Op::Sub, true) => a.sub(b),
        (Op::Sub, false) => a.sub32(b),
        (Op::Mul, true) => a.mul(b),
        (Op::Mul, false) => a.mul32(b),
        (Op::Div, true) => a.div(b),
        (Op::Div, false) => a.div32(b),
        (Op::Rem, true) => a.rem(b),
        (Op::Rem, false) => a.rem32(b),
        (Op::Or, true) => a.or(b),
        (Op::Or, false) => a.or32(b),
        (Op::And, true) => a.and(b),
        (Op::And, false) => a.and32(b),
        (Op::Xor, true) => a.xor(b),
        (Op::Xor, false) => a.xor32(b),
        (Op::Lsh, true) => a.lsh(b),
        (Op::Lsh, false) => a.lsh32(b),
        (Op::Rsh, true) => a.rsh(b),
        (Op::Rsh, false) => a.rsh32(b),
        (Op::Arsh, true) => a.arsh(b),
        (Op::Arsh, false) => a.arsh32(b),
        (Op::Set, true) => a.set(b),
        (Op::Set, false) => a.set32(b),
        (Op::Neg, true) => a.neg(),
        (Op::Neg, false) => a.neg32(),
    }
}

/// A number that the operation accepts.
fn fitting(op: Op, wide: bool, number: i64) -> i64 {
    match op {
        Op::Lsh | Op::Rsh | Op::Arsh => number & if wide { 63 } else { 31 },
        Op::Div | Op::Rem if number == 0 || !wide && number as u32 == 0 => 7,
        _ if wide => number,
        _ => i64::from(number as i32),
    }
}

fn numbers() -> impl Strategy<Value = i64> {
    let edges =
        [0, 1, -1, i64::MIN, i64::MAX, 1 << 31, (1 << 31) - 1, -(1 << 31), -(1 << 31) - 1, 1 << 32];
    prop_oneof![
        any::<i64>(),
        any::<i32>().prop_map(i64::from),
        proptest::sample::select(edges.to_vec())
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Op, bool, usize, Right)>> {
    let right = prop_oneof![(0usize..3).prop_map(Right::Value), numbers().prop_map(Right::Number)];
    proptest::collection::vec(
        (proptest::sample::select(OPS.to_vec()), any::<bool>(), 0usize..3, right),
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arithmetic_computes_what_the_instruction_set_specifies(start in proptest::array::uniform3(numbers()), steps in steps()) {
        let b = Builder::new("arithmetic");
        let values: Vec<Reg> = start.iter().map(|&number| b.value(number)).collect();
        let mut expected = start.map(|number| number as u64);
        for (op, wide, target, right) in steps {
            // Two bugs of rbpf: negating the smallest number panics, and a 32-bit modulo zero does
            // not clear the upper half.
            let (mask, smallest) = if wide { (u64::MAX, 1 << 63) } else { (u64::from(u32::MAX), 1 << 31) };
            let zero = matches!(right, Right::Value(right) if expected[right] & mask == 0);
            match op {
                Op::Neg if expected[target] & mask == smallest => continue,
                Op::Rem if !wide && zero => continue,
                _ => {}
            }
            match right {
                Right::Value(right) => {
                    write(op, wide, &values[target], &values[right]);
                    expected[target] = compute(op, wide, expected[target], expected[right]);
                }
                Right::Number(number) => {
                    let number = fitting(op, wide, number);
                    write(op, wide, &values[target], number);
                    expected[target] = compute(op, wide, expected[target], number as u64);
                }
            }
        }
        values[0].xor(&values[1]);
        values[0].add(&values[2]);
        b.ret(&values[0]);
        let program = finish(b);
        prop_assert_eq!(run(&program, &mut []), (expected[0] ^ expected[1]).wrapping_add(expected[2]), "{}", program);
    }
}

#[test]
fn network_order_swaps_bytes_and_host_order_truncates() {
    let swapped = |bits| {
        result(|b| {
            let value = b.value(0x0102_0304_0506_0708i64);
            value.to_be(bits);
            value
        })
    };
    assert_eq!(swapped(EndianBits::B16), 0x0807);
    assert_eq!(swapped(EndianBits::B32), 0x0807_0605);
    assert_eq!(swapped(EndianBits::B64), 0x0807_0605_0403_0201);
    let cut = result(|b| {
        let value = b.value(0x0102_0304_0506_0708i64);
        value.to_le(EndianBits::B16);
        value
    });
    assert_eq!(cut, 0x0708);
}
