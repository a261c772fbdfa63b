//! What is said of a text with a mistake in it: what, where, and what to do.

use bpf_asm::elf;

/// A program around instructions.
fn around(insns: &str) -> String {
    format!(".license \"GPL\"\n.section \"tc\"\n.function main\n{insns}")
}

/// What is said of each, without the lines of the text: place, what is wrong, and what to do.
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
            panic!("not one thing is said of `{line}`: {found:#?}")
        };
        assert_eq!(
            (at.as_str(), what.as_str(), todo.as_str()),
            (*place, *message, *hint),
            "{line}"
        );
    }
}

#[test]
fn mistakes_in_instructions_are_refused_with_what_to_write() {
    const PARENTHESES: &str = "an address in parentheses is missing here";
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
                "an instruction has two operands, the first of which it changes",
                "write `r3 = r4`, and in the next line `r3 -= r5`",
            ),
            (
                "w3 = w3 & 15\nexit",
                "4:9",
                "an instruction has two operands, the first of which it changes",
                "write `w3 &= 15`",
            ),
            (
                "r3 = r4 + r3\nexit",
                "4:9",
                "an instruction has two operands, the first of which it changes",
                "write `r3 += r4`",
            ),
            (
                "r2 &= 0xfffffff0\nexit",
                "4:7",
                "`0xfffffff0` does not fit: the instruction holds -2147483648 to 2147483647",
                "put it into a register that is free, as in `r1 = 0xfffffff0 ll`; if its 32 bits are meant with their sign, write -16",
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
                "did you mean `bpf_redirect`? Otherwise declare it by `.extern bpf_redirct` if it is one of the kernel (a kfunc)",
            ),
            (
                "call bpf_task_from_pid\nexit",
                "4:6",
                "there is no function `bpf_task_from_pid`",
                "declare it by `.extern bpf_task_from_pid` if it is one of the kernel (a kfunc)",
            ),
            (
                "r1 = r12\nexit",
                "4:6",
                "`r12` is no register",
                "there are r0 to r9, the frame pointer r10, and w0 to w10 for their lower halves",
            ),
            (
                "w3 = r1\nexit",
                "4:6",
                "both sides have to have the same width",
                "write `w3 = w1` for the lower 32 bits, the upper ones being set to 0, or `r3 = r1` for all 64",
            ),
            (
                "r3 = *(u8 *)(r1 - 40000)\nexit",
                "4:17",
                "the offset -40000 does not fit: it is one of -32768 to 32767 bytes",
                "move a pointer first: `r2 = r1`, then `r2 += -40000`, then use `(r2 +0)`",
            ),
            ("lock *(u8 *)(r1 +0) += r2\nexit", "4:8", "atomic operations work on u32 or u64", ""),
            (
                "w5 = be32 w5\nexit",
                "4:1",
                "byte order is changed in whole registers",
                "write `r5 = be32 r5`, which sets the bits above to 0",
            ),
            (
                "r0 = 1 exit",
                "4:8",
                "the instruction has ended before this",
                "write `exit` into a line of its own",
            ),
            (
                "r1 == 1\nexit",
                "4:4",
                "an operator is missing here",
                "a register is set by `=`; `if r1 == …` compares",
            ),
            (
                "if r1 = 1 goto x\nx: exit",
                "4:7",
                "a comparison is missing here",
                "equality is compared by `==`",
            ),
            (
                "if w1 goto x\nx: exit",
                "4:7",
                "a comparison is missing here",
                "write `if w1 != 0 goto …`",
            ),
            ("r2 = *(u16)(r1 +0)\nexit", "4:11", "`*` is missing here", "write `(u16 *)`"),
            (
                "r2 = *u16 (r1 +0)\nexit",
                "4:7",
                "a cast to a pointer is missing here",
                "as in `*(u32 *)(r2 +8)`",
            ),
            ("r2 = *(u16 *)r1\nexit", "4:14", PARENTHESES, "write `(r1 +0)`"),
            (
                "call\nexit",
                "4:5",
                "what to call is missing here",
                "write the name of a helper or function, or the number of a helper",
            ),
            (
                "call 4294967296\nexit",
                "4:6",
                "4294967296 is the number of no function",
                "helpers are called by name, as in `call bpf_map_lookup_elem`, or by number, as in `call 1`",
            ),
            (
                "goto 3\nexit",
                "4:6",
                "a label or a distance is missing here",
                "write `+3` for a number of slots, or `3f` or `3b` for the label `3:` behind or before this",
            ),
            ("1: goto 1f\nexit", "4:9", "there is no label `1:` behind this in this function", ""),
            (
                "r0 = 010\nexit",
                "4:6",
                "`010` is octal in C and in other assemblers, and not here",
                "write `8` if it is octal, or `10`",
            ),
            (
                "r0 = 089\nexit",
                "4:6",
                "`089` is octal in C and in other assemblers, and not here",
                "write `89`",
            ),
        ],
        around,
    );
}

