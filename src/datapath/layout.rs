//! Where this kernel keeps what the programs read: member offsets, asked of the kernel's own BTF on
//! the machine that runs them.

use bpf_asm::KernelField;

/// Flags of `enum sock_flags` (include/net/sock.h) that ask for something that only TCP's own
/// functions do.
const GUARDED_FLAGS: [&str; 5] = [
    "SOCK_URGINLINE",
    "SOCK_ZEROCOPY",
    "SOCK_RCVTSTAMP",
    "SOCK_RCVTSTAMPNS",
    "SOCK_TIMESTAMPING_RX_SOFTWARE",
];

fn guarded_flags(enumerator: impl Fn(&str) -> Option<i64>) -> u64 {
    let bits = GUARDED_FLAGS.into_iter().filter_map(enumerator);
    bits.filter_map(|bit| 1u64.checked_shl(u32::try_from(bit).ok()?))
        .fold(0, |flags, flag| flags | flag)
}

macro_rules! layout {
    (
        required { $($(#[doc = $doc:literal])+ $name:ident => $structure:literal $path:literal,)+ }
        optional { $($(#[doc = $odoc:literal])+ $oname:ident => $ostructure:literal $opath:literal,)+ }
    ) => {
        /// The kernel structure members that the programs read.
        #[derive(Clone, Debug)]
        pub struct Layout {
            $($(#[doc = $doc])+ pub $name: KernelField,)+
            $($(#[doc = $odoc])+ pub $oname: Option<KernelField>,)+
            /// The kernel's function that shows an address as that of a structure, by its id.
            pub rdonly_cast: u32,
            /// Size of `struct sk_msg` in bytes: what the kernel allocates for each redirected
            /// message.
            pub sk_msg_size: u32,
            /// A socket's `struct cgroup`, with tags in its low bits before 5.16.
            pub cgroup: KernelField,
            /// The folder that a folder lies in.
            pub folder_above: KernelField,
            /// The sequence number of a received segment's first byte, `TCP_SKB_CB(skb)->seq`.
            pub segment_sequence: KernelField,
            /// Those of a socket's flags that ask for something that only TCP's own functions do.
            pub guarded_flags: u64,
        }

        impl Layout {
            /// Asks `member(structure, path)` for every member, `size_of("sk_msg")` for the
            /// bookkeeping of one message, `function(name)` for the id of a function, and
            /// `enumerator(name)` for flags, of which kernels have more or fewer.
            ///
            /// # Errors
            /// The first required member, size or function that cannot be found. The optional ones
            /// belong to kernel features that may be compiled out.
            pub fn read<E>(
                mut member: impl FnMut(&str, &str) -> Result<KernelField, E>,
                size_of: impl FnOnce(&str) -> Result<u32, E>,
                function: impl FnOnce(&str) -> Result<u32, E>,
                enumerator: impl Fn(&str) -> Option<i64>,
            ) -> Result<Layout, E> {
                let cgroup = match member("sock", "sk_cgrp_data.cgroup") {
                    Ok(field) => field,
                    // Kernels before 5.16, with tags in the low bits.
                    Err(_) => member("sock", "sk_cgrp_data.val")?,
                };
                let folder_above = match member("kernfs_node", "__parent") {
                    Ok(field) => field,
                    // Kernels before 6.15.
                    Err(_) => member("kernfs_node", "parent")?,
                };
                let control_block = member("sk_buff", "cb")?;
                let sequence = member("tcp_skb_cb", "seq")?;
                let segment_sequence =
                    KernelField { structure: control_block.structure, offset: control_block.offset + sequence.offset, ..sequence };
                Ok(Layout {
                    segment_sequence,
                    cgroup,
                    folder_above,
                    $($name: member($structure, $path)?,)+
                    $($oname: member($ostructure, $opath).ok(),)+
                    rdonly_cast: function("bpf_rdonly_cast")?,
                    sk_msg_size: size_of("sk_msg")?,
                    guarded_flags: guarded_flags(enumerator),
                })
            }
        }
    };
}

layout! {
    required {
        /// The socket behind a `sock_ops` context, also where the context hides it because it is a
        /// request socket.
        context_sk => "bpf_sock_ops_kern" "sk",
        /// A request socket: the client's initial sequence number.
        client_isn => "tcp_request_sock" "rcv_isn",
        /// A request socket: the server's initial sequence number.
        server_isn => "tcp_request_sock" "snt_isn",
        /// A request socket: the listener that answers.
        listener => "request_sock" "__req_common.skc_listener",
        /// The first thread of a thread's process.
        first_thread => "task_struct" "group_leader",
        /// When a thread was started, in nanoseconds since boot.
        started => "task_struct" "start_boottime",
        /// The number of a thread.
        thread_id => "task_struct" "pid",
        /// The number of a thread's process.
        process_id => "task_struct" "tgid",
        /// A thread's memory.
        memory => "task_struct" "mm",
        /// The open file of the executable in it.
        image => "mm_struct" "exe_file",
        /// A thread's name.
        thread_name => "task_struct" "comm",
        /// A cgroup's folder.
        cgroup_folder => "cgroup" "kn",
        /// The inode number of a folder, which is the identity of its cgroup.
        folder_inode => "kernfs_node" "id",
        /// A socket's cookie.
        cookie => "sock" "__sk_common.skc_cookie",
        /// Bytes charged to a socket's receive side, `sk_rmem_alloc` in the sources.
        receive_allocated => "sock" "sk_backlog.rmem_alloc",
        /// How much a socket may hold for its reader.
        receive_buffer => "sock" "sk_rcvbuf",
        /// `SO_RCVLOWAT`.
        low_water => "sock" "sk_rcvlowat",
        /// `SO_PEEK_OFF`, -1 while it is off.
        peek_offset => "sock" "sk_peek_off",
        /// `SO_TIMESTAMPING`.
        timestamping => "sock" "sk_tsflags",
        /// `SO_MAX_PACING_RATE`, all ones while there is none.
        max_pacing_rate => "sock" "sk_max_pacing_rate",
        /// Whether the connection is being repaired (`TCP_REPAIR`).
        repair => "tcp_sock" "repair",
        /// Flag bits of `enum sock_flags`.
        flags => "sock" "__sk_common.skc_flags",
        /// The socket's `struct sk_psock` while it is enrolled, tagged in its low bits.
        user_data => "sock" "sk_user_data",
        /// Segments that TCP has received and that neither the verdict program nor a reader has
        /// taken.
        receive_queue_length => "sock" "sk_receive_queue.qlen",
        /// Head of the list of messages and segments that wait to be read, the ingress queue.
        ingress_queue => "sk_psock" "ingress_msg",
        /// Segments that could not be put there at once, and will be.
        deferred_length => "sk_psock" "ingress_skb.qlen",
        /// Whether somebody is inside a call on a socket.
        lock_owned => "sock" "sk_lock.owned",
        /// What threads that wait for a socket sleep on; null before the socket was accepted.
        wait_queue => "sock" "sk_wq",
        /// Head of the list of those that wait.
        waiters => "socket_wq" "wait.head",
        /// From one that waits to its place in the list.
        waiter_place => "wait_queue_entry" "entry",
        /// The first in a list, or the next.
        first => "list_head" "next",
        /// What is to be woken: for a sleeping thread, its `task_struct`.
        waiter_private => "wait_queue_entry" "private",
        /// Lowest address of a thread's kernel stack.
        thread_stack => "task_struct" "stack",
        /// The references to a `struct sk_psock`: of the socket map, and of each thread in a call
        /// on the enrolled socket.
        psock_users => "sk_psock" "refcnt.refs.counter",
        /// A socket's network namespace.
        namespace => "sock" "__sk_common.skc_net.net",
        /// Sequence number after the last byte that the application wrote.
        write_seq => "tcp_sock" "write_seq",
        /// Sequence number of the next byte that the application reads.
        copied_seq => "tcp_sock" "copied_seq",
        /// Sequence number of the next byte expected from the network.
        rcv_nxt => "tcp_sock" "rcv_nxt",
        /// Sequence number up to which the last window was offered from.
        rcv_wup => "tcp_sock" "rcv_wup",
        /// Bytes of the last window that was offered, from `rcv_wup` on.
        rcv_wnd => "tcp_sock" "rcv_wnd",
        /// Sequence number of the first byte that has not been acknowledged.
        snd_una => "tcp_sock" "snd_una",
        /// Bytes that have been acknowledged, a client's SYN among them.
        bytes_acked => "tcp_sock" "bytes_acked",
        /// Bytes that have been received.
        bytes_received => "tcp_sock" "bytes_received",
        /// When data was sent the last time, or the connection was established, in jiffies.
        sent_last => "tcp_sock" "lsndtime",
        /// Callbacks that the socket asks for.
        callback_flags => "tcp_sock" "bpf_sock_ops_cb_flags",
        /// Bytes sent by TCP.
        bytes_sent => "tcp_sock" "bytes_sent",
        /// Address family.
        family => "sock" "__sk_common.skc_family",
        /// TCP state.
        state => "sock" "__sk_common.skc_state",
        /// Local port, host byte order.
        local_port => "sock" "__sk_common.skc_num",
        /// Remote port, network byte order.
        remote_port => "sock" "__sk_common.skc_dport",
        /// Local IPv4 address.
        local_v4 => "sock" "__sk_common.skc_rcv_saddr",
        /// Remote IPv4 address.
        remote_v4 => "sock" "__sk_common.skc_daddr",
        /// The `struct socket` that an application holds, null once it is closed.
        socket => "sock" "sk_socket",
        /// The `struct sock` of a `struct socket`.
        socket_sk => "socket" "sk",
        /// The open file of a `struct socket`.
        socket_file => "socket" "file",
        /// The contents of an open file.
        file_mapping => "file" "f_mapping",
        /// What maps them into memory, null while nothing does.
        mappings => "address_space" "i_mmap.rb_root.rb_node",
        /// Flags of an open file, as `fcntl` shows them.
        file_flags => "file" "f_flags",
        /// From a `struct socket` to its file system inode.
        socket_inode => "socket_alloc" "vfs_inode.i_ino",
        /// Inode number of a network namespace.
        namespace_inode => "net" "ns.inum",
        /// A network namespace's cookie, which no other ever has.
        namespace_cookie => "net" "net_cookie",
    }
    optional {
        /// Connection tracking's time-out of an established connection, in jiffies.
        conntrack_established => "net" "ct.nf_ct_proto.tcp.timeouts[3]",
        /// The memory cgroup that a socket's memory is charged to, null if there is none.
        memory_cgroup => "sock" "sk_memcg",
        /// Pages of socket memory that are charged to a cgroup (`memory.kmem.tcp.usage_in_bytes` of
        /// cgroup v1).
        socket_memory_used => "mem_cgroup" "tcpmem.usage.counter",
        /// How many may be (`memory.kmem.tcp.limit_in_bytes`).
        socket_memory_limit => "mem_cgroup" "tcpmem.max",
        /// `TCP_INQ`: `recvmsg` also returns how much more there is.
        asks_for_counts => "tcp_sock" "recvmsg_inq",
        /// The connection is a subflow of MPTCP.
        is_mptcp => "tcp_sock" "is_mptcp",
        /// Local IPv6 address.
        local_v6 => "sock" "__sk_common.skc_v6_rcv_saddr",
        /// Remote IPv6 address.
        remote_v6 => "sock" "__sk_common.skc_v6_daddr",
    }
}
