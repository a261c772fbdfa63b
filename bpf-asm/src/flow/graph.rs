//! Which lines follow which: the blocks of a function and the ways between them.

use std::ops::Range;

use crate::insn::Insn;
use crate::step::Step;

/// The blocks of a function, in the order of its lines. A block is entered at its first line only
/// and left at its last.
pub(crate) struct Graph {
    pub(crate) blocks: Vec<Block>,
}

pub(crate) struct Block {
    pub(crate) lines: Range<usize>,
    /// The block behind it, if it goes on there, and the one that its last line jumps to.
    pub(crate) next: [Option<usize>; 2],
}

impl Graph {
    pub(crate) fn of(steps: &[Step]) -> Graph {
        let count = steps.len();
        let target = |step: usize| steps[step].jump();
        let goes_on = |step: usize| goes_on(&steps[step].insn);
        let mut leads = vec![false; count];
        for line in 0..count {
            let target = target(line);
            if let Some(lead) = target.and_then(|target| leads.get_mut(target)) {
                *lead = true;
            }
            if target.is_some() || !goes_on(line) {
                leads.iter_mut().skip(line + 1).take(1).for_each(|lead| *lead = true);
            }
        }
        let mut block_of = Vec::with_capacity(count);
        let mut starts = Vec::new();
        for (line, lead) in leads.iter().enumerate() {
            if line == 0 || *lead {
                starts.push(line);
            }
            block_of.push(starts.len() - 1);
        }
        let ends = starts.iter().copied().skip(1).chain([count]);
        let blocks = starts.iter().zip(ends).map(|(&start, end)| {
            let last = end - 1;
            let behind = (goes_on(last) && end < count).then(|| block_of[last] + 1);
            let jumped = target(last).and_then(|target| block_of.get(target).copied());
            Block { lines: start..end, next: [behind, jumped] }
        });
        Graph { blocks: blocks.collect() }
    }

    /// What holds before each block, given what holds at the start, what a block makes of it, and
    /// what two ways that meet before a block have in common. `None` before a block that cannot be
    /// reached.
    ///
    /// Blocks are looked at again until nothing changes, so `join` must not go on changing what it
    /// gave before.
    pub(crate) fn forward<T: Clone + PartialEq>(
        &self,
        entry: T,
        through: impl Fn(&Block, &mut T),
        join: impl Fn(&Block, &T, &T) -> T,
    ) -> Vec<Option<T>> {
        let mut before: Vec<Option<T>> = vec![None; self.blocks.len()];
        let mut waiting = vec![false; self.blocks.len()];
        if let (Some(first), Some(waits)) = (before.first_mut(), waiting.first_mut()) {
            (*first, *waits) = (Some(entry), true);
        }
        // In the order of the lines, where most ways lead forward.
        while let Some(start) = waiting.iter().position(|waits| *waits) {
            for number in start..self.blocks.len() {
                if !std::mem::take(&mut waiting[number]) {
                    continue;
                }
                let Some(mut after) = before[number].clone() else { continue };
                through(&self.blocks[number], &mut after);
                for next in self.blocks[number].next.into_iter().flatten() {
                    let joined = match &before[next] {
                        Some(known) => join(&self.blocks[next], known, &after),
                        None => after.clone(),
                    };
                    if before[next].as_ref() != Some(&joined) {
                        before[next] = Some(joined);
                        waiting[next] = true;
                    }
                }
            }
        }
        before
    }
}

/// Whether the next line can follow.
fn goes_on(insn: &Insn) -> bool {
    !matches!(insn, Insn::Jump(_) | Insn::JumpLong(_) | Insn::JumpRegister(_) | Insn::Exit)
}
