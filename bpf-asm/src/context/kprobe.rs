//! Registers, as a kprobe sees them: other ones on every kind of processor.

use crate::record::Field;

/// The context of a kprobe on this kind of processor, as the kernel calls it
/// (asm/bpf_perf_event.h).
///
/// ```
/// use bpf_asm::{Builder, ProgramType, bpf_user_pt_regs_t};
///
/// let b = Builder::new("first");
/// let registers = b.context::<bpf_user_pt_regs_t>();
/// let _first = b.load(registers.at(bpf_user_pt_regs_t::ARGUMENTS[0]));
/// b.ret(0);
/// b.finish(ProgramType::Kprobe)?;
/// # Ok::<(), bpf_asm::BuildErrors>(())
/// ```
#[cfg(target_arch = "x86_64")]
#[allow(non_camel_case_types, reason = "the name is C's own")]
pub type bpf_user_pt_regs_t = pt_regs;

/// The context of a kprobe on this kind of processor, as the kernel calls it
/// (asm/bpf_perf_event.h).
#[cfg(target_arch = "aarch64")]
#[allow(non_camel_case_types)]
pub type bpf_user_pt_regs_t = user_pt_regs;

crate::record! {
    /// The registers of x86-64 (arch/x86/include/asm/ptrace.h).
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

    /// The registers of arm64 (arch/arm64/include/uapi/asm/ptrace.h).
    #[allow(non_camel_case_types)]
    pub struct user_pt_regs {
        /// x0 to x30, which is the link register.
        pub regs: [u64; 31],
        /// The stack pointer.
        pub sp: u64,
        /// The program counter.
        pub pc: u64,
        /// The flags, and how the processor runs (`PSR_*`).
        pub pstate: u64,
    }
}

impl pt_regs {
    /// Where the arguments of a function are at its first instruction.
    pub const ARGUMENTS: [Field<pt_regs, u64>; 6] =
        [pt_regs::di, pt_regs::si, pt_regs::dx, pt_regs::cx, pt_regs::r8, pt_regs::r9];
    /// Where a function's result is after its last.
    pub const RESULT: Field<pt_regs, u64> = pt_regs::ax;
}

impl user_pt_regs {
    /// Where the arguments of a function are at its first instruction.
    pub const ARGUMENTS: [Field<user_pt_regs, u64>; 8] = [
        user_pt_regs::regs.index::<0>(),
        user_pt_regs::regs.index::<1>(),
        user_pt_regs::regs.index::<2>(),
        user_pt_regs::regs.index::<3>(),
        user_pt_regs::regs.index::<4>(),
        user_pt_regs::regs.index::<5>(),
        user_pt_regs::regs.index::<6>(),
        user_pt_regs::regs.index::<7>(),
    ];
    /// Where a function's result is after its last.
    pub const RESULT: Field<user_pt_regs, u64> = user_pt_regs::regs.index::<0>();
}

const _: () = assert!(size_of::<pt_regs>() == 168 && size_of::<user_pt_regs>() == 272);
