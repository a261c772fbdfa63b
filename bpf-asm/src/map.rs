//! Maps as programs name them; relocation puts in the file descriptors.

use std::marker::PhantomData;

use crate::record::{FieldType, Type};
use crate::uapi::{BPF_F_MMAPABLE, BPF_F_NUMA_NODE};

/// The kinds of maps (`enum bpf_map_type`, UAPI `linux/bpf.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MapKind {
    /// Keys to values.
    Hash,
    /// Index to value.
    Array,
    /// Index to program, for tail calls; keys and values have 4 bytes. Since 4.2.
    ProgArray,
    /// CPU to perf event, for records to user space; keys and values have 4 bytes. Since 4.3.
    PerfEventArray,
    /// Keys to a value per CPU.
    PerCpuHash,
    /// Index to a value per CPU.
    PerCpuArray,
    /// Index to a stack trace of 8-byte addresses. Since 4.6.
    StackTrace,
    /// Index to cgroup; keys and values have 4 bytes. Since 4.8.
    CgroupArray,
    /// Keys to values; the least recently used are evicted.
    LruHash,
    /// The same with a value per CPU.
    LruPerCpuHash,
    /// Longest prefix match: a key starts with its prefix length in bits, a `u32`; requires
    /// `BPF_F_NO_PREALLOC`. Since 4.11.
    LpmTrie,
    /// Index to map; `inner` is the template. Since 4.12.
    ArrayOfMaps,
    /// Keys to maps; `inner` is the template. Since 4.12.
    HashOfMaps,
    /// Index to network device, for XDP. Since 4.14.
    DevMap,
    /// Index to socket.
    SockMap,
    /// CPU to a queue of packets, for XDP. Since 4.15.
    CpuMap,
    /// Index to XDP socket. Since 4.18.
    XskMap,
    /// Keys to sockets.
    SockHash,
    /// A value for each cgroup that the program is attached to; deprecated, with the cgroup in the
    /// key. Since 4.19.
    CgroupStorage,
    /// Index to socket of a reuseport group. Since 4.19.
    ReusePortSockArray,
    /// As `CgroupStorage` with a value per CPU. Since 4.20.
    PerCpuCgroupStorage,
    /// Values, first in first out; no keys. Since 4.20.
    Queue,
    /// Values, last in first out; no keys. Since 4.20.
    Stack,
    /// A value in each socket; since 5.2.
    SkStorage,
    /// Keys to network devices, for XDP. Since 5.4.
    DevMapHash,
    /// Functions that implement an operations structure of the kernel. Since 5.6.
    StructOps,
    /// Records to user space in order; since 5.8.
    RingBuf,
    /// A value in each inode. Since 5.10.
    InodeStorage,
    /// A value in each thread. Since 5.11.
    TaskStorage,
    /// A Bloom filter; no keys. `extra` is the number of hash functions, 0 for the default of 5.
    /// Since 5.16.
    BloomFilter,
    /// Records from user space in order. Since 6.1.
    UserRingBuf,
    /// A value in each cgroup. Since 6.2.
    CgrpStorage,
    /// Pages shared by programs and user space: `max_entries` of them, which user space maps at
    /// `extra`. Since 6.9.
    Arena,
    /// Any kind by its number.
    Other(u32),
}

impl MapKind {
    /// All named kinds.
    pub const ALL: [MapKind; 33] = [
        MapKind::Hash,
        MapKind::Array,
        MapKind::ProgArray,
        MapKind::PerfEventArray,
        MapKind::PerCpuHash,
        MapKind::PerCpuArray,
        MapKind::StackTrace,
        MapKind::CgroupArray,
        MapKind::LruHash,
        MapKind::LruPerCpuHash,
        MapKind::LpmTrie,
        MapKind::ArrayOfMaps,
        MapKind::HashOfMaps,
        MapKind::DevMap,
        MapKind::SockMap,
        MapKind::CpuMap,
        MapKind::XskMap,
        MapKind::SockHash,
        MapKind::CgroupStorage,
        MapKind::ReusePortSockArray,
        MapKind::PerCpuCgroupStorage,
        MapKind::Queue,
        MapKind::Stack,
        MapKind::SkStorage,
        MapKind::DevMapHash,
        MapKind::StructOps,
        MapKind::RingBuf,
        MapKind::InodeStorage,
        MapKind::TaskStorage,
        MapKind::BloomFilter,
        MapKind::UserRingBuf,
        MapKind::CgrpStorage,
        MapKind::Arena,
    ];

    /// The number that `BPF_MAP_CREATE` takes.
    pub fn number(self) -> u32 {
        match self {
            MapKind::Other(number) => number,
            // The kernel numbers them in this order, starting at 1.
            named => MapKind::ALL
                .into_iter()
                .zip(1..)
                .find(|(kind, _)| *kind == named)
                .map_or(0, |(_, number)| number),
        }
    }

    /// Whether the kernel accepts BTF types of key and value for this kind.
    pub fn has_btf(self) -> bool {
        matches!(
            self,
            MapKind::Hash
                | MapKind::Array
                | MapKind::PerCpuHash
                | MapKind::PerCpuArray
                | MapKind::LruHash
                | MapKind::LruPerCpuHash
                | MapKind::LpmTrie
                | MapKind::SkStorage
                | MapKind::InodeStorage
                | MapKind::TaskStorage
                | MapKind::CgrpStorage
        )
    }
}

