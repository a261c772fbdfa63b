//! Accepted and rejected notation.

use bpf_asm::insn::encode;
use bpf_asm::text::{Style, Target, assemble, disassemble};

fn bytes(text: &str) -> Vec<u8> {
    let unit = assemble("test.s", text).unwrap_or_else(|errors| panic!("{errors}"));
    unit.sections.first().map(|section| encode(&section.code)).unwrap_or_default()
}

/// Spellings of the kernel, bpftool and llvm-objdump that differ from the disassembler's.
#[test]
fn other_spellings_are_the_same_instruction() {
    let table = [
        ("r1 = 0x5", "r1 = 5"),
        ("r1 = +5", "r1 = 5"),
        ("r1 = -0x1", "r1 = -1"),
        ("r1=r2", "r1 = r2"),
        ("\tr1\t= \tr2  ", "r1 = r2"),
        ("w1 = 0xffffffff", "w1 = -1"),
        ("w1 += 0xfffffffe", "w1 += -2"),
        ("r1 = 0xffffffff", "r1 = 0xffffffff ll"),
        ("r1 = -2147483649", "r1 = 0xffffffff7fffffff ll"),
        ("r1 = -1 ll", "r1 = 0xffffffffffffffff ll"),
        ("r1 = *(u32 *)(r2 + 0x8)", "r1 = *(u32 *)(r2 +8)"),
        ("w1 = *(u32 *)(r2 - 8)", "r1 = *(u32 *)(r2 -8)"),
        ("r1 = *(u64 *)(r2)", "r1 = *(u64 *)(r2 +0)"),
        ("*(u32 *)(r1 + 0x8) = w2", "*(u32 *)(r1 +8) = r2"),
        ("*(u32 *)(r1 +8) = 0xffffffff", "*(u32 *)(r1 +8) = -1"),
        ("lock *(u32 *)(r1 + 0x0) += w2", "lock *(u32 *)(r1 +0) += r2"),
        (
            "w2 = atomic_fetch_add((u32 *)(r1 + 0x0), w2)",
            "r2 = atomic_fetch_add((u32 *)(r1 +0), r2)",
        ),
        (
            "r2 = atomic_fetch_or((u64 *)(r1 + 0x0), r2)",
            "r2 = atomic64_fetch_or((u64 *)(r1 +0), r2)",
        ),
        ("r2 = xchg_64(r1 + 0x8, r2)", "r2 = atomic64_xchg((u64 *)(r1 +8), r2)"),
        ("w2 = xchg32_32(r1 - 0x8, w2)", "r2 = atomic_xchg((u32 *)(r1 -8), r2)"),
        ("r0 = cmpxchg_64(r1 + 0x8, r0, r2)", "r0 = atomic64_cmpxchg((u64 *)(r1 +8), r0, r2)"),
        ("w0 = cmpxchg32_32(r1 + 0x8, w0, w2)", "r0 = atomic_cmpxchg((u32 *)(r1 +8), r0, r2)"),
        ("w1 = load_acquire((u8 *)(r2 + 0x0))", "r1 = load_acquire((u8 *)(r2 +0))"),
        ("store_release((u16 *)(r2 + 0x0), w1)", "store_release((u16 *)(r2 +0), r1)"),
        ("r0 = *(u8 *)skb[0x5]", "r0 = *(u8 *)skb[5]"),
        ("r0 = *(u8 *)skb[r1]", "r0 = *(u8 *)skb[r1 + 0]"),
        ("r0 = *(u8 *)skb[r1 - 3]", "r0 = *(u8 *)skb[r1 + -3]"),
        ("r1 = addr_space_cast(r2, 0x0, 0x1)", "r1 = addr_space_cast(r2, 0, 1)"),
        ("goto +0x3 <LBB0_2>", "goto pc+3"),
        ("goto -1 <foo+0x18>", "goto pc-1"),
        ("gotol +0x12345", "gotol pc+74565"),
        ("if r1 s> 7 goto +3", "if r1 s> 0x7 goto pc+3"),
        ("if w1 == 0xffffffff goto +3", "if w1 == -0x1 goto pc+3"),
        ("call 1", "call bpf_map_lookup_elem#1"),
        ("call 0x1", "call bpf_map_lookup_elem#1"),
        ("call bpf_map_lookup_elem", "call bpf_map_lookup_elem#1"),
        ("call pc+5#bpf_prog_0123_sub", "call pc+5"),
        ("call bpf_iter_num_new#4321", "call kernel-function#4321"),
        ("r1 = map[id:7]", "r1 = map[fd:7]"),
        ("r1 = map[idx:0]+4", "r1 = map[idx:0][0]+4"),
        ("ld_pseudo r1, 1, 5", "r1 = map[fd:5]"),
        ("ld_pseudo\tr1, 0x2, 0x800000005", "r1 = map[fd:5][0]+8"),
        ("r1 = 5 ; five", "r1 = 5"),
        ("r1 = 5 // five", "r1 = 5"),
        ("r1 = 5 # five", "r1 = 5"),
        ("x: y: r1 = 5", "r1 = 5"),
        ("12: r1 = 5", "r1 = 5"),
        ("  12: (b7) r1 = 5", "r1 = 5"),
        ("12: (b7) r1 = 5                      ; R1_w=5", "r1 = 5"),
        ("(18) r1 = 0x5", "r1 = 0x5 ll"),
        ("(18) r1 = 0xffffffff", "r1 = 0xffffffff ll"),
        ("(55) if r1 != 0xffffffff goto pc+3", "if r1 != -0x1 goto pc+3"),
        ("(85) call bpf_map_lookup_elem#1", "call bpf_map_lookup_elem#1"),
        ("   0:\tb7 01 00 00 05 00 00 00\tr1 = 0x5", "r1 = 5"),
        ("   0:\t85 10 00 00 ff ff ff ff\tcall -0x1", "call pc-1"),
        ("   0:\t85 00 00 00 01 00 00 00\tcall 0x1", "call bpf_map_lookup_elem#1"),
        ("   0:\t18 01 00 00 05 00 00 00 00 00 00 00 00 00 00 00\tr1 = 0x5 ll", "r1 = 0x5 ll"),
    ];
    for (other, ours) in table {
        assert_eq!(bytes(other), bytes(ours), "`{other}` is not `{ours}`");
        assert!(!bytes(other).is_empty());
    }
}

