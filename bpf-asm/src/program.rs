//! Finished programs: for the kernel, for rbpf, and as text.

use std::fmt;

use crate::draft::Draft;
use crate::error::Location;
use crate::insn::{Call, Insn, Since, Wide, WideSource};
use crate::layout::Resolved;
use crate::map::MapDef;
use crate::record::Type;

/// Program types and where they attach (UAPI `linux/bpf.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgramType {
    /// Filters packets of a socket; every kernel can test-run this type.
    SocketFilter,
    /// At any instruction of the kernel, with its registers. Since 4.1.
    Kprobe,
    /// Classifies packets of a device (tc); of the types that can be test-run, the one that may
    /// look up sockets.
    Classifier,
    /// At a tracepoint; the context is laid out as its `format` in tracefs says. Since 4.7.
    PlainTracepoint,
    /// On packets that a device has just received, before an skb is allocated.
    Xdp,
    /// On samples of a perf event. Since 4.9.
    PerfEvent,
    /// On packets that sockets of a cgroup receive. Since 4.10.
    CgroupIngress,
    /// On packets that sockets of a cgroup send. Since 4.10.
    CgroupEgress,
    /// On each socket that a process in a cgroup creates. Since 4.10.
    SockCreate,
    /// After each `bind` of an IPv4 socket by a process in a cgroup. Since 4.17.
    PostBind4,
    /// The same for IPv6.
    PostBind6,
    /// On events of TCP sockets in a cgroup.
    SockOps,
    /// On whole segments that arrive at sockets of a sockmap (`BPF_SK_SKB_VERDICT`). Since 5.13.
    SkSkbVerdict,
    /// On each device access by a process in a cgroup. Since 4.15.
    CgroupDevice,
    /// On messages sent through sockets of a sockmap.
    SkMsg,
    /// At a tracepoint, with its arguments as 64-bit words. Since 4.17.
    RawTracepoint,
    /// On each `bind` of an IPv4 socket by a process in a cgroup. Since 4.17.
    Bind4,
    /// The same for IPv6.
    Bind6,
    /// On each `connect` of an IPv4 socket by a process in a cgroup.
    Connect4,
    /// The same for IPv6.
    Connect6,
    /// On each `sendmsg` of an unconnected UDP socket for IPv4 by a process in a cgroup. Since
    /// 4.18.
    SendMsg4,
    /// The same for IPv6.
    SendMsg6,
    /// On each `recvmsg` of a UDP socket for IPv4 by a process in a cgroup. Since 5.2.
    RecvMsg4,
    /// The same for IPv6.
    RecvMsg6,
    /// On each `getpeername` of an IPv4 socket by a process in a cgroup. Since 5.8.
    GetPeerName4,
    /// The same for IPv6.
    GetPeerName6,
    /// On each `getsockname` of an IPv4 socket by a process in a cgroup. Since 5.8.
    GetSockName4,
    /// The same for IPv6.
    GetSockName6,
    /// Selects a socket of a reuseport group. Since 4.19.
    SkReuseport,
    /// Dissects packets into flow keys. Since 4.20.
    FlowDissector,
    /// On each access to a sysctl by a process in a cgroup. Since 5.2.
    Sysctl,
    /// On each `getsockopt` by a process in a cgroup. Since 5.3.
    GetSockOpt,
    /// On each `setsockopt` by a process in a cgroup.
    SetSockOpt,
    /// At a tracepoint, with arguments typed by BTF (`tp_btf`). Since 5.5.
    Tracepoint,
    /// At the entry of a kernel function (`fentry`). Since 5.5.
    Entry,
    /// At the exit of a kernel function, with its return value (`fexit`). Since 5.5.
    Exit,
    /// Before a kernel function that allows error injection (`fmod_ret`): 0 lets it run. Since 5.7.
    ModifyReturn,
    /// On the elements of an iterator.
    Iterator,
    /// Implements a function of a kernel operations structure. `BPF_PROG_LOAD` takes the structure
    /// as `attach_btf_id` and the function's position in it as `expected_attach_type`
    /// (`Btf::member_index` of the crate `bpf-syscalls`). Since 5.6.
    StructOps,
    /// Replaces a function of another program. Since 5.6.
    Extension,
    /// At an LSM hook: 0 allows, a negative errno denies. Since 5.7.
    Lsm,
    /// The same for processes in a cgroup: 1 allows. Since 6.0.
    LsmCgroup,
    /// Selects the socket that a packet is for. Since 5.9.
    SkLookup,
    /// Run by user space only (`BPF_PROG_RUN`). Since 5.14.
    Syscall,
    /// At a netfilter hook. Since 6.4.
    Netfilter,
    /// Any type by its numbers.
    Other {
        /// The number of the type (`enum bpf_prog_type`).
        number: u32,
        /// The attach type (`enum bpf_attach_type`); 0 if the program type implies it.
        attach_type: u32,
    },
}

