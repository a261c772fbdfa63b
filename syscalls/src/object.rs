//! What all kernel objects have: pins, ids, and info.

use crate::error::{Error, Result};
use crate::map::MapKind;
use crate::prog::{AttachType, ProgKind};
use crate::uapi::{self, Command, open_enum};
use crate::{Errno, name};
use bytemuck::{Pod, Zeroable};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(path.display().to_string(), "a path cannot contain a NUL byte"))
}

/// `bpf(BPF_OBJ_PIN)`: pins `object` at `path` in a bpffs, which keeps it alive without a process.
///
/// # Errors
/// `EEXIST` if the path exists, `EPERM` or `EINVAL` if it is not on a bpffs, `ENOENT` if its folder
/// does not exist.
pub fn pin(object: impl AsFd, path: &Path) -> Result<()> {
    let pathname = c_path(path)?;
    let mut attr = uapi::Pin::zeroed();
    attr.pathname = pathname.as_ptr() as u64;
    attr.bpf_fd = uapi::fd(object.as_fd());
    // SAFETY: the path is a C string that outlives the call.
    unsafe { uapi::OBJ_PIN.call(&mut attr) }
        .map(|_| ())
        .map_err(uapi::OBJ_PIN.failed(format!("path {}", path.display())))
}

/// `bpf(BPF_OBJ_GET)`: opens the object pinned at `path`.
///
/// # Errors
/// `ENOENT` if there is none, `EACCES` if it is not a BPF object or its file mode forbids it.
pub(crate) fn open_pinned(path: &Path, wanted: Kind) -> Result<OwnedFd> {
    let pathname = c_path(path)?;
    let mut attr = uapi::Pin::zeroed();
    attr.pathname = pathname.as_ptr() as u64;
    // SAFETY: the path is a C string that outlives the call, which returns a new descriptor.
    let fd = unsafe { uapi::OBJ_GET.call_fd(&mut attr) }
        .map_err(uapi::OBJ_GET.failed(format!("path {}", path.display())))?;
    let found = kind_name(fd.as_fd())?;
    if found != wanted.name() {
        return Err(Error::WrongObject { path: path.to_owned(), wanted: wanted.name(), found });
    }
    Ok(fd)
}

/// The kinds of objects that are opened by pin.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Map,
    Prog,
    Link,
}

impl Kind {
    /// The kernel's name of the kind's anonymous inode, without `anon_inode:`.
    fn name(self) -> &'static str {
        match self {
            Self::Map => "bpf-map",
            Self::Prog => "bpf-prog",
            Self::Link => "bpf-link",
        }
    }
}

/// The kind of object of a descriptor. `BPF_OBJ_GET_INFO_BY_FD` does not tell: it succeeds for all
/// of them, each with its own structure.
fn kind_name(fd: BorrowedFd<'_>) -> Result<String> {
    let path = std::path::PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let target =
        std::fs::read_link(&path).map_err(|e| Error::KernelFile { path, reason: e.to_string() })?;
    let text = target.to_string_lossy();
    Ok(text.strip_prefix("anon_inode:").unwrap_or(&text).to_owned())
}

/// `bpf(BPF_OBJ_GET_INFO_BY_FD)`
///
/// # Safety
/// `info` is the structure of the object's kind, and every address in it is valid for the kernel's
/// writes.
unsafe fn info_into<T: Pod>(fd: BorrowedFd<'_>, object: &str, info: &mut T) -> Result<()> {
    let mut attr = uapi::InfoByFd::zeroed();
    attr.bpf_fd = uapi::fd(fd);
    attr.info_len = size_of::<T>() as u32;
    attr.info = std::ptr::from_mut(info) as u64;
    // SAFETY: the kernel writes at most `info_len` bytes there; the caller guarantees the addresses
    // inside.
    unsafe { uapi::OBJ_GET_INFO_BY_FD.call(&mut attr) }
        .map(|_| ())
        .map_err(uapi::OBJ_GET_INFO_BY_FD.failed(object))
}

