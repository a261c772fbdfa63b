//! ELF objects, as compilers write them and libbpf loads them.
//!
//! [`write()`] makes a relocatable object of what a [`Unit`] holds: programs, maps with their
//! types, functions and lines. libbpf (1.1 is tested) and everything built on it, such as `bpftool
//! prog loadall`, creates the maps, puts their descriptors in and loads the programs. [`read()`]
//! takes such an object apart again, be it written here or by clang.
//!
//! [`disassemble()`] makes a text of any object, of which [`assemble()`] makes the same object: the
//! one that has all.
//!
//! ```
//! use bpf_asm::text::{self, Style};
//! use bpf_asm::{Builder, MapKind, MapRef, ProgramType, elf, helper};
//!
//! const CALLS: MapRef<u32, u64> = MapRef::new("calls", MapKind::Array, 4);
//!
//! let b = Builder::new("count");
//! let key = b.slot::<u32>();
//! b.store(key.place(), 0);
//! let calls = b.call(helper::map_lookup_elem(&CALLS, &key));
//! b.when(calls.ne(0), || {
//!     b.ret(b.load(calls.at_all()));
//! });
//! b.ret(0);
//! let program = b.finish(ProgramType::SocketFilter)?;
//!
//! let object = elf::write(&elf::unit("GPL", &[&program])?)?;
//! let unit = elf::read(&object)?;
//! assert_eq!(unit.maps[0].name, "calls");
//! let text = text::disassemble(&unit, &Style::default());
//! assert!(text.contains("r1 = map[name:calls]"), "{text}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What lies where
//!
//! | section | content |
//! |---|---|
//! | `socket`, `sk_msg`, … | programs: functions that nothing calls. The name tells libbpf the type |
//! | `.text` | functions that are called, for libbpf looks for them nowhere else; calls are relocated (`R_BPF_64_32`) |
//! | `.maps` | one symbol per map; what it is stands in BTF, as pointers to arrays whose length is the number |
//! | `.data.NAME` | an array of one value that programs address directly, the only way in which libbpf offers it |
//! | `license` | the licence, as a C string |
//! | `.BTF` | types (kernel `Documentation/bpf/btf.rst`) |
//! | `.BTF.ext` | the type of each function and the source line of each instruction |

mod assemble;
mod disassemble;
mod error;
mod layout;
mod maps;
mod read;
mod relocatable;
mod section_names;
mod write;

pub use assemble::{Assembled, assemble};
pub use disassemble::disassemble;
pub use error::{At, ReadError, UnitError, WriteError};
pub use read::read;
pub use write::write;

use crate::map::MapDef;
use crate::program::{Program, ProgramType};
use crate::record::Type;
use crate::text::Unit;

/// Where libbpf wants functions that are called.
const TEXT: &str = ".text";
/// Where maps are declared.
const MAPS: &str = ".maps";
/// What the sections of directly addressed values begin with.
const DATA: &str = ".data.";
/// Where the licence is.
const LICENSE: &str = "license";
const BTF: &str = ".BTF";
const BTF_EXT: &str = ".BTF.ext";

/// Programs that share their maps, under one licence.
///
/// # Errors
/// [`UnitError`] if programs have different maps under one name, or an iterator does not say of
/// what.
pub fn unit(license: &str, programs: &[&Program]) -> Result<Unit, UnitError> {
    let mut joined = Unit { license: Some(license.to_owned()), ..Unit::default() };
    for program in programs {
        check(program)?;
        let Unit { maps, sections, .. } = Unit::from(*program);
        for map in maps {
            match joined.maps.iter().find(|known| known.name == map.name) {
                None => joined.maps.push(map),
                Some(known) if *known == map => {}
                Some(_) => return Err(UnitError::Maps { map: map.name }),
            }
        }
        let name = section(program)?;
        for mut section in sections {
            section.name.clone_from(&name);
            joined.sections.push(section);
        }
    }
    Ok(joined)
}

/// Whether an object has a place for all that the program is.
fn check(program: &Program) -> Result<(), UnitError> {
    let name = || program.name().to_owned();
    if program.read_only().is_some() {
        return Err(UnitError::Missing { program: name(), what: "read-only data" });
    }
    if !program.kernel_functions().is_empty() {
        return Err(UnitError::Missing {
            program: name(),
            what: "functions of the kernel by name",
        });
    }
    let more = |map: &MapDef| map.numa_node.is_some() || map.extra != 0 || map.inner.is_some();
    if program.maps().iter().any(more) {
        return Err(UnitError::Missing {
            program: name(),
            what: "maps with a NUMA node, `map_extra` or an inner map",
        });
    }
    Ok(())
}

