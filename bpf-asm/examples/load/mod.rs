//! The way into the kernel that all examples take: maps and programs become descriptors.

use std::os::fd::{AsFd, AsRawFd};

use bpf_asm::{Program, btf};
use syscalls::{AttachType, BtfObject, Map, MapBtf, MapKind, MapSpec, Prog, ProgBtf, ProgKind, ProgSpec};

/// Makes the maps of a program, in the order of [`Program::maps`].
pub fn maps(program: &Program) -> syscalls::Result<Vec<Map>> {
    let described = btf::maps(&program.maps().iter().collect::<Vec<_>>());
    let typed = described.types.iter().any(Option::is_some);
    let object = typed.then(|| BtfObject::load(&described.blob)).transpose()?;
    let make = |(def, types): (&bpf_asm::MapDef, &Option<btf::MapTypes>)| {
        let kind = MapKind::from_raw(def.kind.number());
        let mut spec = MapSpec::new(kind, def.name, def.key_size, def.value_size, def.max_entries);
        spec.btf = object.as_ref().zip(types.as_ref()).map(|(object, types)| MapBtf {
            fd: object.as_fd(),
            key_type_id: types.key,
            value_type_id: types.value,
        });
        Map::create(&spec)
    };
    program.maps().iter().zip(&described.types).map(make).collect()
}

/// Loads a program that uses these maps. The kernel is told the Rust line of every instruction, so that the verifier's log
/// and `bpftool prog dump xlated linum` name them.
pub fn program(program: &Program, maps: &[Map]) -> syscalls::Result<Prog> {
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
    Prog::load(&spec)
}
