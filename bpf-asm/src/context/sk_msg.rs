use super::{bpf_sock, packet};
use crate::record::Address;

crate::record! {
    /// The context of an sk_msg program: one `sendmsg` on a socket of a sockmap. Returning 1 passes
    /// the message, or redirects it where a helper said; returning 0 drops it.
    #[allow(non_camel_case_types)]
    pub struct sk_msg_md {
        /// First accessible byte.
        pub data: Address<packet>,
        /// End of the accessible bytes.
        pub data_end: Address<packet>,
        /// `AF_INET` (2) or `AF_INET6` (10).
        pub family: u32,
        /// The peer's IPv4 address, network order.
        pub remote_ip4: u32,
        /// The socket's IPv4 address, network order.
        pub local_ip4: u32,
        /// The peer's IPv6 address, network order.
        pub remote_ip6: [u32; 4],
        /// The socket's IPv6 address, network order.
        pub local_ip6: [u32; 4],
        /// The peer's port, network order in the upper 16 bits of a big-endian word.
        pub remote_port: u32,
        /// The socket's port, host order.
        pub local_port: u32,
        /// Size of the message in bytes.
        pub size: u32,
        /// The sending socket. Since 5.8.
        pub sk: Address<bpf_sock>,
    }
}

const _: () = assert!(
    size_of::<sk_msg_md>() == 80 && sk_msg_md::size.offset() == 68 && sk_msg_md::sk.offset() == 72
);
