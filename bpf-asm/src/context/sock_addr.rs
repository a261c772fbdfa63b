use super::bpf_sock;
use crate::record::Address;

crate::record! {
    /// The context of a program on the address of a `bind`, `connect`, `sendmsg`, `recvmsg`,
    /// `getpeername` or `getsockname`. Returning 1 allows the call, returning 0 fails it with
    /// `EPERM`. Which fields are readable and writable depends on the call and its family.
    ///
    /// ```
    /// use bpf_asm::{Builder, ProgramType, bpf_sock_addr};
    ///
    /// // Connections to port 53 are redirected to port 5353.
    /// let b = Builder::new("dns");
    /// let call = b.context::<bpf_sock_addr>();
    /// let port = b.load(call.at(bpf_sock_addr::user_port));
    /// b.when(port.eq(53u16.to_be()), || {
    ///     b.store(call.at(bpf_sock_addr::user_port), &b.value(5353u16.to_be()));
    /// });
    /// b.ret(1);
    /// b.finish(ProgramType::Connect4)?;
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[allow(non_camel_case_types)]
    pub struct bpf_sock_addr {
        /// Family of the address that the process passed: `AF_INET` (2) or `AF_INET6` (10).
        pub user_family: u32,
        /// Its IPv4 address, network order; writable.
        pub user_ip4: u32,
        /// Its IPv6 address, network order; writable.
        pub user_ip6: [u32; 4],
        /// Its port, network order in the lower 16 bits; writable.
        pub user_port: u32,
        /// Family of the socket.
        pub family: u32,
        /// Type of the socket (`SOCK_*`); the kernel's name is `type`.
        pub socket_type: u32,
        /// Protocol of the socket (`IPPROTO_*`).
        pub protocol: u32,
        /// In `sendmsg`, the IPv4 source address, network order; writable. Since 4.18.
        pub msg_src_ip4: u32,
        /// In `sendmsg`, the IPv6 source address, network order; writable. Since 4.18.
        pub msg_src_ip6: [u32; 4],
        /// Padding.
        pub padding: u32,
        /// The socket. Since 5.3.
        pub sk: Address<bpf_sock>,
    }
}

const _: () = assert!(size_of::<bpf_sock_addr>() == 72 && bpf_sock_addr::user_port.offset() == 24);