/// Program info: `struct bpf_prog_info`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProgInfo {
    /// The program's type.
    pub kind: ProgKind,
    /// Its id, unique among loaded programs.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Hash of its instructions.
    pub tag: [u8; 8],
    /// Size of the machine code in bytes; 0 without JIT.
    pub jited_prog_len: u32,
    /// Size of the instructions after rewriting by the verifier, in bytes.
    pub xlated_prog_len: u32,
    /// When it was loaded, in ns since boot.
    pub load_time: u64,
    /// The ids of the maps it uses.
    pub map_ids: Vec<u32>,
    /// The id of its BTF; 0 if it has none.
    pub btf_id: u32,
    /// Run time in ns while [`stats`](crate::stats) were enabled.
    pub run_time_ns: u64,
    /// Number of runs while [`stats`](crate::stats) were enabled.
    pub run_cnt: u64,
    /// Number of runs skipped because it was already running on the CPU.
    pub recursion_misses: u64,
    /// Number of instructions that the verifier processed; 0 before Linux 5.16.
    pub verified_insns: u32,
}

/// Map info: `struct bpf_map_info`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MapInfo {
    /// The map's type.
    pub kind: MapKind,
    /// Its id, unique among existing maps.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Size of a key in bytes.
    pub key_size: u32,
    /// Size of a value in bytes, for one CPU in per-CPU maps.
    pub value_size: u32,
    /// Maximum number of entries; size in bytes for a ring buffer.
    pub max_entries: u32,
    /// The flags it was created with.
    pub flags: u32,
    /// The id of its BTF; 0 if it has none.
    pub btf_id: u32,
    /// The BTF type of its key.
    pub btf_key_type_id: u32,
    /// The BTF type of its value.
    pub btf_value_type_id: u32,
    /// `map_extra`: see [`MapSpec::extra`](crate::MapSpec::extra).
    pub map_extra: u64,
}

/// BTF info: `struct bpf_btf_info`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BtfInfo {
    /// Its id, unique among loaded BTF.
    pub id: u32,
    /// Its size in bytes.
    pub size: u32,
    /// Whether it belongs to the kernel or a module.
    pub is_kernel: bool,
    /// `vmlinux` or the module's name; empty for a program's BTF.
    pub name: String,
}

open_enum! {
    /// `enum bpf_link_type`
    pub struct LinkKind {
        /// A raw tracepoint.
        RAW_TRACEPOINT = 1,
        /// fentry, fexit, `fmod_ret` and the like.
        TRACING = 2,
        /// A program on a cgroup.
        CGROUP = 3,
        /// An iterator.
        ITER = 4,
        /// A program on a sockmap or sockhash (Linux 6.10).
        SOCKMAP = 14,
    }
}

/// Link info: `struct bpf_link_info`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The link's type.
    pub kind: LinkKind,
    /// Its id, unique among existing links.
    pub id: u32,
    /// The id of its program.
    pub prog_id: u32,
    /// What it is attached to.
    pub target: LinkTarget,
}

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkTarget {
    /// A cgroup.
    Cgroup {
        /// The cgroup's id: the inode number of its folder, 0 once the cgroup is gone or the link
        /// is detached.
        id: u64,
        /// The hook.
        attach_type: AttachType,
    },
    /// A kernel function.
    Tracing {
        /// The hook.
        attach_type: AttachType,
        /// The function's BTF id in vmlinux BTF.
        btf_id: u32,
    },
    /// A sockmap or sockhash.
    SockMap {
        /// The map's id, 0 once detached.
        map_id: u32,
        /// The hook.
        attach_type: AttachType,
    },
    /// An iterator.
    Iter {
        /// The map's id, 0 if it does not iterate over a map.
        map_id: u32,
    },
    /// A kind that is not decoded here.
    Other,
}

pub(crate) fn map_info(fd: BorrowedFd<'_>, object: &str) -> Result<MapInfo> {
    let mut raw = uapi::MapInfo::zeroed();
    // SAFETY: the structure of a map, without addresses.
    unsafe { info_into(fd, object, &mut raw) }?;
    Ok(MapInfo {
        kind: MapKind::from_raw(raw.kind),
        id: raw.id,
        name: name::text(&raw.name),
        key_size: raw.key_size,
        value_size: raw.value_size,
        max_entries: raw.max_entries,
        flags: raw.map_flags,
        btf_id: raw.btf_id,
        btf_key_type_id: raw.btf_key_type_id,
        btf_value_type_id: raw.btf_value_type_id,
        map_extra: raw.map_extra,
    })
}

