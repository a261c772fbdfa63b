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
    /// Registers whose earlier content is lost.
    pub(crate) changes: Registers,
    /// Whether it does nothing but to give registers a content.
    pub(crate) pure: bool,
}

/// How an instruction uses a register that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Reads,
    Writes,
    /// It reads and then writes it.
    Changes,
}

/// A register that an instruction names.
pub(crate) type Field<'a> = Option<(&'a mut Register, Use)>;

/// The registers that an instruction names, in the destination field and in the source field of its
/// encoding.
pub(crate) fn named(insn: &mut Insn) -> [Field<'_>; 2] {
    use Use::{Changes, Reads, Writes};
    fn source(source: &mut Source) -> Field<'_> {
        match source {
            Source::Reg(register) => Some((register, Reads)),
            Source::Imm(_) => None,
        }
    }
    match insn {
        Insn::Alu(alu) => match alu.op {
            AluOp::Mov => [Some((&mut alu.dst, Writes)), source(&mut alu.src)],
            AluOp::Neg => [Some((&mut alu.dst, Changes)), None],
            _ => [Some((&mut alu.dst, Changes)), source(&mut alu.src)],
        },
        Insn::Endian(endian) => [Some((&mut endian.dst, Changes)), None],
        Insn::SignExtend(extend) => {
            [Some((&mut extend.dst, Writes)), Some((&mut extend.src, Reads))]
        }
        Insn::AddressSpaceCast(cast) => {
            [Some((&mut cast.dst, Writes)), Some((&mut cast.src, Reads))]
        }
        Insn::Load(load) => [Some((&mut load.dst, Writes)), Some((&mut load.base, Reads))],
        Insn::LoadSigned(load) => [Some((&mut load.dst, Writes)), Some((&mut load.base, Reads))],
        Insn::LoadAcquire(load) => [Some((&mut load.dst, Writes)), Some((&mut load.base, Reads))],
        Insn::Packet(packet) => [None, packet.index.as_mut().map(|index| (index, Reads))],
        Insn::Wide(wide) => [Some((&mut wide.dst, Writes)), None],
        Insn::Store(store) => [Some((&mut store.base, Reads)), source(&mut store.src)],
        Insn::StoreRelease(store) => {
            [Some((&mut store.base, Reads)), Some((&mut store.src, Reads))]
        }
        Insn::Atomic(atomic) => {
            let usage = match atomic.op {
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => Reads,
                AtomicOp::CompareExchange => Reads,
                _ => Changes,
            };
            [Some((&mut atomic.base, Reads)), Some((&mut atomic.src, usage))]
        }
        Insn::Call(Call::Register(register)) => [Some((register, Reads)), None],
        Insn::JumpRegister(jump) => [Some((&mut jump.target, Reads)), None],
        Insn::JumpIf(jump) => [Some((&mut jump.dst, Reads)), source(&mut jump.src)],
        Insn::Call(_) | Insn::Jump(_) | Insn::JumpLong(_) | Insn::MayGoto(_) | Insn::Exit => {
            [None, None]
        }
    }
}

/// The registers that an instruction reads and changes without naming them, given how many
/// arguments a call passes.
pub(crate) fn implied(insn: &Insn, passed: usize) -> (Registers, Registers) {
    let r0 = Registers::of(Register::R0);
    match insn {
        // Behind the packet's end the program returns.
        Insn::Packet(_) => (Registers::of(Register::R6), Registers::TEMPORARY),
        Insn::Call(_) => (Registers::arguments(passed), Registers::TEMPORARY),
        Insn::Atomic(atomic) if atomic.op == AtomicOp::CompareExchange => (r0, r0),
        Insn::Exit => (r0, Registers::NONE),
        _ => (Registers::NONE, Registers::NONE),
    }
}

/// The effect of an instruction; a call passes this many arguments.
pub(crate) fn effect(insn: &Insn, passed: usize) -> Effect {
    let (mut reads, mut changes) = implied(insn, passed);
    for (register, usage) in named(&mut insn.clone()).into_iter().flatten() {
        if usage != Use::Writes {
            reads = reads.with(Registers::of(*register));
        }
        if usage != Use::Reads {
            changes = changes.with(Registers::of(*register));
        }
    }
    let pure = matches!(
        insn,
        Insn::Alu(_)
            | Insn::Endian(_)
            | Insn::SignExtend(_)
            | Insn::AddressSpaceCast(_)
            | Insn::Load(_)
            | Insn::LoadSigned(_)
            | Insn::Wide(_)
    );
    Effect { reads, changes, pure }
}
