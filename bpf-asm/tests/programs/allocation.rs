//! Whatever values there are and however long they live, each keeps its content.

use std::cell::RefCell;

use bpf_asm::{Builder, Call, ProgramType, Reg};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::anything::reads_only_initialised_registers;
use crate::choices::Choices;
use crate::machine::{DIGITS, run};

/// So many values are alive at once that most of them have no register.
const VALUES: usize = 17;

/// What a program does.
enum Act {
    Set(usize, i64),
    Copy(usize, usize),
    Add(usize, usize),
    Xor(usize, i64),
    /// A value gets what a function makes of two digits, and registers are lost.
    Call(usize, [usize; 2]),
    If([usize; 2], Vec<Act>, Vec<Act>),
    Three(Vec<Act>),
}

fn acts(choices: &mut Choices, depth: usize) -> Vec<Act> {
    let count = choices.of(if depth == 0 { 40 } else { 8 });
    (0..count).map(|_| act(choices, depth)).collect()
}

fn act(choices: &mut Choices, depth: usize) -> Act {
    let [a, b, c] = [(); 3].map(|()| choices.of(VALUES));
    match choices.of(if depth < 3 { 9 } else { 6 }) {
        0 => Act::Set(a, choices.of(100) as i64),
        1 => Act::Copy(a, b),
        2 | 3 => Act::Add(a, b),
        4 => Act::Xor(a, choices.of(100) as i64),
        5 => Act::Call(a, [b, c]),
        6 | 7 => Act::If([a, b], acts(choices, depth + 1), acts(choices, depth + 1)),
        _ => Act::Three(acts(choices, depth + 1)),
    }
}

fn write(b: &Builder, values: &[Reg], acts: &[Act]) {
    for act in acts {
        match act {
            Act::Set(to, number) => values[*to].set(*number),
            Act::Copy(to, from) => values[*to].set(&values[*from]),
            Act::Add(to, from) => values[*to].add(&values[*from]),
            Act::Xor(to, number) => values[*to].xor(*number),
            Act::Call(to, [one, other]) => {
                let digits = [one, other].map(|value| {
                    let digit = b.value(&values[*value]);
                    digit.and(7);
                    digit
                });
                let args = digits.iter().map(Into::into).chain([0, 0, 0].map(Into::into));
                values[*to].set(b.call(Call::<Reg>::raw(DIGITS, args.collect())));
            }
            Act::If([left, right], then, otherwise) => b.when_else(
                values[*left].le(&values[*right]),
                || write(b, values, then),
                || write(b, values, otherwise),
            ),
            Act::Three(acts) => {
                let (rounds, again) = (b.value(3), b.label());
                b.place(&again);
                write(b, values, acts);
                rounds.sub(1);
                b.jump_if(rounds.ne(0), &again);
            }
        }
    }
}

fn compute(values: &mut [u64], acts: &[Act]) {
    for act in acts {
        match act {
            Act::Set(to, number) => values[*to] = *number as u64,
            Act::Copy(to, from) => values[*to] = values[*from],
            Act::Add(to, from) => values[*to] = values[*to].wrapping_add(values[*from]),
            Act::Xor(to, number) => values[*to] ^= *number as u64,
            Act::Call(to, [one, other]) => {
                let [one, other] = [one, other].map(|value| values[*value] & 7);
                values[*to] = (one * 100 + other) * 1_000_000;
            }
            Act::If([left, right], then, otherwise) => {
                let acts = if values[*left] <= values[*right] { then } else { otherwise };
                compute(values, acts);
            }
            Act::Three(acts) => (0..3).for_each(|_| compute(values, acts)),
        }
    }
}

#[test]
fn values_keep_their_content_in_registers_and_in_the_frame() {
    let config =
        ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let spilled = RefCell::new(0);
    let result =
        TestRunner::new(config).run(&proptest::collection::vec(any::<u32>(), 20..400), |choices| {
            let acts = acts(&mut Choices::new(choices), 0);
            let b = Builder::new("values");
            let values: Vec<Reg> = (0..VALUES).map(|n| b.value(n)).collect();
            write(&b, &values, &acts);
            let sum = b.value(0);
            for value in &values {
                sum.mul(31);
                sum.add(value);
            }
            b.ret(&sum);
            let mut expected: Vec<u64> = (0..VALUES as u64).collect();
            compute(&mut expected, &acts);
            let expected =
                expected.iter().fold(0u64, |sum, value| sum.wrapping_mul(31).wrapping_add(*value));
            let written = b.clone().finish_as_written(ProgramType::SocketFilter);
            for program in [written, b.finish(ProgramType::SocketFilter)] {
                let program = program.map_err(|errors| TestCaseError::fail(errors.to_string()))?;
                prop_assert_eq!(run(&program, &mut []), expected, "{}", program);
                let insns: Vec<_> = program.insns().map(|(slot, insn, _)| (slot, insn)).collect();
                prop_assert_eq!(reads_only_initialised_registers(&insns), Ok(()), "{}", program);
                *spilled.borrow_mut() += usize::from(program.to_string().contains("(r10 -8) = r"));
            }
            Ok(())
        });
    assert_eq!(result, Ok(()));
    assert!(*spilled.borrow() > 150, "only {} programs have spilled values", spilled.borrow());
}

/// A value that is made from a number takes no memory: it is made again.
#[test]
fn numbers_and_maps_are_made_again_where_they_are_used() {
    let b = Builder::new("again");
    let numbers: Vec<Reg> = (1..=12).map(|n| b.value(n)).collect();
    let sum = b.call(Call::<Reg>::raw(DIGITS, [1, 0, 0, 0, 0].map(Into::into).to_vec()));
    numbers.iter().for_each(|number| sum.add(number));
    b.ret(&sum);
    let program = b.finish_as_written(ProgramType::SocketFilter).unwrap();
    assert!(!program.to_string().contains("r10"), "{program}");
    assert_eq!(run(&program, &mut []), 100_000_000 + 78);
}
