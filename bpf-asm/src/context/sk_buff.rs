crate::record! {
    /// The beginning of the context of a program that sees packets (socket filter, classifier). The bytes themselves are reached by
    /// [`skb_load_bytes`](crate::helper::skb_load_bytes) and [`skb_store_bytes`](crate::helper::skb_store_bytes).
    #[allow(non_camel_case_types)]
    pub struct __sk_buff {
        /// Bytes of the packet.
        pub len: u32,
        /// Kind of receiver (`PACKET_*`).
        pub pkt_type: u32,
        /// A number that netfilter and routing share with programs.
        pub mark: u32,
    }
}
