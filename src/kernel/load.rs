//! Into the kernel: descriptions of maps and programs become maps and programs.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use bpf_asm::{MapDef, Program};
use syscalls::load::{self, LoadError};
use syscalls::{Map, Prog, ProgSpec};

use crate::datapath::{Datapath, ProgramName};

// Reading kernel memory is for GPL programs only; the programs, not the rest of shunt, are offered
// under the GPL as well.
pub use syscalls::load::{LICENSE, Rejected};

/// Maps that have been made, by name.
pub type Maps = Vec<(&'static str, Map)>;

/// Makes maps, with the types of their keys and values.
pub fn maps(defs: &[&MapDef]) -> Result<Maps> {
    let made = load::maps(defs).context("cannot make the maps")?;
    Ok(defs.iter().map(|def| def.name).zip(made).collect())
}

/// The programs of a datapath.
#[derive(Debug)]
pub struct Programs {
    /// Those that have been loaded.
    pub loaded: BTreeMap<ProgramName, Prog>,
    /// Those that the kernel refuses and that the others do without.
    pub refused: Vec<(ProgramName, anyhow::Error)>,
}

/// Loads every program of a datapath. Nothing is pinned or attached: they go with the value.
pub fn programs(datapath: &Datapath, maps: &Maps) -> Result<Programs> {
    let mut programs = Programs { loaded: BTreeMap::new(), refused: Vec::new() };
    for name in ProgramName::ALL {
        match program(&datapath.program(name)?, maps) {
            Err(error) if name.without().is_some() => programs.refused.push((name, error)),
            loaded => drop(programs.loaded.insert(name, loaded?)),
        }
    }
    Ok(programs)
}

/// Loads a program that uses `maps`.
///
/// # Errors
/// [`Rejected`] for a program that the verifier refuses.
pub fn program(program: &Program, maps: &Maps) -> Result<Prog> {
    let loaded = submit(program, maps, Prog::load).map_err(|error| match error {
        LoadError::Rejected { rejected, .. } => rejected.into(),
        error => anyhow::Error::from(error),
    });
    loaded.with_context(|| format!("cannot load program '{}'", program.name()))
}

/// Describes a program that uses `maps` to the kernel, with its lines, and hands the description to
/// `load`.
///
/// # Errors
/// Those of `load`; what the verifier refuses comes under the Rust lines.
pub fn submit<T>(
    program: &Program,
    maps: &Maps,
    load: impl FnOnce(&ProgSpec<'_>) -> syscalls::Result<T>,
) -> Result<T, LoadError> {
    let find =
        |def: &MapDef| maps.iter().find(|(name, _)| *name == def.name).map(|(_, map)| map.as_fd());
    load::with_spec(program, LICENSE, find, load)
}
