//! What this machine's kernel is like: where its structures keep what the programs read, and how it
//! behaves.

use std::fmt;

use anyhow::{Context, Result, bail};
use bpf_asm::KernelField;
use syscalls::Btf;

use crate::datapath::{Layout, Passes};
use crate::probe;
use crate::probe::behaviour::{Answer, Behaviour, Need};

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
        let btf = btf()?;
        let deciding = Behaviour::all().filter(|behaviour| behaviour.need() != Need::Informs);
        let behaviours: Vec<_> =
            deciding.map(|behaviour| (behaviour, behaviour.settle())).collect();
        require(&behaviours)?;
        Ok(Kernel {
            layout: layout(&btf)?,
            hz: probe::hz().context("cannot find out how long a jiffy is")?,
            behaviours,
        })
    }

    /// How the program that enrols gets at candidates here.
    pub fn passes(&self) -> Passes {
        probe::passes_where(|behaviour| self.does(behaviour))
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

/// The kernel's own BTF.
pub fn btf() -> Result<Btf> {
    Btf::vmlinux().context(
        "shunt asks the kernel where its structures keep what the programs read, and this kernel does not say: use one that is \
         built with CONFIG_DEBUG_INFO_BTF (every distribution's since about 2021)",
    )
}

/// The members of this kernel's structures that the programs read.
pub fn layout(btf: &Btf) -> Result<Layout> {
    Layout::read(
        |structure, path| member(btf, structure, path),
        |structure| Ok(btf.size_of(structure)?),
        |name| Ok(btf.function(name)?),
        |name| btf.enumerator(name).ok(),
    )
}

/// A member as the programs load it. Bit-fields are given by the byte that holds their first bit.
fn member(btf: &Btf, structure: &str, path: &str) -> Result<KernelField> {
    let member = btf.member(structure, path)?;
    let (size, bitfield) = match member.bitfield_width {
        Some(width) => {
            let shift = (member.bit_offset % 8) as u8;
            if shift + width > 8 {
                bail!("the bit-field {structure}.{path} crosses a byte");
            }
            (1, Some((shift, width)))
        }
        // What is larger than a register is only ever read by address.
        None => (member.size.min(8) as u8, None),
    };
    Ok(KernelField {
        structure: member.structure,
        offset: member.offset,
        size,
        signed: false,
        bitfield,
    })
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
