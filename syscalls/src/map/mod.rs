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

/// The condition of an update: `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update(u64);

impl Update {
    /// New or existing.
    pub const ANY: Self = Self(0);
    /// The key must not exist; `EEXIST` otherwise.
    pub const NEW: Self = Self(1);
    /// The key must exist; `ENOENT` otherwise.
    pub const REPLACE: Self = Self(2);
}

/// The BTF types of a map's key and value.
#[derive(Clone, Copy, Debug)]
pub struct MapBtf<'a> {
    /// The loaded BTF object.
    pub fd: BorrowedFd<'a>,
    /// The key's type, of the map's key size.
    pub key_type_id: u32,
    /// The value's type, of the map's value size.
    pub value_type_id: u32,
}

/// A map to create.
#[derive(Clone, Debug)]
pub struct MapSpec<'a> {
    /// The map's type.
    pub kind: MapKind,
    /// Its name; truncated to 15 bytes, and bytes outside `[A-Za-z0-9_.]` become `_`.
    pub name: &'a str,
    /// Size of a key in bytes; 0 for ring buffers.
    pub key_size: u32,
    /// Size of a value in bytes, for one CPU in per-CPU maps; 0 for ring buffers.
    pub value_size: u32,
    /// Maximum number of entries; 0 for socket storage; for a ring buffer its size in bytes, a
    /// power of two and a multiple of the page size.
    pub max_entries: u32,
    /// `BPF_F_*` flags of `BPF_MAP_CREATE`, such as [`MapSpec::NO_PREALLOC`].
    pub flags: u32,
    /// The types of key and value: required by socket storage, otherwise for `bpftool`.
    pub btf: Option<MapBtf<'a>>,
    /// `map_extra`: the number of hash functions of a Bloom filter (since Linux 5.16), the address
    /// of an arena in user space (6.9).
    pub extra: u64,
    /// The NUMA node; adds `BPF_F_NUMA_NODE` to the flags.
    pub numa_node: Option<u32>,
    /// The template of the inner maps.
    pub inner: Option<BorrowedFd<'a>>,
}

impl<'a> MapSpec<'a> {
    /// `BPF_F_NO_PREALLOC`: allocate entries on demand; required by socket storage.
    pub const NO_PREALLOC: u32 = 1;
    /// `BPF_F_NO_COMMON_LRU`: an LRU list for each CPU.
    pub const NO_COMMON_LRU: u32 = 2;
    /// `BPF_F_NUMA_NODE`: the map is on the node of [`MapSpec::numa_node`].
    pub const NUMA_NODE: u32 = 1 << 2;
    /// `BPF_F_RDONLY_PROG`: programs may read but not write.
    pub const RDONLY_PROG: u32 = 1 << 7;

