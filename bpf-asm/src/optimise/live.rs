//! What may still be read: registers, and bytes of slots.

use crate::effect::Registers;
use crate::flow::graph::Graph;
use crate::insn::Insn;
use crate::stack::{Access, Bytes, Touch};
use crate::step::Step;

#[derive(Clone, Copy, PartialEq, Default)]
pub(super) struct Live {
    pub(super) registers: Registers,
    frame: Bytes,
}

impl Live {
    /// Whether nobody reads what a step does, given what may be read after it. Bytes that are
    /// `reached` by their address may be read by anybody.
    pub(super) fn is_dead(&self, step: &Step, reached: &Bytes) -> bool {
        let effect = step.effect();
        if effect.pure {
            return !effect.changes.meets(self.registers);
        }
        // A store whose bytes are not known to be a slot's is somebody else's memory.
        let read = self.frame.with(reached);
        matches!(step.insn, Insn::Store(_))
            && !step.touches.is_empty()
            && step
                .touches
                .iter()
                .all(|touch| touch.access == Access::Writes && !read.meets(touch.bytes.clone()))
    }

    /// What may be read before a step that is not dead, given what may be read after it.
    ///
    /// What a helper writes counts as read: a store in front of it stays. In the verifier's books
    /// helpers write bytes one by one, and only a store to all eight makes it forget what was there
    /// before, so that it can recognise a state that it has seen. (Without such stores shunt's
    /// program for each message is 3 % shorter and takes 18 % more verification.)
    pub(super) fn before(&mut self, step: &Step) {
        let effect = step.effect();
        self.registers = self.registers.without(effect.changes).with(effect.reads);
        let stores =
            |touch: &&Touch| touch.access == Access::Writes && matches!(step.insn, Insn::Store(_));
        for touch in step.touches.iter().filter(stores) {
            self.frame.remove(touch.bytes.clone());
        }
        for touch in step.touches.iter().filter(|touch| !stores(touch)) {
            self.frame.add(touch.bytes.clone());
        }
    }
}

/// What may be read behind each block, by steps that are not dead themselves. Blocks are looked at
/// again until there is nothing to add.
pub(super) fn behind(steps: &[Step], graph: &Graph, reached: &Bytes) -> Vec<Live> {
    let mut behind = vec![Live::default(); graph.blocks.len()];
    let mut before = vec![Vec::new(); graph.blocks.len()];
    for (number, block) in graph.blocks.iter().enumerate() {
        block.next.iter().flatten().for_each(|next| before[*next].push(number));
    }
    let mut waiting = vec![true; graph.blocks.len()];
    while let Some(last) = waiting.iter().rposition(|waits| *waits) {
        for number in (0..=last).rev().filter(|number| waiting[*number]).collect::<Vec<_>>() {
            waiting[number] = false;
            let mut live = behind[number];
            for step in steps[graph.blocks[number].lines.clone()].iter().rev() {
                if !live.is_dead(step, reached) {
                    live.before(step);
                }
            }
            for &earlier in &before[number] {
                let registers = behind[earlier].registers.with(live.registers);
                let joined = Live { registers, frame: behind[earlier].frame.with(&live.frame) };
                if joined != behind[earlier] {
                    (behind[earlier], waiting[earlier]) = (joined, true);
                }
            }
        }
    }
    behind
}
