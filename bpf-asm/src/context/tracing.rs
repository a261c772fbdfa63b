#[cfg(target_arch = "x86_64")]
use crate::record::Field;

crate::record! {
    /// The context of a raw tracepoint: its arguments as 64-bit words. Since 4.17.
    #[allow(non_camel_case_types)]
    pub struct bpf_raw_tracepoint_args {
        /// The arguments, at most `MAX_BPF_FUNC_ARGS`.
        pub args: [u64; 12],
    }
}

#[cfg(target_arch = "x86_64")]
crate::record! {
    /// The context of a kprobe on x86-64: the registers (arch/x86/include/asm/ptrace.h).
    ///
    /// ```
    /// use bpf_asm::{Builder, ProgramType, pt_regs};
    ///
    /// let b = Builder::new("first");
    /// let registers = b.context::<pt_regs>();
    /// let _first = b.load(registers.at(pt_regs::ARGUMENTS[0]));
    /// b.ret(0);
    /// b.finish(ProgramType::Kprobe)?;
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[allow(non_camel_case_types)]
    pub struct pt_regs {
        /// r15
        pub r15: u64,
        /// r14
        pub r14: u64,
        /// r13
        pub r13: u64,
        /// r12
        pub r12: u64,
        /// rbp
        pub bp: u64,
        /// rbx
        pub bx: u64,
        /// r11
        pub r11: u64,
        /// r10
        pub r10: u64,
        /// r9
        pub r9: u64,
        /// r8
        pub r8: u64,
        /// rax
        pub ax: u64,
        /// rcx
        pub cx: u64,
        /// rdx
        pub dx: u64,
        /// rsi
        pub si: u64,
        /// rdi
        pub di: u64,
        /// The number of the system call that this was entered by, or -1.
        pub orig_ax: u64,
        /// rip
        pub ip: u64,
        /// cs in the lower 16 bits.
        pub cs: u64,
        /// rflags
        pub flags: u64,
        /// rsp
        pub sp: u64,
        /// ss in the lower 16 bits.
        pub ss: u64,
    }
}

#[cfg(target_arch = "x86_64")]
impl pt_regs {
    /// Where the arguments of a function are at its first instruction.
    pub const ARGUMENTS: [Field<pt_regs, u64>; 6] =
        [pt_regs::di, pt_regs::si, pt_regs::dx, pt_regs::cx, pt_regs::r8, pt_regs::r9];
    /// Where a function's result is after its last.
    pub const RESULT: Field<pt_regs, u64> = pt_regs::ax;
}

#[cfg(target_arch = "x86_64")]
const _: () = assert!(size_of::<pt_regs>() == 168);
