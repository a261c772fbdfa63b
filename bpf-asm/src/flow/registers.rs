//! Whether every register that is read has a content, over all paths through a function.
//!
//! Values have been made before they are read, so that this finds only what instructions by
//! themselves read by the number of a register.

use super::graph::Graph;
use crate::draft::Function;
use crate::effect::effect;
use crate::error::{BuildError, ErrorKind, Location};
use crate::helper;
use crate::insn::{Call, Insn, Register};
use crate::step::Step;

/// What a register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Nothing that the function wrote.
    Untouched,
    /// Something, on some path at least.
    Something,
    /// What a call left there.
    Lost { call: &'static str, by: Location },
}

type Contents = [Content; 11];

/// The registers that are read although some path leaves nothing in them.
pub(super) fn check(function: &Function, steps: &[Step], graph: &Graph) -> Vec<BuildError> {
    let mut entry = [Content::Untouched; 11];
    let passed = Register::ARGUMENTS.iter().take(function.arguments);
    // Every function's frame is there from the beginning.
    for register in passed.chain([&Register::R10]) {
        entry[usize::from(register.number())] = Content::Something;
    }
    let before = graph.forward(
        entry,
        |block, contents| steps[block.lines.clone()].iter().for_each(|step| run(step, contents)),
        |_, known, new| join(known, new),
    );
    let mut errors = Vec::new();
    for (block, before) in graph.blocks.iter().zip(before) {
        let Some(mut contents) = before else { continue };
        for step in &steps[block.lines.clone()] {
            errors.extend(empty(step, &contents).map(|kind| BuildError { at: step.at, kind }));
            run(step, &mut contents);
        }
    }
    errors
}

/// The registers that an instruction reads and nothing is in. What a call reads beside its target
/// is known by those alone who wrote it.
fn empty(step: &Step, before: &Contents) -> impl Iterator<Item = ErrorKind> {
    let insn = step.insn;
    let reads =
        effect(&insn, 0).reads.numbers().filter_map(|number| Register::from_number(number as u8));
    reads.filter_map(move |register| match before[usize::from(register.number())] {
        Content::Lost { call, by } => {
            Some(ErrorKind::EmptyRegister { insn, register, lost: Some((call, by)) })
        }
        Content::Untouched => Some(ErrorKind::EmptyRegister { insn, register, lost: None }),
        Content::Something => None,
    })
}

/// What a step does to the registers.
fn run(step: &Step, contents: &mut Contents) {
    let lost = match step.insn {
        Insn::Call(Call::Helper { id }) => Some(helper::name(id)),
        Insn::Call(_) => Some("the call"),
        Insn::Packet(_) => Some("the load from the packet"),
        _ => None,
    };
    for register in effect(&step.insn, 0).changes.numbers() {
        contents[register] = match lost {
            Some(call) if register != 0 => Content::Lost { call, by: step.at },
            _ => Content::Something,
        };
    }
}

/// What two paths agree on; a loss on one is a loss for both.
fn join(known: &Contents, new: &Contents) -> Contents {
    std::array::from_fn(|register| match (known[register], new[register]) {
        // What was decided before stays, so that a second look finds nothing new.
        (known @ Content::Lost { .. }, _) => known,
        (_, new @ Content::Lost { .. }) => new,
        (known, new) if known == new => known,
        _ => Content::Something,
    })
}
