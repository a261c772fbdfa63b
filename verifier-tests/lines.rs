//! Loaded programs have the Rust line of every instruction, for `bpftool prog dump xlated linum`
//! and for the verifier's log.

use std::collections::BTreeSet;

use syscalls::{Btf, BtfObject};
use tcp_shunt::datapath::ProgramName;
use tcp_shunt::kernel::load;

use crate::variant;

/// The source files of each program, without those that it shares with others.
fn files(program: ProgramName) -> &'static [&'static str] {
    match program {
        ProgramName::Establish => {
            &["establish.rs", "handshake.rs", "candidate.rs", "leave.rs", "proof.rs"]
        }
        ProgramName::Send => &["send.rs", "gate.rs", "receiver.rs", "lane.rs", "fallback.rs"],
        ProgramName::Verdict => &["verdict.rs"],
        ProgramName::Enrol => &["enrol.rs", "guard.rs", "waiters.rs"],
        ProgramName::Reads => &["evidence.rs"],
        ProgramName::Options => &["options.rs"],
        ProgramName::Adopt => &["adopt.rs", "look.rs"],
        ProgramName::Show => &["look.rs"],
        ProgramName::Look => &["look.rs"],
        ProgramName::Holders => &["holder.rs"],
    }
}

#[test]
fn the_kernel_has_the_file_line_and_text_of_every_instruction() {
    let datapath = variant::usual();
    let maps = load::maps(&datapath.maps.all()).expect("make the maps, as root");
    let programs = datapath.programs().expect("assemble");
    for (program, written) in &programs {
        let (files, program, name) = (files(*program), written, written.name());
        let loaded = load::program(program, &maps).unwrap_or_else(|error| panic!("{error:#}"));
        let btf = BtfObject::open_id(loaded.info().expect("read the program's info").btf_id)
            .expect("open the program's BTF");
        let btf = Btf::parse(btf.data().expect("read the program's BTF")).expect("parse");
        let text = |offset| btf.string(offset).expect("a string of the program's BTF");

        let written: BTreeSet<(&str, u32)> =
            program.insns().map(|(_, _, at)| (at.file(), at.line())).collect();
        let records = loaded.line_info().expect("read the program's info");
        let known: BTreeSet<(&str, u32)> =
            records.iter().map(|record| (text(record.file_name), record.line)).collect();
        // The verifier may remove dead code and rewrites the rest, but adds no lines.
        assert!(known.is_subset(&written), "{name}: {:?}", known.difference(&written));
        assert!(
            records.len() * 10 >= program.insns().count() * 9,
            "{name}: only {} lines are present",
            records.len()
        );
        assert_eq!(records.first().map(|record| record.insn), Some(0), "{name}");
        assert!(
            records.windows(2).all(|pair| pair[0].insn < pair[1].insn),
            "{name}: lines are out of order"
        );
        assert!(
            known.iter().all(|(file, _)| file.starts_with("src/datapath/")),
            "{name}: {known:?}"
        );
        for file in files {
            assert!(
                known.iter().any(|(known, _)| known.ends_with(file)),
                "{name}: no line of {file}"
            );
        }
        let texts: BTreeSet<&str> = records.iter().map(|record| text(record.text)).collect();
        let maps: &[&str] = if program.maps().is_empty() { &[] } else { &["map[name:"] };
        for part in ["exit", "call bpf_"].iter().chain(maps) {
            assert!(texts.iter().any(|text| text.contains(part)), "{name}: no line has {part}");
        }
    }
}
