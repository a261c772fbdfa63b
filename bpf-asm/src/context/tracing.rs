crate::record! {
    /// The context of a raw tracepoint: its arguments as 64-bit words. Since 4.17.
    ///
    /// That of a program on a kernel function is alike, whatever the function: its arguments, then
    /// its result.
    #[allow(non_camel_case_types)]
    pub struct bpf_raw_tracepoint_args {
        /// The arguments, at most `MAX_BPF_FUNC_ARGS`.
        pub args: [u64; 12],
    }
}
