//! A finished program: to the kernel, to rbpf, and to text.

use std::fmt;

use crate::builder::{Core, Resolved};
use crate::error::Location;
use crate::insn::{Insn, Since, Wide, WideSource};
use crate::map::MapDef;
use crate::record::Type;

/// What kind of program this is, and where it attaches (UAPI `linux/bpf.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgramType {
    /// On packets of a socket; the kind that any kernel can run for a test.
    SocketFilter,
    /// On packets of a device (tc); of the kinds that the kernel runs on demand, the one that may look up sockets.
    Classifier,
    /// On packets that a device has just received, before anything is allocated for them.
    Xdp,
    /// On events of TCP sockets in a cgroup.
    SockOps,
    /// On segments that come to sockets of a sockmap, whole: no parser cuts them into messages.
    SkSkb,
    /// On messages sent through sockets of a sockmap.
    SkMsg,
    /// On each `connect` of an IPv4 socket by a process in a cgroup.
    Connect4,
    /// On each `setsockopt` by a process in a cgroup.
    SetSockOpt,
    /// On the elements of an iterator.
    Iterator,
}

impl ProgramType {
    /// The number of the type (`enum bpf_prog_type`).
    pub fn number(self) -> u32 {
        match self {
            ProgramType::SocketFilter => 1,
            ProgramType::Classifier => 3,
            ProgramType::Xdp => 6,
            ProgramType::SockOps => 13,
            ProgramType::SkSkb => 14,
            ProgramType::SkMsg => 16,
            ProgramType::Connect4 => 18,
            ProgramType::SetSockOpt => 25,
            ProgramType::Iterator => 26,
        }
    }

    /// Where it attaches (`enum bpf_attach_type`), 0 where the type says all.
    pub fn attach_type(self) -> u32 {
        match self {
            ProgramType::SocketFilter | ProgramType::Classifier => 0,
            ProgramType::SockOps => 3,
            ProgramType::SkMsg => 7,
            ProgramType::Connect4 => 10,
            ProgramType::SetSockOpt => 22,
            ProgramType::Iterator => 28,
            ProgramType::Xdp => 37,
            ProgramType::SkSkb => 38,
        }
    }
}

/// A program without errors. Its maps are still names: [`Program::relocate`] puts descriptors in.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    kind: ProgramType,
    /// The context's type, if the program takes it.
    pub(crate) context: Option<Type>,
    pub(crate) lines: Vec<ProgramLine>,
    pub(crate) functions: Vec<FunctionStart>,
    maps: Vec<MapDef>,
}

/// One instruction and where it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProgramLine {
    pub(crate) insn: Insn,
    pub(crate) at: Location,
    /// Its first instruction slot.
    pub(crate) slot: usize,
    /// The map that it loads.
    pub(crate) map: Option<usize>,
}

/// Where a function begins.
#[derive(Debug, Clone)]
pub(crate) struct FunctionStart {
    pub(crate) name: String,
    pub(crate) slot: usize,
}

/// The bytes of a program with its maps' descriptors in them, as `BPF_PROG_LOAD` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Eight bytes per instruction slot.
    pub insns: Vec<u8>,
}

impl Program {
    pub(crate) fn new(core: &Core, kind: ProgramType, resolved: Resolved) -> Self {
        let Resolved { lines, functions, maps } = resolved;
        Program { name: core.name.clone(), kind, context: core.context, lines, functions, maps }
    }

    /// The name that it was built under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn kind(&self) -> ProgramType {
        self.kind
    }

    /// The maps that it uses, each once.
    pub fn maps(&self) -> &[MapDef] {
        &self.maps
    }

    /// The number of instruction slots.
    pub fn slots(&self) -> usize {
        self.lines.iter().map(|line| line.insn.slots()).sum()
    }

    /// The instructions, each with its first slot and the Rust line that wrote it.
    pub fn insns(&self) -> impl Iterator<Item = (usize, Insn, Location)> + '_ {
        self.lines.iter().map(|line| (line.slot, line.insn, line.at))
    }

    /// What all of its instructions need.
    pub fn requires(&self) -> Since {
        self.lines.iter().map(|line| line.insn.since()).fold(Since::FIRST, Since::and)
    }

    /// The bytes for the kernel. `fd` tells the descriptor of each map in [`Program::maps`], and is asked once for each.
    pub fn relocate(&self, fd: impl FnMut(&MapDef) -> i32) -> Image {
        let fds: Vec<i32> = self.maps.iter().map(fd).collect();
        let insns = self.encode(|source, map| match source {
            WideSource::MapValue { offset, .. } => WideSource::MapValue { fd: fds[map], offset },
            _ => WideSource::Map { fd: fds[map] },
        });
        Image { insns }
    }

    /// The bytes for rbpf, with an address of the simulation in the place of each map; for a map's value, that address
    /// plus the offset into the value.
    pub fn for_rbpf(&self, address: impl FnMut(&MapDef) -> u64) -> Vec<u8> {
        let addresses: Vec<u64> = self.maps.iter().map(address).collect();
        self.encode(|source, map| match source {
            WideSource::MapValue { offset, .. } => WideSource::Imm(addresses[map].wrapping_add(u64::from(offset))),
            _ => WideSource::Imm(addresses[map]),
        })
    }

    fn encode(&self, map_source: impl Fn(WideSource, usize) -> WideSource) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.slots() * 8);
        for line in &self.lines {
            match (line.insn, line.map) {
                (Insn::Wide(Wide { dst, source }), Some(map)) => {
                    Insn::Wide(Wide { dst, source: map_source(source, map) }).encode(&mut bytes);
                }
                (insn, _) => insn.encode(&mut bytes),
            }
        }
        bytes
    }

    /// A line in the kernel's notation, with maps by name.
    pub(crate) fn text(&self, line: &ProgramLine) -> String {
        let map = line.map.and_then(|map| self.maps.get(map));
        match (line.insn, map) {
            (Insn::Wide(Wide { dst, source: WideSource::MapValue { offset, .. } }), Some(map)) => {
                format!("{dst} = map[name:{}][0]+{offset}", map.name)
            }
            (Insn::Wide(Wide { dst, .. }), Some(map)) => format!("{dst} = map[name:{}]", map.name),
            (insn, _) => insn.to_string(),
        }
    }
}

/// The program in the kernel's notation. Each instruction has its slot before it; each run of instructions that one
/// Rust line wrote has that line above it.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut functions = self.functions.iter().peekable();
        let mut wrote = None;
        for line in &self.lines {
            if let Some(function) = functions.next_if(|function| function.slot == line.slot) {
                writeln!(f, "{}:", function.name)?;
                wrote = None;
            }
            let place = (line.at.file(), line.at.line());
            if wrote != Some(place) {
                writeln!(f, "; {}:{}", place.0, place.1)?;
                wrote = Some(place);
            }
            writeln!(f, "{:4}: {}", line.slot, self.text(line))?;
        }
        Ok(())
    }
}
