//! The cases in rbpf, and where it differs.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bpf_asm::insn::{Alu, AluOp, Insn, Register, Source, Width};

use super::case::{self, Case};

/// The result of a case in rbpf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The same as in Rust.
    Same,
    /// Other numbers.
    Differs,
    /// An error.
    Refuses,
    /// It ends the process.
    Panics,
}

fn outcome(case: &Case) -> Outcome {
    let entry = Alu {
        width: Width::W64,
        op: AluOp::Mov,
        dst: Register::R6,
        src: Source::Reg(Register::R1),
    };
    let program = case.program(Insn::Alu(entry));
    let mut memory = case.memory();
    let run = catch_unwind(AssertUnwindSafe(|| {
        let machine = rbpf::EbpfVmRaw::new(Some(&program))?;
        machine.execute_program(&mut memory)
    }));
    match run {
        Err(_) => Outcome::Panics,
        Ok(Err(_)) => Outcome::Refuses,
        Ok(Ok(_)) if case.wrong(&memory).is_empty() => Outcome::Same,
        Ok(Ok(_)) => Outcome::Differs,
    }
}

/// Where rbpf is wrong: its result, the reason, and the cases by their text for the first pair.
const KNOWN: &[(Outcome, &str, &[&str])] = &[
    (
        Outcome::Differs,
        "it does not sign-extend an immediate in unsigned 64-bit comparisons",
        &[
            "if r1 == 0x0 goto pc+1",
            "if r1 != 0x0 goto pc+1",
            "if r1 > 0x0 goto pc+1",
            "if r1 >= 0x0 goto pc+1",
            "if r1 < 0x0 goto pc+1",
            "if r1 <= 0x0 goto pc+1",
        ],
    ),
    (
        Outcome::Differs,
        "it does not clear the upper half in a 32-bit modulo by zero",
        &["w1 %= w2"],
    ),
    (
        Outcome::Differs,
        "it runs the signed divisions of v4 as unsigned",
        &[
            "r1 s/= r2",
            "r1 s/= 1",
            "r1 s%= r2",
            "r1 s%= 1",
            "w1 s/= w2",
            "w1 s/= 1",
            "w1 s%= w2",
            "w1 s%= 1",
        ],
    ),
    (
        Outcome::Differs,
        "it runs the sign-extending moves of v4 as moves",
        &[
            "r1 = (s8)r1",
            "r1 = (s16)r1",
            "r1 = (s32)r1",
            "w1 = (s8)w1",
            "w1 = (s16)w1",
            "r1 = (s8)r2",
            "r1 = (s16)r2",
            "r1 = (s32)r2",
            "w1 = (s8)w2",
            "w1 = (s16)w2",
        ],
    ),
    (
        Outcome::Refuses,
        "it does not support the other instructions of v4",
        &[
            "r1 = bswap16 r1",
            "r1 = bswap32 r1",
            "r1 = bswap64 r1",
            "r1 = *(s8 *)(r10 -16)",
            "r1 = *(s16 *)(r10 -16)",
            "r1 = *(s32 *)(r10 -16)",
            "gotol pc+2",
        ],
    ),
    (
        Outcome::Refuses,
        "it does not support instructions after v4",
        &[
            "may_goto pc+2",
            "r1 = load_acquire((u8 *)(r10 -16))",
            "r1 = load_acquire((u16 *)(r10 -16))",
            "r1 = load_acquire((u32 *)(r10 -16))",
            "r1 = load_acquire((u64 *)(r10 -16))",
            "store_release((u8 *)(r10 -16), r2)",
            "store_release((u16 *)(r10 -16), r2)",
            "store_release((u32 *)(r10 -16), r2)",
            "store_release((u64 *)(r10 -16), r2)",
        ],
    ),
    (
        Outcome::Refuses,
        "it supports no atomic operations",
        &[
            "lock *(u32 *)(r10 -16) += r2",
            "lock *(u32 *)(r10 -16) |= r2",
            "lock *(u32 *)(r10 -16) &= r2",
            "lock *(u32 *)(r10 -16) ^= r2",
            "lock *(u64 *)(r10 -16) += r2",
            "lock *(u64 *)(r10 -16) |= r2",
            "lock *(u64 *)(r10 -16) &= r2",
            "lock *(u64 *)(r10 -16) ^= r2",
            "r2 = atomic_fetch_add((u32 *)(r10 -16), r2)",
            "r2 = atomic_fetch_or((u32 *)(r10 -16), r2)",
            "r2 = atomic_fetch_and((u32 *)(r10 -16), r2)",
            "r2 = atomic_fetch_xor((u32 *)(r10 -16), r2)",
            "r2 = atomic_xchg((u32 *)(r10 -16), r2)",
            "r0 = atomic_cmpxchg((u32 *)(r10 -16), r0, r2)",
            "r2 = atomic64_fetch_add((u64 *)(r10 -16), r2)",
            "r2 = atomic64_fetch_or((u64 *)(r10 -16), r2)",
            "r2 = atomic64_fetch_and((u64 *)(r10 -16), r2)",
            "r2 = atomic64_fetch_xor((u64 *)(r10 -16), r2)",
            "r2 = atomic64_xchg((u64 *)(r10 -16), r2)",
            "r0 = atomic64_cmpxchg((u64 *)(r10 -16), r0, r2)",
        ],
    ),
];

#[test]
fn rbpf_computes_the_same_as_rust_except_for_known_differences() {
    // The result of an atomic operation depends on the operation itself, which is in the table.
    let cases: Vec<Case> =
        case::all().into_iter().filter(|case| !case.name.starts_with("result of ")).collect();
    let outcomes = cases.iter().map(|case| (case.name.as_str(), outcome(case)));
    let found: BTreeMap<&str, Outcome> =
        outcomes.filter(|(_, outcome)| *outcome != Outcome::Same).collect();
    let known: BTreeMap<&str, Outcome> = KNOWN
        .iter()
        .flat_map(|(outcome, _, names)| names.iter().map(|name| (*name, *outcome)))
        .collect();
    for (name, outcome) in &found {
        assert_eq!(
            known.get(name),
            Some(outcome),
            "`{name}`: rbpf has a new difference; add it to the table"
        );
    }
    for (name, outcome) in &known {
        assert_eq!(
            found.get(name),
            Some(outcome),
            "`{name}`: rbpf now agrees; remove it from the table"
        );
    }
    println!("rbpf agrees on {} of {} forms", cases.len() - found.len(), cases.len());
}
