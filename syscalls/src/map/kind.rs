//! Map types.

use crate::uapi::open_enum;

open_enum! {
    /// `enum bpf_map_type`
    pub struct MapKind {
        /// A hash table.
        HASH = 1,
        /// An array with keys 0 to `max_entries` − 1, all of which always exist.
        ARRAY = 2,
        /// Programs, for tail calls.
        PROG_ARRAY = 3,
        /// A hash table with a value for each CPU.
        PERCPU_HASH = 5,
        /// An array with a value for each CPU.
        PERCPU_ARRAY = 6,
        /// cgroups, by index.
        CGROUP_ARRAY = 8,
        /// A hash table that evicts the least recently used entry.
        LRU_HASH = 9,
        /// The same with a value for each CPU.
        LRU_PERCPU_HASH = 10,
        /// Maps, by index.
        ARRAY_OF_MAPS = 12,
        /// Maps, by key.
        HASH_OF_MAPS = 13,
        /// Sockets, by index.
        SOCKMAP = 15,
        /// Sockets, by key.
        SOCKHASH = 18,
        /// A value for each cgroup and CPU.
        PERCPU_CGROUP_STORAGE = 21,
        /// A value attached to a socket.
        SK_STORAGE = 24,
        /// Records from programs to one reader.
        RINGBUF = 27,
    }
}

impl MapKind {
    /// Whether an entry has a value for each possible CPU.
    pub fn is_per_cpu(self) -> bool {
        matches!(
            self,
            Self::PERCPU_HASH
                | Self::PERCPU_ARRAY
                | Self::LRU_PERCPU_HASH
                | Self::PERCPU_CGROUP_STORAGE
        )
    }

    /// Whether values are file descriptors or ids of 4 bytes for user space, whatever their size
    /// (`IS_FD_MAP`, include/linux/bpf.h).
    pub(super) fn holds_fds(self) -> bool {
        const PERF_EVENT_ARRAY: MapKind = MapKind::from_raw(4);
        matches!(
            self,
            PERF_EVENT_ARRAY
                | Self::PROG_ARRAY
                | Self::CGROUP_ARRAY
                | Self::ARRAY_OF_MAPS
                | Self::HASH_OF_MAPS
        )
    }
}
