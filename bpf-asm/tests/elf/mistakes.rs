//! The messages for mistakes in a text: position, error and hint.

use bpf_asm::elf;

/// A program with these instructions.
fn around(insns: &str) -> String {
    format!(".license \"GPL\"\n.section \"tc\"\n.function main\n{insns}")
}

/// The position, message and hint of each error or warning.
fn said(text: &str) -> Vec<(String, String, String)> {
    let found = match elf::assemble("main.s", text) {
        Ok(assembled) => assembled.warnings.warnings().to_vec(),
        Err(errors) => {
            let shown = errors.render(false);
            assert!(shown.ends_with("in main.s\n"), "{shown}");
            errors.errors().to_vec()
        }
    };
    let place = |line: usize, column: usize| format!("{line}:{column}");
    found
        .into_iter()
        .map(|error| {
            (place(error.line, error.column), error.message, error.hint.unwrap_or_default())
        })
        .collect()
}

fn check(table: &[(&str, &str, &str, &str)], text: impl Fn(&str) -> String) {
    for (line, place, message, hint) in table {
        let found = said(&text(line));
        let [(at, what, todo)] = found.as_slice() else {
            panic!("expected one message for `{line}`: {found:#?}")
        };
        assert_eq!(
            (at.as_str(), what.as_str(), todo.as_str()),
            (*place, *message, *hint),
            "{line}"
        );
    }
}

#[test]
fn mistakes_in_instructions_are_rejected_with_a_correction() {
    const PARENTHESES: &str = "expected an address in parentheses";
    check(
        &[
            (
                "ldxw r3, [r1+16]\nexit",
                "4:1",
                "`ldxw` is a mnemonic; instructions are written as the kernel prints them",
                "write `r3 = *(u32 *)(r1 +16)`",
            ),
            (
                "r3 = r4 - r5\nexit",
                "4:9",
                "an instruction has two operands and changes the first",
                "write `r3 = r4`, and in the next line `r3 -= r5`",
            ),
            (
                "w3 = w3 & 15\nexit",
                "4:9",
                "an instruction has two operands and changes the first",
                "write `w3 &= 15`",
            ),
            (
                "r3 = r4 + r3\nexit",
                "4:9",
                "an instruction has two operands and changes the first",
                "write `r3 += r4`",
            ),
            (
                "r2 &= 0xfffffff0\nexit",
                "4:7",
                "`0xfffffff0` does not fit: the instruction holds -2147483648 to 2147483647",
                "load it into a free register, as in `r1 = 0xfffffff0 ll`; for a signed 32-bit \
                number, write -16",
            ),
            (
                "goto done\ndne: exit",
                "4:6",
                "there is no label `done` in this function",
                "did you mean `dne`?",
            ),
            (
                "call bpf_redirct\nexit",
                "4:6",
                "there is no function `bpf_redirct`",
                "did you mean `bpf_redirect`? Otherwise declare it by `.extern bpf_redirct` if it \
                is a kfunc",
            ),
            (
                "call bpf_task_from_pid\nexit",
                "4:6",
                "there is no function `bpf_task_from_pid`",
                "declare it by `.extern bpf_task_from_pid` if it is a kfunc",
            ),
            (
                "r1 = r12\nexit",
                "4:6",
                "unknown register `r12`",
                "registers are r0 to r9, the frame pointer r10, and w0 to w10 for their lower \
                halves",
            ),
            (
                "w3 = r1\nexit",
                "4:6",
                "both operands must have the same width",
                "write `w3 = w1` for the lower 32 bits, clearing the upper ones, or `r3 = r1` for \
                all 64",
            ),
            (
                "r3 = *(u8 *)(r1 - 40000)\nexit",
                "4:17",
                "the offset -40000 does not fit: allowed is -32768 to 32767 bytes",
                "move a pointer first: `r2 = r1`, then `r2 += -40000`, then use `(r2 +0)`",
            ),
            ("lock *(u8 *)(r1 +0) += r2\nexit", "4:8", "atomic operations work on u32 or u64", ""),
            (
                "w5 = be32 w5\nexit",
                "4:1",
                "byte order is converted in 64-bit registers",
                "write `r5 = be32 r5`, which clears the upper bits",
            ),
            (
                "r0 = 1 exit",
                "4:8",
                "unexpected text after the instruction",
                "write `exit` on a line of its own",
            ),
            (
                "r1 == 1\nexit",
                "4:4",
                "expected an operator",
                "a register is set by `=`; `if r1 == …` compares",
            ),
            (
                "if r1 = 1 goto x\nx: exit",
                "4:7",
                "expected a comparison",
                "equality is compared by `==`",
            ),
            ("if w1 goto x\nx: exit", "4:7", "expected a comparison", "write `if w1 != 0 goto …`"),
            ("r2 = *(u16)(r1 +0)\nexit", "4:11", "expected `*`", "write `(u16 *)`"),
            (
                "r2 = *u16 (r1 +0)\nexit",
                "4:7",
                "expected a cast to a pointer",
                "as in `*(u32 *)(r2 +8)`",
            ),
            ("r2 = *(u16 *)r1\nexit", "4:14", PARENTHESES, "write `(r1 +0)`"),
            (
                "call\nexit",
                "4:5",
                "expected a function to call",
                "write the name of a helper or function, or the number of a helper",
            ),
            (
                "call 4294967296\nexit",
                "4:6",
                "no helper has the number 4294967296",
                "helpers are called by name, as in `call bpf_map_lookup_elem`, or by number, as in \
                `call 1`",
            ),
            (
                "goto 3\nexit",
                "4:6",
                "expected a label or a distance",
                "write `+3` for a number of slots, or `3f` or `3b` for the label `3:` after or \
                before this",
            ),
            ("1: goto 1f\nexit", "4:9", "there is no label `1:` after this in this function", ""),
            (
                "r0 = 010\nexit",
                "4:6",
                "`010` is octal in C and other assemblers, but not here",
                "write `8` if it is octal, or `10`",
            ),
            (
                "r0 = 089\nexit",
                "4:6",
                "`089` is octal in C and other assemblers, but not here",
                "write `89`",
            ),
        ],
        around,
    );
}

