//! Leaves out and shortens what makes no difference to what a program computes.
//!
//! | file | what it does |
//! |---|---|
//! | [`effect`] | what an instruction reads and writes |
//! | [`constants`] | numbers and frame addresses that are known when the program is assembled |
//! | [`moves`] | values that are made where they are needed |
//! | [`dead`] | instructions and stores whose result nobody reads |
//! | [`jumps`] | jumps that lead to jumps, to the next instruction, or past one; code that nothing leads to |
//!
//! Every instruction that stays keeps its Rust line. Nothing that a verifier goes by is taken away: comparisons whose
//! outcome is not known, bounds, checks for null; only what is kept in registers and slots without being read.

mod constants;
mod dead;
mod effect;
mod jumps;
mod moves;

use crate::stack::{Access, Bytes, Frame};
use crate::step::Step;

/// Optimises a function with this frame, until there is nothing left to do.
pub(crate) fn function(steps: &mut Vec<Step>, frame: &Frame) {
    let mut reached = Bytes::none(frame);
    for touch in steps.iter().flat_map(|step| &step.touches).filter(|touch| touch.access == Access::Escapes) {
        reached.add(touch.bytes.clone());
    }
    // Each round that changes something leaves out an instruction or makes one of a smaller kind; the bound is for those
    // that would only make room for very little.
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        let folded = constants::fold(steps);
        let joined = moves::join(steps, frame);
        let removed = dead::remove(steps, frame, &reached);
        let shortened = jumps::shorten(steps);
        if !(folded || joined || removed || shortened) {
            break;
        }
    }
}
