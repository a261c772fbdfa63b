//! rbpf's opinion, and where it is another one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bpf_asm::insn::{Alu, AluOp, Insn, Register, Source, Width};

use super::case::{self, Case};

/// What rbpf says to a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Opinion {
    /// The same as Rust.
    Same,
    /// Other numbers.
    Differs,
    /// It does not run it.
    Refuses,
    /// It ends the process that asked.
    Panics,
}

fn opinion(case: &Case) -> Opinion {
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
        Err(_) => Opinion::Panics,
        Ok(Err(_)) => Opinion::Refuses,
        Ok(Ok(_)) if case.wrong(&memory).is_empty() => Opinion::Same,
        Ok(Ok(_)) => Opinion::Differs,
    }
}

/// Where rbpf is not to be trusted: what it says, why, and the cases by their text on the first
/// pair.
const KNOWN: &[(Opinion, &str, &[&str])] = &[
    (
        Opinion::Differs,
        "it does not extend the sign of an immediate in unsigned 64-bit comparisons",
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
        Opinion::Differs,
        "it leaves the upper half of a 32-bit modulo by zero as it was",
        &["w1 %= w2"],
    ),
    (
        Opinion::Differs,
        "it runs the signed divisions of v4 as unsigned ones",
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
        Opinion::Differs,
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
        Opinion::Refuses,
        "it does not know the other instructions of v4",
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
        Opinion::Refuses,
        "it does not know what came after v4",
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
        Opinion::Refuses,
        "it does not know atomic operations, not even additions",
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
fn rbpf_computes_what_rust_computes_but_for_what_is_known() {
    // What an operation gives back goes the way of the operation.
    let cases: Vec<Case> =
        case::all().into_iter().filter(|case| !case.name.starts_with("what ")).collect();
    let opinions = cases.iter().map(|case| (case.name.as_str(), opinion(case)));
    let found: BTreeMap<&str, Opinion> =
        opinions.filter(|(_, opinion)| *opinion != Opinion::Same).collect();
    let known: BTreeMap<&str, Opinion> = KNOWN
        .iter()
        .flat_map(|(opinion, _, names)| names.iter().map(|name| (*name, *opinion)))
        .collect();
    for (name, opinion) in &found {
        assert_eq!(
            known.get(name),
            Some(opinion),
            "`{name}`: rbpf is not to be trusted with it, and nobody knew"
        );
    }
    for (name, opinion) in &known {
        assert_eq!(
            found.get(name),
            Some(opinion),
            "`{name}`: rbpf has learnt it; take it out of the table"
        );
    }
    println!("rbpf agrees on {} of {} forms", cases.len() - found.len(), cases.len());
}
