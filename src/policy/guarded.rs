//! Programs that are known to notice, and the behaviour of a kernel by which they would.
//!
//! Where a kernel behaves well none of them is left out. `guarded-programs = false` in the configuration file turns this off, and
//! `unguarded-programs` takes single ones off the list.

use crate::probe::behaviour::Answer;

/// A program that reads in a way that not every kernel has an answer to for redirected bytes.
#[derive(Debug)]
pub struct Guarded {
    /// The name of its process.
    pub name: &'static str,
    /// What it does.
    pub why: &'static str,
    /// The behaviours that it relies on: statements of [`crate::probe::behaviour::ALL`].
    pub relies_on: &'static [&'static str],
}

const SPLICE: &str = "splice(2) moves redirected bytes";
const FIONREAD: &[&str] =
    &["FIONREAD counts redirected bytes", "FIONREAD counts bytes that came to an enrolled socket by TCP"];
const ASKS_FIRST: &str = "asks by FIONREAD how much there is to read";

/// Every one that is known.
pub const ALL: &[Guarded] = &[
    Guarded { name: "haproxy", why: "moves bytes by splice(2)", relies_on: &[SPLICE] },
    Guarded { name: "nginx", why: ASKS_FIRST, relies_on: FIONREAD },
    Guarded { name: "java", why: ASKS_FIRST, relies_on: FIONREAD },
    Guarded { name: "dotnet", why: ASKS_FIRST, relies_on: FIONREAD },
];

/// Those that rely on a behaviour that is not known to hold on a kernel that answers so. Each behaviour is asked for once at most.
pub fn applying(mut answer: impl FnMut(&str) -> Answer) -> Vec<&'static Guarded> {
    let mut known: Vec<(&str, bool)> = Vec::new();
    let mut holds = |statement: &'static str| match known.iter().find(|(known, _)| *known == statement) {
        Some((_, holds)) => *holds,
        None => {
            let holds = matches!(answer(statement), Answer::Yes);
            known.push((statement, holds));
            holds
        }
    };
    ALL.iter().filter(|program| !program.relies_on.iter().all(|statement| holds(statement))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::behaviour;

    #[test]
    fn every_behaviour_that_a_program_relies_on_can_be_tried_out() {
        for program in ALL {
            assert!(!program.relies_on.is_empty(), "{}", program.name);
            for statement in program.relies_on {
                assert!(behaviour::ALL.iter().any(|known| known.statement == *statement), "{statement}");
            }
        }
    }

    #[test]
    fn a_program_is_left_out_unless_all_that_it_relies_on_is_known_to_hold() {
        let names = |answer: &dyn Fn(&str) -> Answer| -> Vec<&str> {
            applying(answer).iter().map(|program| program.name).collect()
        };
        assert!(names(&|_| Answer::Yes).is_empty());
        let all: Vec<&str> = ALL.iter().map(|program| program.name).collect();
        assert_eq!(names(&|_| Answer::No), all);
        assert_eq!(names(&|_| Answer::Unknown(anyhow::anyhow!("no"))), all);
        assert_eq!(names(&|statement| if statement == SPLICE { Answer::No } else { Answer::Yes }), ["haproxy"]);
        for part in FIONREAD {
            let without = names(&|statement| if statement == *part { Answer::No } else { Answer::Yes });
            assert_eq!(without, ["nginx", "java", "dotnet"], "{part}");
        }
    }

    #[test]
    fn a_behaviour_is_tried_out_once() {
        let mut asked = Vec::new();
        applying(|statement| {
            asked.push(statement.to_owned());
            Answer::Yes
        });
        let all = asked.len();
        asked.sort();
        asked.dedup();
        assert_eq!((asked.len(), all), (3, 3));
    }
}
