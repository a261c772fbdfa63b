crate::record! {
    /// A socket as helpers return and take it, and the context of programs on sockets of a cgroup
    /// (`SockCreate`, `PostBind4`, `PostBind6`). A socket from a lookup needs a null check before
    /// its fields are read.
    #[allow(non_camel_case_types)]
    pub struct bpf_sock {
        /// Index of the device it is bound to, 0 for none; writable in `SockCreate`.
        pub bound_dev_if: u32,
        /// `AF_INET` (2) or `AF_INET6` (10).
        pub family: u32,
        /// Type (`SOCK_*`); the kernel's name is `type`.
        pub socket_type: u32,
        /// Protocol (`IPPROTO_*`).
        pub protocol: u32,
        /// The mark of its packets; writable in `SockCreate`.
        pub mark: u32,
        /// The priority of its packets; writable in `SockCreate`.
        pub priority: u32,
        /// Local IPv4 address, network order.
        pub src_ip4: u32,
        /// Local IPv6 address, network order.
        pub src_ip6: [u32; 4],
        /// Local port, host order.
        pub src_port: u32,
        /// Remote port, network order.
        pub dst_port: u16,
        /// Padding.
        pub padding: u16,
        /// Remote IPv4 address, network order.
        pub dst_ip4: u32,
        /// Remote IPv6 address, network order.
        pub dst_ip6: [u32; 4],
        /// TCP state (`BPF_TCP_*`).
        pub state: u32,
        /// The device receive queue of its packets, -1 if unknown. Since 5.8.
        pub rx_queue_mapping: i32,
    }
}

const _: () = assert!(size_of::<bpf_sock>() == 80 && bpf_sock::dst_port.offset() == 48);
