//! Maps as programs name them; the descriptors come in when the program is relocated.

use std::marker::PhantomData;

use crate::record::{FieldType, Type};

/// The kinds of maps (`enum bpf_map_type`, UAPI `linux/bpf.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MapKind {
    /// Keys to values.
    Hash = 1,
    /// Index to value.
    Array = 2,
    /// Keys to a value per CPU.
    PerCpuHash = 5,
    /// Index to a value per CPU.
    PerCpuArray = 6,
    /// Keys to values; the least recently used go first.
    LruHash = 9,
    /// The same with a value per CPU.
    LruPerCpuHash = 10,
    /// Longest prefix match.
    LpmTrie = 11,
    /// Index to socket.
    SockMap = 15,
    /// Keys to sockets.
    SockHash = 18,
    /// A value in each socket; since 5.2.
    SkStorage = 24,
    /// Records to user space in order; since 5.8.
    RingBuf = 27,
}

impl MapKind {
    /// The number that `BPF_MAP_CREATE` takes.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Whether the kernel takes the types of key and value for this kind.
    pub fn has_btf(self) -> bool {
        !matches!(self, MapKind::SockMap | MapKind::SockHash | MapKind::RingBuf)
    }
}

/// Everything needed to create a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapDef {
    /// The name; the kernel shows 15 bytes of it.
    pub name: &'static str,
    /// The kind.
    pub kind: MapKind,
    /// The type of the keys; `None` where a map has none.
    pub key: Option<Type>,
    /// The type of the values; `None` where a map has none.
    pub value: Option<Type>,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries it can hold; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` flags for `BPF_MAP_CREATE`.
    pub flags: u32,
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
    /// A map from `K` to `V`. Maps are told apart by name.
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
        };
        MapRef { def, of: PhantomData }
    }
}

impl MapRef<(), ()> {
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
        };
        MapRef { def, of: PhantomData }
    }
}

impl<K, V> MapRef<K, V> {
    /// The same map with these `BPF_F_*` flags.
    pub const fn flags(mut self, flags: u32) -> Self {
        self.def.flags = flags;
        self
    }

    /// What is needed to create it.
    pub const fn def(&self) -> &MapDef {
        &self.def
    }
}
