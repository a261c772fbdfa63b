//! A program to the kernel, with what the verifier counts.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use bpf_asm::{Program, btf};
use syscalls::{AttachType, BtfObject, Error, LogLevel, Prog, ProgBtf, ProgKind, ProgSpec};
use tcp_shunt::agent::load::Maps;

/// Some helpers are for programs under the GPL alone.
pub const LICENSE: &CStr = c"GPL";

/// Loads a program as the agent does, and gives the verifier's log at this level.
pub fn load(program: &Program, maps: &Maps, level: LogLevel) -> Result<(Prog, String), Error> {
    let image = program.relocate(|def| {
        let made = maps.iter().find(|(name, _)| *name == def.name);
        made.map_or(-1, |(_, map)| map.as_fd().as_raw_fd())
    });
    let lines = program.btf();
    let object = BtfObject::load(&lines.blob)?;
    let mut spec = ProgSpec::new(ProgKind::from_raw(program.kind().number()), program.name(), LICENSE, &image.insns);
    spec.expected_attach_type = AttachType::from_raw(program.kind().attach_type());
    spec.btf = Some(ProgBtf {
        fd: object.as_fd(),
        func_info: &lines.func_info,
        func_info_rec_size: btf::FUNC_INFO_SIZE,
        line_info: &lines.line_info,
        line_info_rec_size: btf::LINE_INFO_SIZE,
    });
    Prog::load_with_log(&spec, level)
}
