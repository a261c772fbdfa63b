//! Where this machine's kernel keeps what the programs read, by its own BTF.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail};
use bpf_asm::KernelField;
use syscalls::Btf;

use crate::datapath::Layout;

/// The kernel's own BTF, which is read once as long as somebody has it.
pub fn btf() -> Result<Arc<Btf>> {
    Btf::vmlinux().context(
        "shunt asks the kernel where its structures keep what the programs read, and this kernel does not say: use one that is \
         built with CONFIG_DEBUG_INFO_BTF (every distribution's since about 2021)",
    )
}

/// The members of this kernel's structures that the programs read. Its BTF is searched for them once
/// in a process.
pub fn layout() -> Result<Layout> {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    if let Some(layout) = LAYOUT.get() {
        return Ok(layout.clone());
    }
    let btf = btf()?;
    let layout = Layout::read(
        |structure, path| member(&btf, structure, path),
        |structure| Ok(btf.size_of(structure)?),
        |name| Ok(btf.function(name)?),
        |name| btf.enumerator(name).ok(),
    )?;
    Ok(LAYOUT.get_or_init(|| layout).clone())
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
