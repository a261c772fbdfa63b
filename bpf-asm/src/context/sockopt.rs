use super::{bpf_sock, packet};
use crate::record::Address;

crate::record! {
    /// The context of a program that is asked about a `setsockopt` or `getsockopt` by a process in
    /// a cgroup. Returning 1 lets it go on, returning 0 makes it fail with `EPERM`.
    #[allow(non_camel_case_types)]
    pub struct bpf_sockopt {
        /// The socket.
        pub sk: Address<bpf_sock>,
        /// First byte of the value.
        pub optval: Address<packet>,
        /// Its end.
        pub optval_end: Address<packet>,
        /// Level of the option (`SOL_*`); writable in `setsockopt`.
        pub level: i32,
        /// The option (`SO_*`, `TCP_*`); writable in `setsockopt`.
        pub optname: i32,
        /// Bytes of the value; writable. In `setsockopt`, -1 leaves the kernel's own function out,
        /// and 0 lets it read the value that the process gave.
        pub optlen: i32,
        /// What `getsockopt` returns; writable there.
        pub retval: i32,
    }
}

const _: () = assert!(bpf_sockopt::level.offset() == 24 && size_of::<bpf_sockopt>() == 40);
