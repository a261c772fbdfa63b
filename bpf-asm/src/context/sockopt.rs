use super::{bpf_sock, packet};
use crate::record::Address;

crate::record! {
    /// The context of a program on a `setsockopt` or `getsockopt` of a process in a cgroup.
    /// Returning 1 allows the call, returning 0 fails it with `EPERM`.
    #[allow(non_camel_case_types)]
    pub struct bpf_sockopt {
        /// The socket.
        pub sk: Address<bpf_sock>,
        /// First byte of the value.
        pub optval: Address<packet>,
        /// End of the value.
        pub optval_end: Address<packet>,
        /// Level of the option (`SOL_*`); writable in `setsockopt`.
        pub level: i32,
        /// The option (`SO_*`, `TCP_*`); writable in `setsockopt`.
        pub optname: i32,
        /// Size of the value in bytes; writable. In `setsockopt`, -1 skips the kernel's own
        /// handler, and 0 makes it read the original value.
        pub optlen: i32,
        /// The return value of `getsockopt`; writable there.
        pub retval: i32,
    }
}

const _: () = assert!(bpf_sockopt::level.offset() == 24 && size_of::<bpf_sockopt>() == 40);
