//! Values are made in the register to which they are moved afterwards.
//!
//! ```text
//! r1 = r7                  r3 = r7
//! r1 += 24           ->    r3 += 24
//! r3 = r1
//! ```

use super::dead::live_after;
use super::effect::{Registers, effect};
use crate::flow::graph::{Graph, goes_on};
use crate::insn::{Alu, AluOp, AtomicOp, Insn, Register, Source, Width};
use crate::stack::Frame;
use crate::step::{Step, keep};

/// Leaves moves out. Tells whether there was one to leave out.
pub(super) fn join(steps: &mut Vec<Step>, frame: &Frame) -> bool {
    let graph = Graph::new(steps.len(), |step| steps[step].jump(), |step| goes_on(&steps[step].insn));
    let live = live_after(steps, &graph, frame);
    let mut gone = vec![false; steps.len()];
    for block in &graph.blocks {
        for number in block.lines.clone() {
            let Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src: Source::Reg(src) }) = steps[number].insn
            else {
                continue;
            };
            if dst == src || src == Register::R10 || live[number].has(src) {
                continue;
            }
            if let Some(made) = made_at(steps, &gone, block.lines.start, number, src, dst) {
                (made..number).filter(|step| !gone[*step]).for_each(|step| {
                    let first = step == made;
                    rename(&mut steps[step].insn, src, dst, first);
                });
                gone[number] = true;
            }
        }
    }
    let any = gone.contains(&true);
    keep(steps, |step| !gone[step]);
    any
}

/// The step that makes the value, if everything between it and the move can go on with another register.
fn made_at(steps: &[Step], gone: &[bool], start: usize, moved: usize, src: Register, dst: Register) -> Option<usize> {
    let (of_src, of_dst) = (Registers::of(&[src]), Registers::of(&[dst]));
    for number in (start..moved).rev().filter(|number| !gone[*number]) {
        let step = &steps[number];
        let effect = effect(step);
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

/// Puts a register in the place of another, wherever an instruction names it; only where it writes it, if the
/// instruction makes the value. Tells whether the instruction has no other use of it.
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
