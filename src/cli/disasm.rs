//! `shunt disasm`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use bpf_asm::elf;
use bpf_asm::text::{Style, Unit, disassemble};
use clap::Args;
use syscalls::Prog;

use super::{DONE, say};
use crate::observe;

/// Show instructions as text: of an ELF object, of bare bytes, or of a program in the kernel
///
/// Source lines are shown where they are known, as comments. `shunt asm` makes the same object of
/// what is shown of an object, with its types, variables and relocations; of a compiler's it is
/// shown as clang does by -S. What comes from bytes is a text that it reads as well.
#[derive(Args)]
#[command(
    after_long_help = "A program in the kernel is shown as the verifier rewrote it: fields of the context are fields of the kernel's \
    structures, and helpers are functions of the kernel.\n\n\
    What that needs: CAP_BPF to open a pin and to see instructions; CAP_SYS_ADMIN for --id, and for the names of maps, functions and lines; \
    CAP_SYSLOG for the names of the kernel's functions.\n\n\
    Examples:\n  \
    shunt disasm program.o\n  \
    shunt disasm --slots --bytes program.bin       each instruction with its number and its bytes\n  \
    shunt disasm --pinned /sys/fs/bpf/shunt/shunt/1/send\n  \
    shunt disasm --id 42                           numbers as in `bpftool prog`"
)]
pub struct Disasm {
    /// An ELF object as clang, `shunt asm` or `shunt programs --elf` write it, or a file of
    /// instructions of 8 bytes each
    #[arg(required_unless_present_any = ["pinned", "id"], conflicts_with_all = ["pinned", "id"])]
    file: Option<PathBuf>,
    /// The program that is pinned here
    #[arg(long, value_name = "PATH", conflicts_with = "id")]
    pinned: Option<PathBuf>,
    /// The program with this id in the kernel
    #[arg(long, value_name = "N")]
    id: Option<u32>,
    /// Show the number of each instruction's slot
    #[arg(long)]
    slots: bool,
    /// Show the bytes of each instruction
    #[arg(long)]
    bytes: bool,
}

impl Disasm {
    pub fn run(self) -> Result<ExitCode> {
        let style = Style { slots: self.slots, bytes: self.bytes, lines: true };
        let unit = match (&self.file, &self.pinned, self.id) {
            (Some(file), ..) => {
                let bytes =
                    fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                if bytes.starts_with(b"\x7fELF") {
                    say(elf::disassemble(&bytes, &style)
                        .with_context(|| file.display().to_string())?)?;
                    return Ok(DONE);
                }
                unit(file, &bytes)?
            }
            (_, Some(path), _) => observe::program(&Prog::open_pinned(path)?)?,
            (_, _, Some(id)) => observe::program(
                &Prog::open_id(id)
                    .with_context(|| format!("cannot open the program with id {id}"))?,
            )?,
            (None, None, None) => Unit::default(),
        };
        say(disassemble(&unit, &style))?;
        Ok(DONE)
    }
}

/// The bare instructions in a file.
fn unit(file: &Path, bytes: &[u8]) -> Result<Unit> {
    ensure!(
        bytes.len().is_multiple_of(8),
        "{} is neither an ELF object nor instructions of 8 bytes each: it has {} bytes",
        file.display(),
        bytes.len()
    );
    Ok(Unit::from_bytes(bytes))
}
