//! Programs that are known to notice, and the behaviour of a kernel by which they would.
//!
//! Where a kernel behaves well none of them is left out. `guarded-programs = false` in the configuration file turns this off, and
//! `unguarded-programs` takes single ones off the list.

use crate::probe::Behaviour;

/// A program that reads in a way that not every kernel has an answer to for redirected bytes.
#[derive(Debug)]
pub struct Guarded {
    /// The name of its process.
    pub name: &'static str,
    /// What it does.
    pub why: &'static str,
    /// The behaviours that it relies on.
    pub relies_on: &'static [Behaviour],
}

const FIONREAD: &[Behaviour] = &[Behaviour::FionreadDirect, Behaviour::FionreadByTcp];
const ASKS_FIRST: &str = "asks by FIONREAD how much there is to read";

/// Every one that is known.
pub const ALL: &[Guarded] = &[
    Guarded { name: "haproxy", why: "moves bytes by splice(2)", relies_on: &[Behaviour::Splice] },
    Guarded { name: "nginx", why: ASKS_FIRST, relies_on: FIONREAD },
    Guarded { name: "java", why: ASKS_FIRST, relies_on: FIONREAD },
    Guarded { name: "dotnet", why: ASKS_FIRST, relies_on: FIONREAD },
];

/// Those that rely on a behaviour that is not known to hold on a kernel that answers so.
pub fn applying(holds: impl Fn(Behaviour) -> bool) -> Vec<&'static Guarded> {
    ALL.iter().filter(|program| !program.relies_on.iter().all(|behaviour| holds(*behaviour))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::behaviour::Need;

    #[test]
    fn every_behaviour_that_a_program_relies_on_is_tried_out_at_the_start() {
        for program in ALL {
            assert!(!program.relies_on.is_empty(), "{}", program.name);
            for behaviour in program.relies_on {
                assert_eq!(behaviour.need(), Need::Decides, "{behaviour}");
            }
        }
    }

    #[test]
    fn a_program_is_left_out_unless_all_that_it_relies_on_is_known_to_hold() {
        let names = |holds: &dyn Fn(Behaviour) -> bool| -> Vec<&str> {
            applying(holds).iter().map(|program| program.name).collect()
        };
        assert!(names(&|_| true).is_empty());
        let all: Vec<&str> = ALL.iter().map(|program| program.name).collect();
        assert_eq!(names(&|_| false), all);
        assert_eq!(names(&|behaviour| behaviour != Behaviour::Splice), ["haproxy"]);
        for part in FIONREAD {
            assert_eq!(names(&|behaviour| behaviour != *part), ["nginx", "java", "dotnet"], "{part}");
        }
    }
}
