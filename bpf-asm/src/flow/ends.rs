//! What functions and instructions have to be whatever is around them.

use crate::draft::{Draft, is_name};
use crate::error::{BuildError, ErrorKind};
use crate::insn::Minimum;
use crate::step::Step;

/// Functions that do not end, that nothing calls, or that the kernel could not name.
pub(super) fn check(draft: &Draft) -> Vec<BuildError> {
    let mut found = Vec::new();
    for function in &draft.functions {
        if let Some(end) = function.falls_off() {
            found.push(BuildError {
                at: end,
                kind: ErrorKind::FallsOff { function: function.name.clone() },
            });
        }
        if !function.called {
            let kind = ErrorKind::NeverCalled { function: function.name.clone() };
            found.push(BuildError { at: function.at, kind });
        }
        if !is_name(&function.name) {
            found.push(BuildError {
                at: function.at,
                kind: ErrorKind::Name { name: function.name.clone() },
            });
        }
    }
    found
}

/// The instructions that need more than the stated minimum.
pub(super) fn above(functions: &[Vec<Step>], minimum: Minimum) -> impl Iterator<Item = BuildError> {
    let above = move |step: &&Step| !step.insn.since().within(minimum);
    functions.iter().flatten().filter(above).map(move |&Step { insn, at, .. }| {
        let kind = ErrorKind::AboveMinimum { insn, needs: insn.since(), minimum };
        BuildError { at, kind }
    })
}
