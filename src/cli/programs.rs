//! `shunt programs`

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bpf_asm::elf;
use clap::Args;

use super::table::Table;
use super::{DONE, print};
use crate::datapath::{Datapath, Settings};
use crate::kernel;
use crate::kernel::load::LICENSE;
use crate::probe::Answers;

/// Show the kernel programs as assembled for the running kernel; loads nothing
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt programs                            names, types and lengths\n  \
    shunt programs --disassemble | less       every instruction under its Rust line\n  \
    shunt programs --elf .                    shunt.o, for libbpf and bpftool")]
pub struct Programs {
    /// Print every instruction under the Rust line that emitted it
    #[arg(long)]
    disassemble: bool,
    /// Write the programs and maps into DIR/shunt.o, an ELF object for libbpf and bpftool
    #[arg(long, value_name = "DIR", conflicts_with = "disassemble")]
    elf: Option<PathBuf>,
}

impl Programs {
    pub fn run(self) -> Result<ExitCode> {
        let layout = kernel::layout()?;
        let datapath = Datapath::new(
            layout,
            Settings { flows: 262_144, hz: kernel::hz()?, passes: Answers::default().passes() },
        );
        let programs = datapath.programs()?.map(|(_, program)| program);
        if self.disassemble {
            for program in &programs {
                print(format_args!("{program}\n"))?;
            }
            return Ok(DONE);
        }
        if let Some(dir) = self.elf {
            let object = elf::write(&elf::unit(&LICENSE.to_string_lossy(), &programs.each_ref())?)?;
            let path = dir.join("shunt.o");
            fs::write(&path, object).with_context(|| format!("cannot write {}", path.display()))?;
            print(format_args!("{}\n", path.display()))?;
            return Ok(DONE);
        }
        let mut table = Table::new(&["PROGRAM", "TYPE", "INSTRUCTIONS", "MAPS"]).right(2);
        for program in &programs {
            let maps: Vec<_> = program.maps().iter().map(|map| map.name).collect();
            let kind = format!("{:?}", program.kind());
            table.row([
                program.name().to_owned(),
                kind,
                program.slots().to_string(),
                maps.join(" "),
            ]);
        }
        print(table)?;
        Ok(DONE)
    }
}
