//! What this machine permits and how its kernel behaves, found by querying and testing, and by
//! version number only where a test could crash it.

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

/// How the enrolment program reaches candidates on this machine's kernel.
pub fn passes() -> Passes {
    passes_where(|behaviour| behaviour.settle().is_yes())
}

/// The same, given which behaviours hold.
///
/// The iterator over open files (`task_file`) is used only where the one over socket storage may
/// crash the kernel: its passes take longer, and a kernel that rejects one iterator may reject the
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
    fn iterators_over_files_are_used_only_where_those_over_storage_may_crash() {
        let where_it_does = |one: Behaviour| passes_where(|behaviour| behaviour == one);
        assert_eq!(where_it_does(Behaviour::StorageIteratorEnrols), Passes::Iterator);
        assert_eq!(where_it_does(Behaviour::Order), Passes::Classifier);
        let crashes = known_bug::storage_iterators_crash(&known_bug::running());
        let over_files = if crashes { Passes::Files } else { Passes::Classifier };
        assert_eq!(where_it_does(Behaviour::FileIteratorEnrols), over_files);
    }
}
