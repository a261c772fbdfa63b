use super::{
    bpf_link, bpf_map, bpf_prog, bpf_sock, cgroup, dma_buf, fib6_info, file, kallsym_iter,
    kmem_cache, netlink_sock, packet, seq_file, sock, task_struct, udp_sock, unix_sock,
    vm_area_struct,
};
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

    /// The context of an iterator over TCP sockets of a network namespace. Since 5.8.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__tcp {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The socket, locked if it is a full socket; null after the last.
        pub sk_common: Address<sock>,
        /// The user of the socket.
        pub uid: u32,
        /// Padding.
        pub padding: u32,
    }

    /// The context of an iterator over UDP sockets of a network namespace. Since 5.9.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__udp {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The socket, locked; null after the last.
        pub udp_sk: Address<udp_sock>,
        /// The user of the socket.
        pub uid: u32,
        /// Padding.
        pub padding: u32,
        /// The socket's bucket in the table of sockets.
        pub bucket: i32,
        /// Padding.
        pub padding_behind: u32,
    }

    /// The context of an iterator over unix sockets of a network namespace. Since 5.15.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__unix {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The socket, locked; null after the last.
        pub unix_sk: Address<unix_sock>,
        /// The user of the socket.
        pub uid: u32,
        /// Padding.
        pub padding: u32,
    }

    /// The context of an iterator over netlink sockets of a network namespace. Since 5.8.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__netlink {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The socket; null after the last.
        pub sk: Address<netlink_sock>,
    }

    /// The context of an iterator over IPv6 routes of a network namespace. Since 5.8.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__ipv6_route {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The route; null after the last.
        pub rt: Address<fib6_info>,
    }

    /// The context of an iterator over threads. Since 5.8.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__task {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The thread; null after the last.
        pub task: Address<task_struct>,
    }

    /// The context of an iterator over the mappings of all processes, or of one. Since 5.12.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__task_vma {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The thread; null after the last.
        pub task: Address<task_struct>,
        /// The mapping; null after the last.
        pub vma: Address<vm_area_struct>,
    }

    /// The context of an iterator over cgroups. Since 6.1.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__cgroup {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The cgroup; null after the last.
        pub cgroup: Address<cgroup>,
    }

    /// The context of an iterator over maps. Since 5.8.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__bpf_map {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The map; null after the last.
        pub map: Address<bpf_map>,
    }

    /// The context of an iterator over the elements of a map. Since 5.9.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__bpf_map_elem {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The map.
        pub map: Address<bpf_map>,
        /// The key; null after the last.
        pub key: Address<packet>,
        /// The value; null after the last.
        pub value: Address<packet>,
    }

    /// The context of an iterator over programs. Since 5.9.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__bpf_prog {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The program; null after the last.
        pub prog: Address<bpf_prog>,
    }

    /// The context of an iterator over links. Since 5.19.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__bpf_link {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The link; null after the last.
        pub link: Address<bpf_link>,
    }

    /// The context of an iterator over the symbols of the kernel. Since 6.0.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__ksym {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The symbol; null after the last.
        pub ksym: Address<kallsym_iter>,
    }

    /// The context of an iterator over the caches of the slab allocator. Since 6.13.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__kmem_cache {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The cache; null after the last.
        pub s: Address<kmem_cache>,
    }

    /// The context of an iterator over DMA buffers. Since 6.16.
    #[allow(non_camel_case_types)]
    pub struct bpf_iter__dmabuf {
        /// Metadata of the iteration.
        pub meta: Address<bpf_iter_meta>,
        /// The buffer; null after the last.
        pub dmabuf: Address<dma_buf>,
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
