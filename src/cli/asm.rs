//! `shunt asm`

use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use bpf_asm::elf;
use clap::Args;

use super::DONE;

/// Assemble a text into an ELF object that libbpf and bpftool load; needs no compiler
///
/// The text is in the kernel's own notation, as verifier logs, bpftool and `shunt disasm` print it.
#[derive(Args)]
#[command(after_long_help = concat!(
    "For example, count.s:\n\n",
    include_str!("example.s"),
    "\nAssemble, load and attach it, and see what it counts:\n\n  \
    shunt asm count.s\n  \
    bpftool prog loadall count.o /sys/fs/bpf/count pinmaps /sys/fs/bpf/count\n  \
    bpftool net attach xdp pinned /sys/fs/bpf/count/count dev lo\n  \
    bpftool map dump pinned /sys/fs/bpf/count/packets\n\n\
    Functions that others call are moved to .text, where libbpf looks for them. A map named in map[name:NAME][0]+OFFSET alone, an array of \
    one value, becomes the section .data.NAME, for libbpf addresses values in no other way.\n\n\
    What clang writes by -S is read, too, and so is all that `shunt disasm` makes of objects: sections with their flags, symbols and \
    data, in the language of GNU as. Warnings tell of what no verifier accepts; the object is written all the same."
))]
pub struct Asm {
    /// The text; - for standard input
    source: PathBuf,
    /// Where the object goes [default: the source's name, ending in .o]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Asm {
    pub fn run(self) -> Result<ExitCode> {
        let stdin = self.source.as_os_str() == "-";
        let output = match self.output {
            Some(output) => output,
            None if stdin => {
                bail!(
                    "say by --output where the object goes: standard input has no name that it could be made from"
                )
            }
            None => self.source.with_extension("o"),
        };
        // A text may be called as an object is by default, or be given twice by mistake.
        if !stdin && same_file(&self.source, &output) {
            bail!(
                "the object would overwrite {}, from which it is made; say by --output where it goes",
                self.source.display()
            );
        }
        let name = if stdin { "<stdin>".into() } else { self.source.to_string_lossy() };
        let mut source = String::new();
        let read = if stdin {
            io::stdin().read_to_string(&mut source).map(drop)
        } else {
            fs::File::open(&self.source)
                .and_then(|mut file| file.read_to_string(&mut source))
                .map(drop)
        };
        read.with_context(|| format!("cannot read {name}"))?;
        let coloured = io::stderr().is_terminal();
        let assembled = match elf::assemble(&name, &source) {
            Ok(assembled) => assembled,
            Err(errors) => {
                eprint!("{}", errors.render(coloured));
                return Ok(ExitCode::FAILURE);
            }
        };
        eprint!("{}", assembled.warnings.render(coloured));
        fs::write(&output, assembled.object)
            .with_context(|| format!("cannot write {}", output.display()))?;
        Ok(DONE)
    }
}

/// Whether two paths lead to one file, be it by a link.
fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()) && a.is_file(),
        _ => a == b,
    }
}
