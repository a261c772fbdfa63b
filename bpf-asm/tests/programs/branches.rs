use bpf_asm::{Builder, Condition, Reg};

use crate::machine::{finish, run};

type Ask = fn(&Reg, &Reg) -> Condition;
type Answer = fn(u64, u64) -> bool;

const COMPARISONS: [(&str, Ask, Answer); 22] = [
    ("eq", |a, b| a.eq(b), |a, b| a == b),
    ("ne", |a, b| a.ne(b), |a, b| a != b),
    ("gt", |a, b| a.gt(b), |a, b| a > b),
    ("ge", |a, b| a.ge(b), |a, b| a >= b),
    ("lt", |a, b| a.lt(b), |a, b| a < b),
    ("le", |a, b| a.le(b), |a, b| a <= b),
    ("sgt", |a, b| a.sgt(b), |a, b| a as i64 > b as i64),
    ("sge", |a, b| a.sge(b), |a, b| a as i64 >= b as i64),
    ("slt", |a, b| a.slt(b), |a, b| (a as i64) < b as i64),
    ("sle", |a, b| a.sle(b), |a, b| a as i64 <= b as i64),
    ("has", |a, b| a.has(b), |a, b| a & b != 0),
    ("eq32", |a, b| a.eq32(b), |a, b| a as u32 == b as u32),
    ("ne32", |a, b| a.ne32(b), |a, b| a as u32 != b as u32),
    ("gt32", |a, b| a.gt32(b), |a, b| a as u32 > b as u32),
    ("ge32", |a, b| a.ge32(b), |a, b| a as u32 >= b as u32),
    ("lt32", |a, b| a.lt32(b), |a, b| (a as u32) < b as u32),
    ("le32", |a, b| a.le32(b), |a, b| a as u32 <= b as u32),
    ("sgt32", |a, b| a.sgt32(b), |a, b| a as i32 > b as i32),
    ("sge32", |a, b| a.sge32(b), |a, b| a as i32 >= b as i32),
    ("slt32", |a, b| a.slt32(b), |a, b| (a as i32) < b as i32),
    ("sle32", |a, b| a.sle32(b), |a, b| a as i32 <= b as i32),
    ("has32", |a, b| a.has32(b), |a, b| a as u32 & b as u32 != 0),
];

const OPERANDS: [u64; 8] = [0, 1, 2, u64::MAX, 1 << 31, 1 << 32, (1 << 32) + 1, i64::MIN as u64];

#[test]
fn every_comparison_branches_both_ways_as_its_name_says() {
    for (name, ask, answer) in COMPARISONS {
        for left in OPERANDS {
            for right in OPERANDS {
                let b = Builder::new("compare");
                let (a, c) = (b.value(left), b.value(right));
                // Bit 0: a structured branch, which jumps if the condition fails; bit 1: a jump if
                // it holds.
                let (found, yes, end) = (b.value(0), b.label(), b.label());
                b.when(ask(&a, &c), || found.or(1));
                b.jump_if(ask(&a, &c), &yes);
                b.jump(&end);
                b.place(&yes);
                found.or(2);
                b.place(&end);
                b.ret(&found);
                let expected = if answer(left, right) { 3 } else { 0 };
                assert_eq!(run(&finish(b), &mut []), expected, "{left:#x} {name} {right:#x}");
            }
        }
    }
}

/// All trees of `and` and `or` over three comparisons, as a branch and as a jump.
#[test]
fn joined_conditions_follow_boolean_logic() {
    type Join = fn([Condition; 3]) -> Condition;
    type Logic = fn([bool; 3]) -> bool;
    let trees: [(Join, Logic); 8] = [
        (|[a, b, c]| a.and(b).and(c), |[a, b, c]| a && b && c),
        (|[a, b, c]| a.or(b).or(c), |[a, b, c]| a || b || c),
        (|[a, b, c]| a.and(b).or(c), |[a, b, c]| a && b || c),
        (|[a, b, c]| a.or(b).and(c), |[a, b, c]| (a || b) && c),
        (|[a, b, c]| a.and(b.or(c)), |[a, b, c]| a && (b || c)),
        (|[a, b, c]| a.or(b.and(c)), |[a, b, c]| a || b && c),
        (|[a, b, c]| a.and(b.and(c)), |[a, b, c]| a && b && c),
        (|[a, b, c]| a.or(b.or(c)), |[a, b, c]| a || b || c),
    ];
    for (number, (join, logic)) in trees.into_iter().enumerate() {
        for bits in 0..8u8 {
            let answers = [0, 1, 2].map(|n| bits >> n & 1 == 1);
            let b = Builder::new("joined");
            let value = b.value(bits);
            // `has` has no opposite instruction, so it needs an additional jump.
            let ask = || [value.has(1), value.has(2), value.has(4)];
            let (found, yes, end) = (b.value(0), b.label(), b.label());
            b.when_else(join(ask()), || found.or(1), || found.or(4));
            b.jump_if(join(ask()), &yes);
            b.jump(&end);
            b.place(&yes);
            found.or(2);
            b.place(&end);
            b.ret(&found);
            let expected = if logic(answers) { 3 } else { 4 };
            assert_eq!(run(&finish(b), &mut []), expected, "tree {number}, {answers:?}");
        }
    }
}

#[test]
fn a_chain_of_conditions_may_be_long() {
    const LENGTH: i64 = 10_000;
    for (value, expected) in [(0, 3), (LENGTH / 2, 0)] {
        let b = Builder::new("chain");
        let (value, found) = (b.value(value), b.value(0));
        let different = || (1..LENGTH).map(|n| value.ne(n));
        let left = different().reduce(Condition::and).expect("many");
        let right = different().rev().reduce(|chain, first| first.and(chain)).expect("many");
        b.when(left.clone(), || found.or(1));
        assert_eq!(format!("{right:?}").matches("Compare {").count(), LENGTH as usize - 1);
        b.when(right, || found.or(2));
        let equal = (1..LENGTH).map(|n| value.eq(n)).reduce(Condition::or).expect("many");
        b.when(equal, || found.set(0));
        b.ret(&found);
        assert_eq!(run(&finish(b), &mut []), expected);
    }
}

#[test]
fn a_loop_runs_until_its_condition_fails() {
    let b = Builder::new("sum");
    let (sum, n) = (b.value(0), b.value(10));
    let again = b.label();
    b.place(&again);
    sum.add(&n);
    n.sub(1);
    b.jump_if(n.ne(0), &again);
    b.ret(&sum);
    assert_eq!(run(&finish(b), &mut []), 55);
}

#[test]
fn a_branch_that_returns_leaves_the_other_path_as_it_was() {
    let b = Builder::new("early");
    let (value, condition) = (b.value(5), b.value(0));
    b.when(condition.ne(0), || {
        let lost = b.call(bpf_asm::helper::ktime_get_ns());
        b.ret(lost);
    });
    b.ret(&value);
    let program = finish(b);
    assert!(program.to_string().contains("call bpf_ktime_get_ns#5"));
    assert_eq!(program.insns().count(), 6, "{program}");
}

#[test]
fn a_value_set_on_both_branches_can_be_read_after_them() {
    for (condition, expected) in [(0, 2), (1, 1)] {
        let b = Builder::new("both");
        let (value, asked) = (b.value(0), b.value(condition));
        b.when_else(asked.eq(1), || value.set(1), || value.set(2));
        b.ret(&value);
        assert_eq!(run(&finish(b), &mut []), expected);
    }
}
