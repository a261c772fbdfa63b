//! What is pinned, as the binary of the same [`ABI`] that made it expects it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use bpf_asm::{FieldInfo, Record, Type};

use super::*;
use crate::datapath::map::Maps;
use crate::datapath::{Counter, Reads};

const RECORDED: &str = "src/datapath/record/abi.txt";

fn name(of: &Type) -> String {
    match of {
        Type::Int { name, .. } | Type::Record { name, .. } => (*name).to_owned(),
        Type::Array { element, len } => format!("[{}; {len}]", name(element)),
    }
}

/// Every record, as its name and its fields.
fn records() -> Vec<(&'static str, &'static [FieldInfo])> {
    fn of<R: Record>() -> (&'static str, &'static [FieldInfo]) {
        (R::NAME, R::FIELDS)
    }
    vec![
        of::<Isns>(),
        of::<End>(),
        of::<Lane>(),
        of::<Process>(),
        of::<Candidate>(),
        of::<Adoption>(),
        of::<Newcomer>(),
        of::<Request>(),
        of::<Pass>(),
        of::<Endings>(),
        of::<Control>(),
        of::<Ports>(),
        of::<Prefix>(),
        of::<Comm>(),
        of::<Refusal>(),
        of::<Tracer>(),
        of::<Event>(),
        of::<FlowEnd>(),
        of::<Holder>(),
        of::<About>(),
    ]
}

/// What two versions with the same number have to agree on.
fn layout() -> String {
    let mut text = format!("abi {ABI}\n");
    let mut say = |line: String| writeln!(text, "{line}").expect("write to a string");
    for map in Maps::new(1).all() {
        let side = |of: Option<Type>| of.map_or("nothing".to_owned(), |of| name(&of));
        say(format!("map {}: {} to {}", map.name, side(map.key), side(map.value)));
    }
    for (record, fields) in records() {
        say(format!("record {record}"));
        for FieldInfo { name: field, offset, ty } in fields {
            say(format!("{offset:6} {field}: {}", name(ty)));
        }
    }
    let modes = [Mode::Tcp, Mode::Direct, Mode::Ended, Mode::Leaving, Mode::Left];
    modes.iter().for_each(|mode| say(format!("mode {mode:?} = {}", *mode as u32)));
    let roles = [Role::Client, Role::Server];
    roles.iter().for_each(|role| say(format!("role {role:?} = {}", *role as u32)));
    let reads = [Reads::Receives, Reads::MaySplice, Reads::Splices];
    reads.iter().for_each(|reads| say(format!("reads {reads:?} = {}", *reads as u32)));
    for (index, counter) in Counter::ALL.iter().enumerate() {
        say(format!("counter {index} {}", counter.name()));
    }
    text
}

#[test]
fn a_layout_that_is_not_the_recorded_one_has_another_abi() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED);
    let recorded = fs::read_to_string(&path).expect("read the recorded layout");
    let layout = layout();
    if recorded == layout {
        return;
    }
    let line = |text: &str| text.lines().next().map(str::to_owned);
    assert_ne!(
        line(&recorded),
        line(&layout),
        "what is pinned is not what {RECORDED} says of this ABI: an agent of this version would \
         misread the maps of one before. Give ABI in src/datapath/record.rs the next number, or \
         undo the change:\n{}",
        difference(&recorded, &layout)
    );
    assert!(
        std::env::var_os("UPDATE_ABI").is_some(),
        "a new ABI: write its layout down by UPDATE_ABI=1, and what becomes of open flows in \
         docs/upgrading.md"
    );
    fs::write(&path, layout).expect("write the layout down");
}

/// Lines that only one of them has.
fn difference(before: &str, after: &str) -> String {
    let (was, is): (BTreeSet<&str>, BTreeSet<&str>) =
        (before.lines().collect(), after.lines().collect());
    let gone = was.difference(&is).map(|line| format!("- {line}"));
    gone.chain(is.difference(&was).map(|line| format!("+ {line}"))).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_record_of_the_file_is_in_the_layout() {
    let source = include_str!("../record.rs");
    let blocks = source.split("\nrecord! {").skip(1);
    let written: BTreeSet<&str> = blocks
        .flat_map(|block| block.split("\n}\n").next())
        .flat_map(|block| block.split("pub struct ").skip(1))
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    let listed: BTreeSet<&str> = records().into_iter().map(|(name, _)| name).collect();
    assert_eq!(written, listed);
}