impl ProgramType {
    /// The number of the type (`enum bpf_prog_type`).
    pub fn number(self) -> u32 {
        self.numbers().0
    }

    /// The attach type (`enum bpf_attach_type`); 0 if the program type implies it.
    pub fn attach_type(self) -> u32 {
        self.numbers().1
    }

    /// The program type and the attach type.
    fn numbers(self) -> (u32, u32) {
        match self {
            ProgramType::SocketFilter => (1, 0),
            ProgramType::Kprobe => (2, 0),
            ProgramType::Classifier => (3, 0),
            ProgramType::PlainTracepoint => (5, 0),
            ProgramType::Xdp => (6, 37),
            ProgramType::PerfEvent => (7, 0),
            ProgramType::CgroupIngress => (8, 0),
            ProgramType::CgroupEgress => (8, 1),
            ProgramType::SockCreate => (9, 2),
            ProgramType::PostBind4 => (9, 12),
            ProgramType::PostBind6 => (9, 13),
            ProgramType::SockOps => (13, 3),
            ProgramType::SkSkbVerdict => (14, 38),
            ProgramType::CgroupDevice => (15, 6),
            ProgramType::SkMsg => (16, 7),
            ProgramType::RawTracepoint => (17, 0),
            ProgramType::Bind4 => (18, 8),
            ProgramType::Bind6 => (18, 9),
            ProgramType::Connect4 => (18, 10),
            ProgramType::Connect6 => (18, 11),
            ProgramType::SendMsg4 => (18, 14),
            ProgramType::SendMsg6 => (18, 15),
            ProgramType::RecvMsg4 => (18, 19),
            ProgramType::RecvMsg6 => (18, 20),
            ProgramType::GetPeerName4 => (18, 29),
            ProgramType::GetPeerName6 => (18, 30),
            ProgramType::GetSockName4 => (18, 31),
            ProgramType::GetSockName6 => (18, 32),
            ProgramType::SkReuseport => (21, 39),
            ProgramType::FlowDissector => (22, 17),
            ProgramType::Sysctl => (23, 18),
            ProgramType::GetSockOpt => (25, 21),
            ProgramType::SetSockOpt => (25, 22),
            ProgramType::Tracepoint => (26, 23),
            ProgramType::Entry => (26, 24),
            ProgramType::Exit => (26, 25),
            ProgramType::ModifyReturn => (26, 26),
            ProgramType::Iterator => (26, 28),
            ProgramType::StructOps => (27, 0),
            ProgramType::Extension => (28, 0),
            ProgramType::Lsm => (29, 27),
            ProgramType::LsmCgroup => (29, 43),
            ProgramType::SkLookup => (30, 36),
            ProgramType::Syscall => (31, 0),
            ProgramType::Netfilter => (32, 45),
            ProgramType::Other { number, attach_type } => (number, attach_type),
        }
    }
}

/// A type in the kernel's BTF that a program attaches to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachesTo {
    /// A function: the one traced, the LSM hook (`bpf_lsm_NAME`), or the one that declares an
    /// iterator's context (`DEFINE_BPF_ITER_FUNC`).
    Function(String),
    /// A typedef: that of a tracepoint (`btf_trace_NAME`).
    Typedef(String),
}

/// A program without errors. It names its maps; [`Program::relocate`] puts in file descriptors.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    kind: ProgramType,
    /// The context's type, if the program takes it.
    pub(crate) context: Option<Type>,
    pub(crate) lines: Vec<ProgramLine>,
    pub(crate) functions: Vec<FunctionStart>,
    maps: Vec<MapDef>,
    kernel_functions: Vec<String>,
    data: Vec<u8>,
}

/// One instruction and the Rust line that wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProgramLine {
    pub(crate) insn: Insn,
    pub(crate) at: Location,
    /// Its first instruction slot.
    pub(crate) slot: usize,
    /// The map it loads.
    pub(crate) map: Option<usize>,
    /// The kfunc it calls by name.
    pub(crate) kernel: Option<usize>,
}

/// The start of a function.
#[derive(Debug, Clone)]
pub(crate) struct FunctionStart {
    pub(crate) name: String,
    pub(crate) slot: usize,
}

/// The name of the map whose only value is a program's read-only data.
pub const READ_ONLY: &str = ".rodata";

/// What the name of a kfunc resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelFunction {
    /// The BTF id of the function.
    pub id: u32,
    /// Which BTF: 0 for vmlinux, else the index of the module's in the program's `fd_array`.
    pub btf: i16,
}

/// A program's instructions with file descriptors for its maps, as for `BPF_PROG_LOAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Eight bytes per instruction slot.
    pub insns: Vec<u8>,
}