/// The section from whose name libbpf takes the program's type and where it attaches.
fn section(program: &Program) -> Result<String, UnitError> {
    let unknown = || UnitError::Iterator { program: program.name().to_owned() };
    let of_context = |kind: &str| match program.context {
        Some(Type::Record { name, .. }) => Ok(format!("{kind}/{name}")),
        _ => Err(unknown()),
    };
    Ok(match program.kind() {
        ProgramType::SocketFilter => "socket".to_owned(),
        ProgramType::Kprobe => "kprobe".to_owned(),
        ProgramType::Classifier => "tc".to_owned(),
        ProgramType::PlainTracepoint => "tracepoint".to_owned(),
        ProgramType::Xdp => "xdp".to_owned(),
        ProgramType::PerfEvent => "perf_event".to_owned(),
        ProgramType::CgroupIngress => "cgroup_skb/ingress".to_owned(),
        ProgramType::CgroupEgress => "cgroup_skb/egress".to_owned(),
        ProgramType::SockCreate => "cgroup/sock_create".to_owned(),
        ProgramType::PostBind4 => "cgroup/post_bind4".to_owned(),
        ProgramType::PostBind6 => "cgroup/post_bind6".to_owned(),
        ProgramType::SockOps => "sockops".to_owned(),
        // A libbpf that is not of the newest does not know "sk_skb/verdict", which says where it
        // attaches.
        ProgramType::SkSkbVerdict => "sk_skb".to_owned(),
        ProgramType::CgroupDevice => "cgroup/dev".to_owned(),
        ProgramType::SkMsg => "sk_msg".to_owned(),
        ProgramType::RawTracepoint => "raw_tp".to_owned(),
        ProgramType::Bind4 => "cgroup/bind4".to_owned(),
        ProgramType::Bind6 => "cgroup/bind6".to_owned(),
        ProgramType::Connect4 => "cgroup/connect4".to_owned(),
        ProgramType::Connect6 => "cgroup/connect6".to_owned(),
        ProgramType::SendMsg4 => "cgroup/sendmsg4".to_owned(),
        ProgramType::SendMsg6 => "cgroup/sendmsg6".to_owned(),
        ProgramType::RecvMsg4 => "cgroup/recvmsg4".to_owned(),
        ProgramType::RecvMsg6 => "cgroup/recvmsg6".to_owned(),
        ProgramType::GetPeerName4 => "cgroup/getpeername4".to_owned(),
        ProgramType::GetPeerName6 => "cgroup/getpeername6".to_owned(),
        ProgramType::GetSockName4 => "cgroup/getsockname4".to_owned(),
        ProgramType::GetSockName6 => "cgroup/getsockname6".to_owned(),
        ProgramType::SkReuseport => "sk_reuseport".to_owned(),
        ProgramType::FlowDissector => "flow_dissector".to_owned(),
        ProgramType::Sysctl => "cgroup/sysctl".to_owned(),
        ProgramType::GetSockOpt => "cgroup/getsockopt".to_owned(),
        ProgramType::SetSockOpt => "cgroup/setsockopt".to_owned(),
        ProgramType::Tracepoint => of_context("tp_btf")?,
        ProgramType::Entry => of_context("fentry")?,
        ProgramType::Exit => of_context("fexit")?,
        ProgramType::ModifyReturn => of_context("fmod_ret")?,
        ProgramType::Lsm => of_context("lsm")?,
        ProgramType::LsmCgroup => of_context("lsm_cgroup")?,
        ProgramType::SkLookup => "sk_lookup".to_owned(),
        ProgramType::Syscall => "syscall".to_owned(),
        ProgramType::Netfilter => "netfilter".to_owned(),
        ProgramType::Iterator => match program.context {
            Some(Type::Record { name, .. }) if name.starts_with("bpf_iter__") => {
                format!("iter/{}", name.trim_start_matches("bpf_iter__"))
            }
            _ => return Err(unknown()),
        },
        kind => {
            return Err(UnitError::Type {
                program: program.name().to_owned(),
                number: kind.number(),
            });
        }
    })
}
