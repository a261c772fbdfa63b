//! Compares with LLVM in both directions: what it assembles from our text, and what we assemble
//! from its text.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use bpf_asm::insn::{
    Atomic, AtomicOp, Call, Decoded, Insn, Isa, JumpLong, Packet, Register, Wide, WideSource,
    decode, encode,
};
use bpf_asm::text::assemble;

use crate::forms::ALL;

/// The oldest version with all forms, of which `gotox` is the latest.
const LLVM: std::ops::RangeInclusive<u32> = 22..=40;

/// One of LLVM's tools, by its name in distributions.
fn tool(name: &str) -> String {
    for version in LLVM {
        let tool = format!("{name}-{version}");
        if Command::new(&tool).arg("--version").output().is_ok_and(|output| output.status.success())
        {
            return tool;
        }
    }
    panic!(
        "{name}-{} is missing, with which the assembler is compared; install it, for example by: \
        apt-get install llvm-{}",
        LLVM.start(),
        LLVM.start()
    )
}

fn run(command: &mut Command, input: &[u8]) -> (bool, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("write what is to be assembled"));
        child.wait_with_output().expect("wait")
    });
    let text = |bytes| String::from_utf8(bytes).expect("LLVM writes UTF-8");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// The bytes that llvm-mc assembles from each line; `None` if it rejects the line or leaves it to
/// the linker.
fn llvm_assembles(lines: &[String], version: Isa) -> Vec<Option<Vec<u8>>> {
    let (mc, version) = (tool("llvm-mc"), format!("-mcpu={version}"));
    let mc = |input: &str| {
        run(Command::new(&mc).args(["-triple=bpfel", &version, "-show-encoding"]), input.as_bytes())
    };
    // It reports all errors at once, but then assembles nothing: a second run omits those lines.
    let (_, _, errors) = mc(&lines.join("\n"));
    let refused: Vec<usize> = errors
        .lines()
        .filter(|line| line.contains(": error: "))
        .map(|line| {
            line.split(':').nth(1).and_then(|number| number.parse().ok()).expect("a line number")
        })
        .collect();
    let taken: Vec<&str> = lines
        .iter()
        .enumerate()
        .filter(|(number, _)| !refused.contains(&(number + 1)))
        .map(|(_, line)| line.as_str())
        .collect();
    let (success, output, errors) = mc(&taken.join("\n"));
    assert!(success, "{errors}");
    let encodings =
        output.lines().filter_map(|line| line.split_once("# encoding: [")).map(|(_, bytes)| {
            let bytes = bytes.trim_end_matches(']').split(',');
            // A symbol has no bytes yet.
            bytes.map(|byte| u8::from_str_radix(byte.strip_prefix("0x")?, 16).ok()).collect()
        });
    let encodings: Vec<Option<Vec<u8>>> = encodings.collect();
    assert_eq!(encodings.len(), taken.len());
    let mut encodings = encodings.into_iter();
    (1..=lines.len())
        .map(|number| if refused.contains(&number) { None } else { encodings.next().flatten() })
        .collect()
}

/// The output of llvm-objdump for each piece of code, with its address and bytes.
fn llvm_disassembles(pieces: &[Vec<u8>]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a place for an object file");
    let object = directory.path().join("forms.o");
    let mut text = String::new();
    for piece in pieces {
        let bytes: Vec<String> = piece.iter().map(u8::to_string).collect();
        text.push_str(&format!(".byte {}\n", bytes.join(",")));
    }
    let mut mc = Command::new(tool("llvm-mc"));
    let (success, _, errors) =
        run(mc.args(["-triple=bpfel", "-filetype=obj", "-o"]).arg(&object), text.as_bytes());
    assert!(success, "{errors}");
    let mut objdump = Command::new(tool("llvm-objdump"));
    let (success, output, errors) = run(objdump.args(["-d", "--mcpu=v4"]).arg(&object), &[]);
    assert!(success, "{errors}");
    let lines = output
        .lines()
        .filter(|line| line.contains(":\t"))
        .filter(|line| !line.contains("file format"));
    lines.map(str::to_owned).collect()
}

