//! Into the kernel: descriptions of maps and programs become maps and programs.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use bpf_asm::log::VerifierLog;
use bpf_asm::{AttachesTo, MapDef, Program, btf};
use syscalls::btf::Kind;
use syscalls::{
    AttachType, Btf, BtfObject, Errno, Map, MapBtf, MapKind, MapSpec, Prog, ProgBtf, ProgKind,
    ProgSpec,
};

use crate::datapath::{Datapath, ProgramName};

/// What the kernel is told of the programs' licence. Reading kernel memory is for GPL programs
/// only; the programs, not the rest of shunt, are offered under the GPL as well.
pub const LICENSE: &CStr = c"GPL";

/// Maps that have been made, by name.
pub type Maps = Vec<(&'static str, Map)>;

/// Makes maps, with the types of their keys and values.
pub fn maps(defs: &[&MapDef]) -> Result<Maps> {
    let types = btf::maps(defs);
    // The kernel takes no BTF without types, and maps of sockets have none.
    let typed = types.types.iter().any(Option::is_some);
    let object = typed.then(|| BtfObject::load(&types.blob)).transpose();
    let object = object.context("the kernel refuses the types of the maps")?;
    let make = |(def, types): (&&MapDef, &Option<btf::MapTypes>)| {
        let mut spec = MapSpec::new(
            MapKind::from_raw(def.kind.number()),
            def.name,
            def.key_size,
            def.value_size,
            def.max_entries,
        );
        (spec.flags, spec.numa_node, spec.extra) = (def.flags, def.numa_node, def.extra);
        spec.btf = object.as_ref().zip(types.as_ref()).map(|(object, types)| MapBtf {
            fd: object.as_fd(),
            key_type_id: types.key,
            value_type_id: types.value,
        });
        let map =
            Map::create(&spec).with_context(|| format!("cannot make the map '{}'", def.name))?;
        Ok((def.name, map))
    };
    defs.iter().zip(&types.types).map(make).collect()
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

/// A program that the verifier refused, with all that it said under the Rust lines that it is
/// about.
#[derive(Debug, thiserror::Error)]
#[error("{errno}\n\n{log}")]
pub struct Rejected {
    errno: Errno,
    log: String,
    /// The kernel's answer, and its log as it came.
    pub cause: syscalls::Error,
}

/// Loads a program that uses `maps`.
///
/// # Errors
/// [`Rejected`] for a program that the verifier refuses.
pub fn program(program: &Program, maps: &Maps) -> Result<Prog> {
    let load = |spec: &ProgSpec<'_>| Prog::load(spec).map_err(|cause| explain(program, cause));
    submit(program, maps, load).with_context(|| format!("cannot load program '{}'", program.name()))
}

fn explain(program: &Program, cause: syscalls::Error) -> anyhow::Error {
    match (cause.errno(), cause.log().map(|log| VerifierLog::new(program, log).to_string())) {
        (Some(errno), Some(log)) => Rejected { errno, log, cause }.into(),
        _ => cause.into(),
    }
}

/// Describes a program that uses `maps` to the kernel, with its lines, and hands the description to
/// `load`.
pub fn submit<T, E: From<syscalls::Error> + From<syscalls::btf::BtfError>>(
    program: &Program,
    maps: &Maps,
    load: impl FnOnce(&ProgSpec<'_>) -> Result<T, E>,
) -> Result<T, E> {
    // A map that was not made is descriptor -1, which the kernel refuses as one.
    let image = program.relocate(|def| {
        let made = maps.iter().find(|(name, _)| *name == def.name);
        made.map_or(-1, |(_, map)| map.as_fd().as_raw_fd())
    });
    let lines = program.btf();
    let object = BtfObject::load(&lines.blob)?;
    let mut spec = ProgSpec::new(
        ProgKind::from_raw(program.kind().number()),
        program.name(),
        LICENSE,
        &image.insns,
    );
    spec.expected_attach_type = AttachType::from_raw(program.kind().attach_type());
    spec.btf = Some(ProgBtf {
        fd: object.as_fd(),
        func_info: &lines.func_info,
        func_info_rec_size: btf::FUNC_INFO_SIZE,
        line_info: &lines.line_info,
        line_info_rec_size: btf::LINE_INFO_SIZE,
    });
    if let Some(target) = program.attaches_to() {
        let types = Btf::vmlinux()?;
        spec.attach_btf_id = match target {
            AttachesTo::Function(name) => types.function(&name)?,
            AttachesTo::Typedef(name) => types.find(Kind::Typedef, &name)?,
        };
    }
    load(&spec)
}