#[test]
fn what_is_hardly_meant_is_assembled_with_a_warning() {
    check(
        &[
            (
                "w0 >>= 32\nexit",
                "4:1",
                "the verifier refuses a shift by 32",
                "32 bits are shifted by 0 to 31",
            ),
            ("r0 %= 0\nexit", "4:1", "the verifier refuses a division by 0", ""),
            (
                "*(u8 *)(r10 -1) = 300\nexit",
                "4:1",
                "300 does not fit a u8: this stores 44",
                "write 44 if that is what is meant",
            ),
            (
                "exit\nr0 = 1 # never\nexit",
                "5:1",
                "nothing leads to this instruction, and the verifier refuses that",
                "leave it out, or give it a label that is jumped to",
            ),
            (
                "r0 = 1; exit\nexit",
                "4:7",
                "this instruction is in a comment, which begins with the semicolon",
                "write it into a line of its own",
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
fn mistakes_in_declarations_are_shown_where_they_are() {
    check(
        &[
            (
                ".map m hsh key=4 value=8 entries=1\n.section \"tc\"\n.function f\nr1 = map[name:m]\nexit",
                "1:8",
                "`hsh` is no kind of map",
                "did you mean `hash`?",
            ),
            (
                ".map seen hash key=4 value=8\n",
                "1:29",
                "how much the map `seen` can hold is missing here",
                "write `entries=`, for instance `entries=1024`",
            ),
            (
                ".map log ringbuf",
                "1:17",
                "how much the map `log` can hold is missing here",
                "write `entries=` with its bytes: a power of two and a multiple of a page, such as 4096",
            ),
            (
                ".map seen array key=4 value=8 entries=1\n.section \"tc\"\n.function f\nr1 = map[name:sen]\nexit",
                "4:15",
                "there is no map `sen`",
                "did you mean `seen`? Otherwise declare it, as in `.map sen array key=4 value=8 entries=1`",
            ),
            (
                "r0 = 0\nexit",
                "1:1",
                "this code is in no section",
                "libbpf takes a program's type from the section's name: write `.section \"socket\"`, for instance, before it",
            ),
            (
                ".section \"tc\"\nr0 = 0 # nothing\nexit",
                "2:1",
                "the first instruction of section `tc` is in no function",
                "write `.function NAME` before it",
            ),
            (
                ".section \"tc\"\n.function f\nr0 = 0\n    r1 = 2 ; last\n",
                "4:5",
                "this is the last instruction of function `f`, and what runs on behind it is not defined",
                "end with `exit`, or with a jump",
            ),
            (
                ".section \"sokcet\"\n.function f\nexit",
                "1:1",
                "libbpf knows no section `sokcet`, by whose name it would tell the type of the program",
                "did you mean `socket`?",
            ),
            (".licence \"GPL\"", "1:1", "`.licence` is no directive", "did you mean `.license`?"),
            (
                ".extern bpf_x\n.section \"tc\"\n.function f\ncall bpf_x\nexit",
                "4:1",
                "this calls the kernel's function `bpf_x`, for which libbpf wants its types, which are not known here",
                "call it by its BTF id, as in `call kernel-function#1234`, which `bpftool btf dump file /sys/kernel/btf/vmlinux` shows",
            ),
            (
                ".map m array key=4 value=8 entries=2\n.section \"tc\"\n.function f\nr1 = map[name:m][0]+0\nexit",
                "1:1",
                "a program addresses the value of map `m`, which libbpf offers only for an array of one entry without flags, with a key of 4 bytes, that no instruction uses as a map, and here for up to 16 MiB",
                "look the value up instead",
            ),
            (
                ".section \"tc\"\n.function f\ncall bpf_get_prandom_u32\nexit",
                "1:1",
                "there is no licence, and many helpers are for programs under the GPL alone",
                "write `.license \"GPL\"` if that is so",
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
        // Each is the nearest.
        ("1: goto 1f\n1: goto 1b\n1: exit", "a: goto b\nb: goto b\nc: exit"),
        ("if (r1 s> 5) goto out\nout: exit", "if r1 s> 5 goto out\nout: exit"),
        (".equ SIZE, -8\n*(u64 *)(r10 SIZE) = SIZE\nexit", "*(u64 *)(r10 -8) = -8\nexit"),
        (".byte 0xb7, 0\n.short 0\n.long -2\n.quad 0x95", "r0 = -2\nexit"),
    ] {
        assert_eq!(code(&around(other)), code(&around(ours)), "{other}");
    }
    // A section goes on where it stands again.
    let text = ".license \"GPL\"\n.section \"tc\"\n.function a\nexit\n.section \"xdp\"\n.function b\nexit\n.section \"tc\"\n.function c\nexit";
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
fn mistakes_in_the_language_of_gnu_as_are_shown_where_they_are() {
    let program = |text: &str| {
        format!("\t.section tc,\"ax\",@progbits\n\t.globl f\n\t.type f,@function\nf:\n{text}")
    };
    check(
        &[
            (
                ".license \"GPL\"\nexit",
                "5:1",
                "`.license` does not go together with the directives of GNU as, which this text has",
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
                "there is no `go` here: it is taken for another's",
                "did you mean `goo`? Otherwise declare it by `.globl go` if that is so",
            ),
            ("exit\nf: exit", "6:1", "there is a label `f` already, in line 4", ""),
            (
                "exit\n.data\nr1 = 1",
                "7:1",
                "there is no code in section `.data`",
                "flags of sections of code are \"ax\"",
            ),
            ("exit\n.data\n.long 5000000000", "7:7", "5000000000 does not fit 32 bits", ""),
            ("exit\n.bss\n.byte 1", "7:7", "section `.bss` holds zeros alone", ""),
            ("exit\n.zero 999999999999", "6:1", "the section would be larger than 256 MiB", ""),
            ("exit\n.ascii \"\\q\"", "6:9", "there is an unknown escape in this", ""),
            ("exit\n.ascii abc", "6:8", "a text in quotes is missing here", ""),
            ("exit\n.p2align 70", "6:10", "nothing is aligned to 70", ""),
            (
                "exit\n.size f, f",
                "6:1",
                "the size of `f` is no number of bytes",
                "write a number, or the difference of two labels of one section",
            ),
            (
                "exit\n.type f,@thing",
                "6:10",
                "`thing` is no type; there are @function and @object",
                "",
            ),
            ("exit\n.sectoin x", "6:1", "`.sectoin` is no directive", "did you mean `.section`?"),
            ("exit\n.data\n.long f-g", "7:7", "these are no two labels of one section", ""),
            ("r1 = w2\nr1 /= 0; exit", "6:1", "the verifier refuses a division by 0", ""),
        ],
        program,
    );
}

#[test]
fn the_number_of_mistakes_costs_no_more_than_their_number() {
    // Each of as many labels could be meant by each of as many jumps.
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
    // Eight times as many; 64 times as long, were it quadratic.
    assert!(many < few * 30, "{many:?} for 8000 mistakes, {few:?} for 1000");
}