/// A form in llvm-mc's syntax, or why it has none.
fn llvm_spelling(insn: &Insn) -> Result<String, &'static str> {
    let ours = insn.to_string();
    let half = |register: Register| format!("w{}", register.number());
    Ok(match *insn {
        // Distances have no `pc` in its syntax.
        Insn::Jump(_) | Insn::JumpIf(_) | Insn::MayGoto(_) => ours.replace("goto pc", "goto "),
        Insn::JumpLong(JumpLong { offset }) if i16::try_from(offset).is_err() => {
            return Err(
                "its parser takes no more than 16 bits, also for gotol; longer jumps need a label",
            );
        }
        Insn::JumpLong(_) => ours.replace("gotol pc", "gotol "),
        // It knows helpers only by number.
        Insn::Call(Call::Helper { id }) => format!("call {id}"),
        Insn::Call(Call::Local { .. } | Call::Kernel { .. }) => {
            return Err(
                "its parser makes a helper's call of every number; others need a symbol and a \
                relocation",
            );
        }
        // Since v3, it uses the subregister for up to 32 bits.
        Insn::LoadAcquire(load) if load.size.bytes() < 8 => ours.replacen('r', "w", 1),
        Insn::StoreRelease(store) if store.size.bytes() < 8 => {
            ours.replace(&format!(", {})", store.src), &format!(", {})", half(store.src)))
        }
        Insn::Atomic(atomic) => llvm_atomic(&atomic),
        Insn::Packet(Packet { index: Some(_), offset, .. }) if offset != 0 => {
            return Err("it has no offset with a register");
        }
        Insn::Packet(_) => ours.replace(" + 0]", "]"),
        Insn::Wide(Wide { source: WideSource::Imm(_), .. }) => ours,
        // One mnemonic covers all addresses.
        Insn::Wide(Wide { dst, .. }) => match halves(insn) {
            (kind, low, 0) => format!("ld_pseudo {dst}, {kind}, {low}"),
            _ => return Err("its mnemonic for addresses has no upper half"),
        },
        _ => ours,
    })
}

/// The kind of a 64-bit load, and both halves of its operand.
fn halves(insn: &Insn) -> (u8, i32, i32) {
    let bytes = encode(&[Decoded::Insn(*insn)]);
    let half = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (bytes[1] >> 4, half(4), half(12))
}

fn llvm_atomic(atomic: &Atomic) -> String {
    let ours = atomic.to_string();
    let wide = atomic.width == bpf_asm::insn::Width::W64;
    let letter = if wide { 'r' } else { 'w' };
    let (src, memory) = (atomic.src.number(), format!("{} {:+}", atomic.base, atomic.offset));
    match atomic.op {
        AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {
            ours.replace(&format!("= {}", atomic.src), &format!("= {letter}{src}"))
        }
        AtomicOp::Exchange if wide => format!("r{src} = xchg_64({memory}, r{src})"),
        AtomicOp::Exchange => format!("w{src} = xchg32_32({memory}, w{src})"),
        AtomicOp::CompareExchange if wide => format!("r0 = cmpxchg_64({memory}, r0, r{src})"),
        AtomicOp::CompareExchange => format!("w0 = cmpxchg32_32({memory}, w0, w{src})"),
        _ if wide => ours.replace("atomic64", "atomic"),
        _ => ours
            .replace(&format!("{} = ", atomic.src), &format!("w{src} = "))
            .replace(&format!(", {})", atomic.src), &format!(", w{src})")),
    }
}

