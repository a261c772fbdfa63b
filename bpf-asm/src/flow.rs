//! What a program does on all of its paths at once, looked at when all of it is written.
//!
//! | file | refuses |
//! |---|---|
//! | [`ends`] | functions without an end, a caller or a name; instructions above the minimum |
//! | [`values`] | a value that is read where it may not have been made |
//! | [`written`] | bytes of the stack that are read where they may not have been written |
//! | [`registers`] | registers that are read by their number where nothing is in them |
//! | [`frames`] | stack frames that are too large together, calls that nest too deep |

mod ends;
mod frames;
pub(crate) mod graph;
pub(crate) mod live;
mod registers;
mod values;
mod written;

use crate::draft::{Draft, Function};
use crate::error::BuildError;
use crate::step::Step;
use graph::Graph;

/// What is wrong with a program whatever registers its values are in.
pub(crate) fn check(draft: &Draft, functions: &[Vec<Step>]) -> Vec<BuildError> {
    let mut errors = ends::check(draft);
    for (function, steps) in draft.functions.iter().zip(functions) {
        let graph = Graph::of(steps);
        errors.extend(values::check(function, steps, &graph));
        errors.extend(written::check(function, steps, &graph));
    }
    errors
}

/// What is wrong with a program whose values have registers, or bytes of frames that are this deep.
pub(crate) fn check_allocated(
    draft: &Draft,
    functions: &[Vec<Step>],
    depths: &[usize],
) -> Vec<BuildError> {
    let mut errors = frames::check(draft, functions, depths);
    errors.extend(ends::above(functions, draft.minimum));
    errors
}

/// The registers that are read by their number where nothing is in them, if all else is well.
pub(crate) fn check_registers(draft: &Draft, functions: &[Vec<Step>]) -> Vec<BuildError> {
    let functions = draft.functions.iter().zip(functions);
    let check = |(function, steps): (&Function, &Vec<Step>)| {
        registers::check(function, steps, &Graph::of(steps))
    };
    functions.flat_map(check).collect()
}