    /// A map with default attributes.
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

/// A map. Its sizes are read from the kernel, so that no command accesses memory out of bounds.
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
    /// `EINVAL` for an unsupported type, size or flag, `ENOMEM`, `E2BIG`, `EPERM`.
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
        // SAFETY: no address in the attribute; the command returns a new descriptor.
        let fd = memlock::lifted(|| unsafe { uapi::MAP_CREATE.call_fd(&mut attr) })
            .map_err(uapi::MAP_CREATE.failed(format!("map `{}`", spec.name)))?;
        let mut map = Self::adopt(fd)?;
        map.name = spec.name.to_owned();
        Ok(map)
    }

    /// `bpf(BPF_OBJ_GET)`: the map pinned at `path`.
    ///
    /// # Errors
    /// As [`object::pin`]; [`Error::WrongObject`] if it is another kind of object.
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

    /// `fcntl(F_DUPFD_CLOEXEC)`: another descriptor of the same map.
    ///
    /// # Errors
    /// `EMFILE` if the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE));
            Error::command("F_DUPFD_CLOEXEC", self.object(), errno)
        })?;
        Ok(Self { fd, name: self.name.clone(), ..*self })
    }

    /// `bpf(BPF_OBJ_PIN)`: see [`object::pin`].
    ///
    /// # Errors
    /// See there.
    pub fn pin(&self, path: &Path) -> Result<()> {
        object::pin(self, path)
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: its info.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn info(&self) -> Result<MapInfo> {
        object::map_info(self.as_fd(), &self.object())
    }

    /// Its name; not truncated if it was created here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// Size of a key in bytes.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Size of a value in bytes, for one CPU in per-CPU maps.
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// Maximum number of entries; size in bytes for a ring buffer.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    fn object(&self) -> String {
        format!("map `{}`", self.name)
    }

    /// Size of a value as the kernel copies it (`bpf_map_value_size`, kernel/bpf/syscall.c).
    fn exchanged_value_size(&self) -> Result<usize> {
        if self.kind.is_per_cpu() {
            Ok(per_cpu::stride(self.value_size) * cpu::possible()?)
        } else if self.kind.holds_fds() {
            Ok(size_of::<u32>())
        } else {
            Ok(self.value_size)
        }
    }

    /// An attribute with the checked key; the caller sets the value.
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
        Err(Error::invalid(self.object(), format!("a {what} of {given} bytes; expected {wanted}")))
    }

    /// Executes `command`; `false` for `ENOENT`.
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
    /// CPUs, each padded to a multiple of 8 bytes; see [`PerCpuMap`].
    ///
    /// A sockmap or sockhash with 8-byte values returns the socket's cookie; with 4-byte values,
    /// lookups fail (`ENOSPC`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key of another length, otherwise [`Error::Command`].
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(uapi::MAP_LOOKUP_ELEM, key)
    }

    /// `bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM)`: returns the value of `key` and deletes it. For hash
    /// maps since Linux 5.14.
    ///
    /// # Errors
    /// `ENOTSUPP` (524) or `EINVAL` if the map or kernel does not support it; [`Error::Invalid`] as
    /// for [`Map::lookup`].
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(uapi::MAP_LOOKUP_AND_DELETE_ELEM, key)
    }

    fn read(&self, command: Command<uapi::Element>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.exchanged_value_size()?];
        let mut attr = self.element(Some(key))?;
        attr.value = uapi::addr_mut(&mut value);
        // SAFETY: the key has the map's key size, the value the size that the kernel copies.
        let found = unsafe { self.on_element(command, &mut attr) }?;
        Ok(found.then_some(value))
    }

    /// `bpf(BPF_MAP_UPDATE_ELEM)`: sets the value of `key`; for per-CPU maps the values of all
    /// possible CPUs, for maps of sockets, maps or programs a file descriptor.
    ///
    /// # Errors
    /// `E2BIG` if the map is full, `EEXIST` and `ENOENT` as `update` requires, [`Error::Invalid`]
    /// for wrong lengths.
    pub fn update(&self, key: &[u8], value: &[u8], update: Update) -> Result<()> {
        self.check("value", value.len(), self.exchanged_value_size()?)?;
        let mut attr = self.element(Some(key))?;
        attr.value = uapi::addr(value);
        attr.flags = update.0;
        // SAFETY: the key has the map's key size, the value the size that the kernel copies.
        unsafe { uapi::MAP_UPDATE_ELEM.call(&mut attr) }
            .map(|_| ())
            .map_err(uapi::MAP_UPDATE_ELEM.failed(self.object()))
    }

    /// `bpf(BPF_MAP_DELETE_ELEM)`: deletes `key`; whether it existed.
    ///
    /// # Errors
    /// `EINVAL` for arrays, whose entries always exist; [`Error::Invalid`] for a key of another
    /// length.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        let mut attr = self.element(Some(key))?;
        // SAFETY: the key has the map's key size.
        unsafe { self.on_element(uapi::MAP_DELETE_ELEM, &mut attr) }
    }

    /// `bpf(BPF_MAP_GET_NEXT_KEY)`: the key after `key`, or the first if it is `None` or not in the
    /// map.
    ///
    /// # Errors
    /// `ENOTSUPP` (524) for maps without keys, such as ring buffers and socket storage.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size];
        let mut attr = self.element(key)?;
        attr.value = uapi::addr_mut(&mut next);
        // SAFETY: both keys have the map's key size; the first may be null.
        let found = unsafe { self.on_element(uapi::MAP_GET_NEXT_KEY, &mut attr) }?;
        Ok(found.then_some(next))
    }

    /// The keys, one system call each. If others delete meanwhile, the kernel restarts at the first
    /// key, so that keys may repeat; it stops after [`max_entries`](Map::max_entries) keys.
    pub fn keys(&self) -> Keys<'_> {
        Keys { map: self, last: None, left: self.max_entries }
    }

    /// `bpf(BPF_MAP_FREEZE)`: makes it read-only for user space; programs are not affected.
    ///
    /// # Errors
    /// `EPERM` if it is already frozen, `EBUSY` if it is mapped for writing.
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
