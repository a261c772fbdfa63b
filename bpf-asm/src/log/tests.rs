use proptest::prelude::*;

use super::*;
use crate::{Builder, ProgramType};

/// The logs of one program, [`spend`], on several kernels.
const LOGS: [(&str, &str); 5] = [
    ("5.10", include_str!("tests/5.10.log")),
    ("6.1", include_str!("tests/6.1.log")),
    ("6.12", include_str!("tests/6.12.log")),
    ("6.18", include_str!("tests/6.18.log")),
    ("7.3", include_str!("tests/7.3.log")),
];

/// The program of the stored logs: it looks a value up, then adds the length of a packet, up to 7,
/// to the address of an 8-byte number, in a function.
const SPEND: [(usize, u32, &str); 23] = [
    (0, 335, "r6 = r1"),
    (1, 336, "r1 = *(u32 *)(r6 +0)"),
    (2, 344, "*(u32 *)(r10 -8) = 0"),
    (3, 345, "r7 = r1"),
    (4, 346, "r2 = r10"),
    (5, 346, "r1 = map[name:numbers]"),
    (7, 346, "r2 += -8"),
    (8, 346, "call bpf_map_lookup_elem#1"),
    (9, 347, "if r0 != 0x0 goto pc+2"),
    (10, 347, "r0 = 0"),
    (11, 347, "exit"),
    (12, 347, "r1 = *(u64 *)(r0 +0)"),
    (13, 348, "r1 = r7"),
    (14, 348, "call pc+1"),
    (15, 349, "exit"),
    (16, 338, "r2 = map[name:number][0]+0"),
    (18, 339, "if r1 <= 0x7 goto pc+2"),
    (19, 339, "r0 = 0"),
    (20, 339, "exit"),
    (21, 340, "r2 += r1"),
    (22, 341, "r3 = *(u64 *)(r2 +0)"),
    (23, 342, "r0 = r3"),
    (24, 342, "exit"),
];

fn spend(log: &str) -> VerifierLog<'_> {
    let origins = SPEND.map(|(slot, line, text)| Origin {
        slot,
        file: "spend.rs",
        line,
        column: 9,
        text: text.into(),
    });
    VerifierLog { program: "spend", origins: origins.into(), log }
}

/// The kernel's lines of a formatted log, without their margin.
fn unfolded<'a>(shown: &'a str, log: &str) -> Vec<&'a str> {
    let mut wanted = log.lines().peekable();
    shown
        .lines()
        .filter_map(|line| line.get(2..).filter(|line| wanted.next_if_eq(line).is_some()))
        .collect()
}

#[test]
fn every_line_of_the_logs_of_all_kernels_is_shown() {
    for (kernel, log) in LOGS {
        let shown = spend(log).to_string();
        assert_eq!(unfolded(&shown, log), log.lines().collect::<Vec<_>>(), "{kernel}:\n{shown}");
        let headings: Vec<&str> =
            shown.lines().filter(|line| line.starts_with("spend.rs:")).collect();
        let expected = [335, 336, 344, 345, 346, 347, 348, 338, 339, 340, 341]
            .map(|line| format!("spend.rs:{line}"));
        assert_eq!(headings, expected, "{kernel}:\n{shown}");
        let marked: Vec<&str> = shown.lines().filter(|line| line.starts_with("> ")).collect();
        assert_eq!(marked.len(), 1, "{kernel}:\n{shown}");
        assert!(marked[0].starts_with("> 22: (79) r3 = *(u64 *)(r2 +0)"), "{kernel}: {marked:?}");
    }
}

#[test]
fn the_place_and_the_reason_are_the_same_on_all_kernels() {
    for (kernel, log) in LOGS {
        let stop = spend(log).stop().unwrap_or_else(|| panic!("{kernel}: stopped nowhere"));
        let at = stop.at.unwrap_or_else(|| panic!("{kernel}: no such instruction"));
        assert_eq!(
            (stop.slot, at.line, at.text.as_str()),
            (22, 341, "r3 = *(u64 *)(r2 +0)"),
            "{kernel}"
        );
        assert_eq!(
            stop.complaint[0], "invalid access to map value, value_size=8 off=7 size=8",
            "{kernel}"
        );
        assert!(stop.complaint[1].starts_with("R2 "), "{kernel}: {:?}", stop.complaint);
        assert_eq!(stop.complaint.len(), 2, "{kernel}: {:?}", stop.complaint);
        // The registers of the function, as all kernels log them.
        let known: Vec<u8> = stop.registers.iter().map(|(number, _)| *number).collect();
        assert_eq!(known, [1, 2, 10], "{kernel}: {:?}", stop.registers);
        assert!(stop.registers[1].1.starts_with("map_value("), "{kernel}: {:?}", stop.registers);
        assert!(
            stop.registers[1].1.ends_with("var_off=(0x0; 0x7))"),
            "{kernel}: {:?}",
            stop.registers
        );
    }
}

#[test]
fn a_program_rejected_as_a_whole_shows_the_lines_that_the_message_names() {
    let log = "unreachable insn 19\nprocessed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0\n";
    let log = spend(log);
    assert_eq!(log.stop(), None);
    assert_eq!(log.named().iter().map(|origin| origin.slot).collect::<Vec<_>>(), [19]);
    let shown = log.to_string();
    assert!(shown.contains("\n  insn 19, spend.rs:339:9: r0 = 0"), "{shown}");
    assert!(!shown.contains("> "), "{shown}");
}