#[test]
fn llvm_assembles_our_text_to_our_bytes() {
    let mut silent: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut lines, mut expected) = (Vec::new(), Vec::new());
    for (bytes, insn) in ALL.iter() {
        match llvm_spelling(insn) {
            Ok(line) => {
                lines.push(line);
                expected.push((bytes, insn));
            }
            Err(reason) => *silent.entry(reason).or_default() += 1,
        }
    }
    for ((line, theirs), (ours, insn)) in
        lines.iter().zip(llvm_assembles(&lines, Isa::V4)).zip(&expected)
    {
        assert_eq!(theirs.as_ref(), Some(*ours), "`{line}`, which we write `{insn}`");
    }
    println!("{} forms agree; {silent:#?}", lines.len());
    assert!(lines.len() > 20_000 && silent.len() == 4);
}

/// LLVM's parser accepts more than its compiler emits for a version, but never less than what we
/// say the version has.
#[test]
fn llvm_accepts_what_we_say_a_version_has() {
    for version in [Isa::V1, Isa::V2, Isa::V3] {
        let forms = ALL.iter().filter(|(_, insn)| insn.since().isa <= version);
        let forms = forms.filter_map(|(bytes, insn)| Some((bytes, llvm_spelling(insn).ok()?)));
        let (bytes, lines): (Vec<_>, Vec<_>) = forms.unzip();
        assert!(lines.len() > 5000);
        for ((line, theirs), ours) in lines.iter().zip(llvm_assembles(&lines, version)).zip(bytes) {
            assert_eq!(theirs.as_ref(), Some(ours), "{version}: `{line}`");
        }
    }
}

/// What LLVM's text for a form omits.
fn llvm_leaves_out(insn: &Insn) -> Option<&'static str> {
    match insn {
        Insn::Packet(Packet { index: Some(_), offset, .. }) if *offset != 0 => {
            Some("the offset with a register")
        }
        Insn::Call(Call::Kernel { btf, .. }) if *btf != 0 => Some("the BTF of a kfunc"),
        Insn::Wide(wide) if !matches!(wide.source, WideSource::Imm(_)) && halves(insn).2 != 0 => {
            Some("the upper half of an address")
        }
        _ => None,
    }
}

#[test]
fn we_assemble_what_llvm_writes_to_its_bytes() {
    let pieces: Vec<Vec<u8>> = ALL.iter().map(|(bytes, _)| bytes.clone()).collect();
    let lines = llvm_disassembles(&pieces);
    assert_eq!(lines.len(), ALL.len());
    let mut left_out = 0;
    for (line, (bytes, insn)) in lines.iter().zip(ALL.iter()) {
        assert!(!line.contains("<unknown>"), "{line}, which is {insn}");
        let unit = assemble("llvm.s", line).unwrap_or_else(|errors| panic!("{errors}\n{insn}"));
        let ours = encode(&unit.sections[0].code);
        match llvm_leaves_out(insn) {
            None => assert_eq!(&ours, bytes, "{line}, which is {insn}"),
            Some(what) => {
                assert_ne!(&ours, bytes, "{line} has {what} after all");
                left_out += 1;
            }
        }
    }
    assert!(left_out > 0 && left_out < 2000, "{left_out}");
}

/// LLVM decodes instructions with nonzero unused fields, which verifiers reject. Otherwise it knows
/// no opcode that we treat as data.
#[test]
fn llvm_knows_no_opcode_that_we_do_not() {
    let mut data: Vec<Vec<u8>> = Vec::new();
    for opcode in 0..=255u8 {
        for src in 0..11u8 {
            for offset in [0u8, 1, 8, 16, 32] {
                for imm in [
                    [0u8; 4],
                    [16, 0, 0, 0],
                    [1, 1, 0, 0],
                    [0x51, 0, 0, 0],
                    [0, 1, 0, 0],
                    [0x10, 1, 0, 0],
                ] {
                    let slot = [&[opcode, src << 4 | 1, offset, 0][..], &imm].concat();
                    let wide = if opcode == 0x18 { [slot, vec![0; 8]].concat() } else { slot };
                    if !matches!(decode(&wide)[..], [Decoded::Insn(_)]) {
                        data.push(wide);
                    }
                }
            }
        }
    }
    let lines = llvm_disassembles(&data);
    let mut ignored = 0;
    for line in lines.iter().filter(|line| !line.contains("<unknown>")) {
        // The same text without the unused fields is an instruction of ours with the same opcode.
        match assemble("llvm.s", line) {
            Ok(_) => ignored += 1,
            Err(errors) => assert!(
                KNOWN_TO_LLVM_ALONE.iter().any(|known| line.contains(known)),
                "{line}\n{errors}"
            ),
        }
    }
    assert!(ignored > 1000, "{ignored}");
}

