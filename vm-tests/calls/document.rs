//! The table of calls in docs/differences.md is what the tests show.

use std::path::PathBuf;
use std::process::Command;

use crate::differences::{CALLS, Call};
use testkit::kernels::Table;

/// The variable that makes a run write the table anew.
const UPDATE: &str = "UPDATE_DIFFERENCES";

/// The column of docs/kernels.md that is about one machine.
const MACHINE: &str = "machine";

/// The first row of the table, by which it is found.
const HEAD: &str = "| call |";

#[test]
fn the_document_has_every_call_as_it_is_on_each_kernel() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/differences.md");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines: Vec<&str> = text.lines().collect();
    let start = lines
        .iter()
        .position(|line| line.starts_with(HEAD))
        .expect("a table of calls in the document");
    let length = lines[start..].iter().take_while(|line| line.starts_with('|')).count();
    let (written, table) = (&lines[start..start + length], table());
    if written == table {
        return;
    }
    assert!(
        std::env::var_os(UPDATE).is_some(),
        "{} is not what vm-tests/calls/differences.rs says; write its table anew: {UPDATE}=1 cargo test --test calls document",
        path.display()
    );
    let before = lines[..start].iter().copied();
    let after = lines[start + length..].iter().copied();
    let new: String = before
        .chain(table.iter().map(String::as_str))
        .chain(after)
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&path, new).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The rows of the table, its head first.
fn table() -> Vec<String> {
    let kernels = Table::read();
    // These tests are not among those that run on arm64.
    let told = |name: &&str| *name != MACHINE && !name.ends_with("-arm64");
    let names: Vec<&str> = kernels.kernels().filter(told).collect();
    let head = format!("{HEAD} {} | |", names.join(" | "));
    let line = format!("|---|{}---|", "---|".repeat(names.len()));
    let row = |call: &Call| {
        let cells: Vec<&str> = names
            .iter()
            .map(|name| {
                call.standing(|behaviour| {
                    kernels
                        .answer(name, behaviour.statement())
                        .is_some_and(|answer| answer == "yes")
                })
            })
            .collect();
        format!("| {} | {} | {}{} |", call.name, cells.join(" | "), call.guard, call.remedy)
    };
    [head, line].into_iter().chain(CALLS.iter().map(row)).collect()
}

/// Its other direction, a test without a row, fails in that test.
#[test]
fn every_row_is_shown_by_a_test() {
    let this = std::env::current_exe().expect("the path of this test binary");
    let list =
        Command::new(this).args(["--list", "--format", "terse"]).output().expect("list the tests");
    let list = String::from_utf8(list.stdout).expect("a list in UTF-8");
    let tests: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for call in CALLS {
        assert!(
            tests.contains(&call.test),
            "{} is to be shown by {}, which there is not",
            call.name,
            call.test
        );
    }
}
