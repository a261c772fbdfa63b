//! Mistakes that the builder rejects before the kernel would, compared with the kernel's error for
//! the same instructions: `cargo test -p verifier-tests caught_earlier -- --nocapture` prints both.

use bpf_asm::insn::{
    Alu, AluOp, Call, Compare, Insn, Jump, JumpIf, Load, Register, Size, Source, Store, Width,
};
use bpf_asm::{__sk_buff, Builder, ErrorKind, ProgramType, helper};
use caps::{CapSet, Capability};
use syscalls::{Errno, Prog, ProgKind, ProgSpec};

use crate::complaint::{Complaint, Point};
use crate::verifier::LICENSE;

/// A mistake in two forms: with the builder, and as the instructions of a builder without checks.
struct Mistake {
    what: &'static str,
    write: fn(&Builder),
    caught: fn(&ErrorKind) -> bool,
    insns: &'static [Insn],
    errno: Errno,
    point: Point,
    /// A word in the verifier's message on all kernels so far.
    word: &'static str,
}

use Register::{R0, R1, R2, R10};

const EXIT: Insn = Insn::Exit;
/// `call bpf_jiffies64`
const CALL: Insn = Insn::Call(Call::Helper { id: 118 });

const fn alu(op: AluOp, dst: Register, src: Source) -> Insn {
    Insn::Alu(Alu { width: Width::W64, op, dst, src })
}

const fn mov(dst: Register, number: i32) -> Insn {
    alu(AluOp::Mov, dst, Source::Imm(number))
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        what: "a register is read after a call has overwritten it",
        write: |b| {
            b.emit(mov(R1, 1));
            b.call(helper::jiffies64());
            b.ret(b.emit_value(alu(AluOp::Mov, R0, Source::Reg(R1))));
        },
        caught: |kind| matches!(kind, ErrorKind::EmptyRegister { lost: Some(_), .. }),
        insns: &[mov(R1, 1), CALL, alu(AluOp::Mov, R0, Source::Reg(R1)), EXIT],
        errno: Errno::ACCES,
        point: Point::Slot(2),
        word: "R1 !read_ok",
    },
    Mistake {
        what: "the result is missing on one path",
        write: |b| {
            let (packet, skip) = (b.context::<__sk_buff>(), b.label());
            let len = b.load(packet.at(__sk_buff::len));
            b.jump_if(len.eq(0), &skip);
            let result = b.value(1);
            b.place(&skip);
            b.ret(&result);
        },
        caught: |kind| matches!(kind, ErrorKind::NotOnEveryPath { .. }),
        insns: &[
            Insn::Load(Load { size: Size::W, dst: R0, base: R1, offset: 0 }),
            Insn::JumpIf(JumpIf {
                width: Width::W64,
                compare: Compare::Eq,
                dst: R0,
                src: Source::Imm(0),
                offset: 1,
            }),
            mov(R2, 1),
            alu(AluOp::Mov, R0, Source::Reg(R2)),
            EXIT,
        ],
        errno: Errno::ACCES,
        point: Point::Slot(3),
        word: "R2 !read_ok",
    },
    Mistake {
        what: "the program runs past its last instruction",
        write: |b| drop(b.value(0)),
        caught: |kind| matches!(kind, ErrorKind::FallsOff { .. }),
        insns: &[mov(R0, 0)],
        errno: Errno::INVAL,
        point: Point::Whole,
        word: "last insn",
    },
    Mistake {
        what: "instructions are unreachable",
        write: |b| {
            b.ret(0);
            b.ret(1);
        },
        caught: |kind| matches!(kind, ErrorKind::Unreachable),
        insns: &[mov(R0, 0), EXIT, mov(R0, 1), EXIT],
        errno: Errno::INVAL,
        point: Point::Whole,
        word: "unreachable insn 2",
    },
    Mistake {
        what: "a jump has no target",
        write: |b| b.jump(&b.label()),
        caught: |kind| matches!(kind, ErrorKind::LabelNotPlaced { .. }),
        insns: &[Insn::Jump(Jump { offset: 5 }), mov(R0, 0), EXIT],
        errno: Errno::INVAL,
        point: Point::Whole,
        word: "jump out of range",
    },
    Mistake {
        what: "a frame is too large",
        write: |b| {
            let large = b.slot::<[u64; 65]>();
            b.store(large.place().index(0), 0);
            b.ret(0);
        },
        caught: |kind| matches!(kind, ErrorKind::OutOfStack { .. }),
        insns: &[
            Insn::Store(Store { size: Size::DW, base: R10, offset: -520, src: Source::Imm(0) }),
            mov(R0, 0),
            EXIT,
        ],
        errno: Errno::ACCES,
        point: Point::Slot(0),
        word: "stack",
    },
    Mistake {
        what: "two nested frames are too large together",
        write: |b| {
            let large = b.slot::<[u64; 40]>();
            b.zero(large.place());
            let callee = b.function("callee", |[]: [bpf_asm::Reg; 0]| {
                let large = b.slot::<[u64; 40]>();
                b.zero(large.place());
                b.ret(0);
            });
            b.call_local(&callee, []);
            b.ret(0);
        },
        caught: |kind| matches!(kind, ErrorKind::OutOfStackInCalls { .. }),
        insns: &[
            Insn::Store(Store { size: Size::DW, base: R10, offset: -320, src: Source::Imm(0) }),
            Insn::Call(Call::Local { offset: 1 }),
            EXIT,
            Insn::Store(Store { size: Size::DW, base: R10, offset: -320, src: Source::Imm(0) }),
            mov(R0, 0),
            EXIT,
        ],
        errno: Errno::ACCES,
        point: Point::Whole,
        word: "combined stack size",
    },
    Mistake {
        what: "the context is read after its register has been overwritten",
        write: |b| {
            let _first = b.value(1);
            let packet = b.context::<__sk_buff>();
            b.ret(b.load(packet.at(__sk_buff::len)));
        },
        caught: |kind| matches!(kind, ErrorKind::ContextGone),
        insns: &[
            mov(R1, 1),
            Insn::Load(Load { size: Size::W, dst: R0, base: R1, offset: 0 }),
            EXIT,
        ],
        errno: Errno::ACCES,
        point: Point::Slot(1),
        word: "invalid mem access",
    },
    Mistake {
        what: "a number is divided by zero",
        write: |b| {
            let number = b.value(1);
            number.div(0);
            b.ret(&number);
        },
        caught: |kind| matches!(kind, ErrorKind::ImmediateRange { given: 0, .. }),
        insns: &[mov(R0, 1), alu(AluOp::Div, R0, Source::Imm(0)), EXIT],
        errno: Errno::INVAL,
        point: Point::Slot(1),
        word: "div by zero",
    },
    Mistake {
        what: "a number is shifted by its width",
        write: |b| {
            let number = b.value(1);
            number.lsh(64);
            b.ret(&number);
        },
        caught: |kind| matches!(kind, ErrorKind::ImmediateRange { given: 64, .. }),
        insns: &[mov(R0, 1), alu(AluOp::Lsh, R0, Source::Imm(64)), EXIT],
        errno: Errno::INVAL,
        point: Point::Slot(1),
        word: "invalid shift 64",
    },
];

