//! Which registers and values may still be read.

use super::graph::Graph;
use crate::step::{Name, Step};

/// A set of names, in no order.
pub(crate) struct Names {
    members: Vec<Name>,
    /// Where each name is among the members, if it is there.
    places: Vec<u32>,
}

impl Names {
    /// An empty set of names below a number.
    pub(crate) fn none(count: usize) -> Names {
        Names { members: Vec::new(), places: vec![0; count] }
    }

    pub(crate) fn has(&self, name: Name) -> bool {
        self.members.get(self.places[name.0] as usize) == Some(&name)
    }

    pub(crate) fn add(&mut self, name: Name) {
        if !self.has(name) {
            self.places[name.0] = self.members.len() as u32;
            self.members.push(name);
        }
    }

    fn remove(&mut self, name: Name) {
        if self.has(name) {
            let place = self.places[name.0];
            self.members.swap_remove(place as usize);
            if let Some(moved) = self.members.get(place as usize) {
                self.places[moved.0] = place;
            }
        }
    }

    pub(crate) fn set(&mut self, names: &[Name]) {
        self.members.clear();
        names.iter().for_each(|name| self.add(*name));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Name> {
        self.members.iter().copied()
    }

    /// From what may be read after a step to what may be read before it.
    pub(crate) fn before(&mut self, step: &Step) {
        let uses = step.uses();
        uses.writes.into_iter().for_each(|name| self.remove(name));
        uses.reads.into_iter().for_each(|name| self.add(name));
    }
}

/// What may be read at the start of a function and behind each of its blocks.
pub(crate) struct Live {
    pub(crate) at_entry: Vec<Name>,
    pub(crate) behind: Vec<Vec<Name>>,
}

impl Live {
    /// Given how many names there are. Blocks are looked at again until there is nothing to add.
    pub(crate) fn of(steps: &[Step], graph: &Graph, count: usize) -> Live {
        let mut live = Names::none(count);
        let mut at_entry = Vec::new();
        let mut behind: Vec<Vec<Name>> = vec![Vec::new(); graph.blocks.len()];
        let mut before = vec![Vec::new(); graph.blocks.len()];
        for (number, block) in graph.blocks.iter().enumerate() {
            block.next.iter().flatten().for_each(|next| before[*next].push(number));
        }
        let mut waiting = vec![true; graph.blocks.len()];
        while let Some(last) = waiting.iter().rposition(|waits| *waits) {
            for number in (0..=last).rev() {
                if !std::mem::take(&mut waiting[number]) {
                    continue;
                }
                live.set(&behind[number]);
                let lines = graph.blocks[number].lines.clone();
                steps[lines].iter().rev().for_each(|step| live.before(step));
                if number == 0 {
                    at_entry = live.iter().collect();
                }
                for &earlier in &before[number] {
                    let known = behind[earlier].len();
                    let new: Vec<Name> =
                        live.iter().filter(|name| !behind[earlier].contains(name)).collect();
                    behind[earlier].extend(new);
                    waiting[earlier] |= behind[earlier].len() > known;
                }
            }
        }
        Live { at_entry, behind }
    }
}
