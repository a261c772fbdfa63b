//! The kernels that the tests know, with structures that no real kernel has.

use std::collections::HashMap;
use std::convert::Infallible;

use bpf_asm::KernelField;

use super::host::Helper;
use crate::datapath::{Layout, Passes, Settings};

/// What the programs are assembled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Has every feature that may be compiled out.
    Full,
    /// Has none of them.
    Bare,
    /// As the first, but candidates are found by the files of their processes.
    Newest,
}

/// Bytes of every structure.
pub const STRUCTURE: usize = 1280;

/// The BTF id of them all.
pub const STRUCTURE_ID: u32 = 77;

/// The bit that stands for all flags that ask for what only TCP does.
pub const SOCK_ZEROCOPY: u32 = 20;

/// Members of `struct tcp_sock` come after those of `struct sock`, with which it begins.
const AFTER_SOCK: u32 = 768;

/// The inode of a socket comes after its `struct socket`.
const AFTER_SOCKET: u32 = 256;

/// Those of a request socket come after what it has in common with a socket, too.
const AFTER_REQUEST: u32 = AFTER_SOCK + 24;

/// Where the context of a sock_ops program keeps its socket: behind what programs may see.
const BEHIND_CONTEXT: u32 = size_of::<bpf_asm::bpf_sock_ops>() as u32;

/// Where a segment has what programs do not see of it.
const BEHIND_SEGMENT: u32 = size_of::<bpf_asm::__sk_buff>() as u32;

impl Kernel {
    pub const ALL: [Kernel; 3] = [Kernel::Full, Kernel::Bare, Kernel::Newest];

    /// What is decided by what the kernel does.
    pub fn settings(self) -> Settings {
        let passes = match self {
            Kernel::Full => Passes::Iterator,
            Kernel::Bare => Passes::Classifier,
            Kernel::Newest => Passes::Files,
        };
        Settings { flows: 64, hz: super::HZ, passes }
    }

    /// Members one after the other, with gaps, and bit-fields in the middle of their byte.
    pub fn layout(self) -> Layout {
        let mut ends: HashMap<String, u32> = HashMap::new();
        let member = |structure: &str, path: &str| -> Result<KernelField, Infallible> {
            let first = match structure {
                "tcp_sock" | "request_sock" => AFTER_SOCK,
                "tcp_request_sock" => AFTER_REQUEST,
                "bpf_sock_ops_kern" => BEHIND_CONTEXT,
                "sk_buff" => BEHIND_SEGMENT,
                "socket_alloc" => AFTER_SOCKET,
                "tcp_skb_cb" | "list_head" => 0,
                _ => 24,
            };
            let end = ends.entry(structure.to_owned()).or_insert(first);
            let offset = *end;
            *end += 24;
            let (size, bitfield) = match path {
                "sk"
                | "__sk_common.skc_cookie"
                | "sk_user_data"
                | "ingress_msg"
                | "__sk_common.skc_net.net"
                | "bytes_sent"
                | "sk_socket"
                | "file"
                | "f_mapping"
                | "i_mmap.rb_root.rb_node"
                | "mm"
                | "sk_memcg"
                | "tcpmem.usage.counter"
                | "tcpmem.max"
                | "exe_file"
                | "start_boottime"
                | "sk_max_pacing_rate"
                | "sk_wq"
                | "wait.head"
                | "entry"
                | "private"
                | "next"
                | "stack"
                | "group_leader"
                | "comm"
                | "__parent"
                | "kn"
                | "id"
                | "sk_cgrp_data.cgroup"
                | "__req_common.skc_listener"
                | "vfs_inode.i_ino"
                | "__sk_common.skc_flags"
                | "__sk_common.skc_v6_rcv_saddr"
                | "__sk_common.skc_v6_daddr" => (8, None),
                "__sk_common.skc_family" | "__sk_common.skc_num" | "__sk_common.skc_dport" => {
                    (2, None)
                }
                "__sk_common.skc_state" => (1, None),
                "repair" => (1, Some((6, 1))),
                "is_mptcp" => (1, Some((5, 1))),
                "recvmsg_inq" => (1, Some((2, 1))),
                _ => (4, None),
            };
            Ok(KernelField { structure: STRUCTURE_ID, offset, size, signed: false, bitfield })
        };
        let flag = |name: &str| (name == "SOCK_ZEROCOPY").then_some(SOCK_ZEROCOPY.into());
        let Ok(layout) = Layout::read(member, |_| Ok(280), |_| Ok(Helper::RdonlyCast as u32), flag);
        match self {
            Kernel::Full | Kernel::Newest => layout,
            Kernel::Bare => Layout {
                conntrack_established: None,
                is_mptcp: None,
                asks_for_counts: None,
                memory_cgroup: None,
                socket_memory_used: None,
                socket_memory_limit: None,
                local_v6: None,
                remote_v6: None,
                ..layout
            },
        }
    }
}
