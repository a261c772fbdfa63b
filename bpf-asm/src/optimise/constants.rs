//! Numbers and addresses in the frame that are known when the program is assembled.

use crate::flow::graph::Graph;
use crate::insn::{
    Alu, AluOp, Atomic, Compare, Insn, Jump, JumpIf, Load, Register, Size, Source, Store, Wide,
    WideSource, Width,
};
use crate::step::{Step, keep};

/// What is known of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Number(u64),
    /// So many bytes from r10.
    Frame(i64),
}

#[derive(Clone, PartialEq)]
struct Registers([Known; 11]);

impl Registers {
    fn at_entry() -> Registers {
        let mut known = [Known::Nothing; 11];
        known[usize::from(Register::R10.number())] = Known::Frame(0);
        Registers(known)
    }

    fn of(&self, register: Register) -> Known {
        self.0[usize::from(register.number())]
    }

    fn number(&self, source: Source, width: Width) -> Option<u64> {
        match source {
            Source::Imm(imm) => Some(truncated(i64::from(imm) as u64, width)),
            Source::Reg(register) => match self.of(register) {
                Known::Number(number) => Some(truncated(number, width)),
                _ => None,
            },
        }
    }

    /// What is known after a step.
    fn run(&mut self, step: &Step) {
        let result = match step.insn {
            Insn::Alu(Alu {
                width: Width::W64, op: AluOp::Mov, src: Source::Reg(from), ..
            }) => self.of(from),
            Insn::Alu(alu) => match (self.of(alu.dst), alu.op, self.number(alu.src, alu.width)) {
                (_, AluOp::Mov, Some(number)) => Known::Number(number),
                (Known::Frame(offset), AluOp::Add, Some(number)) if alu.width == Width::W64 => {
                    Known::Frame(offset.wrapping_add(number as i64))
                }
                (Known::Number(left), op, right) => {
                    computed(op, alu.width, left, right).map_or(Known::Nothing, Known::Number)
                }
                _ => Known::Nothing,
            },
            Insn::Wide(Wide { source: WideSource::Imm(number), .. }) => Known::Number(number),
            _ => Known::Nothing,
        };
        for register in step.effect().changes.numbers() {
            self.0[register] = result;
        }
    }
}

fn truncated(number: u64, width: Width) -> u64 {
    match width {
        Width::W32 => u64::from(number as u32),
        Width::W64 => number,
    }
}

/// The result of an instruction as RFC 9669 section 4.1 defines it; `None` for what it leaves open.
fn computed(op: AluOp, width: Width, left: u64, right: Option<u64>) -> Option<u64> {
    let left = truncated(left, width);
    if op == AluOp::Neg {
        return Some(truncated(left.wrapping_neg(), width));
    }
    let right = right?;
    let bits = match width {
        Width::W32 => 32,
        Width::W64 => 64,
    };
    let result = match op {
        AluOp::Add => left.wrapping_add(right),
        AluOp::Sub => left.wrapping_sub(right),
        AluOp::Mul => left.wrapping_mul(right),
        AluOp::Div => left.checked_div(right).unwrap_or(0),
        AluOp::Mod => left.checked_rem(right).unwrap_or(left),
        AluOp::Sdiv | AluOp::Smod => {
            let (left, right) = (signed(left, width), signed(right, width));
            match (op, right) {
                (AluOp::Sdiv, 0) => 0,
                (AluOp::Sdiv, _) => left.wrapping_div(right) as u64,
                (_, 0) => left as u64,
                _ => left.wrapping_rem(right) as u64,
            }
        }
        AluOp::Or => left | right,
        AluOp::And => left & right,
        AluOp::Xor => left ^ right,
        AluOp::Mov => right,
        AluOp::Lsh if right < bits => left << right,
        AluOp::Rsh if right < bits => left >> right,
        AluOp::Arsh if right < bits => match width {
            Width::W32 => (left as i32 >> right) as u64,
            Width::W64 => (left as i64 >> right) as u64,
        },
        _ => return None,
    };
    Some(truncated(result, width))
}

fn signed(number: u64, width: Width) -> i64 {
    match width {
        Width::W32 => i64::from(number as i32),
        Width::W64 => number as i64,
    }
}