pub(crate) fn link_info(fd: BorrowedFd<'_>) -> Result<LinkInfo> {
    let mut raw = uapi::LinkInfo::zeroed();
    // SAFETY: the structure of a link, whose only buffer is null with size 0.
    unsafe { info_into(fd, "link", &mut raw) }?;
    let kind = LinkKind::from_raw(raw.kind);
    let t = raw.target;
    let target = match kind {
        LinkKind::CGROUP => LinkTarget::Cgroup {
            id: u64::from(t[0]) | u64::from(t[1]) << 32,
            attach_type: AttachType::from_raw(t[2]),
        },
        LinkKind::TRACING => {
            LinkTarget::Tracing { attach_type: AttachType::from_raw(t[0]), btf_id: t[2] }
        }
        LinkKind::SOCKMAP => {
            LinkTarget::SockMap { map_id: t[0], attach_type: AttachType::from_raw(t[1]) }
        }
        LinkKind::ITER => LinkTarget::Iter { map_id: t[3] },
        _ => LinkTarget::Other,
    };
    Ok(LinkInfo { kind, id: raw.id, prog_id: raw.prog_id, target })
}

pub(crate) fn btf_info(fd: BorrowedFd<'_>) -> Result<BtfInfo> {
    // A module's name has at most 55 bytes (`MODULE_NAME_LEN`).
    let mut name = [0; 64];
    let mut raw = uapi::BtfInfo::zeroed();
    raw.name = uapi::addr_mut(&mut name);
    raw.name_len = name.len() as u32;
    // SAFETY: the structure of BTF; the name's buffer has the given size, and there is none for the
    // data.
    unsafe { info_into(fd, "BTF", &mut raw) }?;
    Ok(BtfInfo {
        id: raw.id,
        size: raw.btf_size,
        is_kernel: raw.kernel_btf != 0,
        name: name::text(&name),
    })
}

pub(crate) fn btf_data(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut data = vec![0; btf_info(fd)?.size as usize];
    let mut raw = uapi::BtfInfo::zeroed();
    raw.btf = uapi::addr_mut(&mut data);
    raw.btf_size = data.len() as u32;
    // SAFETY: the only buffer has the given size.
    unsafe { info_into(fd, "BTF", &mut raw) }?;
    Ok(data)
}

pub(crate) fn prog_info(fd: BorrowedFd<'_>, object: &str) -> Result<ProgInfo> {
    let map_ids = prog_array(fd, object, |raw| (&mut raw.nr_map_ids, &mut raw.map_ids))?;
    let mut raw = uapi::ProgInfo::zeroed();
    // SAFETY: the structure of a program, whose buffers are null with size 0.
    unsafe { info_into(fd, object, &mut raw) }?;
    Ok(ProgInfo {
        kind: ProgKind::from_raw(raw.kind),
        id: raw.id,
        name: name::text(&raw.name),
        tag: raw.tag,
        jited_prog_len: raw.jited_prog_len,
        xlated_prog_len: raw.xlated_prog_len,
        load_time: raw.load_time,
        map_ids,
        btf_id: raw.btf_id,
        run_time_ns: raw.run_time_ns,
        run_cnt: raw.run_cnt,
        recursion_misses: raw.recursion_misses,
        verified_insns: raw.verified_insns,
    })
}

/// An array of `struct bpf_prog_info`, whose count and address `field` returns. `T` has the size of
/// an element.
fn prog_array<T: Pod>(
    fd: BorrowedFd<'_>,
    object: &str,
    field: impl Fn(&mut uapi::ProgInfo) -> (&mut u32, &mut u64),
) -> Result<Vec<T>> {
    let mut raw = uapi::ProgInfo::zeroed();
    // SAFETY: all buffers are null.
    unsafe { info_into(fd, object, &mut raw) }?;
    let count = *field(&mut raw).0;
    let mut items = vec![T::zeroed(); count as usize];
    let mut raw = uapi::ProgInfo::zeroed();
    // The kernel requires its own record sizes.
    raw.func_info_rec_size = size_of::<[u32; 2]>() as u32;
    raw.line_info_rec_size = size_of::<uapi::LineInfo>() as u32;
    raw.jited_line_info_rec_size = size_of::<u64>() as u32;
    let (length, address) = field(&mut raw);
    *length = count;
    *address = uapi::addr_mut(bytemuck::cast_slice_mut(&mut items));
    // SAFETY: the kernel writes at most `count` elements to the only buffer, which has as many.
    unsafe { info_into(fd, object, &mut raw) }?;
    let filled = *field(&mut raw).0;
    items.truncate(filled as usize);
    Ok(items)
}

