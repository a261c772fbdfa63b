use super::bpf_sock;
use crate::record::Address;

crate::record! {
    /// The context of a program that selects the socket for a new connection or a datagram by
    /// `bpf_sk_assign`. Returning 1 continues with the selected socket or the kernel's own lookup,
    /// returning 0 drops. Since 5.9.
    #[allow(non_camel_case_types)]
    pub struct bpf_sk_lookup {
        /// The selected socket, or null.
        pub sk: Address<bpf_sock>,
        /// `AF_INET` (2) or `AF_INET6` (10).
        pub family: u32,
        /// `IPPROTO_TCP` (6) or `IPPROTO_UDP` (17).
        pub protocol: u32,
        /// Remote IPv4 address, network order.
        pub remote_ip4: u32,
        /// Remote IPv6 address, network order.
        pub remote_ip6: [u32; 4],
        /// Remote port, network order.
        pub remote_port: u16,
        /// Padding.
        pub padding: u16,
        /// Local IPv4 address, network order.
        pub local_ip4: u32,
        /// Local IPv6 address, network order.
        pub local_ip6: [u32; 4],
        /// Local port, host order.
        pub local_port: u32,
        /// Index of the device that the packet arrived on. Since 5.17.
        pub ingress_ifindex: u32,
        /// Padding.
        pub padding_behind: u32,
    }
}

const _: () = assert!(size_of::<bpf_sk_lookup>() == 72 && bpf_sk_lookup::local_port.offset() == 60);