/// Whether a comparison of known numbers holds.
fn holds(compare: Compare, width: Width, left: u64, right: u64) -> bool {
    let signed = |number: u64| signed(number, width);
    match compare {
        Compare::Eq => left == right,
        Compare::Ne => left != right,
        Compare::Gt => left > right,
        Compare::Ge => left >= right,
        Compare::Lt => left < right,
        Compare::Le => left <= right,
        Compare::Sgt => signed(left) > signed(right),
        Compare::Sge => signed(left) >= signed(right),
        Compare::Slt => signed(left) < signed(right),
        Compare::Sle => signed(left) <= signed(right),
        Compare::Set => left & right != 0,
    }
}

/// What becomes of a step.
enum Fate {
    Same,
    Insn(Insn),
    /// A conditional jump that is always taken.
    Taken,
    Gone,
}

/// Puts known numbers and frame addresses into the instructions that use them. Tells whether that
/// has decided a branch.
pub(super) fn fold(steps: &mut Vec<Step>) -> bool {
    let graph = Graph::of(steps);
    let before = graph.forward(
        Registers::at_entry(),
        |block, known| steps[block.lines.clone()].iter().for_each(|step| known.run(step)),
        |_, known, new| {
            Registers(std::array::from_fn(|n| {
                if known.0[n] == new.0[n] { known.0[n] } else { Known::Nothing }
            }))
        },
    );
    let mut gone = vec![false; steps.len()];
    let mut decided = false;
    for (block, before) in graph.blocks.iter().zip(before) {
        let Some(mut known) = before else { continue };
        let mut previous: Option<usize> = None;
        for number in block.lines.clone() {
            let step = &mut steps[number];
            let branches = matches!(step.insn, Insn::JumpIf(_));
            match fate(step, &known) {
                Fate::Same => {}
                Fate::Insn(insn) => step.insn = insn,
                Fate::Taken => (step.insn, decided) = (Insn::Jump(Jump { offset: 0 }), true),
                Fate::Gone => (gone[number], decided) = (true, decided || branches),
            }
            if gone[number] {
                continue;
            }
            known.run(step);
            if let Some(previous) = previous
                && let Some(sum) = sum(&steps[previous].insn, &steps[number].insn)
            {
                (steps[number].insn, gone[previous]) = (sum, true);
            }
            previous = Some(number);
        }
    }
    keep(steps, |step| !gone[step]);
    decided
}

/// Two additions to one register as one.
fn sum(first: &Insn, second: &Insn) -> Option<Insn> {
    match (*first, *second) {
        (
            Insn::Alu(Alu { width, op: AluOp::Add, dst, src: Source::Imm(a) }),
            Insn::Alu(Alu { width: width2, op: AluOp::Add, dst: dst2, src: Source::Imm(b) }),
        ) if (width, dst) == (width2, dst2) => {
            let src = Source::Imm(a.checked_add(b)?);
            Some(Insn::Alu(Alu { width, op: AluOp::Add, dst, src }))
        }
        _ => None,
    }
}

fn fate(step: &Step, known: &Registers) -> Fate {
    let changed = |insn: Insn| if insn == step.insn { Fate::Same } else { Fate::Insn(insn) };
    match step.insn {
        Insn::Alu(alu) => arithmetic(alu, known),
        Insn::Load(load) => {
            let (base, offset) = in_frame(load.base, load.offset, known);
            changed(Insn::Load(Load { base, offset, ..load }))
        }
        Insn::Atomic(atomic) => {
            let (base, offset) = in_frame(atomic.base, atomic.offset, known);
            changed(Insn::Atomic(Atomic { base, offset, ..atomic }))
        }
        Insn::Store(store) => {
            let (base, offset) = in_frame(store.base, store.offset, known);
            changed(Insn::Store(Store { base, offset, src: stored(&store, base, known), ..store }))
        }
        Insn::JumpIf(jump) => {
            match (
                known.number(Source::Reg(jump.dst), jump.width),
                known.number(jump.src, jump.width),
            ) {
                (Some(left), Some(right)) if holds(jump.compare, jump.width, left, right) => {
                    Fate::Taken
                }
                (Some(_), Some(_)) => Fate::Gone,
                // Of negative numbers rbpf has another opinion than the kernel.
                (None, Some(right)) => match i32::try_from(right) {
                    Ok(imm) => changed(Insn::JumpIf(JumpIf { src: Source::Imm(imm), ..jump })),
                    Err(_) => Fate::Same,
                },
                _ => Fate::Same,
            }
        }
        _ => Fate::Same,
    }
}