#[test]
fn registers_are_those_of_the_function_and_path_that_the_log_ends_in() {
    type Known = &'static [(u8, &'static str)];
    let table: [(&str, &str, Known); 7] = [
        (
            "a call clobbers its arguments",
            "0: R0=1 R1=ctx() R5=1 R6=1 R10=fp0\n0: (85) call foo#1\n1: (95) exit",
            &[(6, "1"), (10, "fp0")],
        ),
        (
            "a written register is unknown",
            "0: R1=ctx() R6=1\n0: (bf) r6 = r1\n1: (95) exit",
            &[(1, "ctx()")],
        ),
        (
            "unless the log has its new state",
            "0: (bf) r6 = r1     ; R1=ctx() R6_w=ctx()\n1: (95) exit",
            &[(1, "ctx()"), (6, "ctx()")],
        ),
        (
            "a comparison changes all registers of one id",
            "0: R1=inv(id=3) R2=inv(id=3) R3=inv(id=4) R4=inv(id=0)\n0: (15) if r1 == 0x0 goto pc+1\n1: (95) exit",
            &[(3, "inv(id=4)"), (4, "inv(id=0)")],
        ),
        (
            "the start of a path has all states",
            "0: R1=1 R2=2\n0: (b7) r3 = 1\n\nfrom 0 to 4: R2=inv(id=0,umax_value=255,var_off=(0x0; 0xff)) R10=fp0\n4: (95) exit",
            &[(2, "inv(id=0,umax_value=255,var_off=(0x0; 0xff))"), (10, "fp0")],
        ),
        (
            "states from backtracking are ignored",
            "21: (0f) r2 += r1\nlast_idx 21 first_idx 21\n R1_rw=invP7 R2_rw=invP0\n22: (79) r3 = *(u64 *)(r2 +0)\n R1=invP7",
            &[(1, "invP7")],
        ),
        (
            "a callee has registers of its own",
            "0: R6=1 R10=fp0\n0: (85) call pc+1\ncaller:\n R6=1 R10=fp0\ncallee:\n frame1: R1=2 R10=fp0\n2: (95) exit",
            &[(1, "2"), (10, "fp0")],
        ),
    ];
    for (what, log, expected) in table {
        assert_eq!(
            spend(log).stop().map(|stop| stop.registers).unwrap_or_default(),
            expected,
            "{what}"
        );
    }
}

#[test]
fn an_instruction_does_not_read_the_register_it_assigns() {
    let table: [(&str, &[u8]); 8] = [
        ("r1 = *(u64 *)(r0 +0)", &[0]),
        ("r1 += r2", &[1, 2]),
        ("w3 = w3", &[3]),
        ("*(u32 *)(r10 -8) = r4", &[4, 10]),
        ("if r1 s> r2 goto pc+3", &[1, 2]),
        ("r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)", &[0, 1, 2]),
        ("call bpf_map_lookup_elem#1", &[1, 2, 3, 4, 5]),
        ("exit", &[0]),
    ];
    for (text, expected) in table {
        let read: Vec<u8> = (0..=10).filter(|number| state::reads(text, *number)).collect();
        assert_eq!(read, expected, "{text}");
    }
}

#[test]
fn a_log_of_another_program_and_an_empty_log_are_shown_as_they_are() {
    let shown = spend("99: (95) exit\nR0 !read_ok").to_string();
    assert!(
        shown.starts_with("> 99: (95) exit\n  R0 !read_ok\n") && shown.contains("is this its log?"),
        "{shown}"
    );
    assert!(spend("\n").to_string().starts_with("The log is empty"));
}

#[test]
fn the_log_shows_the_rust_lines_of_the_program() {
    let b = Builder::new("reader");
    let number = b.value(64).cast::<u64>();
    let (line, loaded) = (line!(), b.load(number.at_all()));
    b.ret(&loaded);
    let program =
        b.finish(ProgramType::SocketFilter).expect("the builder takes a number for an address");
    let (slot, ..) = program.insns().find(|(_, _, at)| at.line() == line).expect("the load");
    let text = format!("{slot}: (79) whatever the kernel calls it\nno\n");
    let stop = VerifierLog::new(&program, &text).stop().expect("an instruction was followed");
    let at = stop.at.expect("of this program");
    assert_eq!((at.file, at.line), (file!(), line));
    assert!(at.text.contains("*(u64 *)(r1 +0)"), "{}", at.text);
}

/// Parts of logs, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        (0usize..40).prop_map(|slot| format!("\n{slot}: (79) r1 = *(u64 *)(r0 +0)")),
        (0usize..40)
            .prop_map(|slot| format!("\nfrom 1 to {slot}: frame1: R1=ptr(id=1,off=(0x0; 0x1) R10")),
        "; R[0-9]{1,3}(_w)?=[a-z()=; 0-9]{0,12}",
        " insn [0-9]{0,30}",
        "[ -~\n]{0,20}",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_line_of_any_log_is_shown(log in pieces()) {
        let shown = spend(&log).to_string();
        if !log.trim().is_empty() {
            prop_assert_eq!(unfolded(&shown, &log), log.lines().collect::<Vec<_>>());
        }
    }
}
