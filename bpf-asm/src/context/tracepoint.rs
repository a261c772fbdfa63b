use super::bpf_sock;
use crate::record::Address;

crate::record! {
    /// The arguments of the tracepoint `sock_recv_length` (include/trace/events/sock.h), hit when a
    /// receive call on a socket returns, as 64-bit words. Since 6.3.
    #[allow(non_camel_case_types)]
    pub struct sock_recv_length {
        /// The socket.
        pub sk: Address<bpf_sock>,
        /// The return value: bytes, or a negative errno.
        pub ret: u64,
        /// The flags of the call (`MSG_*`).
        pub flags: u64,
    }
}