/// A place in the frame as seen from r10.
fn in_frame(base: Register, offset: i16, known: &Registers) -> (Register, i16) {
    match known.of(base) {
        Known::Frame(start) => match i16::try_from(start.saturating_add(i64::from(offset))) {
            Ok(offset) => (Register::R10, offset),
            Err(_) => (base, offset),
        },
        _ => (base, offset),
    }
}

/// What a store stores: a known number without its register, where that takes nothing from the
/// verifier. Into a context many kernels let no number be stored; and of eight bytes on the stack
/// older kernels know the number only if it came from a register or is zero.
fn stored(store: &Store, base: Register, known: &Registers) -> Source {
    match known.number(store.src, Width::W64) {
        Some(number) if base == Register::R10 && (store.size != Size::DW || number == 0) => {
            Source::Imm(number as i32)
        }
        _ => store.src,
    }
}

fn arithmetic(alu: Alu, known: &Registers) -> Fate {
    let Alu { width, op, dst, .. } = alu;
    let (left, right) = (known.of(dst), known.number(alu.src, width));
    let result = match (left, op) {
        (_, AluOp::Mov) => right,
        (Known::Number(left), op) => computed(op, width, left, right),
        _ => None,
    };
    if let Some(made) = result.and_then(|result| number_into(dst, result)) {
        return if made == Insn::Alu(alu) || made_as_well(&made, &alu) {
            Fate::Same
        } else {
            Fate::Insn(made)
        };
    }
    let Some(right) = right else {
        let itself = width == Width::W64 && op == AluOp::Mov && alu.src == Source::Reg(dst);
        return if itself { Fate::Gone } else { Fate::Same };
    };
    if width == Width::W64 && changes_nothing(op, right) {
        return Fate::Gone;
    }
    let power = right.is_power_of_two().then(|| right.trailing_zeros() as i32);
    let imm = |number: u64| match width {
        Width::W32 => Some(number as u32 as i32),
        Width::W64 => i32::try_from(number as i64).ok(),
    };
    let with = |op, imm| Insn::Alu(Alu { width, op, dst, src: Source::Imm(imm) });
    let bits = if width == Width::W32 { 32 } else { 64 };
    let made = match (op, power) {
        (AluOp::Neg, _) => return Fate::Same,
        (AluOp::Mul, Some(power)) => Some(with(AluOp::Lsh, power)),
        (AluOp::Div, Some(power)) => Some(with(AluOp::Rsh, power)),
        (AluOp::Mod, Some(_)) => imm(right - 1).map(|mask| with(AluOp::And, mask)),
        (AluOp::Mul | AluOp::And, None) if right == 0 => Some(with(AluOp::Mov, 0)),
        // The verifier wants no such immediates; of registers they mean something.
        (AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod, None) if right == 0 => None,
        (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, _) if right >= bits => None,
        _ => imm(right).map(|imm| with(op, imm)),
    };
    match made {
        Some(made) if made != Insn::Alu(alu) => Fate::Insn(made),
        _ => Fate::Same,
    }
}

/// A move of a number, if one slot is enough for it.
fn number_into(dst: Register, number: u64) -> Option<Insn> {
    let (width, imm) = match (i32::try_from(number as i64), u32::try_from(number)) {
        (Ok(imm), _) => (Width::W64, imm),
        (Err(_), Ok(imm)) => (Width::W32, imm as i32),
        _ => return None,
    };
    Some(Insn::Alu(Alu { width, op: AluOp::Mov, dst, src: Source::Imm(imm) }))
}

/// Whether a move of a number is as good as the one it would replace.
fn made_as_well(made: &Insn, alu: &Alu) -> bool {
    matches!((made, alu), (Insn::Alu(_), Alu { op: AluOp::Mov, src: Source::Imm(_), .. }))
}

fn changes_nothing(op: AluOp, right: u64) -> bool {
    match op {
        AluOp::Add
        | AluOp::Sub
        | AluOp::Or
        | AluOp::Xor
        | AluOp::Lsh
        | AluOp::Rsh
        | AluOp::Arsh => right == 0,
        AluOp::Mul | AluOp::Div => right == 1,
        AluOp::And => right == u64::MAX,
        _ => false,
    }
}
