//! Program contexts: what r1 points to at the start, field by field as in UAPI `linux/bpf.h`.

mod cgroup_sock;
mod iter;
mod kprobe;
mod sk_buff;
mod sk_lookup;
mod sk_msg;
mod sock_addr;
mod sock_ops;
mod sockopt;
mod tracepoint;
mod tracing;
mod xdp;

pub use cgroup_sock::bpf_sock;
pub use iter::{
    bpf_iter__bpf_sk_storage_map, bpf_iter__sockmap, bpf_iter__task_file, bpf_iter__tcp,
    bpf_iter_meta,
};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use kprobe::bpf_user_pt_regs_t;
pub use kprobe::{pt_regs, user_pt_regs};
pub use sk_buff::__sk_buff;
pub use sk_lookup::bpf_sk_lookup;
pub use sk_msg::sk_msg_md;
pub use sock_addr::bpf_sock_addr;
pub use sock_ops::bpf_sock_ops;
pub use sockopt::bpf_sockopt;
pub use tracepoint::sock_recv_length;
pub use tracing::bpf_raw_tracepoint_args;
pub use xdp::xdp_md;

macro_rules! opaque {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {$(
        $(#[doc = $doc])*
        #[allow(non_camel_case_types, reason = "the names are C's own")]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
    )*};
}

opaque! {
    /// The kernel's `struct sock`.
    sock,
    /// The kernel's `struct tcp_sock`.
    tcp_sock,
    /// The kernel's `struct tcp6_sock`.
    tcp6_sock,
    /// The kernel's `struct seq_file`: the output of an iterator.
    seq_file,
    /// The kernel's `struct file`: an open file.
    file,
    /// The kernel's `struct socket`: a socket as seen by the file system.
    socket,
    /// The kernel's `struct task_struct`: a thread.
    task_struct,
    /// The kernel's `struct bpf_map`.
    bpf_map,
    /// Bytes whose end another field gives.
    packet,
}