#[test]
fn probable_mistakes_are_assembled_with_a_warning() {
    check(
        &[
            ("w0 >>= 32\nexit", "4:1", "the verifier rejects a shift by 32", "allowed is 0 to 31"),
            ("r0 %= 0\nexit", "4:1", "the verifier rejects a division by 0", ""),
            (
                "*(u8 *)(r10 -1) = 300\nexit",
                "4:1",
                "300 does not fit a u8: this stores 44",
                "write 44 if that is intended",
            ),
            (
                "exit\nr0 = 1 # never\nexit",
                "5:1",
                "unreachable instruction, which the verifier rejects",
                "remove it, or jump to it",
            ),
            (
                "r0 = 1; exit\nexit",
                "4:7",
                "this instruction is part of a comment, which starts at the semicolon",
                "write it on a line of its own",
            ),
        ],
        around,
    );
    for fine in [
        "*(u8 *)(r10 -1) = 255\n*(u16 *)(r10 -4) = -1\nr0 <<= 63\nw0 s>>= 31\nr0 /= 1\nexit",
        "r0 = 1 ; one\ngoto x\nx: exit",
    ] {
        assert_eq!(said(&around(fine)), [], "{fine}");
    }
}

#[test]
fn mistakes_in_declarations_are_shown_at_their_position() {
    check(
        &[
            (
                ".map m hsh key=4 value=8 entries=1\n.section \"tc\"\n.function f\nr1 = \
                map[name:m]\nexit",
                "1:8",
                "unknown kind of map `hsh`",
                "did you mean `hash`?",
            ),
            (
                ".map seen hash key=4 value=8\n",
                "1:29",
                "map `seen` needs a capacity",
                "write, for example, `entries=1024`",
            ),
            (
                ".map seen array key=4 valeu=8 entries=1\n",
                "1:23",
                "unknown map attribute `valeu`",
                "did you mean `value`? Otherwise attributes are key, value, entries, flags, \
                numa_node, extra, pinning, inner",
            ),
            (
                ".map maps array_of_maps key=4 value=4 entries=1 inner=array\n",
                "1:55",
                "expected `(`",
                "as in `inner=(array key=4 value=8 entries=1)`",
            ),
            (
                ".map maps array_of_maps key=4 value=4 entries=1 inner=(array key=4 value=4)\n",
                "1:76",
                "the inner map needs a capacity",
                "write, for example, `entries=1024`",
            ),
            (
                ".map seen array key=4 value=2 entries=1\n.value seen 1, 2, 3\n",
                "2:1",
                "the value of map `seen` has 2 bytes, but this is byte 3",
                "",
            ),
            (
                ".map seen array key=4 value=2 entries=1\n.value sen 1\n",
                "2:1",
                "there is no map `sen` above",
                "did you mean `seen`?",
            ),
            (
                ".extern unsigned lnog bpf_f(void)\n",
                "1:23",
                "unexpected text after the declaration",
                "it may be followed by `__ksym`, `__kconfig` and `__weak`",
            ),
            (
                ".map log ringbuf",
                "1:17",
                "map `log` needs a capacity",
                "write `entries=` with its size: a power of two and a multiple of the page size, \
                such as 4096",
            ),
            (
                ".map seen array key=4 value=8 entries=1\n.section \"tc\"\n.function f\nr1 = \
                map[name:sen]\nexit",
                "4:15",
                "there is no map `sen`",
                "did you mean `seen`? Otherwise declare it, as in `.map sen array key=4 value=8 \
                entries=1`",
            ),
            (
                "r0 = 0\nexit",
                "1:1",
                "this code is outside any section",
                "libbpf takes a program's type from the section's name: write `.section \
                \"socket\"`, for example, before it",
            ),
            (
                ".section \"tc\"\nr0 = 0 # nothing\nexit",
                "2:1",
                "the first instruction of section `tc` is outside any function",
                "write `.function NAME` before it",
            ),
            (
                ".section \"tc\"\n.function f\nr0 = 0\n    r1 = 2 ; last\n",
                "4:5",
                "function `f` can run past this, its last instruction",
                "end with `exit` or a jump",
            ),
            (
                ".section \"sokcet\"\n.function f\nexit",
                "1:1",
                "unknown section `sokcet`, from whose name libbpf takes the program's type",
                "did you mean `socket`?",
            ),
            (".licence \"GPL\"", "1:1", "unknown directive `.licence`", "did you mean `.license`?"),
            (
                ".extern bpf_x\n.section \"tc\"\n.function f\ncall bpf_x\nexit",
                "4:1",
                "this uses `bpf_x` of the kernel, whose types libbpf requires",
                "declare them as C does, as in `.extern void bpf_x(void)`",
            ),
            (
                ".map m array key=4 value=8 entries=2\n.section \"tc\"\n.function f\nr1 = \
                map[name:m][0]+0\nexit",
                "1:1",
                "a program addresses the value of map `m`, which libbpf supports only for an array \
                with one entry, a 4-byte key and no flags but BPF_F_RDONLY_PROG, that no instruction uses as a map, up \
                to 16 MiB here",
                "look the value up instead",
            ),
            (
                ".section \"tc\"\n.function f\ncall bpf_get_prandom_u32\nexit",
                "1:1",
                "there is no licence, and many helpers require a GPL-compatible one",
                "write `.license \"GPL\"` if that applies",
            ),
        ],
        str::to_owned,
    );
}

