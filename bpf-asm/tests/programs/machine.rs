//! Runs programs in rbpf.

use bpf_asm::{Builder, Program, ProgramType, Reg};

/// The helper that rbpf has as number 1000: its arguments, each a digit of the result.
pub const DIGITS: i32 = 1000;

fn digits(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    [a, b, c, d, e].iter().fold(0, |sum, digit| sum * 100 + digit)
}

/// Finishes a program without optimisation; `optimised` compares its result with the optimised
/// one's.
pub fn finish(b: Builder) -> Program {
    b.finish_as_written(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Runs a program with this memory as its context, and returns its result.
pub fn run(program: &Program, memory: &mut [u8]) -> u64 {
    let bytes = program.for_rbpf(|_| 0);
    let mut machine =
        rbpf::EbpfVmRaw::new(Some(&bytes)).unwrap_or_else(|error| panic!("{error}\n{program}"));
    machine.register_helper(DIGITS as u32, digits).unwrap();
    machine.execute_program(memory).unwrap_or_else(|error| panic!("{error}\n{program}"))
}

/// Runs a program that computes one value, and returns it.
pub fn result(write: impl FnOnce(&Builder) -> Reg) -> u64 {
    let b = Builder::new("result");
    let value = write(&b);
    b.ret(&value);
    run(&finish(b), &mut [])
}
