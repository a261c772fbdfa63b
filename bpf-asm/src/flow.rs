//! What a program does on all of its paths at once, looked at when all of it is written.
//!
//! | file | refuses |
//! |---|---|
//! | [`registers`] | a value that is read where its register may hold something else |
//! | [`written`] | bytes of the stack that are read where they may not have been written |
//! | [`frames`] | stack frames that are too large together, calls that nest too deep |

mod frames;
pub(crate) mod graph;
mod registers;
mod written;

use crate::builder::Core;
use crate::error::BuildError;
use graph::Graph;

/// Everything that some path of the program makes impossible.
pub(crate) fn check(core: &Core) -> Vec<BuildError> {
    let mut errors = frames::check(core);
    for (index, function) in core.functions.iter().enumerate() {
        let graph = Graph::of(core, index);
        errors.extend(registers::check(core, index, function, &graph));
        errors.extend(written::check(function, &graph));
    }
    errors
}
