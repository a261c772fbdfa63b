//! CPU affinity of the ends of a connection: a processor each, the same in every round and for
//! every transport. Left to the scheduler, two threads that wake each other share a processor for
//! some tenths of a second or do not, which changes more than what is measured.

use nix::Result;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors of the two ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    near: CpuSet,
    far: CpuSet,
}

impl Placement {
    /// The first two processors this thread may use, or its only one.
    pub fn here() -> Result<Self> {
        let allowed = affinity()?;
        let mut processors =
            (0..CpuSet::count()).filter(|&number| allowed.is_set(number) == Ok(true));
        let only = |number: Option<usize>| {
            let mut set = CpuSet::new();
            number.map_or(Ok(allowed), |number| set.set(number).map(|()| set))
        };
        let near = processors.next();
        Ok(Self { near: only(near)?, far: only(processors.next().or(near))? })
    }

    /// Pins this thread to the processor of the near end until the guard is dropped.
    pub fn near(&self) -> Result<Placed> {
        Placed::on(&self.near)
    }

    /// The same for the far end.
    pub fn far(&self) -> Result<Placed> {
        Placed::on(&self.far)
    }
}

/// A pinned thread; dropping it restores the previous affinity.
#[derive(Debug)]
pub(super) struct Placed {
    before: CpuSet,
}

impl Placed {
    fn on(set: &CpuSet) -> Result<Self> {
        let before = affinity()?;
        sched_setaffinity(THIS_THREAD, set)?;
        Ok(Self { before })
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // The set was valid a moment ago, and its remaining processors still are.
        let _ = sched_setaffinity(THIS_THREAD, &self.before);
    }
}

const THIS_THREAD: Pid = Pid::from_raw(0);

fn affinity() -> Result<CpuSet> {
    sched_getaffinity(THIS_THREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors(set: &CpuSet) -> Vec<usize> {
        (0..CpuSet::count()).filter(|&number| set.is_set(number) == Ok(true)).collect()
    }

    #[test]
    fn the_ends_have_a_processor_each_and_the_affinity_is_restored() {
        let before = affinity().expect("an affinity");
        let placement = Placement::here().expect("a placement");
        let near = {
            let _placed = placement.near().expect("allowed");
            processors(&affinity().expect("an affinity"))
        };
        let far = {
            let _placed = placement.far().expect("allowed");
            processors(&affinity().expect("an affinity"))
        };
        assert_eq!((near.len(), far.len()), (1, 1));
        assert_eq!(near == far, processors(&before).len() == 1);
        assert_eq!(affinity(), Ok(before));
    }
}
