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

/// Assemble text into an ELF object that libbpf and bpftool load; needs no compiler
///
/// The text uses the kernel's notation, as verifier logs, bpftool and `shunt disasm` print it.
#[derive(Args)]
#[command(after_long_help = concat!(
    "For example, count.s:\n\n",
    include_str!("example.s"),
    "\nAssemble, load and attach it, and read its counter:\n\n  \
    shunt asm count.s\n  \
    bpftool prog loadall count.o /sys/fs/bpf/count pinmaps /sys/fs/bpf/count\n  \
    bpftool net attach xdp pinned /sys/fs/bpf/count/count dev lo\n  \
    bpftool map dump pinned /sys/fs/bpf/count/packets\n\n\
    Functions called by others are placed in .text, where libbpf expects them. An array with one \
    value that is only used as map[name:NAME][0]+OFFSET becomes the section .data.NAME, because \
    libbpf addresses map values in no other way.\n\n\
    The output of `clang -S` and everything that `shunt disasm` prints for objects is accepted \
    too: sections with flags, symbols and data, in GNU as syntax. Warnings point at code that the \
    verifier would reject; the object is written nevertheless."
))]
pub struct Asm {
    /// Source file; - for standard input
    source: PathBuf,
    /// Output file [default: the source's name with the extension .o]
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
                    "standard input has no name to derive the output file from: name it by --output"
                )
            }
            None => self.source.with_extension("o"),
        };
        // The source may already end in .o, or be passed as the output by mistake.
        if !stdin && same_file(&self.source, &output) {
            bail!(
                "the output would overwrite its source {}: choose another file by --output",
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

/// Whether two paths name one file, also through a link.
fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()) && a.is_file(),
        _ => a == b,
    }
}
