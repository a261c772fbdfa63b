//! Program contexts: what r1 points to at the start, field by field as in UAPI `linux/bpf.h`.
//!
//! Programs on kernel functions (`fentry`, `fexit`, `fmod_ret`, LSM, functions of `struct_ops`)
//! have the function's arguments as context, 8 bytes each, and then its result. Their types are in
//! the kernel's BTF (`Btf::arguments` of the crate `bpf-syscalls`), and in the program a record of
//! the function's name, from which [`Program::attaches_to`](crate::Program::attaches_to) derives
//! what it attaches to:
//!
//! ```
//! use bpf_asm::{Address, Builder, ProgramType, context, record};
//!
//! record! {
//!     /// `int socket_listen(struct socket *sock, int backlog)`, an LSM hook.
//!     struct socket_listen { sock: Address<context::socket>, backlog: u64, ret: i64 }
//! }
//!
//! let b = Builder::new("short_queues");
//! let call = b.context::<socket_listen>();
//! let backlog = b.load(call.at(socket_listen::backlog));
//! b.when(backlog.gt(128), || b.ret(-1));
//! b.ret(0);
//! let program = b.finish(ProgramType::Lsm)?;
//! # assert_eq!(
//! #     program.attaches_to(),
//! #     Some(bpf_asm::AttachesTo::Function("bpf_lsm_socket_listen".to_owned()))
//! # );
//! # Ok::<(), bpf_asm::BuildErrors>(())
//! ```

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
    bpf_iter__bpf_link, bpf_iter__bpf_map, bpf_iter__bpf_map_elem, bpf_iter__bpf_prog,
    bpf_iter__bpf_sk_storage_map, bpf_iter__cgroup, bpf_iter__dmabuf, bpf_iter__ipv6_route,
    bpf_iter__kmem_cache, bpf_iter__ksym, bpf_iter__netlink, bpf_iter__sockmap, bpf_iter__task,
    bpf_iter__task_file, bpf_iter__task_vma, bpf_iter__tcp, bpf_iter__udp, bpf_iter__unix,
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
    /// The kernel's `struct bpf_prog`.
    bpf_prog,
    /// The kernel's `struct bpf_link`.
    bpf_link,
    /// The kernel's `struct cgroup`.
    cgroup,
    /// The kernel's `struct udp_sock`.
    udp_sock,
    /// The kernel's `struct unix_sock`.
    unix_sock,
    /// The kernel's `struct netlink_sock`.
    netlink_sock,
    /// The kernel's `struct fib6_info`: an IPv6 route.
    fib6_info,
    /// The kernel's `struct vm_area_struct`: a mapping of a process.
    vm_area_struct,
    /// The kernel's `struct kallsym_iter`: a symbol of the kernel.
    kallsym_iter,
    /// The kernel's `struct kmem_cache`: a cache of the slab allocator.
    kmem_cache,
    /// The kernel's `struct dma_buf`.
    dma_buf,
    /// Bytes whose end another field gives.
    packet,
}
