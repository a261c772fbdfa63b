crate::record! {
    /// The context of an XDP program: a packet that a device has just received. The kernel turns
    /// `data`, `data_end` and `data_meta` into pointers; use [`Reg::cast`](crate::Reg::cast).
    #[allow(non_camel_case_types)]
    pub struct xdp_md {
        /// First byte of the packet.
        pub data: u32,
        /// End of the packet.
        pub data_end: u32,
        /// First byte of the metadata that earlier programs left in front of the packet.
        pub data_meta: u32,
        /// Index of the device.
        pub ingress_ifindex: u32,
        /// The device's receive queue.
        pub rx_queue_index: u32,
        /// Index of the output device; in programs of a devmap. Since 5.8.
        pub egress_ifindex: u32,
    }
}
