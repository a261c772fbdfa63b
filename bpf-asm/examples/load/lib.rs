//! The way into the kernel that all examples take: maps and programs become descriptors.

use std::os::fd::{AsFd, AsRawFd};

use bpf_asm::{AttachesTo, MapDef, Program, READ_ONLY, btf};
use syscalls::btf::{KernelFunctions, Kind};
use syscalls::{
    AttachType, Btf, BtfObject, Map, MapBtf, MapKind, MapSpec, Prog, ProgBtf, ProgKind, ProgSpec,
    Update,
};

/// Makes the maps of a program, in the order of [`Program::maps`], with its read-only data in
/// place.
pub fn maps(program: &Program) -> syscalls::Result<Vec<Map>> {
    let described = btf::maps(&program.maps().iter().collect::<Vec<_>>());
    let typed = described.types.iter().any(Option::is_some);
    let object = typed.then(|| BtfObject::load(&described.blob)).transpose()?;
    let make = |(def, types): (&MapDef, &Option<btf::MapTypes>)| {
        let inner = def.inner.map(|inner| Map::create(&spec(inner))).transpose()?;
        let mut spec = spec(def);
        spec.inner = inner.as_ref().map(Map::as_fd);
        spec.btf = object.as_ref().zip(types.as_ref()).map(|(object, types)| MapBtf {
            fd: object.as_fd(),
            key_type_id: types.key,
            value_type_id: types.value,
        });
        let map = Map::create(&spec)?;
        if let Some(data) = program.read_only().filter(|_| def.name == READ_ONLY) {
            map.update(&0u32.to_ne_bytes(), data, Update::ANY)?;
            map.freeze()?;
        }
        Ok(map)
    };
    program.maps().iter().zip(&described.types).map(make).collect()
}

/// What the kernel is told of a map.
fn spec(def: &MapDef) -> MapSpec<'static> {
    let kind = MapKind::from_raw(def.kind.number());
    let mut spec = MapSpec::new(kind, def.name, def.key_size, def.value_size, def.max_entries);
    (spec.flags, spec.numa_node, spec.extra) = (def.flags, def.numa_node, def.extra);
    spec
}

/// Loads a program that uses these maps. The kernel is told the Rust line of every instruction, so
/// that the verifier's log and `bpftool prog dump xlated linum` name them.
pub fn program(program: &Program, maps: &[Map]) -> syscalls::Result<Prog> {
    let (mut program, mut functions) = (program.clone(), None);
    if !program.kernel_functions().is_empty() {
        let found = functions.insert(KernelFunctions::new()?);
        program.resolve(|name| {
            found
                .find(name)
                .map(|function| bpf_asm::KernelFunction { id: function.id, btf: function.btf })
        })?;
    }
    let fds = functions.as_ref().map(KernelFunctions::fd_array).unwrap_or_default();
    let image = program.relocate(|def| {
        let made = program.maps().iter().zip(maps).find(|(known, _)| *known == def);
        made.map_or(-1, |(_, map)| map.as_fd().as_raw_fd())
    });
    let lines = program.btf();
    let object = BtfObject::load(&lines.blob)?;
    let kind = ProgKind::from_raw(program.kind().number());
    let mut spec = ProgSpec::new(kind, program.name(), c"GPL", &image.insns);
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
    Prog::load(&spec)
}
