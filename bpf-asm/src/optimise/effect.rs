//! What an instruction reads and writes.

use crate::insn::{AluOp, AtomicOp, Insn, Register, Source};
use crate::step::{Step, Target};

/// A set of registers, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Registers(u16);

impl Registers {
    pub(super) const NONE: Registers = Registers(0);
    const ALL: Registers = Registers(0x7ff);

    /// r0 to r5, which calls destroy.
    const TEMPORARY: Registers = Registers(0x3f);

    pub(super) fn of(register: Register) -> Registers {
        Registers(1 << register.number())
    }

    /// The first so many of r1 to r5.
    fn arguments(count: usize) -> Registers {
        Registers(((1 << count.min(Register::ARGUMENTS.len())) - 1) << 1)
    }

    fn of_source(source: Source) -> Registers {
        match source {
            Source::Reg(register) => Registers::of(register),
            Source::Imm(_) => Registers::NONE,
        }
    }

    pub(super) fn with(self, other: Registers) -> Registers {
        Registers(self.0 | other.0)
    }

    pub(super) fn without(self, other: Registers) -> Registers {
        Registers(self.0 & !other.0)
    }

    /// Their numbers.
    pub(super) fn numbers(self) -> impl Iterator<Item = usize> {
        (0..11).filter(move |number| self.0 >> number & 1 != 0)
    }

    pub(super) fn has(self, register: Register) -> bool {
        self.0 >> register.number() & 1 != 0
    }

    pub(super) fn meets(self, other: Registers) -> bool {
        self.0 & other.0 != 0
    }
}

/// What an instruction does to registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effect {
    pub(super) reads: Registers,
    /// Registers that may have another content afterwards.
    pub(super) changes: Registers,
    /// Of those, the ones whose earlier content is lost in any case.
    pub(super) replaces: Registers,
    /// Whether it does nothing but to give registers a content.
    pub(super) pure: bool,
}

impl Effect {
    /// Gives `to` a content that depends on what is read.
    fn makes(to: Register, reads: Registers) -> Effect {
        Effect { reads, changes: Registers::of(to), replaces: Registers::of(to), pure: true }
    }

    /// Does something else.
    fn does(reads: Registers, changes: Registers) -> Effect {
        Effect { reads, changes, replaces: changes, pure: false }
    }
}

pub(super) fn effect(step: &Step) -> Effect {
    let (of, of_source) = (Registers::of, Registers::of_source);
    match step.insn {
        Insn::Alu(alu) if alu.op == AluOp::Mov => Effect::makes(alu.dst, of_source(alu.src)),
        Insn::Alu(alu) => Effect::makes(alu.dst, of(alu.dst).with(of_source(alu.src))),
        Insn::Endian(endian) => Effect::makes(endian.dst, of(endian.dst)),
        Insn::Load(load) => Effect::makes(load.dst, of(load.base)),
        Insn::Wide(wide) => Effect::makes(wide.dst, Registers::NONE),
        Insn::Store(store) => Effect::does(of(store.base).with(of_source(store.src)), Registers::NONE),
        Insn::Atomic(atomic) => {
            let reads = of(atomic.base).with(of(atomic.src));
            match atomic.op {
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => Effect::does(reads, Registers::NONE),
                AtomicOp::CompareExchange => Effect::does(reads.with(of(Register::R0)), of(Register::R0)),
                _ => Effect::does(reads, of(atomic.src)),
            }
        }
        Insn::Call(_) => {
            let passed = match step.target {
                Target::Helper { arguments } | Target::Function { arguments, .. } => arguments,
                _ => Register::ARGUMENTS.len(),
            };
            Effect::does(Registers::arguments(passed), Registers::TEMPORARY)
        }
        Insn::Jump(_) | Insn::MayGoto(_) => Effect::does(Registers::NONE, Registers::NONE),
        Insn::JumpIf(jump) => Effect::does(of(jump.dst).with(of_source(jump.src)), Registers::NONE),
        Insn::Exit => Effect::does(of(Register::R0), Registers::NONE),
        // What the builder does not write may do anything.
        _ => Effect { reads: Registers::ALL, changes: Registers::ALL, replaces: Registers::NONE, pure: false },
    }
}
