//! ELF objects, as compilers write and libbpf loads them.
//!
//! [`write()`] makes a relocatable object from a [`Unit`]: programs, maps with their types,
//! functions and line info. libbpf (tested with 1.1) and tools based on it, such as `bpftool prog
//! loadall`, create the maps, relocate and load the programs. [`read()`] parses such an object,
//! whether this crate or clang wrote it.
//!
//! [`disassemble()`] turns any object into text from which [`assemble()`] makes the same object.
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
//! # Sections
//!
//! | section | content |
//! |---|---|
//! | `socket`, `sk_msg`, … | programs: functions that are not called. libbpf takes their type from the name |
//! | `.text` | functions that are called, where libbpf expects them; calls are relocated (`R_BPF_64_32`) |
//! | `.maps` | one symbol per map; BTF defines it by pointers to arrays, whose lengths are the numbers |
//! | `.data.NAME` | an array of one value that programs address directly, as libbpf requires |
//! | `.rodata`, `.rodata.NAME` | the same, which programs only read: the strings of built programs, and others |
//! | `license` | the licence, as a C string |
//! | `.BTF` | types (kernel `Documentation/bpf/btf.rst`) |
//! | `.BTF.ext` | the type of each function and the source line of each instruction |

mod assemble;
mod disassemble;
mod error;
mod layout;
mod maps;
mod read;
mod read_only;
mod relocatable;
mod section_names;
mod write;

pub use assemble::{Assembled, assemble};
pub use disassemble::disassemble;
pub use error::{At, ReadError, UnitError, WriteError};
pub use read::read;
pub use write::write;

use crate::program::{Program, ProgramType, READ_ONLY};
use crate::record::Type;
use crate::text::Unit;

/// Where libbpf expects functions that are called.
const TEXT: &str = ".text";
/// Where maps are declared.
const MAPS: &str = ".maps";
/// The prefix of sections of directly addressed values.
const DATA: &str = ".data.";
/// Where the licence is.
const LICENSE: &str = "license";
const BTF: &str = ".BTF";
const BTF_EXT: &str = ".BTF.ext";

/// A unit of programs that share their maps, under one licence.
///
/// Kfuncs that programs call by name have to be declared before the unit is written: libbpf
/// compares their types with the kernel's.
///
/// ```
/// use bpf_asm::{Builder, Call, ProgramType, Reg, elf, text};
///
/// let b = Builder::new("reads");
/// b.call(Call::<Reg>::named("bpf_rcu_read_lock", vec![]));
/// b.call(Call::<Reg>::named("bpf_rcu_read_unlock", vec![]));
/// b.ret(0);
/// let program = b.finish(ProgramType::Classifier)?;
///
/// let mut unit = elf::unit("GPL", &[&program])?;
/// unit.externs.push(text::declare("void bpf_rcu_read_lock(void)")?);
/// unit.externs.push(text::declare("void bpf_rcu_read_unlock(void)")?);
/// let object = elf::write(&unit)?;
/// # assert_eq!(elf::read(&object)?.externs, unit.externs);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`UnitError`] if programs define a map differently, or an iterator does not take its context.
pub fn unit(license: &str, programs: &[&Program]) -> Result<Unit, UnitError> {
    let mut joined = Unit { license: Some(license.to_owned()), ..Unit::default() };
    for program in programs {
        let Unit { maps, mut sections, .. } = Unit::from(*program);
        for map in maps {
            match joined.maps.iter_mut().find(|known| known.name == map.name) {
                None => joined.maps.push(map),
                Some(known) if *known == map => {}
                // Each program brings data of its own.
                Some(known) if map.name == READ_ONLY => {
                    let moved = read_only::append(known, &map);
                    sections.iter_mut().for_each(|section| read_only::shift(section, moved));
                }
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

/// The section name from which libbpf takes the program's type and attach type.
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
        // Older libbpf does not know "sk_skb/verdict", which also has the attach type.
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
