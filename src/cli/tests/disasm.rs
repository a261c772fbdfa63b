//! `shunt disasm`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{EXAMPLE, SHUNT, shunt, shunt_reading, stderr_of, stdout_of};
use bpftool::run;

fn assemble(text: &str, into: &Path) -> PathBuf {
    let object = into.join("program.o");
    stdout_of(shunt_reading(text, &["asm", "-", "-o", object.to_str().expect("a path")]));
    object
}

fn disassemble(file: &Path, options: &[&str]) -> String {
    stdout_of(shunt([&["disasm", file.to_str().expect("a path")], options].concat()))
}

#[test]
fn an_object_becomes_text_that_assembles_to_the_same_object() {
    let dir = tempfile::tempdir().expect("make a folder");
    let object = assemble(EXAMPLE, dir.path());
    let text = disassemble(&object, &[]);
    for part in [
        ".license \"GPL\"",
        ".section \"xdp\"",
        ".function count",
        "r1 = map[name:packets]",
        "goto L1",
        "L1:",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert!(text.contains("    ; <stdin>:7\n    r2 = r10\n"), "{text}");
    let again = tempfile::tempdir().expect("make a folder");
    let strip = |text: &str| {
        text.lines()
            .filter(|line| !line.trim().starts_with(';'))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let object = assemble(&text, again.path());
    assert_eq!(strip(&disassemble(&object, &[])), strip(&text));
}

#[test]
fn an_object_of_a_compiler_survives_a_round_trip() {
    let dir = tempfile::tempdir().expect("make a folder");
    let path = |name: &str| dir.path().join(name);
    let source = "int counter = 5; __attribute__((section(\"xdp\"), used)) \
                  int pass(void *c) { return counter; }\n";
    fs::write(path("pass.c"), source).expect("write the source");
    let clang = Command::new("clang")
        .args(["-target", "bpf", "-O2", "-g", "-c", "pass.c"])
        .current_dir(dir.path())
        .status();
    assert!(clang.expect("clang is missing: apt-get install clang").success());
    let text = disassemble(&path("pass.o"), &[]);
    for part in [
        "\t.section\txdp,\"ax\",@progbits\n",
        "r1 = counter ll\n",
        "counter:\n\t.byte\t0x05\n",
        "[1] ",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let again = assemble(&text, dir.path());
    assert_eq!(disassemble(&again, &[]), text);
}

#[test]
fn raw_instructions_are_shown_with_their_slots_and_bytes() {
    let dir = tempfile::tempdir().expect("make a folder");
    let file = dir.path().join("program.bin");
    fs::write(
        &file,
        [&[0xb7, 0, 0, 0, 7, 0, 0, 0][..], &[0x95, 0, 0, 0, 0, 0, 0, 0], &[0xff; 8]].concat(),
    )
    .expect("write instructions");
    let text = disassemble(&file, &["--slots", "--bytes"]);
    for part in ["0: ", "b7 00 00 00 07 00 00 00", "r0 = 7", "1: ", "exit", ".byte 0xff"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    fs::write(&file, [0; 9]).expect("write bytes");
    assert!(stderr_of(shunt([Path::new("disasm"), &file])).contains("it has 9 bytes"));
}

#[test]
fn a_program_in_the_kernel_is_shown_with_the_kernel_s_names() {
    let text = "
.license \"GPL\"
.map packets array key=4 value=8 entries=1
.map names hash key=4 value=8 entries=4
.map state array key=4 value=24 entries=1
.section \".text\"
.function double
    r0 = r1
    r0 += r1
    exit
.function rounds
    r0 = 0
    exit
.section \"socket\"
.function count
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = map[name:names]
    call bpf_map_lookup_elem
    r2 = r10
    r2 += -4
    r1 = map[name:packets]
    call bpf_map_lookup_elem
    r1 = map[name:state][0]+16
    r6 = *(u64 *)(r1 +0)
    r1 = 3
    r2 = subprog[rounds]
    r3 = 0
    r4 = 0
    call bpf_loop
    call bpf_get_current_pid_tgid
    r1 = r6
    call double
    exit
";
    let dir = tempfile::tempdir().expect("make a folder");
    let object = fs::read(assemble(text, dir.path())).expect("read the object");
    let by_id = format!(
        "{SHUNT} disasm --id $(bpftool -j prog show pinned progs/count | sed 's/.*\"id\":\\([0-9]*\\),.*/\\1/')"
    );
    let hidden = format!(
        "setpriv --bounding-set=-all --inh-caps=-all {SHUNT} disasm --pinned progs/count 2>&1 || true"
    );
    let output = run(
        &object,
        &[
            &format!("{SHUNT} disasm --pinned progs/count"),
            &by_id,
            &format!("{SHUNT} disasm --pinned maps/names 2>&1 || true"),
            &hidden,
            &format!("{SHUNT} disasm --pinned progs/count --bytes"),
            "bpftool prog dump xlated pinned progs/count file ../xlated; od -An -v -tx1 ../xlated",
        ],
    );
    let shown = &output[0];
    for part in [
        ".map packets array key=4 value=8 entries=1",
        ".map names hash key=4 value=8 entries=4",
        ".function count",
        ".function double",
        "    ; <stdin>:19\n    r1 = map[name:names]\n",
        "    ; <stdin>:20: call bpf_map_lookup_elem\n",
        "    r1 = map[name:names]\n",
        // The verifier replaces a lookup in a hash by a call of its implementation.
        "    call __htab_map_lookup_elem\n",
        "    r1 = map[name:.data.state][0]+16\n",
        "    r2 = subprog[rounds]\n",
        "    call double\n",
    ] {
        let part = part.replace("map[name:.data.state]", "map[name:\".data.state\"]");
        assert!(shown.contains(&part), "no {part} in\n{shown}");
    }
    assert_eq!(&output[1], shown);
    assert!(output[2].contains("holds a bpf-map, not a bpf-prog"), "{}", output[2]);
    assert!(output[3].contains("CAP_BPF"), "{}", output[3]);
    // Map ids and function addresses are those of the kernel, whatever names are shown.
    let is_byte =
        |word: &&str| word.len() == 2 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
    let insns = output[4]
        .lines()
        .filter(|line| line.starts_with("    ") && !line.trim_start().starts_with(';'));
    let shown: Vec<&str> =
        insns.flat_map(|line| line.split_whitespace().take_while(is_byte)).collect();
    let kernels: Vec<&str> = output[5].split_whitespace().collect();
    assert!(kernels.len() > 100);
    assert_eq!(shown, kernels);
}

#[test]
fn a_program_that_cannot_be_shown_is_an_error_that_says_why() {
    let dir = tempfile::tempdir().expect("make a folder");
    let file = dir.path().join("broken.o");
    let mut object = fs::read(assemble(EXAMPLE, dir.path())).expect("read the object");
    object.truncate(object.len() / 2);
    fs::write(&file, object).expect("write half an object");
    let broken = stderr_of(shunt([Path::new("disasm"), &file]));
    assert!(broken.contains("broken.o: ") && broken.contains("not a readable ELF"), "{broken}");
    let missing = stderr_of(shunt(["disasm", "--id", "4294967295"]));
    assert!(missing.contains("4294967295"), "{missing}");
    assert_eq!(shunt(["disasm"]).status.code(), Some(2), "one of three must be given");
}