#[test]
fn names_stand_for_distances() {
    let text = r#"
        .section "one"
        .function first
            goto out
        back:
            r1 = subprog[helper]
            r2 = helper ll
            call second
            if w1 & 1 goto back
        out:
            exit
        .function helper
            may_goto out
        out:
            exit
        .section ".text"
        .function second
            call helper
            call "second"
            exit
    "#;
    let unit = assemble("test.s", text).unwrap_or_else(|errors| panic!("{errors}"));
    let code: Vec<String> = unit.sections[0]
        .code
        .iter()
        .map(|piece| match piece {
            bpf_asm::insn::Decoded::Insn(insn) => insn.to_string(),
            data => format!("{data:?}"),
        })
        .collect();
    let expected = [
        "goto pc+6",
        "r1 = subprog[+6]",
        "r2 = subprog[+4]",
        "call pc-1",
        "if w1 & 0x1 goto pc-6",
        "exit",
        "may_goto pc+0",
        "exit",
    ];
    assert_eq!(code, expected);
    let functions: Vec<(&str, usize)> = unit.sections[0]
        .functions
        .iter()
        .map(|function| (function.name.as_str(), function.slot))
        .collect();
    assert_eq!(functions, [("first", 0), ("helper", 8)]);
    let named = |section: usize| -> Vec<(usize, &Target)> {
        unit.sections[section]
            .references
            .iter()
            .map(|reference| (reference.slot, &reference.to))
            .collect()
    };
    assert_eq!(named(0), [(5, &Target::Function("second".to_owned()))]);
    assert_eq!(named(1), [(0, &Target::Function("helper".to_owned()))]);
    // Line info.
    let line = &unit.sections[1].lines[1];
    assert_eq!(
        (line.slot, line.file.as_str(), line.line, line.text.as_str()),
        (1, "test.s", 19, "call \"second\"")
    );
}

