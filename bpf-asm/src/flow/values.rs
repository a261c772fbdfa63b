//! Whether every value that is read has been made, over all paths through a function.

use super::graph::Graph;
use super::live::Live;
use crate::draft::{Function, ValueId};
use crate::error::{BuildError, ErrorKind, Location};
use crate::step::{Name, Step};

/// Whether a value is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    No,
    Yes,
    /// Paths that join at this line disagree.
    Disagreed(Location),
}

/// The reads that some path makes impossible: of values that are read, for all that is known at the
/// function's start, before they are made.
pub(super) fn check(function: &Function, steps: &[Step], graph: &Graph) -> Vec<BuildError> {
    let live = Live::of(steps, graph, Name::count(function.values.len()));
    let early = live.at_entry.into_iter().filter_map(Name::value);
    early.flat_map(|value| missing(function, value, steps, graph)).collect()
}

/// The reads of a value that some path does not make.
fn missing(function: &Function, value: ValueId, steps: &[Step], graph: &Graph) -> Vec<BuildError> {
    let origin = function.values[value];
    let name = Name::of_value(value);
    let before = graph.forward(
        Made::No,
        |block, made| {
            if steps[block.lines.clone()].iter().any(|step| step.uses().writes.contains(&name)) {
                *made = Made::Yes;
            }
        },
        |block, known, new| match (*known, *new) {
            (known, new) if known == new => known,
            // What was decided before stays, so that a second look finds nothing new.
            (Made::Disagreed(join), _) => Made::Disagreed(join),
            _ => Made::Disagreed(steps[block.lines.start].at),
        },
    );
    let mut found = Vec::new();
    for (block, before) in graph.blocks.iter().zip(before) {
        let Some(mut made) = before else { continue };
        for step in &steps[block.lines.clone()] {
            let uses = step.uses();
            let join = match made {
                Made::Yes => break,
                Made::No => origin,
                Made::Disagreed(join) => join,
            };
            if uses.reads.contains(&name) {
                let kind = ErrorKind::NotOnEveryPath { value: origin, join };
                found.push(BuildError { at: step.at, kind });
            }
            if uses.writes.contains(&name) {
                made = Made::Yes;
            }
        }
    }
    found
}
