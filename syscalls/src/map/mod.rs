//! Maps: `BPF_MAP_CREATE` and the element commands.

mod batch;
mod kind;
mod per_cpu;
mod typed;

pub use batch::Batch;
pub use kind::MapKind;
pub use per_cpu::PerCpuMap;
pub use typed::TypedMap;

use crate::error::{Errno, Error, Result};
use crate::object::{self, MapInfo};
use crate::uapi::{self, Command};
use crate::{cpu, memlock, name};
use bytemuck::Zeroable;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What an update demands of the key: `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update(u64);

impl Update {
    /// New or replaced.
    pub const ANY: Self = Self(0);
    /// Must be new; `EEXIST` otherwise.
    pub const NEW: Self = Self(1);
    /// Must be there; `ENOENT` otherwise.
    pub const REPLACE: Self = Self(2);
}

/// The BTF types of a map's key and value.
#[derive(Clone, Copy, Debug)]
pub struct MapBtf<'a> {
    /// The loaded BTF object.
    pub fd: BorrowedFd<'a>,
    /// The key's type; its size is the map's key size.
    pub key_type_id: u32,
    /// The value's type; its size is the map's value size.
    pub value_type_id: u32,
}

/// A map to create.
#[derive(Clone, Debug)]
pub struct MapSpec<'a> {
    /// The map's type.
    pub kind: MapKind,
    /// Its name; cut to 15 bytes, and bytes outside `[A-Za-z0-9_.]` become `_`.
    pub name: &'a str,
    /// Bytes of a key; 0 for ring buffers.
    pub key_size: u32,
    /// Bytes of a value, of one CPU for per-CPU maps; 0 for ring buffers.
    pub value_size: u32,
    /// The most entries it takes; 0 for socket storage; for a ring buffer its bytes, a power of two
    /// and whole pages.
    pub max_entries: u32,
    /// `BPF_F_*` flags of `BPF_MAP_CREATE`, for instance [`MapSpec::NO_PREALLOC`].
    pub flags: u32,
    /// The types of key and value: demanded by socket storage, shown by `bpftool` for any other.
    pub btf: Option<MapBtf<'a>>,
    /// `map_extra`, what a type wants beside: hash functions of a Bloom filter (since Linux 5.16),
    /// the address of an arena in user space (6.9).
    pub extra: u64,
    /// The NUMA node that it is to be on; `BPF_F_NUMA_NODE` is added to the flags.
    pub numa_node: Option<u32>,
    /// What the maps in a map of maps are like.
    pub inner: Option<BorrowedFd<'a>>,
}

impl<'a> MapSpec<'a> {
    /// `BPF_F_NO_PREALLOC`: entries take memory when they are made; demanded by socket storage.
    pub const NO_PREALLOC: u32 = 1;
    /// `BPF_F_NO_COMMON_LRU`: an LRU list for each CPU.
    pub const NO_COMMON_LRU: u32 = 2;
    /// `BPF_F_NUMA_NODE`: the map is on the node of [`MapSpec::numa_node`].
    pub const NUMA_NODE: u32 = 1 << 2;
    /// `BPF_F_RDONLY_PROG`: programs may read but not write.
    pub const RDONLY_PROG: u32 = 1 << 7;

    /// A map with nothing but what all have.
    pub fn new(
        kind: MapKind,
        name: &'a str,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    ) -> Self {
        Self {
            kind,
            name,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            btf: None,
            extra: 0,
            numa_node: None,
            inner: None,
        }
    }
}

/// A map. Its sizes are the kernel's own, so that no command reads or writes past what it is given.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    name: String,
    kind: MapKind,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
}

impl Map {
    /// `bpf(BPF_MAP_CREATE)`
    ///
    /// # Errors
    /// `EINVAL` for a type, size or flag that the kernel does not have, `ENOMEM`, `E2BIG`, `EPERM`.
    pub fn create(spec: &MapSpec<'_>) -> Result<Self> {
        let mut attr = uapi::MapCreate::zeroed();
        attr.map_type = spec.kind.raw();
        attr.key_size = spec.key_size;
        attr.value_size = spec.value_size;
        attr.max_entries = spec.max_entries;
        attr.map_flags = spec.flags;
        attr.map_extra = spec.extra;
        if let Some(node) = spec.numa_node {
            attr.numa_node = node;
            attr.map_flags |= MapSpec::NUMA_NODE;
        }
        attr.inner_map_fd = spec.inner.map_or(0, uapi::fd);
        attr.map_name = name::object_name(spec.name);
        if let Some(btf) = &spec.btf {
            attr.btf_fd = uapi::fd(btf.fd);
            attr.btf_key_type_id = btf.key_type_id;
            attr.btf_value_type_id = btf.value_type_id;
        }
        // SAFETY: no address in the attribute; the command answers with a new descriptor.
        let fd = memlock::lifted(|| unsafe { uapi::MAP_CREATE.call_fd(&mut attr) })
            .map_err(uapi::MAP_CREATE.failed(format!("map `{}`", spec.name)))?;
        let mut map = Self::adopt(fd)?;
        map.name = spec.name.to_owned();
        Ok(map)
    }

    /// `bpf(BPF_OBJ_GET)`: the map that is pinned at `path`.
    ///
    /// # Errors
    /// As [`object::pin`]; [`Error::WrongObject`] if something else is pinned there.
    pub fn open_pinned(path: &Path) -> Result<Self> {
        Self::adopt(object::open_pinned(path, object::Kind::Map)?)
    }

    /// `bpf(BPF_MAP_GET_FD_BY_ID)`: the map with this id.
    ///
    /// # Errors
    /// `ENOENT` if there is none; `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open_id(id: u32) -> Result<Self> {
        Self::adopt(object::open_id(uapi::MAP_GET_FD_BY_ID, id)?)
    }

    fn adopt(fd: OwnedFd) -> Result<Self> {
        let info = object::map_info(fd.as_fd(), "map")?;
        Ok(Self {
            fd,
            name: info.name,
            kind: info.kind,
            key_size: info.key_size as usize,
            value_size: info.value_size as usize,
            max_entries: info.max_entries,
        })
    }

    /// `bpf(BPF_OBJ_PIN)`: see [`object::pin`].
    ///
    /// # Errors
    /// See there.
    pub fn pin(&self, path: &Path) -> Result<()> {
        object::pin(self, path)
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: what the kernel knows about it.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn info(&self) -> Result<MapInfo> {
        object::map_info(self.as_fd(), &self.object())
    }

    /// Its name, before the kernel's limits cut it if it was created here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes of a value, of one CPU for per-CPU maps.
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// The most entries it takes; bytes for a ring buffer.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    fn object(&self) -> String {
        format!("map `{}`", self.name)
    }

    /// Bytes that the kernel reads and writes for a value (`bpf_map_value_size`,
    /// kernel/bpf/syscall.c).
    fn exchanged_value_size(&self) -> Result<usize> {
        if self.kind.is_per_cpu() {
            Ok(per_cpu::stride(self.value_size) * cpu::possible()?)
        } else if self.kind.holds_fds() {
            Ok(size_of::<u32>())
        } else {
            Ok(self.value_size)
        }
    }

    /// An attribute with the key, checked; the value still to be set.
    fn element(&self, key: Option<&[u8]>) -> Result<uapi::Element> {
        let mut attr = uapi::Element::zeroed();
        attr.map_fd = uapi::fd(self.as_fd());
        if let Some(key) = key {
            self.check("key", key.len(), self.key_size)?;
            attr.key = uapi::addr(key);
        }
        Ok(attr)
    }

    fn check(&self, what: &str, given: usize, wanted: usize) -> Result<()> {
        if given == wanted {
            return Ok(());
        }
        Err(Error::invalid(
            self.object(),
            format!("a {what} of {given} bytes was given; it is {wanted} bytes long"),
        ))
    }

    /// Does `command`; `false` stands for `ENOENT`.
    ///
    /// # Safety
    /// As for [`Command::call`].
    unsafe fn on_element(
        &self,
        command: Command<uapi::Element>,
        attr: &mut uapi::Element,
    ) -> Result<bool> {
        // SAFETY: passed on to the caller.
        match unsafe { command.call(attr) } {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(command.failed(self.object())(errno)),
        }
    }

    /// `bpf(BPF_MAP_LOOKUP_ELEM)`: the value of `key`. For per-CPU maps the values of all possible
    /// CPUs, each padded to a multiple of 8 bytes; [`PerCpuMap`] takes them apart.
    ///
    /// A sockmap or sockhash with 8-byte values answers with the socket's cookie; with 4-byte
    /// values it cannot be read (`ENOSPC`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key of another length, otherwise [`Error::Command`].
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(uapi::MAP_LOOKUP_ELEM, key)
    }

    /// `bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM)`: takes the value of `key` out. Hash maps have it since
    /// Linux 5.14.
    ///
    /// # Errors
    /// `ENOTSUPP` (524) or `EINVAL` where the map or the kernel does not have it;
    /// [`Error::Invalid`] as for [`Map::lookup`].
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(uapi::MAP_LOOKUP_AND_DELETE_ELEM, key)
    }

    fn read(&self, command: Command<uapi::Element>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.exchanged_value_size()?];
        let mut attr = self.element(Some(key))?;
        attr.value = uapi::addr_mut(&mut value);
        // SAFETY: the key has the map's length, the value what the kernel exchanges for this map.
        let found = unsafe { self.on_element(command, &mut attr) }?;
        Ok(found.then_some(value))
    }

    /// `bpf(BPF_MAP_UPDATE_ELEM)`: sets the value of `key`; for per-CPU maps of all possible CPUs,
    /// for sockmaps and other maps of descriptors the descriptor's number.
    ///
    /// # Errors
    /// `E2BIG` if the map is full, `EEXIST` and `ENOENT` as `update` demands, [`Error::Invalid`]
    /// for lengths.
    pub fn update(&self, key: &[u8], value: &[u8], update: Update) -> Result<()> {
        self.check("value", value.len(), self.exchanged_value_size()?)?;
        let mut attr = self.element(Some(key))?;
        attr.value = uapi::addr(value);
        attr.flags = update.0;
        // SAFETY: the key has the map's length, the value what the kernel exchanges for this map.
        unsafe { uapi::MAP_UPDATE_ELEM.call(&mut attr) }
            .map(|_| ())
            .map_err(uapi::MAP_UPDATE_ELEM.failed(self.object()))
    }

    /// `bpf(BPF_MAP_DELETE_ELEM)`: removes `key`; whether it was there.
    ///
    /// # Errors
    /// `EINVAL` for arrays, whose entries always are; [`Error::Invalid`] for a key of another
    /// length.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        let mut attr = self.element(Some(key))?;
        // SAFETY: the key has the map's length.
        unsafe { self.on_element(uapi::MAP_DELETE_ELEM, &mut attr) }
    }

    /// `bpf(BPF_MAP_GET_NEXT_KEY)`: the key after `key`, the first if there is none or if `key` is
    /// not in the map.
    ///
    /// # Errors
    /// `ENOTSUPP` (524) for maps without keys, such as ring buffers and socket storage.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size];
        let mut attr = self.element(key)?;
        attr.value = uapi::addr_mut(&mut next);
        // SAFETY: both keys have the map's length; the first may be null.
        let found = unsafe { self.on_element(uapi::MAP_GET_NEXT_KEY, &mut attr) }?;
        Ok(found.then_some(next))
    }

    /// The keys, one system call each. While others delete, the kernel starts over from the first
    /// key, so keys may come twice; it ends after [`max_entries`](Map::max_entries) keys in any
    /// case.
    pub fn keys(&self) -> Keys<'_> {
        Keys { map: self, last: None, left: self.max_entries }
    }

    /// `bpf(BPF_MAP_FREEZE)`: user space can never write to it again; what programs may do does not
    /// change.
    ///
    /// # Errors
    /// `EPERM` if it is frozen already, `EBUSY` if it is mapped for writing.
    pub fn freeze(&self) -> Result<()> {
        let mut attr = self.element(None)?;
        // SAFETY: no address in the attribute.
        unsafe { uapi::MAP_FREEZE.call(&mut attr) }
            .map(|_| ())
            .map_err(uapi::MAP_FREEZE.failed(self.object()))
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The keys of a map: see [`Map::keys`].
#[derive(Debug)]
pub struct Keys<'a> {
    map: &'a Map,
    last: Option<Vec<u8>>,
    left: u32,
}

impl Iterator for Keys<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.map.next_key(self.last.as_deref()) {
            Ok(Some(key)) => {
                self.last = Some(key.clone());
                Some(Ok(key))
            }
            Ok(None) => {
                self.left = 0;
                None
            }
            Err(error) => {
                self.left = 0;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
