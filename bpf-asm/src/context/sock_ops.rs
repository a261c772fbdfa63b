use super::{bpf_sock, packet};
use crate::record::{Address, Field};

crate::record! {
    /// The context of a sock_ops program: one event, `op`, of a TCP socket in the cgroup.
    #[allow(non_camel_case_types)]
    pub struct bpf_sock_ops {
        /// The event (`BPF_SOCK_OPS_*`).
        pub op: u32,
        /// The event's arguments; the answer, [`bpf_sock_ops::reply`], shares their memory.
        pub args: [u32; 4],
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
        /// 1 for a full socket, 0 for a request socket, for which most TCP fields read as zero.
        pub is_fullsock: u32,
        /// Congestion window in packets; writable.
        pub snd_cwnd: u32,
        /// Smoothed round-trip time in eighths of a microsecond.
        pub srtt_us: u32,
        /// The callback flags of this socket.
        pub bpf_sock_ops_cb_flags: u32,
        /// TCP state (`BPF_TCP_*`).
        pub state: u32,
        /// Minimum round-trip time in microseconds.
        pub rtt_min: u32,
        /// Slow-start threshold in packets.
        pub snd_ssthresh: u32,
        /// Next sequence number expected from the peer.
        pub rcv_nxt: u32,
        /// Next sequence number to send.
        pub snd_nxt: u32,
        /// First unacknowledged sequence number.
        pub snd_una: u32,
        /// Maximum segment size in bytes.
        pub mss_cache: u32,
        /// ECN state.
        pub ecn_flags: u32,
        /// Last rate sample: packets delivered.
        pub rate_delivered: u32,
        /// Last rate sample: interval in microseconds.
        pub rate_interval_us: u32,
        /// Packets in flight.
        pub packets_out: u32,
        /// Retransmitted packets in flight.
        pub retrans_out: u32,
        /// Total packets retransmitted.
        pub total_retrans: u32,
        /// Segments received.
        pub segs_in: u32,
        /// Segments with data received.
        pub data_segs_in: u32,
        /// Segments sent.
        pub segs_out: u32,
        /// Segments with data sent.
        pub data_segs_out: u32,
        /// Packets presumed lost.
        pub lost_out: u32,
        /// Packets selectively acknowledged.
        pub sacked_out: u32,
        /// The hash that selects the transmit queue; writable.
        pub sk_txhash: u32,
        /// Bytes received in order.
        pub bytes_received: u64,
        /// Bytes acknowledged by the peer.
        pub bytes_acked: u64,
        /// The socket; null for a request socket. Since 5.3.
        pub sk: Address<bpf_sock>,
        /// First byte of the TCP header, if the event has one. Since 5.10.
        pub skb_data: Address<packet>,
        /// End of the TCP header. Since 5.10.
        pub skb_data_end: Address<packet>,
        /// Length of the packet in bytes, including headers. Since 5.10.
        pub skb_len: u32,
        /// Flags of the TCP header. Since 5.10.
        pub skb_tcp_flags: u32,
        /// Hardware timestamp of the packet in nanoseconds. Since 6.2.
        pub skb_hwtstamp: u64,
    }
}

#[allow(non_upper_case_globals, reason = "it is named like a field")]
impl bpf_sock_ops {
    /// The program's answer to the event; shares the memory of [`bpf_sock_ops::args`].
    pub const reply: Field<bpf_sock_ops, u32> = bpf_sock_ops::args.index::<0>();
}

const _: () = assert!(size_of::<bpf_sock_ops>() == 224 && bpf_sock_ops::sk.offset() == 184);