#[test]
fn the_builder_rejects_at_the_rust_line_what_the_verifier_would_reject_later() {
    for Mistake { what, write, caught, insns, errno, point, word } in MISTAKES {
        let b = Builder::new("mistake");
        write(&b);
        let errors = b.finish(ProgramType::SocketFilter).expect_err(what);
        let error = errors.errors().iter().find(|error| caught(&error.kind));
        let error =
            error.unwrap_or_else(|| panic!("{what}: rejected for another reason: {errors}"));
        assert!(error.at.file().ends_with("caught_earlier.rs"), "{what}: {error}");

        let mut bytes = Vec::new();
        insns.iter().for_each(|insn| insn.encode(&mut bytes));
        let refused =
            Prog::load(&ProgSpec::new(ProgKind::SOCKET_FILTER, "mistake", LICENSE, &bytes))
                .expect_err(what);
        let complaint = Complaint::of(&refused);
        assert_eq!((complaint.errno, complaint.point()), (*errno, *point), "{what}: {refused}");
        assert!(complaint.log.contains(word), "{what}: no '{word}' in {refused}");
        println!("{what}\n  builder: {error}\n  kernel:  {errno}, {point:?}, \"{word}\"");
    }
}

/// Since Linux 6.3, a program loaded with CAP_PERFMON, such as the agent's, may read uninitialised
/// bytes of the stack, so that only the builder rejects them.
#[test]
fn uninitialised_stack_reads_are_rejected_even_if_the_kernel_allows_them_to_privileged_programs() {
    let b = Builder::new("unwritten");
    let slot = b.slot::<u64>();
    b.ret(b.load(slot.place()));
    let errors = b.finish(ProgramType::SocketFilter).expect_err("the slot is not written");
    assert!(
        matches!(errors.errors()[0].kind, ErrorKind::UnwrittenStack { first: 0, last: 7, .. }),
        "{errors}"
    );

    let mut bytes = Vec::new();
    let load = Insn::Load(Load { size: Size::DW, dst: R0, base: R10, offset: -8 });
    [load, EXIT].iter().for_each(|insn| insn.encode(&mut bytes));
    // Capabilities are per thread, and this thread ends here.
    let without = std::thread::spawn(move || {
        for capability in [Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN] {
            caps::drop(None, CapSet::Effective, capability).expect("drop a capability");
        }
        let spec = ProgSpec::new(ProgKind::SOCKET_FILTER, "unwritten", LICENSE, &bytes);
        let refused =
            Prog::load(&spec).expect_err("this kernel lets unprivileged programs read the stack");
        let complaint = Complaint::of(&refused);
        assert_eq!(
            (complaint.errno, complaint.point()),
            (Errno::ACCES, Point::Slot(0)),
            "{refused}"
        );
        assert!(complaint.log.contains("stack"), "{refused}");
    });
    without.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