#[test]
fn dialects_that_can_be_told_apart_are_read() {
    let object = |text: &str| {
        elf::assemble("main.s", text).unwrap_or_else(|errors| panic!("{errors}")).object
    };
    let code = |text: &str| {
        let unit = elf::read(&object(text)).unwrap_or_else(|error| panic!("{error}"));
        bpf_asm::insn::encode(&unit.sections[0].code)
    };
    for (other, ours) in [
        (
            "r1 = 5\n1: r1 += -1\nif r1 != 0 goto 1b\nexit",
            "r1 = 5\nx: r1 += -1\nif r1 != 0 goto x\nexit",
        ),
        // The nearest label counts.
        ("1: goto 1f\n1: goto 1b\n1: exit", "a: goto b\nb: goto b\nc: exit"),
        ("if (r1 s> 5) goto out\nout: exit", "if r1 s> 5 goto out\nout: exit"),
        (".equ SIZE, -8\n*(u64 *)(r10 SIZE) = SIZE\nexit", "*(u64 *)(r10 -8) = -8\nexit"),
        (".byte 0xb7, 0\n.short 0\n.long -2\n.quad 0x95", "r0 = -2\nexit"),
    ] {
        assert_eq!(code(&around(other)), code(&around(ours)), "{other}");
    }
    // A section continues where it is named again.
    let text = ".license \"GPL\"\n.section \"tc\"\n.function a\nexit\n.section \"xdp\"\n.function \
        b\nexit\n.section \"tc\"\n.function c\nexit";
    let unit = elf::read(&object(text)).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<(&str, Vec<&str>)> = unit
        .sections
        .iter()
        .map(|section| {
            (section.name.as_str(), section.functions.iter().map(|f| f.name.as_str()).collect())
        })
        .collect();
    assert_eq!(names, [("tc", vec!["a", "c"]), ("xdp", vec!["b"])]);
}