/// Everything needed to create a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapDef {
    /// The name, which the kernel truncates to 15 bytes.
    pub name: &'static str,
    /// The kind.
    pub kind: MapKind,
    /// The type of the keys; `None` where a map has none.
    pub key: Option<Type>,
    /// The type of the values; `None` where a map has none.
    pub value: Option<Type>,
    /// Size of a key in bytes.
    pub key_size: u32,
    /// Size of a value in bytes.
    pub value_size: u32,
    /// Maximum number of entries; size in bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` flags for `BPF_MAP_CREATE`.
    pub flags: u32,
    /// The NUMA node; requires `BPF_F_NUMA_NODE` in `flags`.
    pub numa_node: Option<u32>,
    /// `map_extra`: the number of hash functions of a Bloom filter, the address of an arena.
    pub extra: u64,
    /// The template of the inner maps.
    pub inner: Option<&'static MapDef>,
}

/// A map by name and by the types of its keys and values.
pub struct MapRef<K, V> {
    def: MapDef,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for MapRef<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for MapRef<K, V> {}

impl<K, V> std::fmt::Debug for MapRef<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.def.fmt(f)
    }
}

impl<K: FieldType, V: FieldType> MapRef<K, V> {
    /// A map from `K` to `V`. Its name identifies it.
    pub const fn new(name: &'static str, kind: MapKind, max_entries: u32) -> Self {
        let def = MapDef {
            name,
            kind,
            key: Some(K::TYPE),
            value: Some(V::TYPE),
            key_size: size_of::<K>() as u32,
            value_size: size_of::<V>() as u32,
            max_entries,
            flags: 0,
            numa_node: None,
            extra: 0,
            inner: None,
        };
        MapRef { def, of: PhantomData }
    }
}

impl MapRef<u32, u32> {
    /// A map from `u32` to maps like this one. A lookup returns a pointer to a map, for helpers by
    /// [`Call::raw`].
    ///
    /// [`Call::raw`]: crate::Call::raw
    pub const fn array_of_maps(
        name: &'static str,
        inner: &'static MapDef,
        max_entries: u32,
    ) -> Self {
        MapRef::new(name, MapKind::ArrayOfMaps, max_entries).inner(inner)
    }
}

impl<V: FieldType> MapRef<(), V> {
    /// A map of values without keys: a queue, a stack or a Bloom filter.
    pub const fn keyless(name: &'static str, kind: MapKind, max_entries: u32) -> Self {
        let def = MapDef {
            key: None,
            key_size: 0,
            ..*MapRef::<u32, V>::new(name, kind, max_entries).def()
        };
        MapRef { def, of: PhantomData }
    }
}

impl MapRef<(), ()> {
    /// An arena of this many pages, which user space maps at the address `extra`; sets
    /// `BPF_F_MMAPABLE`. Since 6.9.
    pub const fn arena(name: &'static str, pages: u32) -> Self {
        let ring = *MapRef::ring_buffer(name, pages).def();
        MapRef {
            def: MapDef { kind: MapKind::Arena, flags: BPF_F_MMAPABLE, ..ring },
            of: PhantomData,
        }
    }

    /// A ring buffer of this many bytes, a power of two and a multiple of the page size.
    pub const fn ring_buffer(name: &'static str, bytes: u32) -> Self {
        let def = MapDef {
            name,
            kind: MapKind::RingBuf,
            key: None,
            value: None,
            key_size: 0,
            value_size: 0,
            max_entries: bytes,
            flags: 0,
            numa_node: None,
            extra: 0,
            inner: None,
        };
        MapRef { def, of: PhantomData }
    }
}

impl<K, V> MapRef<K, V> {
    /// A map by its definition; `K` and `V` are not checked against it.
    pub const fn described(def: MapDef) -> Self {
        MapRef { def, of: PhantomData }
    }

    /// The same map with these `BPF_F_*` flags.
    #[must_use]
    pub const fn flags(mut self, flags: u32) -> Self {
        self.def.flags = flags;
        self
    }

    /// The same map on a NUMA node.
    #[must_use]
    pub const fn numa_node(mut self, node: u32) -> Self {
        self.def.numa_node = Some(node);
        self.def.flags |= BPF_F_NUMA_NODE;
        self
    }

    /// The same map with this `map_extra`.
    #[must_use]
    pub const fn extra(mut self, extra: u64) -> Self {
        self.def.extra = extra;
        self
    }

    /// The same map of maps with this template.
    #[must_use]
    pub const fn inner(mut self, inner: &'static MapDef) -> Self {
        self.def.inner = Some(inner);
        self
    }

    /// The definition to create it by.
    pub const fn def(&self) -> &MapDef {
        &self.def
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_numbers_of_the_kernel() {
        let numbers = MapKind::ALL.map(MapKind::number);
        assert!(numbers.into_iter().eq(1..=33));
        // A few whose numbers would reveal a gap (`enum bpf_map_type`).
        let known = [
            (MapKind::LpmTrie, 11),
            (MapKind::SockHash, 18),
            (MapKind::SkStorage, 24),
            (MapKind::Arena, 33),
        ];
        assert!(known.iter().all(|(kind, number)| kind.number() == *number));
        assert_eq!(MapKind::Other(34).number(), 34);
    }
}