/// Line info of a loaded program: `struct bpf_line_info`. Offsets refer to the strings of the
/// program's BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// Its first instruction slot, from the program's start.
    pub insn: u32,
    /// Offset of the file's name.
    pub file_name: u32,
    /// Offset of the line's text.
    pub text: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column, 0 to 1023.
    pub column: u32,
}

pub(crate) fn line_info(fd: BorrowedFd<'_>, object: &str) -> Result<Vec<LineInfo>> {
    let records: Vec<uapi::LineInfo> =
        prog_array(fd, object, |raw| (&mut raw.nr_line_info, &mut raw.line_info))?;
    Ok(records
        .iter()
        .map(|r| LineInfo {
            insn: r.insn_off,
            file_name: r.file_name_off,
            text: r.line_off,
            line: r.line_col >> 10,
            column: r.line_col & 0x3ff,
        })
        .collect())
}

/// Function info of a loaded program: `struct bpf_func_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// Its first instruction slot, from the program's start.
    pub insn: u32,
    /// The BTF id of its type in the program's BTF.
    pub type_id: u32,
}

pub(crate) fn func_info(fd: BorrowedFd<'_>, object: &str) -> Result<Vec<FuncInfo>> {
    let records: Vec<[u32; 2]> =
        prog_array(fd, object, |raw| (&mut raw.nr_func_info, &mut raw.func_info))?;
    Ok(records.into_iter().map(|[insn, type_id]| FuncInfo { insn, type_id }).collect())
}

pub(crate) fn jited_line_info(fd: BorrowedFd<'_>, object: &str) -> Result<Vec<u64>> {
    prog_array(fd, object, |raw| (&mut raw.nr_jited_line_info, &mut raw.jited_line_info))
}

pub(crate) fn xlated(fd: BorrowedFd<'_>, object: &str) -> Result<Vec<u8>> {
    prog_array(fd, object, |raw| (&mut raw.xlated_prog_len, &mut raw.xlated_prog_insns))
}

/// The ids of all objects of a kind, in ascending order, each read on demand.
#[derive(Debug)]
pub struct Ids {
    command: Command<uapi::Id>,
    last: u32,
    ended: bool,
}

impl Ids {
    fn of(command: Command<uapi::Id>) -> Self {
        Self { command, last: 0, ended: false }
    }
}

impl Iterator for Ids {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Result<u32>> {
        if self.ended {
            return None;
        }
        let mut attr = uapi::Id::zeroed();
        attr.id = self.last;
        // SAFETY: no address in the attribute.
        match unsafe { self.command.call(&mut attr) } {
            Ok(_) => {
                self.last = attr.next_id;
                Some(Ok(attr.next_id))
            }
            Err(Errno::NOENT) => {
                self.ended = true;
                None
            }
            Err(errno) => {
                self.ended = true;
                Some(Err(self.command.failed(format!("id {}", self.last))(errno)))
            }
        }
    }
}

/// `bpf(BPF_PROG_GET_NEXT_ID)`: the ids of all programs. Requires `CAP_SYS_ADMIN`, as do the three
/// below.
pub fn prog_ids() -> Ids {
    Ids::of(uapi::PROG_GET_NEXT_ID)
}

/// `bpf(BPF_MAP_GET_NEXT_ID)`: the ids of all maps.
pub fn map_ids() -> Ids {
    Ids::of(uapi::MAP_GET_NEXT_ID)
}

/// `bpf(BPF_BTF_GET_NEXT_ID)`: the ids of all BTF objects.
pub fn btf_ids() -> Ids {
    Ids::of(uapi::BTF_GET_NEXT_ID)
}

/// `bpf(BPF_LINK_GET_NEXT_ID)`: the ids of all links.
pub fn link_ids() -> Ids {
    Ids::of(uapi::LINK_GET_NEXT_ID)
}

/// One of the `BPF_*_GET_FD_BY_ID` commands.
pub(crate) fn open_id(command: Command<uapi::Id>, id: u32) -> Result<OwnedFd> {
    let mut attr = uapi::Id::zeroed();
    attr.id = id;
    // SAFETY: no address in the attribute; the command returns a new descriptor.
    unsafe { command.call_fd(&mut attr) }.map_err(command.failed(format!("id {id}")))
}
