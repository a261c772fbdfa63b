//! `shunt disasm`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use bpf_asm::elf;
use bpf_asm::text::{Style, Unit, disassemble};
use clap::Args;
use syscalls::Prog;

use super::{DONE, print};
use crate::observe;

/// Disassemble an ELF object, raw instructions or a program in the kernel
///
/// Known source lines are shown as comments. `shunt asm` turns the output for an object into the
/// same object again, with its types, variables and relocations; objects of a compiler are shown in
/// the syntax of `clang -S`. It reads the output for raw instructions too.
#[derive(Args)]
#[command(
    after_long_help = "A program in the kernel is shown as rewritten by the verifier: with fields \
    of kernel structures instead of context fields, and kernel functions instead of helpers.\n\n\
    This needs CAP_BPF to open a pin and read instructions, CAP_SYS_ADMIN for --id and for the \
    names of maps, functions and lines, and CAP_SYSLOG for the names of kernel functions.\n\n\
    Examples:\n  \
    shunt disasm program.o\n  \
    shunt disasm --slots --bytes program.bin       with slot numbers and bytes\n  \
    shunt disasm --pinned /sys/fs/bpf/shunt/shunt/1/send\n  \
    shunt disasm --id 42                           ids as in `bpftool prog`"
)]
pub struct Disasm {
    /// An ELF object of clang, `shunt asm` or `shunt programs --elf`, or a file of 8-byte
    /// instructions
    #[arg(required_unless_present_any = ["pinned", "id"], conflicts_with_all = ["pinned", "id"])]
    file: Option<PathBuf>,
    /// The program pinned at this path
    #[arg(long, value_name = "PATH", conflicts_with = "id")]
    pinned: Option<PathBuf>,
    /// The program with this id
    #[arg(long, value_name = "N")]
    id: Option<u32>,
    /// Show the slot number of each instruction
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
                    print(
                        elf::disassemble(&bytes, &style)
                            .with_context(|| file.display().to_string())?,
                    )?;
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
        print(disassemble(&unit, &style))?;
        Ok(DONE)
    }
}

/// Reads a file of raw instructions.
fn unit(file: &Path, bytes: &[u8]) -> Result<Unit> {
    ensure!(
        bytes.len().is_multiple_of(8),
        "{} is neither an ELF object nor a file of 8-byte instructions: it has {} bytes",
        file.display(),
        bytes.len()
    );
    Ok(Unit::from_bytes(bytes))
}
