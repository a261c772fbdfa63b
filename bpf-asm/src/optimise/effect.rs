//! What an instruction reads and writes.

use crate::insn::{AluOp, AtomicOp, Insn, Register, Source};
use crate::step::{Step, Target};

/// A set of registers, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Registers(u16);

impl Registers {
    pub(super) const NONE: Registers = Registers(0);
    const ALL: Registers = Registers(0x7ff);

    pub(super) fn of(registers: &[Register]) -> Registers {
        registers.iter().fold(Registers::NONE, |set, register| set.with(Registers(1 << register.number())))
    }

    pub(super) fn with(self, other: Registers) -> Registers {
        Registers(self.0 | other.0)
    }

    pub(super) fn without(self, other: Registers) -> Registers {
        Registers(self.0 & !other.0)
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
    fn new(reads: &[Register], writes: &[Register], pure: bool) -> Effect {
        let writes = Registers::of(writes);
        Effect { reads: Registers::of(reads), changes: writes, replaces: writes, pure }
    }

    fn reading(self, source: Source) -> Effect {
        match source {
            Source::Reg(register) => Effect { reads: self.reads.with(Registers::of(&[register])), ..self },
            Source::Imm(_) => self,
        }
    }
}

pub(super) fn effect(step: &Step) -> Effect {
    match step.insn {
        Insn::Alu(alu) if alu.op == AluOp::Mov => Effect::new(&[], &[alu.dst], true).reading(alu.src),
        Insn::Alu(alu) => Effect::new(&[alu.dst], &[alu.dst], true).reading(alu.src),
        Insn::Endian(endian) => Effect::new(&[endian.dst], &[endian.dst], true),
        Insn::Load(load) => Effect::new(&[load.base], &[load.dst], true),
        Insn::Wide(wide) => Effect::new(&[], &[wide.dst], true),
        Insn::Store(store) => Effect::new(&[store.base], &[], false).reading(store.src),
        Insn::Atomic(atomic) => match atomic.op {
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {
                Effect::new(&[atomic.base, atomic.src], &[], false)
            }
            AtomicOp::CompareExchange => Effect::new(&[atomic.base, atomic.src, Register::R0], &[Register::R0], false),
            _ => Effect::new(&[atomic.base, atomic.src], &[atomic.src], false),
        },
        Insn::Call(_) => {
            let passed = match step.target {
                Target::Helper { arguments } | Target::Function { arguments, .. } => arguments,
                _ => Register::ARGUMENTS.len(),
            };
            Effect::new(&Register::ARGUMENTS[..passed.min(Register::ARGUMENTS.len())], &Register::TEMPORARY, false)
        }
        Insn::Jump(_) => Effect::new(&[], &[], false),
        Insn::JumpIf(jump) => Effect::new(&[jump.dst], &[], false).reading(jump.src),
        Insn::Exit => Effect::new(&[Register::R0], &[], false),
        // What is not known to this file may do anything.
        #[allow(unreachable_patterns)]
        _ => Effect { reads: Registers::ALL, changes: Registers::ALL, replaces: Registers::NONE, pure: false },
    }
}