/// Kinds of loads that no kernel has; LLVM prints any number.
const KNOWN_TO_LLVM_ALONE: [&str; 4] =
    ["ld_pseudo\tr1, 0x7,", "ld_pseudo\tr1, 0x8,", "ld_pseudo\tr1, 0x9,", "ld_pseudo\tr1, 0xa,"];

/// Our text, LLVM's if it has one, and why they differ. Each entry is verified, so that the table
/// stays true.
const DIFFERENT: [(&str, Option<&str>, &str); 17] = [
    ("goto pc+3", Some("goto +3"), "the kernel writes `pc`"),
    ("if r1 == r2 goto pc-3", Some("if r1 == r2 goto -3"), "the same"),
    ("gotol pc+70000", None, "LLVM's parser takes 16 bits; its printer writes all 32"),
    ("may_goto pc+3", Some("may_goto +3"), "the kernel writes `pc`"),
    (
        "call bpf_map_lookup_elem#1",
        Some("call 1"),
        "LLVM knows no helper names, and treats # as a comment",
    ),
    ("call pc+5", None, "LLVM treats every number as a helper's"),
    ("call kernel-function#7", None, "LLVM makes these from symbols only"),
    (
        "r1 = load_acquire((u32 *)(r2 +8))",
        Some("w1 = load_acquire((u32 *)(r2 +8))"),
        "LLVM writes the subregister",
    ),
    ("store_release((u8 *)(r1 +8), r2)", Some("store_release((u8 *)(r1 +8), w2)"), "the same"),
    ("lock *(u32 *)(r1 +8) |= r2", Some("lock *(u32 *)(r1 +8) |= w2"), "the same"),
    (
        "r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)",
        Some("r2 = atomic_fetch_add((u64 *)(r1 +8), r2)"),
        "LLVM has one name for both sizes",
    ),
    (
        "r2 = atomic64_xchg((u64 *)(r1 +8), r2)",
        Some("r2 = xchg_64(r1 +8, r2)"),
        "names of LLVM's own",
    ),
    (
        "r0 = atomic_cmpxchg((u32 *)(r1 +8), r0, r2)",
        Some("w0 = cmpxchg32_32(r1 +8, w0, w2)"),
        "names of LLVM's own",
    ),
    ("r0 = *(u8 *)skb[r1 + 3]", None, "LLVM has no offset beside the register"),
    (
        "r1 = map[fd:3]",
        Some("ld_pseudo r1, 1, 3"),
        "LLVM has one mnemonic for all 64-bit loads of addresses",
    ),
    ("r1 = map[fd:3][0]+8", None, "that word has no upper half"),
    (
        "r1 = 0xffffffff",
        None,
        "LLVM requires `ll`; we do not if the number does not fit in 32 bits",
    ),
];

#[test]
fn each_disagreement_with_llvm_still_holds() {
    for (ours, theirs, why) in DIFFERENT {
        let unit = assemble("ours.s", ours).unwrap_or_else(|errors| panic!("{errors}"));
        let bytes = encode(&unit.sections[0].code);
        let lines: Vec<String> =
            [Some(ours), theirs].into_iter().flatten().map(str::to_owned).collect();
        let assembled = llvm_assembles(&lines, Isa::V4);
        assert_ne!(
            assembled[0].as_ref(),
            Some(&bytes),
            "LLVM now accepts `{ours}`; it did not before: {why}"
        );
        if let Some(theirs) = theirs {
            assert_eq!(assembled[1].as_ref(), Some(&bytes), "`{theirs}`");
        }
    }
}
