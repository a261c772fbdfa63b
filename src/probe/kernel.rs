//! What this machine's kernel is like: where its structures keep what the programs read, and how it
//! behaves.

use std::fmt;

use anyhow::{Result, bail};

use super::Answers;
use super::behaviour::Behaviour;
use crate::datapath::{Layout, Passes};
use crate::kernel;

/// Everything about the kernel that programs, guards and defaults are chosen by.
#[derive(Debug)]
pub struct Kernel {
    /// Offsets of structure members.
    pub layout: Layout,
    /// Jiffies in a second.
    pub hz: u32,
    /// How the program that enrols gets at candidates here.
    pub passes: Passes,
    answers: Answers,
}

impl Kernel {
    /// Reads the kernel's BTF and tries out how it behaves, in network namespaces of its own.
    ///
    /// # Errors
    /// Names the required behaviours that the kernel lacks, or that cannot be tried out.
    pub fn of_this_machine() -> Result<Kernel> {
        let answers = Answers::default();
        require(&answers)?;
        Ok(Kernel {
            layout: kernel::layout()?,
            hz: kernel::hz()?,
            passes: answers.passes(),
            answers,
        })
    }

    /// Whether a behaviour is known to hold: it is tried out if it has not been yet.
    pub fn does(&self, behaviour: Behaviour) -> bool {
        self.answers.does(behaviour)
    }
}

/// Refuses a kernel that is not known to have every required behaviour, naming all that it lacks.
fn require(answers: &Answers) -> Result<()> {
    let required = Behaviour::all().filter(|behaviour| behaviour.is_required());
    let lacking: Vec<String> = required
        .map(|behaviour| (behaviour, answers.of(behaviour)))
        .filter(|(_, answer)| !answer.is_yes())
        .map(|(behaviour, answer)| {
            let (instead, meaning) =
                (answer.detail().unwrap_or_default(), behaviour.meaning(false));
            format!("\n  - {behaviour}: {answer} ({instead}). {meaning}")
        })
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    bail!("shunt cannot run on this kernel, which lacks what it needs:{}", lacking.concat());
}

/// What it was found to do, in a line.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answers.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::behaviour::Answer;
    use super::*;

    #[test]
    fn what_is_required_is_tried_out_at_the_start_and_what_only_informs_is_not() {
        let begun = std::time::Instant::now();
        let kernel = Kernel::of_this_machine().expect("find out about this kernel (as root)");
        eprintln!("{kernel}: found out in {:?}", begun.elapsed());
        let said = kernel.to_string();
        for behaviour in Behaviour::all().filter(|behaviour| behaviour.is_required()) {
            assert!(said.contains(&format!("{} yes", behaviour.name())), "{said}");
        }
        for behaviour in [Behaviour::Mptcp, Behaviour::Splice, Behaviour::Ktls] {
            assert!(!said.contains(behaviour.name()), "{said}");
        }
    }

    #[test]
    fn a_kernel_that_lacks_required_behaviours_is_refused_with_all_of_them() {
        let found = |behaviour| match behaviour {
            Behaviour::Order => Answer::No("5 bytes of 9".to_owned()),
            Behaviour::Leaving => Answer::Unknown(anyhow::anyhow!("not permitted")),
            _ => Answer::Yes,
        };
        let refused = require(&Behaviour::all().map(|one| (one, found(one))).collect());
        let said = refused.expect_err("refused").to_string();
        for part in [Behaviour::Order.statement(), "5 bytes of 9", "not permitted"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains(Behaviour::Reset.statement()), "{said}");

        let found = |one: Behaviour| {
            if one.is_required() { Answer::Yes } else { Answer::No(String::new()) }
        };
        assert!(require(&Behaviour::all().map(|one| (one, found(one))).collect()).is_ok());
    }
}
