//! What this machine's kernel is like: where its structures keep what the programs read, and how it behaves.

use std::fmt;

use anyhow::{Context, Result, bail};
use bpf_asm::KernelField;
use syscalls::Btf;

use crate::datapath::Layout;
use crate::probe;
use crate::probe::behaviour::{self, Answer, Behaviour};

/// Everything about the kernel that programs, guards and defaults are chosen by.
#[derive(Debug)]
pub struct Kernel {
    /// Offsets of structure members.
    pub layout: Layout,
    /// Jiffies in a second.
    pub hz: u32,
    /// What it was found to do.
    behaviours: Vec<(&'static Behaviour, Answer)>,
}

impl Kernel {
    /// Reads the kernel's BTF and tries out how it behaves, in a cgroup and a network namespace of its own: about 50 ms in all, and half a
    /// second more where programs cannot wake readers.
    pub fn of_this_machine() -> Result<Kernel> {
        let btf = btf()?;
        let deciding = behaviour::ALL.iter().filter(|behaviour| behaviour.decides);
        Ok(Kernel {
            layout: layout(&btf)?,
            hz: probe::hz().context("cannot find out how long a jiffy is")?,
            behaviours: deciding.map(|behaviour| (behaviour, behaviour.try_out())).collect(),
        })
    }

    /// Whether a behaviour that decides something is known to hold, by its [name](Behaviour::name) or its statement. What could not be
    /// tried out is not known to.
    pub fn does(&self, behaviour: &str) -> bool {
        let mut asked = self.behaviours.iter().filter(|(known, _)| [known.name, known.statement].contains(&behaviour));
        asked.any(|(_, answer)| answer.is_yes())
    }
}

/// What it was found to do, in a line.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.behaviours.iter().map(|(behaviour, answer)| format!("{} {answer}", behaviour.name));
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
    Ok(KernelField { offset: member.offset, size, signed: false, bitfield })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_at_start_is_what_decides_and_what_could_not_be_tried_is_not_known_to_hold() {
        let begun = std::time::Instant::now();
        let mut kernel = Kernel::of_this_machine().expect("find out about this kernel (as root)");
        eprintln!("{kernel}: found out in {:?}", begun.elapsed());
        assert!(!kernel.does("mptcp"), "it decides nothing");
        for (behaviour, answer) in &mut kernel.behaviours {
            *answer = Answer::Unknown(anyhow::anyhow!("no"));
            assert!(behaviour.decides, "{}", behaviour.name);
        }
        assert!(!kernel.does("charged") && !kernel.does("splice"));
        kernel.behaviours.iter_mut().for_each(|(_, answer)| *answer = Answer::Yes);
        assert!(kernel.does("splice") && kernel.does("splice(2) moves redirected bytes"));
    }
}
