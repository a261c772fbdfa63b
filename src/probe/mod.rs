//! What this machine lets us do and how its kernel behaves, found out by asking and by trying, and
//! by version number only where trying could crash it.

pub mod behaviour;
mod enrolled;
mod facility;
mod kernel;
pub mod known_bug;
mod one_queue;
mod requirement;

pub use behaviour::Behaviour;
pub use kernel::Kernel;
pub use requirement::{Requirement, rehearse, require, requirements};

use crate::datapath::Passes;

/// How the program that enrols gets at candidates on this machine's kernel.
pub fn passes() -> Passes {
    passes_where(|behaviour| behaviour.settle().is_yes())
}

/// The same, where it is known whether a behaviour holds.
///
/// The iterator over open files (`task_file`) is used only where the one over socket storage may
/// crash the kernel: its pass takes longer, and a kernel that refuses one iterator may refuse the
/// other.
pub fn passes_where(does: impl Fn(Behaviour) -> bool) -> Passes {
    if does(Behaviour::StorageIteratorEnrols) {
        Passes::Iterator
    } else if known_bug::storage_iterators_crash(&known_bug::running())
        && does(Behaviour::FileIteratorEnrols)
    {
        Passes::Files
    } else {
        Passes::Classifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterators_over_files_stand_in_only_where_those_over_storage_may_crash() {
        let where_it_does = |one: Behaviour| passes_where(|behaviour| behaviour == one);
        assert_eq!(where_it_does(Behaviour::StorageIteratorEnrols), Passes::Iterator);
        assert_eq!(where_it_does(Behaviour::Order), Passes::Classifier);
        let crashes = known_bug::storage_iterators_crash(&known_bug::running());
        let over_files = if crashes { Passes::Files } else { Passes::Classifier };
        assert_eq!(where_it_does(Behaviour::FileIteratorEnrols), over_files);
    }
}
