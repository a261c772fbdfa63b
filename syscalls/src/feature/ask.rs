//! The probes, and what the kernel's errors mean.

use super::Answer;
use crate::btf::blob::Blob;
use crate::btf::{Btf, BtfError};
use crate::btf_load::BtfObject;
use crate::cap::{Capabilities, Capability};
use crate::error::{Errno, Error, Result};
use crate::insn::{EXIT, call, insn, mov};
use crate::link::Link;
use crate::map::{Map, MapBtf, MapKind, MapSpec};
use crate::prog::{AttachType, Prog, ProgBtf, ProgKind, ProgSpec};
use std::os::fd::AsFd;
use std::path::Path;

const LICENSE: &std::ffi::CStr = c"GPL";

fn load(kind: ProgKind, insns: &[[u8; 8]]) -> Result<Prog> {
    Prog::load(&ProgSpec::new(kind, "probe", LICENSE, insns.as_flattened()))
}

/// `return 1`, which is valid for every program type.
fn pass(kind: ProgKind) -> Result<Prog> {
    load(kind, &[mov(0, 1), EXIT])
}

/// The answer to a probe: `says_no` recognises the errors of kernels without the feature.
fn answer_of<T>(answer: Result<T>, says_no: impl Fn(&Error) -> bool) -> Answer {
    match answer {
        Ok(_) => Answer::Yes,
        Err(error) if says_no(&error) => Answer::No,
        Err(error) => Answer::Unknown(error),
    }
}

fn is(error: &Error, errno: Errno) -> bool {
    error.errno() == Some(errno)
}

/// An unknown program type is rejected before the verifier, which therefore leaves no log.
pub(super) fn prog(kind: ProgKind) -> Answer {
    answer_of(pass(kind), |e| is(e, Errno::INVAL) && e.log().is_some_and(str::is_empty))
}

pub(super) fn map(kind: MapKind) -> Answer {
    let create = || match kind {
        MapKind::SK_STORAGE => {
            let mut blob = Blob::new();
            let int = blob.int("int", 4);
            let btf = BtfObject::load(&blob.bytes())?;
            let mut spec = MapSpec::new(kind, "probe", 4, 4, 0);
            spec.flags = MapSpec::NO_PREALLOC;
            spec.btf = Some(MapBtf { fd: btf.as_fd(), key_type_id: int, value_type_id: int });
            Map::create(&spec)
        }
        // 64 KiB is a multiple of every page size of Linux.
        MapKind::RINGBUF => Map::create(&MapSpec::new(kind, "probe", 0, 0, 64 << 10)),
        _ => Map::create(&MapSpec::new(kind, "probe", 4, 4, 1)),
    };
    answer_of(create(), |e| is(e, Errno::INVAL))
}

/// The verifier first checks whether the helper is allowed, then the arguments, of which only the
/// first is valid here.
pub(super) fn helper(kind: ProgKind, helper: u32) -> Answer {
    match prog(kind) {
        Answer::Yes => {}
        other => return other,
    }
    let Err(error) = load(kind, &[call(helper), mov(0, 1), EXIT]) else {
        return Answer::Yes;
    };
    let log = error.log().unwrap_or_default();
    let says = |any_of: &[&str]| any_of.iter().any(|text| log.contains(text));
    // Kernels since 6.12 use the second message instead of the first; the third is for numbers
    // after the last helper.
    if says(&["unknown func", "cannot use helper", "invalid func"]) {
        return absent_or_hidden(error);
    }
    if says(&["!read_ok", "expected="]) {
        return Answer::Yes;
    }
    Answer::Unknown(error)
}

/// Helpers that require a missing capability look unknown (`bpf_base_func_proto`,
/// kernel/bpf/helpers.c).
fn absent_or_hidden(error: Error) -> Answer {
    match Capabilities::effective() {
        Ok(held) if held.missing(&[Capability::Bpf, Capability::Perfmon]).is_empty() => Answer::No,
        _ => Answer::Unknown(error),
    }
}

/// The verifier accepts the instructions, or its log says why not.
fn instructions(insns: &[[u8; 8]]) -> Answer {
    answer_of(load(ProgKind::SOCKET_FILTER, insns), |e| {
        is(e, Errno::INVAL) && e.log().is_some_and(|log| !log.is_empty())
    })
}

