use super::{bpf_sock, packet};
use crate::record::Address;

crate::record! {
    /// The context of a program that sees packets (socket filter, classifier, sk_skb, cgroup).
    /// Which fields are accessible depends on the program type. Packet bytes are accessed by
    /// [`skb_load_bytes`](crate::helper::skb_load_bytes) and
    /// [`skb_store_bytes`](crate::helper::skb_store_bytes).
    #[allow(non_camel_case_types)]
    pub struct __sk_buff {
        /// Length of the packet in bytes.
        pub len: u32,
        /// Packet type (`PACKET_*`).
        pub pkt_type: u32,
        /// The mark, shared by netfilter, routing and programs.
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
        /// Priority, for queueing disciplines.
        pub priority: u32,
        /// Index of the device it arrived on.
        pub ingress_ifindex: u32,
        /// Index of the device it is on.
        pub ifindex: u32,
        /// Traffic control index.
        pub tc_index: u32,
        /// Scratch space that programs share.
        pub cb: [u32; 5],
        /// The flow's hash.
        pub hash: u32,
        /// The class, set by classifiers.
        pub tc_classid: u32,
        /// First byte of the packet.
        pub data: u32,
        /// End of the packet.
        pub data_end: u32,
        /// The NAPI instance it was received by.
        pub napi_id: u32,
        /// `AF_INET` or `AF_INET6`, of the socket; sk_skb only, as are the next fields.
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
        /// Start of the metadata that XDP programs leave for classifiers before `data`.
        pub data_meta: u32,
        /// The keys that a flow dissector fills in.
        pub flow_keys: Address<packet>,
        /// Departure or arrival time.
        pub tstamp: u64,
        /// Bytes on the wire, including the headers of all segments.
        pub wire_len: u32,
        /// Number of segments.
        pub gso_segs: u32,
        /// Its socket; null if it has none.
        pub sk: Address<bpf_sock>,
        /// Bytes per segment. Since 5.7.
        pub gso_size: u32,
        /// The clock of `tstamp` (`BPF_SKB_TSTAMP_*`, later `BPF_SKB_CLOCK_*`). Since 5.18.
        pub tstamp_type: u8,
        /// Padding.
        pub padding: [u8; 3],
        /// Hardware timestamp in nanoseconds. Since 5.16.
        pub hwtstamp: u64,
    }
}

const _: () = assert!(size_of::<__sk_buff>() == 192 && __sk_buff::sk.offset() == 168);
