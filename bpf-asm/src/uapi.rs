//! Numbers that programs pass to helpers and compare with (UAPI `linux/bpf.h`), under the kernel's
//! names.
//!
//! ```
//! use bpf_asm::{Builder, MapKind, MapRef, ProgramType, helper, uapi};
//!
//! const SEEN: MapRef<u32, u64> = MapRef::new("seen", MapKind::Hash, 64);
//!
//! let b = Builder::new("once");
//! let (key, value) = (b.slot::<u32>(), b.slot::<u64>());
//! b.store(key.place(), 7);
//! b.store(value.place(), 1);
//! // Fails if the key is there.
//! let known = b.call(helper::map_update_elem(&SEEN, &key, &value, uapi::BPF_NOEXIST));
//! b.ret(&known);
//! b.finish(ProgramType::SocketFilter)?;
//! # Ok::<(), bpf_asm::BuildErrors>(())
//! ```

macro_rules! constants {
    ($($(#[doc = $doc:literal])* $name:ident: $ty:ty = $value:expr;)*) => {
        $($(#[doc = $doc])* pub const $name: $ty = $value;)*

        /// All of them with their names, which vmlinux BTF has as enumerators.
        pub const ALL: &[(&str, i64)] = &[$((stringify!($name), $value)),*];
    };
}

constants! {
    /// Create or update an element (`BPF_MAP_UPDATE_ELEM`).
    BPF_ANY: i32 = 0;
    /// Create an element; fail if the key exists.
    BPF_NOEXIST: i32 = 1;
    /// Update an element; fail if the key does not exist.
    BPF_EXIST: i32 = 2;
    /// Take the spin lock in the element's value.
    BPF_F_LOCK: i32 = 4;

    /// Allocate elements when they are created; required by storage maps and
    /// longest-prefix-match tries (`BPF_MAP_CREATE`).
    BPF_F_NO_PREALLOC: u32 = 1;
    /// Each CPU evicts from a list of its own.
    BPF_F_NO_COMMON_LRU: u32 = 1 << 1;
    /// The map's memory is on a given NUMA node.
    BPF_F_NUMA_NODE: u32 = 1 << 2;
    /// User space may only read the map.
    BPF_F_RDONLY: u32 = 1 << 3;
    /// User space may only write the map.
    BPF_F_WRONLY: u32 = 1 << 4;
    /// Programs may only read the map.
    BPF_F_RDONLY_PROG: u32 = 1 << 7;
    /// Programs may only write the map.
    BPF_F_WRONLY_PROG: u32 = 1 << 8;
    /// User space may map the map's values into its memory.
    BPF_F_MMAPABLE: u32 = 1 << 10;

    /// Creates the element if the storage has none (`bpf_sk_storage_get`).
    BPF_SK_STORAGE_GET_F_CREATE: i32 = 1;
    /// The same for every kind of local storage.
    BPF_LOCAL_STORAGE_GET_F_CREATE: i32 = 1;

    /// The packet or message is redirected to the receiving side.
    BPF_F_INGRESS: i32 = 1;
    /// A program of a socket drops.
    SK_DROP: i32 = 0;
    /// A program of a socket lets pass.
    SK_PASS: i32 = 1;

    /// sock_ops: asks for the initial receive window.
    BPF_SOCK_OPS_RWND_INIT: i32 = 2;
    /// sock_ops: a connection is about to be opened.
    BPF_SOCK_OPS_TCP_CONNECT_CB: i32 = 3;
    /// sock_ops: a connection that was opened here is established.
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB: i32 = 4;
    /// sock_ops: a connection that was accepted here is established.
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB: i32 = 5;
    /// sock_ops: the state changes.
    BPF_SOCK_OPS_STATE_CB: i32 = 10;
    /// sock_ops: the socket listens.
    BPF_SOCK_OPS_TCP_LISTEN_CB: i32 = 11;
    /// sock_ops: a round trip has been measured.
    BPF_SOCK_OPS_RTT_CB: i32 = 12;
    /// sock_ops: a segment with options has come.
    BPF_SOCK_OPS_PARSE_HDR_OPT_CB: i32 = 13;
    /// sock_ops: asks for the length of options.
    BPF_SOCK_OPS_HDR_OPT_LEN_CB: i32 = 14;
    /// sock_ops: asks for options.
    BPF_SOCK_OPS_WRITE_HDR_OPT_CB: i32 = 15;

    /// Calls for time-outs of retransmissions.
    BPF_SOCK_OPS_RTO_CB_FLAG: i32 = 1;
    /// Calls for changes of the state.
    BPF_SOCK_OPS_STATE_CB_FLAG: i32 = 1 << 2;
    /// Calls for measured round trips.
    BPF_SOCK_OPS_RTT_CB_FLAG: i32 = 1 << 3;
    /// Calls for all segments that come.
    BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG: i32 = 1 << 4;
    /// Calls for segments that come with an option unknown to the kernel.
    BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG: i32 = 1 << 5;
    /// Calls for segments that are sent.
    BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG: i32 = 1 << 6;
    /// The option of `setsockopt` that sets these flags.
    TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;

    /// A state of TCP.
    BPF_TCP_ESTABLISHED: i32 = 1;
    /// A state of TCP.
    BPF_TCP_FIN_WAIT1: i32 = 4;
    /// A state of TCP.
    BPF_TCP_FIN_WAIT2: i32 = 5;
    /// A state of TCP.
    BPF_TCP_CLOSE: i32 = 7;
    /// A state of TCP.
    BPF_TCP_LAST_ACK: i32 = 9;
}
