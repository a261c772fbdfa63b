//! Whether every value that is read is still in its register, over all paths through a function.
//!
//! What each register holds before a line is what all paths that lead there agree on. On every
//! round over the graph a register can only lose what it holds, so there is an end.

use super::graph::{Block, Graph};
use crate::builder::{Core, FunctionState, Line, Link};
use crate::effect::effect;
use crate::error::{BuildError, ErrorKind, Location};
use crate::helper;
use crate::insn::{Call, Insn, Register};
use crate::value::ValueId;

/// What a register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Nothing that the function wrote.
    Untouched,
    /// A value.
    Value(ValueId),
    /// What a call left there.
    Lost { call: &'static str, by: Location },
    /// Something that is no value: an argument, or a result about to be returned.
    Passing(Location),
    /// Paths that join at this line disagree.
    Disagreed(Location),
}

type Contents = [Content; 11];

/// The reads that some path makes impossible.
pub(super) fn check(
    core: &Core,
    index: usize,
    function: &FunctionState,
    graph: &Graph,
) -> Vec<BuildError> {
    let mut entry = [Content::Untouched; 11];
    for &argument in &function.arguments {
        entry[usize::from(core.values[argument].register.number())] = Content::Value(argument);
    }
    let lines = |block: &Block| &function.lines[block.lines.clone()];
    let before = graph.forward(
        entry,
        |block, contents| lines(block).iter().for_each(|line| run(core, line, contents)),
        |block, known, new| join(*known, *new, function.lines[block.lines.start].at),
    );

    let mut errors = Vec::new();
    for (block, before) in graph.blocks.iter().zip(before) {
        let Some(mut contents) = before else { continue };
        for line in lines(block) {
            let missing =
                line.reads.iter().filter_map(|value| missing(core, index, value, &contents));
            errors.extend(missing.map(|kind| BuildError { at: line.at, kind }));
            if line.link == Link::Raw {
                let empty = empty(index, line, &contents);
                errors.extend(empty.map(|kind| BuildError { at: line.at, kind }));
            }
            run(core, line, &mut contents);
        }
    }
    errors
}

/// Why a value cannot be read.
fn missing(core: &Core, function: usize, value: ValueId, before: &Contents) -> Option<ErrorKind> {
    let state = &core.values[value];
    let (origin, register) = (state.origin, state.register);
    if state.function != function {
        return Some(ErrorKind::OtherFunction { value: origin });
    }
    Some(match before[usize::from(register.number())] {
        Content::Value(held) if held == value => return None,
        Content::Value(held) => {
            ErrorKind::Overwritten { value: origin, register, by: core.values[held].origin }
        }
        Content::Passing(by) => ErrorKind::Overwritten { value: origin, register, by },
        Content::Lost { call, by } => ErrorKind::Clobbered { value: origin, register, call, by },
        Content::Disagreed(join) => ErrorKind::NotOnEveryPath { value: origin, register, join },
        Content::Untouched => ErrorKind::NotOnEveryPath { value: origin, register, join: origin },
    })
}

/// The registers that an instruction by itself reads although no path leaves anything in them.
fn empty(function: usize, line: &Line, before: &Contents) -> impl Iterator<Item = ErrorKind> {
    let insn = line.insn;
    let reads =
        effect(&insn, 0).reads.numbers().filter_map(|number| Register::from_number(number as u8));
    reads.filter_map(move |register| match before[usize::from(register.number())] {
        Content::Lost { call, by } => {
            Some(ErrorKind::EmptyRegister { insn, register, lost: Some((call, by)) })
        }
        // The program's context is there from the beginning, and so is every function's frame.
        Content::Untouched
            if register != Register::R10 && (function, register) != (0, Register::R1) =>
        {
            Some(ErrorKind::EmptyRegister { insn, register, lost: None })
        }
        _ => None,
    })
}

/// What a line does to the registers.
fn run(core: &Core, line: &Line, contents: &mut Contents) {
    let left = match line.insn {
        Insn::Call(Call::Helper { id }) => Content::Lost { call: helper::name(id), by: line.at },
        Insn::Call(_) => Content::Lost { call: "the call", by: line.at },
        Insn::Packet(_) => Content::Lost { call: "the load from the packet", by: line.at },
        _ => Content::Passing(line.at),
    };
    for register in effect(&line.insn, 0).changes.numbers() {
        contents[register] = left;
    }
    if let Some(value) = line.writes {
        contents[usize::from(core.values[value].register.number())] = Content::Value(value);
    }
}

/// What two paths agree on; a loss on one is a loss for both.
fn join(a: Contents, b: Contents, at: Location) -> Contents {
    std::array::from_fn(|register| match (a[register], b[register]) {
        (a, b) if a == b => a,
        // What was decided before stays, so that a second look finds nothing new.
        (a @ (Content::Lost { .. } | Content::Disagreed(_)), _) => a,
        (_, b @ Content::Lost { .. }) => b,
        _ => Content::Disagreed(at),
    })
}
