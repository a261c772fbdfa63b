//! What this machine's kernel is like: where its structures keep what the programs read, and how it
//! behaves.

use std::fmt;

use anyhow::{Result, bail};

use super::behaviour::{Answer, Behaviour, Need};
use super::passes_where;
use crate::datapath::{Layout, Passes};
use crate::kernel;

/// Everything about the kernel that programs, guards and defaults are chosen by.
#[derive(Debug)]
pub struct Kernel {
    /// Offsets of structure members.
    pub layout: Layout,
    /// Jiffies in a second.
    pub hz: u32,
    /// What it was found to do.
    behaviours: Vec<(Behaviour, Answer)>,
}

impl Kernel {
    /// Reads the kernel's BTF and tries out how it behaves, in network namespaces of its own: about
    /// half a second in all.
    ///
    /// # Errors
    /// Names the required behaviours that the kernel lacks, or that cannot be tried out.
    pub fn of_this_machine() -> Result<Kernel> {
        let deciding = Behaviour::all().filter(|behaviour| behaviour.need() != Need::Informs);
        let behaviours: Vec<_> =
            deciding.map(|behaviour| (behaviour, behaviour.settle())).collect();
        require(&behaviours)?;
        Ok(Kernel { layout: kernel::layout(&kernel::btf()?)?, hz: kernel::hz()?, behaviours })
    }

    /// How the program that enrols gets at candidates here.
    pub fn passes(&self) -> Passes {
        passes_where(|behaviour| self.does(behaviour))
    }

    /// Whether a behaviour is known to hold. What only informs is not tried out at the start, and
    /// so is not known to, nor is what could not be tried out.
    pub fn does(&self, behaviour: Behaviour) -> bool {
        self.behaviours.iter().any(|(known, answer)| *known == behaviour && answer.is_yes())
    }
}

/// Refuses a kernel that is not known to have every required behaviour, naming all that it lacks.
fn require(behaviours: &[(Behaviour, Answer)]) -> Result<()> {
    let lacking: Vec<String> = behaviours
        .iter()
        .filter(|(behaviour, answer)| behaviour.is_required() && !answer.is_yes())
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
        let words = self
            .behaviours
            .iter()
            .map(|(behaviour, answer)| format!("{} {answer}", behaviour.name()));
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_at_start_is_what_decides_and_what_could_not_be_tried_is_not_known_to_hold() {
        let begun = std::time::Instant::now();
        let mut kernel = Kernel::of_this_machine().expect("find out about this kernel (as root)");
        eprintln!("{kernel}: found out in {:?}", begun.elapsed());
        assert!(kernel.does(Behaviour::Charged));
        assert!(!kernel.does(Behaviour::Mptcp), "it decides nothing");
        for (behaviour, answer) in &mut kernel.behaviours {
            *answer = Answer::Unknown(anyhow::anyhow!("no"));
            assert!(behaviour.need() != Need::Informs, "{behaviour}");
        }
        assert!(!kernel.does(Behaviour::Charged) && !kernel.does(Behaviour::Splice));
        kernel.behaviours.iter_mut().for_each(|(_, answer)| *answer = Answer::Yes);
        assert!(kernel.does(Behaviour::Splice));
    }

    #[test]
    fn a_kernel_that_lacks_required_behaviours_is_refused_with_all_of_them() {
        let no = || Answer::No("5 bytes of 9".to_owned());
        let unknown = || Answer::Unknown(anyhow::anyhow!("not permitted"));
        assert!(require(&[(Behaviour::Order, Answer::Yes), (Behaviour::Splice, no())]).is_ok());
        let refused = require(&[
            (Behaviour::Order, no()),
            (Behaviour::Reset, Answer::Yes),
            (Behaviour::Leaving, unknown()),
        ]);
        let said = refused.expect_err("refused").to_string();
        for part in [Behaviour::Order.statement(), "5 bytes of 9", "not permitted"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains(Behaviour::Reset.statement()), "{said}");
    }
}
