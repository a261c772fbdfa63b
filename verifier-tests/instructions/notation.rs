//! Compares our notation with the kernel's.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};

use bpf_asm::insn::{
    Call, Decoded, Insn, JumpIf, Register, Source, Wide, WideSource, decode, encode,
};
use bpf_asm::text::{Section, Unit, assemble};
use syscalls::{LogLevel, Map, MapKind, MapSpec, Prog, ProgKind, ProgSpec};
use tcp_shunt::kernel::load;

use super::{case, kernel::running};
use crate::variant::{self, Variant};
use crate::verifier::{self, LICENSE};

/// The instructions in a log, each with its slot and line.
fn shown(log: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    log.lines().filter_map(|line| {
        let line = line.trim_start();
        let (slot, rest) = line.split_once(": (")?;
        let text = rest.split_once(") ")?.1;
        // Register states follow as a comment; on 7.3, the states of stack pointers follow without
        // one.
        let text = text
            .split('\t')
            .next()?
            .split("  ")
            .next()?
            .split(" //")
            .next()?
            .split(';')
            .next()?
            .trim_end();
        Some((slot.parse().ok()?, text, line.split('\t').next()?))
    })
}

/// Where our text differs from the kernel's, which is ambiguous there, or has the name of a kfunc.
fn differs(insn: &Insn) -> bool {
    matches!(insn, Insn::Wide(_) | Insn::Call(Call::Kernel { .. }))
        || matches!(insn, Insn::JumpIf(JumpIf { src: Source::Imm(..0), .. }))
}

/// Compares a log with the instructions; returns the number of lines compared.
fn same(what: &str, log: &str, code: &[Decoded]) -> usize {
    let section = Section { code: code.to_vec(), ..Section::default() };
    let mut lines = 0;
    for (slot, text, line) in shown(log) {
        let piece = section.pieces().find(|(at, _)| *at == slot).map(|(_, piece)| *piece);
        let Some(Decoded::Insn(insn)) = piece else {
            panic!("{what}: there is no slot {slot}, but the log has {line}")
        };
        // For a map, logs show its address.
        if matches!(insn, Insn::Wide(Wide { source, .. }) if !matches!(source, WideSource::Imm(_)))
        {
            continue;
        }
        let read = assemble(what, line).unwrap_or_else(|errors| panic!("{errors}\n{insn}"));
        assert_eq!(
            encode(&read.sections[0].code),
            encode(&[Decoded::Insn(insn)]),
            "{what}: {line}, which is {insn}"
        );
        if !differs(&insn) {
            assert_eq!(text, insn.to_string(), "{what}");
        }
        lines += 1;
    }
    lines
}

#[test]
fn logs_of_every_form_match_our_text_and_are_read_back() {
    let map =
        Map::create(&MapSpec::new(MapKind::ARRAY, "numbers", 4, 1 << 15, 1)).expect("create a map");
    let (mut forms, mut lines) = (0, 0);
    for case in case::all().into_iter().map(case::Case::brief) {
        if case.since().kernel.is_none_or(|needed| needed > running()) {
            continue;
        }
        let source = WideSource::MapValue { fd: map.as_fd().as_raw_fd(), offset: 0 };
        let insns = case.program(Insn::Wide(Wide { dst: Register::R6, source }));
        let spec = ProgSpec::new(ProgKind::SOCKET_FILTER, "notation", LICENSE, &insns);
        let (_, log) = Prog::load_with_log(&spec, LogLevel::DETAILED)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let seen = same(&case.name, &log, &decode(&insns));
        assert!(seen >= 6, "{}: only {seen} instructions in\n{log}", case.name);
        lines += seen;
        forms += 1;
    }
    println!("{lines} lines of {forms} forms");
    assert!(forms > 100);
}

#[test]
fn logs_of_shunts_programs_match_our_text_and_are_read_back() {
    let maps = load::maps(&variant::usual().maps.all()).expect("make the maps, as root");
    let mut programs = BTreeSet::new();
    for Variant { name, program } in variant::all() {
        // Variants differ in a few instructions, whose forms are in the log of every form.
        if !programs.insert(program.name().to_owned()) {
            continue;
        }
        let what = format!("{} ({name})", program.name());
        let (_, log) = verifier::load(&program, &maps, LogLevel::DETAILED)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let few = 100.min(program.slots() / 2);
        assert!(
            same(&what, &log, &Unit::from(&program).sections[0].code) > few,
            "{what}: too few instructions in\n{log}"
        );
    }
}
