//! Which values are alive at the same time.

use super::copied;
use crate::draft::ValueId;
use crate::flow::graph::Graph;
use crate::flow::live::{Live, Names};
use crate::insn::{AtomicOp, Insn, Register};
use crate::step::{Name, Step};

/// How much more a use in a loop counts than one outside, and how many loops count.
const LOOP: u64 = 8;
const LOOPS: u32 = 4;

/// What the values of a function have to do with each other and with registers. All lists are by
/// value.
pub(super) struct Conflicts {
    /// The values that occur, in the order in which they are made.
    pub(super) order: Vec<ValueId>,
    /// The values that need another register.
    pub(super) values: Vec<Vec<ValueId>>,
    /// The registers that it cannot be in, a bit for each.
    pub(super) registers: Vec<u16>,
    /// What it is copied to and from.
    pub(super) copies: Vec<Vec<Name>>,
    /// How often it is used.
    pub(super) uses: Vec<u64>,
}

impl Conflicts {
    pub(super) fn of(steps: &[Step], count: usize) -> Conflicts {
        let mut conflicts = Conflicts {
            order: Vec::new(),
            values: vec![Vec::new(); count],
            registers: vec![0; count],
            copies: vec![Vec::new(); count],
            uses: vec![0; count],
        };
        conflicts.occurrences(steps);
        let graph = Graph::of(steps);
        let names = Name::count(count);
        let behind = Live::of(steps, &graph, names).behind;
        let mut live = Names::none(names);
        for (block, behind) in graph.blocks.iter().zip(behind) {
            live.set(&behind);
            for step in steps[block.lines.clone()].iter().rev() {
                conflicts.at(step, &live);
                live.before(step);
            }
        }
        for values in &mut conflicts.values {
            values.sort_unstable();
            values.dedup();
        }
        conflicts
    }

    /// Where values occur, and what they are copied to and from.
    fn occurrences(&mut self, steps: &[Step]) {
        let loops = loops(steps);
        let mut seen = vec![false; self.uses.len()];
        for (step, loops) in steps.iter().zip(loops) {
            let uses = step.uses();
            for value in uses.writes.iter().chain(&uses.reads).filter_map(|name| name.value()) {
                self.uses[value] += LOOP.pow(loops.min(LOOPS));
                if !std::mem::replace(&mut seen[value], true) {
                    self.order.push(value);
                }
            }
            if let Some((from, to)) = copied(step) {
                for (one, other) in [(from, to), (to, from)] {
                    one.value().into_iter().for_each(|value| self.copies[value].push(other));
                }
            }
        }
    }

    /// What a step makes has to be somewhere else than what is read after it. A copy may be where
    /// its original is: both have the same content, until one of them gets another.
    fn at(&mut self, step: &Step, live: &Names) {
        let uses = step.uses();
        let original = copied(step).map(|(from, _)| from);
        for written in uses.writes {
            for other in live.iter().filter(|other| *other != written && Some(*other) != original) {
                self.add(written, other);
            }
        }
        // Compared is with r0, and neither the address nor the new content may be there.
        if matches!(step.insn, Insn::Atomic(atomic) if atomic.op == AtomicOp::CompareExchange) {
            let operands = step.operands.into_iter().flatten();
            operands.for_each(|value| self.registers[value] |= Name::from(Register::R0).bit());
        }
    }

    fn add(&mut self, one: Name, other: Name) {
        match (one.value(), other.value()) {
            (Some(one), Some(other)) => {
                self.values[one].push(other);
                self.values[other].push(one);
            }
            (Some(value), None) => self.registers[value] |= other.bit(),
            (None, Some(value)) => self.registers[value] |= one.bit(),
            (None, None) => {}
        }
    }
}

/// How many loops each step is in: between a jump back and its target.
fn loops(steps: &[Step]) -> Vec<u32> {
    let mut change = vec![0i32; steps.len() + 1];
    for (number, step) in steps.iter().enumerate() {
        if let Some(target) = step.jump().filter(|target| *target <= number) {
            change[target] += 1;
            change[number + 1] -= 1;
        }
    }
    let mut depth = 0;
    change
        .into_iter()
        .map(|change| {
            depth += change;
            depth as u32
        })
        .collect()
}