impl Program {
    pub(crate) fn new(draft: &Draft, kind: ProgramType, resolved: Resolved) -> Self {
        let Resolved { lines, functions, maps, kernel_functions } = resolved;
        let (name, data) = (draft.name.clone(), draft.data.clone());
        Program {
            name,
            kind,
            context: draft.context,
            lines,
            functions,
            maps,
            kernel_functions,
            data,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn kind(&self) -> ProgramType {
        self.kind
    }

    /// The BTF type whose id `BPF_PROG_LOAD` takes as `attach_btf_id`, derived from the type of the
    /// program's context; `None` for programs that attach otherwise.
    pub fn attaches_to(&self) -> Option<AttachesTo> {
        let Some(Type::Record { name, .. }) = self.context else { return None };
        match self.kind {
            ProgramType::Iterator => name
                .strip_prefix("bpf_iter__")
                .map(|target| AttachesTo::Function(format!("bpf_iter_{target}"))),
            ProgramType::Tracepoint => Some(AttachesTo::Typedef(format!("btf_trace_{name}"))),
            ProgramType::Entry | ProgramType::Exit | ProgramType::ModifyReturn => {
                Some(AttachesTo::Function(name.to_owned()))
            }
            ProgramType::Lsm | ProgramType::LsmCgroup => {
                Some(AttachesTo::Function(format!("bpf_lsm_{name}")))
            }
            _ => None,
        }
    }

    /// The maps it uses, each once.
    pub fn maps(&self) -> &[MapDef] {
        &self.maps
    }

    /// The only value of the map [`READ_ONLY`], to be written and frozen (`BPF_MAP_FREEZE`) before
    /// the program is loaded. `None` if the program has no such map.
    pub fn read_only(&self) -> Option<&[u8]> {
        self.maps.iter().any(|map| map.name == READ_ONLY).then_some(&self.data)
    }

    /// The kfuncs it calls by name, each once.
    pub fn kernel_functions(&self) -> &[String] {
        &self.kernel_functions
    }

    /// Resolves the kfuncs that it calls by name, calling `find` once for each. The verifier
    /// rejects unresolved calls.
    ///
    /// # Errors
    /// The first error of `find`; the program is then unchanged.
    pub fn resolve<E>(
        &mut self,
        find: impl FnMut(&str) -> Result<KernelFunction, E>,
    ) -> Result<(), E> {
        let found: Vec<KernelFunction> =
            self.kernel_functions.iter().map(String::as_str).map(find).collect::<Result<_, _>>()?;
        for line in &mut self.lines {
            if let Some(KernelFunction { id, btf }) = line.kernel.map(|name| found[name]) {
                // The immediate holds an unsigned id.
                line.insn = Insn::Call(Call::Kernel { id: id as i32, btf });
            }
        }
        Ok(())
    }

    /// The number of instruction slots.
    pub fn slots(&self) -> usize {
        self.lines.iter().map(|line| line.insn.slots()).sum()
    }

    /// The instructions, each with its first slot and the Rust line that wrote it.
    pub fn insns(&self) -> impl Iterator<Item = (usize, Insn, Location)> + '_ {
        self.lines.iter().map(|line| (line.slot, line.insn, line.at))
    }

    /// What its instructions require.
    pub fn requires(&self) -> Since {
        self.lines.iter().map(|line| line.insn.since()).fold(Since::FIRST, Since::and)
    }

    /// The bytes for the kernel. `fd` returns the file descriptor of a map, and is called once for
    /// each of [`Program::maps`].
    pub fn relocate(&self, fd: impl FnMut(&MapDef) -> i32) -> Image {
        let fds: Vec<i32> = self.maps.iter().map(fd).collect();
        let insns = self.encode(|source, map| match source {
            WideSource::MapValue { offset, .. } => WideSource::MapValue { fd: fds[map], offset },
            _ => WideSource::Map { fd: fds[map] },
        });
        Image { insns }
    }

    /// The bytes for rbpf, with the given address for each map; for a map's value, that address
    /// plus the offset into the value.
    pub fn for_rbpf(&self, address: impl FnMut(&MapDef) -> u64) -> Vec<u8> {
        let addresses: Vec<u64> = self.maps.iter().map(address).collect();
        self.encode(|source, map| match source {
            WideSource::MapValue { offset, .. } => {
                WideSource::Imm(addresses[map].wrapping_add(u64::from(offset)))
            }
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

    /// An instruction in the kernel's notation, with maps and kfuncs by name.
    pub(crate) fn text(&self, line: &ProgramLine) -> String {
        let map = line.map.and_then(|map| self.maps.get(map));
        if let (Insn::Call(Call::Kernel { id, .. }), Some(name)) = (line.insn, line.kernel) {
            return format!("call {}#{}", self.kernel_functions[name], id.cast_unsigned());
        }
        match (line.insn, map) {
            (Insn::Wide(Wide { dst, source: WideSource::MapValue { offset, .. } }), Some(map)) => {
                format!("{dst} = map[name:{}][0]+{offset}", map.name)
            }
            (Insn::Wide(Wide { dst, .. }), Some(map)) => format!("{dst} = map[name:{}]", map.name),
            (insn, _) => insn.to_string(),
        }
    }
}

/// The program in the kernel's notation, each instruction after its slot, and under the Rust line
/// that wrote it.
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
