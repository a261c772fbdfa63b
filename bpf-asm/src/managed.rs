//! Members of map values that the kernel manages. It finds them by the name of their type in the
//! map's BTF, and lets programs reach them by helpers only.

crate::record! {
    /// A lock, for [`spin_lock`](crate::helper::spin_lock) and
    /// [`spin_unlock`](crate::helper::spin_unlock). One per value, of a hash map, an array, or the
    /// storages of sockets, inodes, threads and cgroups. Since 5.1.
    ///
    /// ```
    /// use bpf_asm::{MapKind, MapRef, bpf_spin_lock, record};
    ///
    /// record! {
    ///     struct Account { lock: bpf_spin_lock, balance: u32 }
    /// }
    /// const ACCOUNTS: MapRef<u32, Account> = MapRef::new("accounts", MapKind::Hash, 16);
    /// ```
    #[allow(non_camel_case_types, reason = "the name is the kernel's")]
    pub struct bpf_spin_lock {
        /// The kernel's.
        pub val: u32,
    }
}

const _: () = assert!(size_of::<bpf_spin_lock>() == 4);
