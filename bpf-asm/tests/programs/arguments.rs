use bpf_asm::insn::{self, Insn};
use bpf_asm::{Arg, Builder, Call, KernelField, Ptr, Reg, kfunc, sock};

use crate::machine::{DIGITS, finish, run};

/// All ways to fill five arguments from the six temporary registers and a number, 7^5 programs,
/// including every permutation, cycle and repetition.
#[test]
fn arguments_arrive_from_any_registers() {
    for choice in 0..7usize.pow(5) {
        let b = Builder::new("arguments");
        let values: Vec<Reg> = (0..6).map(|n| b.value(10 + n)).collect();
        let chosen: Vec<usize> = (0..5).map(|position| choice / 7usize.pow(position) % 7).collect();
        let args: Vec<Arg> =
            chosen.iter().map(|&n| values.get(n).map_or(Arg::from(77), Arg::from)).collect();
        let expected =
            chosen.iter().fold(0, |sum, &n| sum * 100 + if n < 6 { 10 + n as u64 } else { 77 });
        let sum = b.call(Call::<Reg>::raw(DIGITS, args));
        b.ret(&sum);
        let program = finish(b);
        assert_eq!(run(&program, &mut []), expected, "{chosen:?}\n{program}");
    }
}

#[test]
fn a_call_moves_no_argument_that_is_already_in_place() {
    let b = Builder::new("arguments");
    let (first, second) = (b.value(1), b.value(2));
    let sum = b.call(Call::<Reg>::raw(DIGITS, vec![first.into(), second.into()]));
    b.ret(sum);
    assert_eq!(finish(b).slots(), 2 + 1 + 1);
}

#[test]
fn addresses_are_computed_after_their_registers_have_moved() {
    let b = Builder::new("arguments");
    // r1 and r2 are pointers into memory at a known distance; they swap and are then advanced.
    let (first, second) = (b.value(10).cast::<u64>(), b.value(20).cast::<u64>());
    let args = vec![
        second.offset::<u8>(3).into(),
        first.offset::<u8>(-4).into(),
        first.offset::<u8>(0).into(),
        0.into(),
        0.into(),
    ];
    let sum = b.call(Call::<Reg>::raw(DIGITS, args));
    b.ret(&sum);
    assert_eq!(run(&finish(b), &mut []) / 10_000, 23_06_10);
}

/// Like a helper call: temporaries are clobbered, and r0 has the result.
#[test]
fn a_kfunc_is_called_by_its_id_and_returns_a_pointer_to_load_from() {
    const CAST: u32 = 0x8000_0007;
    let b = Builder::new("arguments");
    let address = b.value(4096);
    let seen: Ptr<sock> = b.call(kfunc::rdonly_cast(CAST, &address, 55));
    let field = KernelField { structure: 55, offset: 12, size: 4, signed: false, bitfield: None };
    b.ret(b.load(seen.member(field)));
    let program = finish(b);
    let text: Vec<String> = program.insns().map(|(_, insn, _)| insn.to_string()).collect();
    assert_eq!(
        text,
        [
            "r1 = 4096",
            "r2 = 55",
            "call kernel-function#-2147483641",
            "r0 = *(u32 *)(r0 +12)",
            "exit"
        ],
        "{program}"
    );
    let call = Insn::Call(insn::Call::Kernel { id: CAST as i32, btf: 0 });
    assert!(program.insns().any(|(_, insn, _)| insn == call));
}
