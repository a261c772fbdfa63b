//! Which ways of which conditional jumps the tests have taken.
//!
//! Each test runs in a thread of its own, in no order. So the test below runs all others, but the
//! one that tries everything out, once more in a process that notes what it sees in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use bpf_asm::Program;

use super::interpreter::conditional_jumps;
use super::kernel::Kernel;
use crate::datapath::Datapath;

/// Names the file in the process that notes.
const FILE: &str = "SHUNT_DATAPATH_COVERAGE";

/// What has been noted, and where.
struct Notes {
    file: File,
    seen: BTreeSet<String>,
}

static NOTES: LazyLock<Option<Mutex<Notes>>> = LazyLock::new(|| {
    let path = std::env::var_os(FILE)?;
    let file = OpenOptions::new()
        .append(true)
        .open(path)
        .expect("the file that the coverage test has made");
    Some(Mutex::new(Notes { file, seen: BTreeSet::new() }))
});

/// Notes the ways that a run has taken: two bytes for each instruction slot, for the jump not taken
/// and taken.
pub fn note(kernel: Kernel, program: &Program, marks: &[u8]) {
    let Some(notes) = &*NOTES else { return };
    let mut notes = notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Notes { file, seen } = &mut *notes;
    for (way, _) in marks.iter().enumerate().filter(|(_, mark)| **mark == 1) {
        let line = line(kernel, program, way);
        if seen.insert(line.clone()) {
            writeln!(file, "{line}").expect("a note");
        }
    }
}

fn line(kernel: Kernel, program: &Program, way: usize) -> String {
    format!("{kernel:?} {} {way}", program.name())
}

/// Both ways of every conditional jump include every instruction that can be reached.
#[test]
fn every_branch_is_taken_both_ways_by_some_test() {
    let notes = tempfile::NamedTempFile::new().unwrap();
    let tests = Command::new(std::env::current_exe().unwrap())
        .args([
            "datapath::",
            "--skip",
            "every_branch_is_taken_both_ways_by_some_test",
            "--skip",
            "whatever_fails",
        ])
        .env(FILE, notes.path())
        .output()
        .unwrap();
    assert!(
        tests.status.success(),
        "the tests themselves fail:\n{}",
        String::from_utf8_lossy(&tests.stdout)
    );
    let text = std::fs::read_to_string(notes.path()).unwrap();
    let taken: BTreeSet<&str> = text.lines().collect();

    let mut missing = String::new();
    for kernel in Kernel::ALL {
        let settings = kernel.settings();
        let programs = Datapath::new(kernel.layout(), settings).programs().unwrap();
        for (_, program) in &programs {
            let bytes = program.for_rbpf(|_| 0);
            let lines: BTreeMap<usize, String> =
                program.insns().map(|(slot, insn, at)| (slot, format!("{insn}  ; {at}"))).collect();
            let ways =
                || conditional_jumps(&bytes).flat_map(|slot| [(slot, "false"), (slot, "true")]);
            let mut count = 0;
            for (way, (slot, condition)) in
                ways().map(|way| (way.0 * 2 + usize::from(way.1 == "true"), way))
            {
                if taken.contains(line(kernel, program, way).as_str()) {
                    count += 1;
                } else {
                    missing += &format!(
                        "{kernel:?} {}: {slot} never {condition}: {}\n",
                        program.name(),
                        lines[&slot]
                    );
                }
            }
            let all = ways().count();
            assert!(all > 0, "{} has no branch", program.name());
            println!(
                "{kernel:?} {}: {count} of {all} ways, {} slots",
                program.name(),
                program.slots()
            );
        }
    }
    assert!(missing.is_empty(), "no test takes these ways:\n{missing}");
}