#[test]
fn maps_and_kernel_functions_are_named_where_they_are_declared() {
    let text = r#"
        .license "Dual \"BSD\"/GPL"
        .minimum v4 6.1
        .map counts percpu_array key=4 value=0x10 entries=3 flags=1024
        .map "odd name" 27 entries=4096
        .extern bpf_cgroup_release
        r1 = map[name:counts]
        r1 = map[name:"odd name"][0]+12
        r1 = counts ll
        call bpf_cgroup_release
    "#;
    let unit = assemble("test.s", text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(unit.license.as_deref(), Some("Dual \"BSD\"/GPL"));
    assert_eq!(unit.minimum.to_string(), "Linux 6.1 and v4");
    assert_eq!(unit.requires().to_string(), "Linux 5.13 (v1)");
    let maps: Vec<_> = unit
        .maps
        .iter()
        .map(|map| (&*map.name, map.kind, map.key_size, map.value_size, map.max_entries, map.flags))
        .collect();
    assert_eq!(maps, [("counts", 6, 4, 16, 3, 1024), ("odd name", 27, 0, 0, 4096, 0)]);
    let references: Vec<_> = unit.sections[0]
        .references
        .iter()
        .map(|reference| (reference.slot, reference.to.clone()))
        .collect();
    let counts = Target::Map("counts".to_owned());
    assert_eq!(
        references,
        [
            (0, counts.clone()),
            (2, Target::Map("odd name".to_owned())),
            (4, counts),
            (6, Target::Kernel("bpf_cgroup_release".to_owned()))
        ]
    );
    assert_eq!(encode(&unit.sections[0].code)[16..24], [0x18, 0x21, 0, 0, 0, 0, 0, 0]);
}

/// Each with the position and the start of the message, and a part of the hint.
#[test]
fn mistakes_are_rejected_at_their_position_with_a_hint() {
    let table = [
        ("r1 = r11", "1:6: unknown register `r11`", "r0 to r9"),
        ("r11 = 1", "1:1: unknown register `r11`", ""),
        ("r1 = w2", "1:6: both operands must have the same width", "`w1 = w2`"),
        ("r1 += w2", "1:7: both operands must have the same width", "`r2`"),
        ("r1 ** 2", "1:4: expected an operator", "s>>="),
        ("r1 += 0xffffffff", "1:7: `0xffffffff` does not fit", "r2 = 0xffffffff ll"),
        ("if r1 == 0xffffffff goto x\nx:", "1:10: `0xffffffff` does not fit", "write -1"),
        ("w1 += 0x100000000", "1:7: `0x100000000` does not fit", ""),
        ("r1 = 0x10000000000000000", "1:6: the number has more than 64 bits", ""),
        ("r1 = -9223372036854775809", "1:6: the number has more than 64 bits", ""),
        ("w1 = 5 ll", "1:6: a 32-bit subregister does not hold", "`r1`"),
        ("r1 = *(u32 *)(r2 +32768)", "1:18: the offset 32768 does not fit", "`r3 += 32768`"),
        ("r1 = *(u32 *)(w2 +8)", "1:15: a 64-bit register is required here", ""),
        ("r1 = *(u24 *)(r2 +8)", "1:8: unknown size `u24`", ""),
        ("w1 = *(u64 *)(r2 +8)", "1:1: a 32-bit subregister does not hold this; write `r1`", ""),
        ("w1 = *(s8 *)(r2 +8)", "1:1: a 32-bit subregister does not hold this; write `r1`", ""),
        ("*(u32 *)(r2 +8) += r1", "1:17: expected `=`", "lock"),
        ("lock *(u16 *)(r2 +8) += r1", "1:8: atomic operations work on u32 or u64", ""),
        ("r3 = atomic64_fetch_add((u64 *)(r1 +0), r2)", "1:1: the old content goes into r2", ""),
        ("r2 = atomic64_fetch_add((u32 *)(r1 +0), r2)", "1:25: the size contradicts the name", ""),
        (
            "r2 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)",
            "1:39: the instruction compares with r0",
            "",
        ),
        ("r1 = be16 r2", "1:11: byte order is converted in place", "`r1 = be16 r1`"),
        ("w1 = be16 w1", "1:1: byte order is converted in 64-bit registers", "`r1 = be16 r1`"),
        ("w1 = (s32)w2", "1:7: `s32` cannot be extended here", ""),
        ("r1 = -r2", "1:7: a register is negated in place", ""),
        ("r1 = *(u8 *)skb[5]", "1:1: packet loads go into r0", ""),
        ("r1 = bswp64 r1", "1:6: unknown operand `bswp64`", "bswap64"),
        ("goto", "1:5: expected a jump target", "pc+3"),
        ("goto pc+32768", "1:6: the jump goes 32768 slots far", ""),
        ("lop:\ngoto loop", "2:6: there is no label `loop`", "`lop`"),
        (".function f\ngoto g\n.function g\nexit", "2:6: there is no label `g`", "call g"),
        ("x:\nx:", "2:1: duplicate label `x`, first defined on line 1", ""),
        (
            ".function f\nexit\n.function f",
            "3:1: duplicate function `f`, first defined on line 1",
            "",
        ),
        ("call bpf_map_lokup_elem", "1:6: there is no function", "bpf_map_lookup_elem"),
        ("call bpf_map_lookup_elem#2", "1:26: `bpf_map_lookup_elem` is helper 1, not 2", ""),
        ("call mine", "1:6: there is no function `mine`", "declare it by `.extern mine`"),
        ("r1 = map[name:counts]", "1:15: there is no map `counts`", ".map counts"),
        (
            ".map counts array entries=1\nr1 = map[name:count]",
            "2:15: there is no map `count`",
            "`counts`",
        ),
        (".map c aray", "1:8: unknown kind of map `aray`", "`array`"),
        (".map c array keys=4", "1:14: unknown map attribute `keys`", ""),
        (".map c array key=99999999999", "1:18: expected a number of up to 32 bits", ""),
        (".byte 1, 2, 256", "1:13: 256 does not fit 8 bits", ""),
        (".quad -0x8000000000000001", "1:7: -9223372036854775809 does not fit 64 bits", ""),
        (".byte 1\nexit", "2:1: the bytes before this do not fill an 8-byte slot", "`.byte 0`"),
        (".globl main", "1:1: unknown directive `.globl`", ".function"),
        (".license", "1:9: expected the licence", ""),
        (".license \"GPL", "1:10: unterminated string", ""),
        ("exit\n.minimum v2", "2:1: the minimum must precede", ""),
        (
            ".minimum v2\nif w1 == w2 goto x\nx:",
            "2:1: `if w1 == w2 goto pc+0` requires Linux 5.1 (v3)",
            "older",
        ),
        (
            ".minimum 6.5\nr1 = (s8)r2",
            "2:1: `r1 = (s8)r2` requires Linux 6.6 (v4), but the minimum is Linux 6.5",
            "",
        ),
        (".minimum v9", "1:10: invalid minimum `v9`", "5.10"),
        ("exit 0", "1:6: unexpected text", ""),
        ("return", "1:1: unknown instruction `return`", "exit"),
        ("mov r1, r2", "1:1: `mov` is a mnemonic", "write `r1 = r2`"),
        ("gotto x", "1:1: unknown instruction `gotto`", "`goto"),
        ("bpf_loop", "1:1: unknown instruction `bpf_loop`", "`call bpf_loop`"),
        ("r1 = 5x", "1:6: `5x` is neither a number nor a name", "decimal"),
        ("r1 = é", "1:6: unexpected character `é`", ""),
        (
            "(bf) r1 = 5",
            "1:6: the opcode before this is bf, but this has b7",
            "leave the opcode out",
        ),
        ("ld_pseudo r1, 7, 5", "1:15: a load of this kind does not exist", ""),
        ("ld_pseudo r1, 1, 0x100000005", "1:15: a load of this kind does not exist", ""),
    ];
    for (text, place, hint) in table {
        let errors = assemble("test.s", text).expect_err(text);
        let [error] = errors.errors() else { panic!("{text}: {errors}") };
        assert!(error.to_string().starts_with(place), "{text}:\n{error}, not\n{place}");
        assert!(
            hint.is_empty() || error.hint.as_ref().is_some_and(|found| found.contains(hint)),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn all_errors_are_shown_at_once_as_by_compilers() {
    let errors =
        assemble("prog.s", "\tr1 = w2 ; wrong\n    exit\ncall bpf_map_lokup_elem\n").unwrap_err();
    let expected = "\
error: both operands must have the same width
 --> prog.s:1:7
  |
1 |     r1 = w2 ; wrong
  |          ^^
  |
  = help: write `w1 = w2` for the lower 32 bits, clearing the upper ones, or `r1 = r2` for all 64

error: there is no function `bpf_map_lokup_elem`
 --> prog.s:3:6
  |
3 | call bpf_map_lokup_elem
  |      ^^^^^^^^^^^^^^^^^^
  |
  = help: did you mean `bpf_map_lookup_elem`? Otherwise declare it by `.extern bpf_map_lokup_elem` if it is a kfunc

2 errors in prog.s";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn a_function_with_the_name_of_a_helper_or_register_is_distinguished_from_it() {
    let text = "call \"bpf_loop\"\ncall bpf_loop\nr1 = subprog[\"r7\"]\nexit\n.function bpf_loop\nexit\n.function \"r7\"\nexit";
    let unit = assemble("test.s", text).unwrap_or_else(|errors| panic!("{errors}"));
    let code = encode(&unit.sections[0].code);
    assert_eq!(code[..16], [0x85, 0x10, 0, 0, 4, 0, 0, 0, 0x85, 0, 0, 0, 181, 0, 0, 0]);
    let again = disassemble(&unit, &Style::default());
    assert!(
        again.contains("call \"bpf_loop\"\n") && again.contains("call bpf_loop#181\n"),
        "{again}"
    );
    assert!(again.contains("subprog[\"r7\"]") && again.contains(".function \"r7\""), "{again}");
    let read = assemble("again.s", &again).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(encode(&read.sections[0].code), code);
}
