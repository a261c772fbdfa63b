//! Values are made in the register to which they are moved afterwards.
//!
//! ```text
//! r1 = r7                  r3 = r7
//! r1 += 24           ->    r3 += 24
//! r3 = r1
//! ```

use super::live::Live;
use crate::effect::Registers;
use crate::flow::graph::Graph;
use crate::insn::{Alu, AluOp, AtomicOp, Insn, Register, Source, Width};
use crate::stack::Bytes;
use crate::step::Step;

/// Marks the moves that need not be made, given what is read behind each block. Since values change
/// their registers only between lines of one block, what is read between blocks stays the same.
pub(super) fn join(
    steps: &mut [Step],
    graph: &Graph,
    behind: &[Live],
    reached: &Bytes,
) -> Vec<bool> {
    let mut gone = vec![false; steps.len()];
    for (block, live) in graph.blocks.iter().zip(behind) {
        let mut live = *live;
        let mut moves = Vec::new();
        for number in block.lines.clone().rev() {
            if live.is_dead(&steps[number], reached) {
                continue;
            }
            if let Some((src, dst)) = is_move(&steps[number].insn)
                && dst != src
                && src != Register::R10
                && !live.registers.has(src)
            {
                moves.push((number, src, dst));
            }
            live.before(&steps[number]);
        }
        for (number, src, dst) in moves.into_iter().rev() {
            if let Some(made) = made_at(steps, &gone, block.lines.start, number, src, dst) {
                for step in (made..number).filter(|step| !gone[*step]) {
                    rename(&mut steps[step].insn, src, dst, step == made);
                }
                gone[number] = true;
                // `r6 = r1 … r1 = r6` has become `r1 = r1`.
                gone[made] = is_move(&steps[made].insn).is_some_and(|(from, to)| from == to);
            }
        }
    }
    gone
}

/// From where to where an instruction moves a value.
fn is_move(insn: &Insn) -> Option<(Register, Register)> {
    match *insn {
        Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src: Source::Reg(src) }) => {
            Some((src, dst))
        }
        _ => None,
    }
}

/// The step that makes the value, if everything between it and the move can go on with another
/// register.
fn made_at(
    steps: &[Step],
    gone: &[bool],
    start: usize,
    moved: usize,
    src: Register,
    dst: Register,
) -> Option<usize> {
    let (of_src, of_dst) = (Registers::of(src), Registers::of(dst));
    for number in (start..moved).rev().filter(|number| !gone[*number]) {
        let step = &steps[number];
        let effect = step.effect();
        let makes = effect.changes.has(src)
            && match step.insn {
                Insn::Alu(alu) => alu.op == AluOp::Mov,
                Insn::Load(_) | Insn::Wide(_) => true,
                _ => false,
            };
        if makes {
            return Some(number);
        }
        if effect.reads.with(effect.changes).meets(of_dst) {
            return None;
        }
        let uses = effect.reads.with(effect.changes).meets(of_src);
        if uses && !rename(&mut step.insn.clone(), src, dst, false) {
            return None;
        }
    }
    None
}

/// Puts a register in the place of another, wherever an instruction names it; only where it writes
/// it, if the instruction makes the value. Tells whether the instruction has no other use of it.
fn rename(insn: &mut Insn, from: Register, to: Register, makes: bool) -> bool {
    let rename = |register: &mut Register| {
        if *register == from {
            *register = to;
        }
    };
    let rename_source = |source: &mut Source| {
        if let Source::Reg(register) = source {
            rename(register);
        }
    };
    match insn {
        Insn::Alu(alu) => {
            rename(&mut alu.dst);
            if !makes {
                rename_source(&mut alu.src);
            }
        }
        Insn::Endian(endian) => rename(&mut endian.dst),
        Insn::Load(load) => {
            rename(&mut load.dst);
            if !makes {
                rename(&mut load.base);
            }
        }
        Insn::Wide(wide) => rename(&mut wide.dst),
        Insn::Store(store) => {
            rename(&mut store.base);
            rename_source(&mut store.src);
        }
        Insn::Atomic(atomic) if atomic.op != AtomicOp::CompareExchange => {
            rename(&mut atomic.base);
            rename(&mut atomic.src);
        }
        // What uses a register without naming it.
        _ => return false,
    }
    true
}
