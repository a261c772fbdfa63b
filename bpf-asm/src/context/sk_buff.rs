use super::{bpf_sock, packet};
use crate::record::Address;

crate::record! {
    /// The context of a program that sees packets (socket filter, classifier, sk_skb, cgroup).
    /// Which fields may be read depends on the kind of program. The bytes themselves are reached by
    /// [`skb_load_bytes`](crate::helper::skb_load_bytes) and
    /// [`skb_store_bytes`](crate::helper::skb_store_bytes).
    #[allow(non_camel_case_types)]
    pub struct __sk_buff {
        /// Bytes of the packet.
        pub len: u32,
        /// Kind of receiver (`PACKET_*`).
        pub pkt_type: u32,
        /// A number that netfilter and routing share with programs.
        pub mark: u32,
        /// The device's queue.
        pub queue_mapping: u32,
        /// Ethernet protocol, network byte order.
        pub protocol: u32,
        /// Whether there is a VLAN tag.
        pub vlan_present: u32,
        /// The VLAN tag.
        pub vlan_tci: u32,
        /// The VLAN's protocol.
        pub vlan_proto: u32,
        /// For queueing disciplines.
        pub priority: u32,
        /// The device that it came from.
        pub ingress_ifindex: u32,
        /// The device that it is at.
        pub ifindex: u32,
        /// For traffic control.
        pub tc_index: u32,
        /// Bytes for programs to share.
        pub cb: [u32; 5],
        /// The flow's hash.
        pub hash: u32,
        /// The class, for classifiers.
        pub tc_classid: u32,
        /// Where its bytes begin.
        pub data: u32,
        /// Where they end.
        pub data_end: u32,
        /// The NAPI instance that it came by.
        pub napi_id: u32,
        /// `AF_INET` or `AF_INET6`, of the socket; in sk_skb, as the next ones.
        pub family: u32,
        /// Remote IPv4 address, network byte order.
        pub remote_ip4: u32,
        /// Local IPv4 address, network byte order.
        pub local_ip4: u32,
        /// Remote IPv6 address, network byte order.
        pub remote_ip6: [u32; 4],
        /// Local IPv6 address, network byte order.
        pub local_ip6: [u32; 4],
        /// Remote port, network byte order in the low 16 bits.
        pub remote_port: u32,
        /// Local port, host byte order.
        pub local_port: u32,
        /// Where the bytes before `data` begin that XDP programs leave for classifiers.
        pub data_meta: u32,
        /// What a flow dissector fills in.
        pub flow_keys: Address<packet>,
        /// When it is to leave, or when it came.
        pub tstamp: u64,
        /// Bytes on the wire, headers of all its segments included.
        pub wire_len: u32,
        /// How many segments it stands for.
        pub gso_segs: u32,
        /// Its socket; null if it has none.
        pub sk: Address<bpf_sock>,
        /// Bytes of each segment that it stands for. Since 5.7.
        pub gso_size: u32,
        /// Which clock `tstamp` is of (`BPF_SKB_TSTAMP_*`, later `BPF_SKB_CLOCK_*`). Since 5.18.
        pub tstamp_type: u8,
        /// Nothing.
        pub padding: [u8; 3],
        /// When the network card stamped it, nanoseconds. Since 5.16.
        pub hwtstamp: u64,
    }
}

const _: () = assert!(size_of::<__sk_buff>() == 192 && __sk_buff::sk.offset() == 168);
