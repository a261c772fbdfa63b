use super::{bpf_map, bpf_sock, file, packet, seq_file, sock, task_struct};
use crate::record::Address;

crate::record! {
    /// The start of every iterator context (`struct bpf_iter_meta`).
    #[allow(non_camel_case_types)]
    pub struct bpf_iter_meta {
        /// The file that output goes to.
        pub seq: Address<seq_file>,
        /// A number that is the same for all calls of one read session.
        pub session_id: u64,
        /// The number of the call within the session.
        pub seq_num: u64,
    }

    /// The context of an iterator over the values of an sk_storage map. Since 5.9.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__bpf_sk_storage_map {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The map.
        pub map: Address<bpf_map>,
        /// The socket; null after the last.
        pub sk: Address<bpf_sock>,
        /// Its value; null after the last.
        pub value: Address<packet>,
    }

    /// The context of an iterator over a sockmap or sockhash. Since 5.10.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__sockmap {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The map.
        pub map: Address<bpf_map>,
        /// The key; null after the last.
        pub key: Address<packet>,
        /// The socket; null after the last, and for an empty entry.
        pub sk: Address<sock>,
    }

    /// The context of an iterator over TCP sockets of a network namespace, up to the socket. Since
    /// 5.8.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__tcp {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The socket, locked if it is a full socket; null after the last.
        pub sk_common: Address<sock>,
    }

    /// The context of an iterator over the open files of all processes, or of one. Since 5.8; of
    /// one process since 6.1.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__task_file {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The thread; null after the last.
        pub task: Address<task_struct>,
        /// The file descriptor.
        pub fd: u32,
        /// Padding.
        pub padding: u32,
        /// The open file, which is kept open during the call; null after the last.
        pub file: Address<file>,
    }
}
