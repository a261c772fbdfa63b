//! Results that nobody reads: registers, and bytes of slots.

use super::effect::{Registers, effect};
use crate::flow::graph::{Graph, goes_on};
use crate::insn::Insn;
use crate::stack::{Access, Bytes, Frame, Touch};
use crate::step::{Step, keep};

/// What may still be read.
#[derive(Clone, PartialEq)]
struct Live {
    registers: Registers,
    slots: Bytes,
}

impl Live {
    fn nothing(frame: &Frame) -> Live {
        Live { registers: Registers::NONE, slots: Bytes::none(frame) }
    }

    /// What may be read before a step, given what may be read after it.
    ///
    /// What a helper writes counts as read: a store in front of it stays. In the verifier's books helpers write bytes one by
    /// one, and only a store to all eight makes it forget what was there before, so that it can recognise a state that it
    /// has seen. (Without such stores shunt's program for each message is 3 % shorter and takes 18 % more verification.)
    fn before(&mut self, step: &Step) {
        let effect = effect(step);
        self.registers = self.registers.without(effect.replaces).with(effect.reads);
        let stores = |touch: &&Touch| touch.access == Access::Writes && matches!(step.insn, Insn::Store(_));
        for touch in step.touches.iter().filter(stores) {
            self.slots.remove(touch.bytes.clone());
        }
        for touch in step.touches.iter().filter(|touch| !stores(touch)) {
            self.slots.add(touch.bytes.clone());
        }
    }
}

/// Leaves out what nobody reads, except in slots that may be reached by their address. Tells whether there was any.
pub(super) fn remove(steps: &mut Vec<Step>, frame: &Frame, reached: &Bytes) -> bool {
    let graph = Graph::new(steps.len(), |step| steps[step].jump(), |step| goes_on(&steps[step].insn));
    let mut gone = vec![false; steps.len()];
    for (block, after) in graph.blocks.iter().zip(live_behind(steps, &graph, frame)) {
        let mut live = after;
        for number in block.lines.clone().rev() {
            let step = &steps[number];
            if is_dead(step, &live, reached) {
                gone[number] = true;
            } else {
                live.before(step);
            }
        }
    }
    let any = gone.contains(&true);
    keep(steps, |step| !gone[step]);
    any
}

fn is_dead(step: &Step, live: &Live, reached: &Bytes) -> bool {
    let effect = effect(step);
    if effect.pure {
        return !effect.changes.meets(live.registers);
    }
    // A store whose bytes are not known to be a slot's is somebody else's memory.
    let unread = |byte: usize| !live.slots.has(byte) && !reached.has(byte);
    matches!(step.insn, Insn::Store(_))
        && !step.touches.is_empty()
        && step.touches.iter().all(|touch| touch.access == Access::Writes && touch.bytes.clone().all(unread))
}

/// The registers that may be read after each step.
pub(super) fn live_after(steps: &[Step], graph: &Graph, frame: &Frame) -> Vec<Registers> {
    let mut registers = vec![Registers::NONE; steps.len()];
    for (block, after) in graph.blocks.iter().zip(live_behind(steps, graph, frame)) {
        let mut live = after;
        for number in block.lines.clone().rev() {
            registers[number] = live.registers;
            live.before(&steps[number]);
        }
    }
    registers
}

/// What may be read behind each block. Blocks are looked at again until there is nothing to add.
fn live_behind(steps: &[Step], graph: &Graph, frame: &Frame) -> Vec<Live> {
    let mut before = vec![Live::nothing(frame); graph.blocks.len()];
    let behind = |before: &[Live], next: &[Option<usize>; 2]| {
        let mut live = Live::nothing(frame);
        for next in next.iter().flatten() {
            live.registers = live.registers.with(before[*next].registers);
            live.slots = live.slots.all(&before[*next].slots);
        }
        live
    };
    loop {
        let mut changed = false;
        for (number, block) in graph.blocks.iter().enumerate().rev() {
            let mut live = behind(&before, &block.next);
            steps[block.lines.clone()].iter().rev().for_each(|step| live.before(step));
            changed |= before[number] != live;
            before[number] = live;
        }
        if !changed {
            break;
        }
    }
    graph.blocks.iter().map(|block| behind(&before, &block.next)).collect()
}
