use bpf_asm::insn::{Isa, Kernel, Minimum};
use bpf_asm::{Builder, ErrorKind, Fetch, ProgramType};

bpf_asm::record! {
    struct Counter { sum: u64 }
}

/// A program with an atomic fetch-and-add, and the line of that.
fn fetching(minimum: Minimum) -> (u32, Result<bpf_asm::Program, bpf_asm::BuildErrors>) {
    let b = Builder::new("fetching");
    b.minimum(minimum);
    let counter = b.context::<Counter>();
    let one = b.value(1);
    let (line, old) = (line!(), b.fetch(Fetch::Add, counter.at(Counter::sum), one));
    b.ret(&old);
    (line, b.finish(ProgramType::SocketFilter))
}

#[test]
fn an_instruction_above_the_minimum_is_rejected_at_its_line() {
    for minimum in [Kernel::new(5, 10).into(), Isa::V2.into()] {
        let (line, result) = fetching(minimum);
        let errors = result.expect_err("an atomic fetch is newer");
        let [error] = errors.errors() else { panic!("{errors}") };
        assert_eq!(error.at.line(), line);
        assert!(matches!(error.kind, ErrorKind::AboveMinimum { .. }));
        let text = error.to_string();
        let parts = [
            "= atomic64_fetch_add((u64 *)(",
            "` requires Linux 5.12 (v3), but the minimum is ",
            &minimum.to_string(),
        ];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn a_program_tells_what_it_requires() {
    let both = Minimum { isa: Some(Isa::V3), kernel: Some(Kernel::new(5, 12)) };
    for minimum in [Minimum::default(), both] {
        let program = fetching(minimum).1.expect("5.12 supports it");
        assert_eq!(program.requires().to_string(), "Linux 5.12 (v3)");
    }
}

/// The opposite of a comparison may be newer than it.
#[test]
fn the_optimiser_keeps_to_the_minimum() {
    let jump_over_jump = |minimum: Minimum| {
        let b = Builder::new("over");
        b.minimum(minimum);
        let (end, sum) = (b.label(), b.load(b.context::<Counter>().at(Counter::sum)));
        b.when(sum.le(5), || b.jump(&end));
        sum.add(2);
        b.ret(&sum);
        b.place(&end);
        b.ret(0);
        b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}")).to_string()
    };
    let old = jump_over_jump(Kernel::new(4, 9).into());
    assert!(old.contains("> 0x5 goto") && !old.contains("<= 0x5"), "{old}");
    let new = jump_over_jump(Kernel::new(4, 14).into());
    assert!(new.contains("<= 0x5 goto"), "{new}");
}
