//! Leaves out and shortens what makes no difference to what a program computes.
//!
//! | file | what it does |
//! |---|---|
//! | [`constants`] | numbers and frame addresses that are known when the program is assembled |
//! | [`jumps`] | jumps that lead to jumps, to the next instruction, or past one; code that nothing leads to |
//! | [`live`] | what may still be read |
//! | [`moves`] | values that are made where they are needed |
//! | [`results`] | instructions and stores whose result nobody reads |
//!
//! Every instruction that stays keeps its Rust line. Nothing that a verifier goes by is taken away:
//! comparisons whose outcome is not known, bounds, checks for null; only what is kept in registers
//! and slots without being read.

mod constants;
mod jumps;
mod live;
mod moves;
mod results;

use crate::flow::graph::Graph;
use crate::insn::Minimum;
use crate::stack::Bytes;
use crate::step::{Step, keep};

/// Rounds in which known numbers decide branches, and decided branches make more numbers known.
/// Each has something to do only for conditions that hang on the outcome of others; more than this
/// many of those are left as they are.
const ROUNDS: usize = 8;

/// Optimises a function of a program for this minimum.
pub(crate) fn function(steps: &mut Vec<Step>, minimum: Minimum) {
    // A slot whose address is known somewhere may be reached from anywhere, also by accesses that
    // no longer look like it once the address is a number.
    let mut reached = Bytes::default();
    for touch in
        steps.iter().flat_map(|step| &step.touches).filter(|touch| touch.access.is_by_address())
    {
        reached.add(touch.bytes.clone());
    }
    for _ in 0..ROUNDS {
        let decided = constants::fold(steps);
        let shortened = jumps::shorten(steps, minimum);
        if !(decided && shortened) {
            break;
        }
    }
    let graph = Graph::of(steps);
    let live = live::behind(steps, &graph, &reached);
    let mut gone = moves::join(steps, &graph, &live, &reached);
    results::remove(steps, &graph, live, &reached, &mut gone);
    keep(steps, |step| !gone[step]);
    while jumps::shorten(steps, minimum) {}
}
