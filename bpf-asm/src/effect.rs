//! Which registers an instruction reads and writes.

use crate::insn::{AluOp, AtomicOp, Call, Insn, Register, Source};

/// A set of registers, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Registers(u16);

impl Registers {
    pub(crate) const NONE: Registers = Registers(0);
    /// r0 to r5, which calls clobber.
    pub(crate) const TEMPORARY: Registers = Registers(0x3f);

    pub(crate) fn of(register: Register) -> Registers {
        Registers(1 << register.number())
    }

    /// The first `count` of r1 to r5.
    fn arguments(count: usize) -> Registers {
        Registers(((1 << count.min(Register::ARGUMENTS.len())) - 1) << 1)
    }

    fn of_source(source: Source) -> Registers {
        match source {
            Source::Reg(register) => Registers::of(register),
            Source::Imm(_) => Registers::NONE,
        }
    }

    pub(crate) fn with(self, other: Registers) -> Registers {
        Registers(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Registers) -> Registers {
        Registers(self.0 & !other.0)
    }

    /// Their numbers.
    pub(crate) fn numbers(self) -> impl Iterator<Item = usize> {
        (0..11).filter(move |number| self.0 >> number & 1 != 0)
    }

    pub(crate) fn has(self, register: Register) -> bool {
        self.0 >> register.number() & 1 != 0
    }

    pub(crate) fn meets(self, other: Registers) -> bool {
        self.0 & other.0 != 0
    }
}

/// The effect of an instruction on registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect {
    pub(crate) reads: Registers,
    /// Registers that may be written.
    pub(crate) changes: Registers,
    /// Those of them that are always overwritten.
    pub(crate) replaces: Registers,
    /// Whether writing registers is its only effect.
    pub(crate) pure: bool,
}

impl Effect {
    /// Writes `to`, depending on `reads` alone.
    fn pure(to: Register, reads: Registers) -> Effect {
        Effect { reads, changes: Registers::of(to), replaces: Registers::of(to), pure: true }
    }

    /// Has other effects as well.
    fn impure(reads: Registers, changes: Registers) -> Effect {
        Effect { reads, changes, replaces: changes, pure: false }
    }
}

/// The effect of an instruction; a call passes this many arguments.
pub(crate) fn effect(insn: &Insn, passed: usize) -> Effect {
    let (of, of_source) = (Registers::of, Registers::of_source);
    match *insn {
        Insn::Alu(alu) if alu.op == AluOp::Mov => Effect::pure(alu.dst, of_source(alu.src)),
        Insn::Alu(alu) if alu.op == AluOp::Neg => Effect::pure(alu.dst, of(alu.dst)),
        Insn::Alu(alu) => Effect::pure(alu.dst, of(alu.dst).with(of_source(alu.src))),
        Insn::Endian(endian) => Effect::pure(endian.dst, of(endian.dst)),
        Insn::SignExtend(extend) => Effect::pure(extend.dst, of(extend.src)),
        Insn::AddressSpaceCast(cast) => Effect::pure(cast.dst, of(cast.src)),
        Insn::Load(load) => Effect::pure(load.dst, of(load.base)),
        Insn::LoadSigned(load) => Effect::pure(load.dst, of(load.base)),
        Insn::LoadAcquire(load) => Effect::impure(of(load.base), of(load.dst)),
        // The program returns if the offset is past the end of the packet.
        Insn::Packet(packet) => {
            let index = packet.index.map_or(Registers::NONE, of);
            Effect::impure(of(Register::R6).with(index), Registers::TEMPORARY)
        }
        Insn::Wide(wide) => Effect::pure(wide.dst, Registers::NONE),
        Insn::Store(store) => {
            Effect::impure(of(store.base).with(of_source(store.src)), Registers::NONE)
        }
        Insn::StoreRelease(store) => {
            Effect::impure(of(store.base).with(of(store.src)), Registers::NONE)
        }
        Insn::Atomic(atomic) => {
            let reads = of(atomic.base).with(of(atomic.src));
            match atomic.op {
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {
                    Effect::impure(reads, Registers::NONE)
                }
                AtomicOp::CompareExchange => {
                    Effect::impure(reads.with(of(Register::R0)), of(Register::R0))
                }
                _ => Effect::impure(reads, of(atomic.src)),
            }
        }
        Insn::Call(call) => {
            let callee = match call {
                Call::Register(register) => of(register),
                _ => Registers::NONE,
            };
            Effect::impure(Registers::arguments(passed).with(callee), Registers::TEMPORARY)
        }
        Insn::Jump(_) | Insn::JumpLong(_) | Insn::MayGoto(_) => {
            Effect::impure(Registers::NONE, Registers::NONE)
        }
        Insn::JumpRegister(jump) => Effect::impure(of(jump.target), Registers::NONE),
        Insn::JumpIf(jump) => {
            Effect::impure(of(jump.dst).with(of_source(jump.src)), Registers::NONE)
        }
        Insn::Exit => Effect::impure(of(Register::R0), Registers::NONE),
    }
}
