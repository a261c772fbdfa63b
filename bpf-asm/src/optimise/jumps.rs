//! Jumps that can be shorter, or be left out; and what nothing leads to.

use crate::flow::graph::Graph;
use crate::insn::{Insn, JumpIf, Minimum};
use crate::step::{Step, Target, keep};

/// Shortens, with instructions that are within the minimum. Tells whether anything changed.
pub(super) fn shorten(steps: &mut Vec<Step>, minimum: Minimum) -> bool {
    let mut changed = false;
    for number in 0..steps.len() {
        let Some(first) = steps[number].jump() else { continue };
        let last = destination(steps, first);
        if last != first {
            (steps[number].target, changed) = (Target::Step(last), true);
        }
        // Returning takes no longer than a jump to where it is done.
        if matches!(steps[number].insn, Insn::Jump(_))
            && steps.get(last).is_some_and(|step| step.insn == Insn::Exit)
        {
            (steps[number].insn, steps[number].target, changed) = (Insn::Exit, Target::None, true);
        }
    }
    changed | over_jumps(steps, minimum) | needless(steps) | unreachable(steps)
}

/// Where a jump to a step ends, if that is a jump itself, and so on. Jumps that go round in a
/// circle end anywhere in it.
fn destination(steps: &[Step], first: usize) -> usize {
    let mut last = first;
    for _ in 0..steps.len() {
        match steps.get(last) {
            Some(Step { insn: Insn::Jump(_), target: Target::Step(next), .. }) if *next != last => {
                last = *next
            }
            _ => break,
        }
    }
    last
}

/// A conditional jump over a jump becomes the opposite one, which may be newer.
fn over_jumps(steps: &mut Vec<Step>, minimum: Minimum) -> bool {
    let mut aimed_at = vec![false; steps.len() + 1];
    steps.iter().filter_map(Step::jump).for_each(|target| aimed_at[target] = true);
    let mut gone = vec![false; steps.len()];
    for number in 0..steps.len().saturating_sub(1) {
        let Insn::JumpIf(jump) = steps[number].insn else { continue };
        let next = &steps[number + 1];
        if steps[number].jump() != Some(number + 2)
            || aimed_at[number + 1]
            || !matches!(next.insn, Insn::Jump(_))
        {
            continue;
        }
        let Some(compare) = jump.compare.negated() else { continue };
        let opposite = Insn::JumpIf(JumpIf { compare, ..jump });
        if !opposite.since().within(minimum) {
            continue;
        }
        (steps[number].target, steps[number].insn) = (next.target, opposite);
        gone[number + 1] = true;
    }
    keep(steps, |step| !gone[step]);
    gone.contains(&true)
}

/// Jumps to the next step. The verifier goes by where a `may_goto` is, not by where it leads.
fn needless(steps: &mut Vec<Step>) -> bool {
    let is_needless = |(number, step): (usize, &Step)| {
        step.jump() == Some(number + 1) && !matches!(step.insn, Insn::MayGoto(_))
    };
    let gone: Vec<bool> = steps.iter().enumerate().map(is_needless).collect();
    keep(steps, |step| !gone[step]);
    gone.contains(&true)
}

/// Steps that nothing leads to.
fn unreachable(steps: &mut Vec<Step>) -> bool {
    let graph = Graph::of(steps);
    let reached = graph.forward((), |_, ()| (), |_, (), ()| ());
    let mut kept = vec![true; steps.len()];
    for (block, _) in graph.blocks.iter().zip(&reached).filter(|(_, reached)| reached.is_none()) {
        kept[block.lines.clone()].fill(false);
    }
    keep(steps, |step| kept[step]);
    kept.contains(&false)
}
