//! What the running kernel was found to do. A behaviour is tried out when it is asked for first,
//! and once: nobody waits for what decides nothing here.

use std::cell::OnceCell;
use std::fmt;

use super::behaviour::{Answer, Behaviour};
use super::known_bug;
use crate::datapath::Passes;

/// The answers that are known, by behaviour.
#[derive(Debug)]
pub struct Answers([OnceCell<Answer>; Behaviour::COUNT]);

impl Default for Answers {
    /// Nothing has been tried out yet.
    fn default() -> Answers {
        Answers([const { OnceCell::new() }; Behaviour::COUNT])
    }
}

impl Answers {
    /// Whether a behaviour holds. Takes some milliseconds when it is asked for first, and some
    /// seconds where it does not hold.
    pub fn of(&self, behaviour: Behaviour) -> &Answer {
        self.0[behaviour as usize].get_or_init(|| behaviour.settle())
    }

    /// Whether a behaviour is known to hold. What could not be tried out is not.
    pub fn does(&self, behaviour: Behaviour) -> bool {
        self.of(behaviour).is_yes()
    }

    /// How the program that enrols gets at candidates here.
    ///
    /// The iterator over open files (`task_file`) is used only where the one over socket storage
    /// may crash the kernel: its pass takes longer, and a kernel that refuses one iterator may
    /// refuse the other.
    pub fn passes(&self) -> Passes {
        if self.does(Behaviour::StorageIteratorEnrols) {
            Passes::Iterator
        } else if known_bug::storage_iterators_crash(&known_bug::running())
            && self.does(Behaviour::FileIteratorEnrols)
        {
            Passes::Files
        } else {
            Passes::Classifier
        }
    }
}

impl FromIterator<(Behaviour, Answer)> for Answers {
    /// As if they had been found out.
    fn from_iter<I: IntoIterator<Item = (Behaviour, Answer)>>(known: I) -> Answers {
        let answers = Answers::default();
        for (behaviour, answer) in known {
            // The first counts.
            let _ = answers.0[behaviour as usize].set(answer);
        }
        answers
    }
}

/// What has been found out, in a line.
impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Behaviour::all().zip(&self.0);
        let words = known.filter_map(|(behaviour, answer)| {
            Some(format!("{} {}", behaviour.name(), answer.get()?))
        });
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no() -> Answer {
        Answer::No(String::new())
    }

    #[test]
    fn a_behaviour_is_tried_out_when_it_is_asked_for_and_not_before() {
        let answers: Answers = [(Behaviour::Order, no())].into_iter().collect();
        assert_eq!(answers.to_string(), "order no");
        assert!(!answers.does(Behaviour::Order));
        let answer = answers.of(Behaviour::Mptcp).to_string();
        assert_eq!(answers.to_string(), format!("order no, mptcp {answer}"));
    }

    #[test]
    fn what_could_not_be_tried_out_is_not_known_to_hold() {
        let unknown = Answer::Unknown(anyhow::anyhow!("not permitted"));
        let answers: Answers = [(Behaviour::Splice, unknown)].into_iter().collect();
        assert!(!answers.does(Behaviour::Splice));
    }

    #[test]
    fn iterators_over_files_stand_in_only_where_those_over_storage_may_crash() {
        let where_only = |one: Behaviour| {
            let answer = |behaviour| if behaviour == one { Answer::Yes } else { no() };
            Behaviour::all().map(|behaviour| (behaviour, answer(behaviour))).collect::<Answers>()
        };
        assert_eq!(where_only(Behaviour::StorageIteratorEnrols).passes(), Passes::Iterator);
        assert_eq!(where_only(Behaviour::Order).passes(), Passes::Classifier);
        let crashes = known_bug::storage_iterators_crash(&known_bug::running());
        let over_files = if crashes { Passes::Files } else { Passes::Classifier };
        assert_eq!(where_only(Behaviour::FileIteratorEnrols).passes(), over_files);
    }

    #[test]
    fn files_are_not_gone_over_to_see_whether_that_works_where_it_decides_nothing() {
        let answers: Answers =
            [(Behaviour::StorageIteratorEnrols, Answer::Yes)].into_iter().collect();
        assert_eq!(answers.passes(), Passes::Iterator);
        assert_eq!(answers.to_string(), "storage-iterator-enrols yes");
    }
}
