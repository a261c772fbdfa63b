//! The stack that functions take together while they call each other.

use crate::draft::Draft;
use crate::error::{BuildError, ErrorKind, Location};
use crate::stack::FRAME;
use crate::step::{Step, Target};

/// Frames count in steps of this (kernel `round_up_stack_depth`; since 6.6 in steps of 16 where the
/// program is compiled).
const STEP: usize = 32;

/// The most frames that can be alive at once (kernel `MAX_CALL_FRAMES`).
const MOST: usize = 8;

/// Whether the frames of any chain of calls are more than there can be.
pub(super) fn check(draft: &Draft, functions: &[Vec<Step>], depths: &[usize]) -> Vec<BuildError> {
    let frame = |function: usize| depths[function].max(1).next_multiple_of(STEP);
    let mut errors = Vec::new();
    let stack = Deepest::of(draft, functions, frame);
    if let Some((taken, at)) = stack.in_calls()
        && taken > FRAME
    {
        let frames =
            stack.chain().map(|function| (draft.functions[function].name.clone(), frame(function)));
        errors.push(BuildError {
            at,
            kind: ErrorKind::OutOfStackInCalls { frames: frames.collect() },
        });
    }
    if let Some((given, at)) = Deepest::of(draft, functions, |_| 1).in_calls()
        && given > MOST
    {
        errors.push(BuildError { at, kind: ErrorKind::TooManyFrames { given } });
    }
    errors
}

/// For each function, the chain of calls from it that takes the most of something.
struct Deepest(Vec<Chain>);

#[derive(Clone, Copy, Default)]
struct Chain {
    taken: usize,
    /// The next function of the chain, and the line that calls it.
    next: Option<(usize, Location)>,
}

impl Deepest {
    /// A function is finished before anything can call it, so functions are looked at as they were
    /// finished, the program last.
    fn of(draft: &Draft, functions: &[Vec<Step>], takes: impl Fn(usize) -> usize) -> Deepest {
        let mut known = vec![Chain::default(); functions.len()];
        for &function in draft.finished.iter().chain([&0]) {
            let calls = functions[function].iter().filter_map(|step| match step.target {
                Target::Function { called, .. } => Some((called, step.at)),
                _ => None,
            });
            let next = calls.max_by_key(|(called, _)| known[*called].taken);
            let below = next.map_or(0, |(called, _)| known[called].taken);
            known[function] = Chain { taken: takes(function) + below, next };
        }
        Deepest(known)
    }

    /// What the program takes, if it calls anything, and the line that calls.
    fn in_calls(&self) -> Option<(usize, Location)> {
        let Chain { taken, next } = self.0[0];
        next.map(|(_, at)| (taken, at))
    }

    /// The functions of the program's chain.
    fn chain(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(0), |function| self.0[*function].next.map(|(called, _)| called))
    }
}
