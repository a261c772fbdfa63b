//! Programs from what the builder has written.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use bpf_asm::{AttachesTo, MapDef, Program, READ_ONLY, btf};

use super::{LoadError, Maps, map};
use crate::btf::{KernelFunctions, Kind};
use crate::{AttachType, Btf, BtfObject, LogLevel, Map, Prog, ProgBtf, ProgKind, ProgSpec, Update};

/// The licence that [`program()`] tells the kernel. Helpers that read kernel memory, among others,
/// are for GPL-compatible programs only.
pub const LICENSE: &CStr = c"GPL";

/// Loads a program that uses `maps`.
///
/// # Errors
/// [`LoadError::Rejected`] if the verifier rejects it; [`LoadError::NoMap`]; [`LoadError::System`]
/// also if this kernel lacks a kfunc that it calls or the function that it attaches to.
pub fn program(program: &Program, maps: &Maps) -> Result<Prog, LoadError> {
    with_spec(program, LICENSE, |def| maps.descriptor(def), Prog::load)
}

/// The same, with the verifier's log also of an accepted program.
///
/// # Errors
/// As [`program()`].
pub fn program_with_log(
    program: &Program,
    maps: &Maps,
    level: LogLevel,
) -> Result<(Prog, String), LoadError> {
    let load = |spec: &ProgSpec<'_>| Prog::load_with_log(spec, level);
    with_spec(program, LICENSE, |def| maps.descriptor(def), load)
}

/// Describes a program to the kernel, with its Rust lines, and hands the description to `load`:
/// for another licence, flags, or a different way to load it. `find` has the descriptors of its
/// maps, except for read-only data, which is created here if `find` does not have it.
///
/// # Errors
/// Those of `load`, a rejection with its Rust lines, and as [`program()`].
pub fn with_spec<'m, T>(
    program: &Program,
    license: &CStr,
    find: impl Fn(&MapDef) -> Option<BorrowedFd<'m>>,
    load: impl FnOnce(&ProgSpec<'_>) -> crate::Result<T>,
) -> Result<T, LoadError> {
    let data = read_only(program, &find)?;
    let descriptor = |def: &MapDef| {
        let own = data.as_ref().filter(|_| def.name == READ_ONLY).map(Map::as_fd);
        own.or_else(|| find(def)).map(|fd| fd.as_raw_fd())
    };
    if let Some(missing) = program.maps().iter().find(|def| descriptor(def).is_none()) {
        let (program, map) = (Some(program.name().to_owned()), missing.name.to_owned());
        return Err(LoadError::NoMap { program, map });
    }
    let mut functions = None;
    let resolved = resolve(program, &mut functions)?;
    let fds = functions.as_ref().map(KernelFunctions::fd_array).unwrap_or_default();
    // None is missing, see above; the kernel refuses -1.
    let image = resolved.as_ref().unwrap_or(program).relocate(|def| descriptor(def).unwrap_or(-1));
    let lines = program.btf();
    let object = BtfObject::load(&lines.blob)?;
    let kind = ProgKind::from_raw(program.kind().number());
    let mut spec = ProgSpec::new(kind, program.name(), license, &image.insns);
    spec.expected_attach_type = AttachType::from_raw(program.kind().attach_type());
    spec.btf = Some(ProgBtf {
        fd: object.as_fd(),
        func_info: &lines.func_info,
        func_info_rec_size: btf::FUNC_INFO_SIZE,
        line_info: &lines.line_info,
        line_info_rec_size: btf::LINE_INFO_SIZE,
    });
    spec.fd_array = &fds;
    if let Some(target) = program.attaches_to() {
        let types = Btf::vmlinux()?;
        spec.attach_btf_id = match target {
            AttachesTo::Function(name) => types.function(&name)?,
            AttachesTo::Typedef(name) => types.find(Kind::Typedef, &name)?,
        };
    }
    load(&spec).map_err(|cause| LoadError::of_load(program, cause))
}

/// The map of a program's read-only data, written and frozen, unless `find` has it.
fn read_only<'m>(
    program: &Program,
    find: impl Fn(&MapDef) -> Option<BorrowedFd<'m>>,
) -> Result<Option<Map>, LoadError> {
    let def = program.maps().iter().find(|def| def.name == READ_ONLY && find(def).is_none());
    let (Some(def), Some(data)) = (def, program.read_only()) else { return Ok(None) };
    let created = map(def)?;
    created.update(&0u32.to_ne_bytes(), data, Update::ANY)?;
    created.freeze()?;
    Ok(Some(created))
}

/// The program with its kfuncs resolved; none if it calls none by name.
fn resolve(
    program: &Program,
    functions: &mut Option<KernelFunctions>,
) -> Result<Option<Program>, LoadError> {
    if program.kernel_functions().is_empty() {
        return Ok(None);
    }
    let (mut program, found) = (program.clone(), functions.insert(KernelFunctions::new()?));
    program.resolve(|name| {
        found
            .find(name)
            .map(|function| bpf_asm::KernelFunction { id: function.id, btf: function.btf })
    })?;
    Ok(Some(program))
}