pub(super) fn isa_v3() -> Answer {
    // w0 = 1; if w0 == 1 goto +0; exit
    instructions(&[insn(0xb4, 0, 0, 0, 1), insn(0x16, 0, 0, 0, 1), EXIT])
}

pub(super) fn atomic_fetch() -> Answer {
    // *(u64 *)(r10 - 8) = 0; r0 = 1; r0 = atomic_fetch_add((u64 *)(r10 - 8), r0); exit
    instructions(&[insn(0x7a, 10, 0, -8, 0), mov(0, 1), insn(0xdb, 10, 0, -8, 1), EXIT])
}

pub(super) fn cgroup_link() -> Answer {
    let prog = match pass(ProgKind::SOCK_OPS) {
        Ok(prog) => prog,
        Err(error) => return Answer::Unknown(error),
    };
    // The program's own descriptor is not a cgroup.
    match Link::to_cgroup(&prog, prog.as_fd(), AttachType::CGROUP_SOCK_OPS) {
        Ok(_) => Answer::Yes,
        Err(error) if is(&error, Errno::BADF) => Answer::Yes,
        Err(error) if is(&error, Errno::INVAL) => Answer::No,
        Err(error) => Answer::Unknown(error),
    }
}

pub(super) fn sk_msg_link() -> Answer {
    let made = pass(ProgKind::SK_MSG).and_then(|prog| {
        let map = Map::create(&MapSpec::new(MapKind::SOCKHASH, "probe", 4, 4, 1))?;
        Ok((prog, map))
    });
    match made {
        Ok((prog, map)) => answer_of(Link::to_sk_msg(&prog, &map), |e| {
            e.errno().is_some_and(Errno::says_unsupported)
        }),
        Err(error) => Answer::Unknown(error),
    }
}

pub(super) fn line_info() -> Answer {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let function = blob.function("probe", int);
    let (file, text) = (blob.string("probe.rs"), blob.string("return 1"));
    let btf = match BtfObject::load(&blob.bytes()) {
        Ok(btf) => btf,
        Err(error) => return answer_of(Err::<(), _>(error), |e| is(e, Errno::INVAL)),
    };
    // `struct bpf_func_info` { insn_off, type_id } and `struct bpf_line_info` { insn_off, file,
    // text, line:22 col:10 }
    let func_info = [0, function];
    let line_info = [0, file, text, 1 << 10 | 1];
    let insns = [mov(0, 1), EXIT];
    let mut spec = ProgSpec::new(ProgKind::SOCKET_FILTER, "probe", LICENSE, insns.as_flattened());
    spec.btf = Some(ProgBtf {
        fd: btf.as_fd(),
        func_info: bytemuck::cast_slice(&func_info),
        func_info_rec_size: 8,
        line_info: bytemuck::cast_slice(&line_info),
        line_info_rec_size: 16,
    });
    // A kernel without the feature rejects the nonzero tail of the attribute.
    answer_of(Prog::load(&spec), |e| is(e, Errno::TOO_BIG))
}

pub(super) fn kernel_btf() -> Answer {
    match Btf::vmlinux() {
        Ok(_) => Answer::Yes,
        Err(error) => no_kernel_btf(error),
    }
}

/// Sysfs without BTF means *no*. No sysfs, or unreadable BTF, means *unknown*.
fn no_kernel_btf(error: Error) -> Answer {
    let absent =
        Path::new("/sys/kernel").is_dir() && !Path::new("/sys/kernel/btf/vmlinux").exists();
    if absent {
        return Answer::No;
    }
    Answer::Unknown(error)
}

pub(super) fn iter(target: &str) -> Answer {
    let btf = match Btf::vmlinux() {
        Ok(btf) => btf,
        Err(error) => return no_kernel_btf(error),
    };
    // Each target declares a function of this name for its arguments (DEFINE_BPF_ITER_FUNC,
    // include/linux/bpf.h).
    let id = match btf.function(&format!("bpf_iter_{target}")) {
        Ok(id) => id,
        Err(BtfError::NoType { .. }) => return Answer::No,
        Err(error) => return Answer::Unknown(error.into()),
    };
    let insns = [mov(0, 0), EXIT];
    let mut spec = ProgSpec::new(ProgKind::TRACING, "probe", LICENSE, insns.as_flattened());
    spec.expected_attach_type = AttachType::TRACE_ITER;
    spec.attach_btf_id = id;
    answer_of(Prog::load(&spec), |e| is(e, Errno::INVAL))
}
