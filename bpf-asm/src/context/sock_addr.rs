crate::record! {
    /// The beginning of the context of a program that is asked about an address: that of a `connect`, for one. Returning 1
    /// lets the call go on, returning 0 makes it fail with `EPERM`.
    #[allow(non_camel_case_types)]
    pub struct bpf_sock_addr {
        /// Family of the address that the process gave: `AF_INET` (2) or `AF_INET6` (10).
        pub user_family: u32,
        /// Its IPv4 address, network order; writable.
        pub user_ip4: u32,
        /// Its IPv6 address, network order; writable.
        pub user_ip6: [u32; 4],
        /// Its port, network order in the lower 16 bits; writable.
        pub user_port: u32,
        /// Family of the socket.
        pub family: u32,
    }
}

const _: () = assert!(bpf_sock_addr::user_port.offset() == 24);
