//! What this machine lets us do and how its kernel behaves, found out by asking and by trying, never by version number.

pub mod behaviour;
mod enrolled;
mod facility;
mod hz;
pub mod known_bug;
mod one_queue;
mod requirement;

pub use behaviour::Behaviour;
pub use hz::hz;
pub use requirement::{Requirement, rehearse, require, requirements};

use crate::datapath::Passes;

/// How the program that enrols gets at candidates on this machine's kernel.
pub fn passes() -> Passes {
    Passes::where_iterators_enrol(Behaviour::StorageIteratorEnrols.settle().is_yes())
}