#[test]
fn mistakes_in_gnu_as_syntax_are_shown_at_their_position() {
    let program = |text: &str| {
        format!("\t.section tc,\"ax\",@progbits\n\t.globl f\n\t.type f,@function\nf:\n{text}")
    };
    check(
        &[
            (
                ".license \"GPL\"\nexit",
                "5:1",
                "`.license` cannot be combined with GNU as directives, which this text has",
                "write `.section license,\"aw\",@progbits` and `.asciz \"GPL\"`",
            ),
            (
                "goto LBB0_1\nLBB0_2: exit",
                "5:6",
                "there is no label `LBB0_1` in this section",
                "did you mean `LBB0_2`?",
            ),
            (
                "r1 = .Lmp ll\nexit\n.data\n.Lmap: .quad 0",
                "5:6",
                "there is no label `.Lmp` here",
                "did you mean `.Lmap`?",
            ),
            (
                "call go\nexit\n.type goo,@function\ngoo: exit",
                "5:6",
                "undefined symbol `go`, assumed to be external",
                "did you mean `goo`? Otherwise declare it by `.globl go` if it is",
            ),
            ("exit\nf: exit", "6:1", "duplicate label `f`, first defined on line 4", ""),
            (
                "exit\n.data\nr1 = 1",
                "7:1",
                "section `.data` cannot contain code",
                "code sections have the flags \"ax\"",
            ),
            ("exit\n.data\n.long 5000000000", "7:7", "5000000000 does not fit 32 bits", ""),
            ("exit\n.bss\n.byte 1", "7:7", "section `.bss` can only contain zeros", ""),
            ("exit\n.bss\n.zero 1, 1", "7:1", "section `.bss` can only contain zeros", ""),
            ("exit\n.data\n.zero 1, 256", "7:10", "256 does not fit 8 bits", ""),
            ("exit\n.zero 999999999999", "6:1", "the section would be larger than 256 MiB", ""),
            ("exit\n.ascii \"\\q\"", "6:9", "unknown escape sequence", ""),
            ("exit\n.ascii abc", "6:8", "expected a string", ""),
            ("exit\n.p2align 70", "6:10", "invalid alignment 70", ""),
            (
                "exit\n.size f, f",
                "6:1",
                "invalid size of `f`",
                "write a number, or the difference of two labels of one section",
            ),
            (
                "exit\n.type f,@thing",
                "6:10",
                "unknown type `thing`; types are @function and @object",
                "",
            ),
            ("exit\n.sectoin x", "6:1", "unknown directive `.sectoin`", "did you mean `.section`?"),
            ("exit\n.data\n.long f-g", "7:7", "not two labels of one section", ""),
            ("r1 = w2\nr1 /= 0; exit", "6:1", "the verifier rejects a division by 0", ""),
            ("exit\n.data\n.long f-5000000000", "7:7", "-5000000000 does not fit", ""),
            ("exit\n.section .BTF\n.byte f+300", "7:7", "300 does not fit", ""),
            (
                "exit\n.data\n.zero 8\n.Lx: .quad .Lx+9223372036854775807",
                "8:12",
                "the offset does not fit",
                "",
            ),
            ("exit\n.Lg: call .Lg+9223372036854775807", "6:11", "the offset does not fit", ""),
            (
                "exit\n.section b,\"ax\"\n.zero 8\n.Lg: call .Lh+9223372036854775807\nexit\n\
                .section c,\"ax\"\n.zero 8\n.Lh: exit",
                "8:11",
                "the offset does not fit",
                "",
            ),
            ("call f+12\nexit", "5:6", "a call goes to the start of an instruction", ""),
            (".globl g\ncall g+12\nexit", "6:6", "a call goes to the start of an instruction", ""),
            ("r1 = f+9223372036854775807 ll\nexit", "5:6", "the distance does not fit", ""),
            (
                "exit\n.section .bss,\"aw\",@progbits\n.byte 1\n.comm a,268435456",
                "8:1",
                "the section would be larger than 256 MiB",
                "",
            ),
            (
                "exit\n.data\n.zero 1\n.section a,\"aw\"\n.zero 268435456",
                "9:1",
                "the sections would be larger than 256 MiB",
                "",
            ),
        ],
        program,
    );
}

#[test]
fn the_cost_is_linear_in_the_number_of_mistakes() {
    // Each jump could mean each of as many labels.
    let text = |count: usize| {
        let jumps: String = (0..count)
            .map(|n| format!("goto somewhere_else_{n}\nlabel_of_this_place_{n}:\n"))
            .collect();
        around(&format!("{jumps}exit"))
    };
    let time = |count| {
        let start = std::time::Instant::now();
        let errors = elf::assemble("main.s", &text(count)).expect_err("no such labels");
        assert_eq!(errors.errors().len(), count);
        start.elapsed()
    };
    let (few, many) = (time(1000), time(8000));
    // Eight times as many; a quadratic cost would be 64 times as long.
    assert!(many < few * 30, "{many:?} for 8000 mistakes, {few:?} for 1000");
}
