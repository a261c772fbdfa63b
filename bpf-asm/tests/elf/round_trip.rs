//! Objects read back as they were written.

use bpf_asm::elf;
use bpf_asm::text::{self, Style, Target, Unit};

const SOURCE: &str = r#"
.license "GPL"
.map counts hash key=4 value=8 entries=16 flags=1
.map events ringbuf entries=4096
.map limits array key=4 value=4 entries=1 flags=0x80
.value limits 7, 0, 1
.map state array key=4 value=24 entries=1
.value state "of the first"
.value state " value\0\n"
.section ".text"
.function double
    r0 = r1
    r0 += r1
    exit
.section "socket"
.function first
    r1 = map[name:counts]
    r2 = map[name:events]
    r3 = map[name:state][0]+16
    r2 = map[name:limits][0]+0
    r4 = subprog[double]
    r1 = 21
    call double
    exit
.function second
    r0 = 0x1122334455667788 ll
    exit
.section "xdp"
.function drop
    r0 = 1
    exit
"#;

fn assemble(source: &str) -> Unit {
    text::assemble("source.s", source).unwrap_or_else(|error| panic!("{error}"))
}

fn there_and_back(unit: &Unit) -> Unit {
    let object = elf::write(unit).unwrap_or_else(|error| panic!("{error}"));
    elf::read(&object).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_unit_reads_back_as_it_was_written() {
    let unit = assemble(SOURCE);
    let mut read = there_and_back(&unit);
    // Maps are returned in the order of the object's sections.
    read.maps.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(read, unit);
}

#[test]
fn all_attributes_of_maps_read_back_as_they_were_written() {
    let unit = assemble(
        ".map bloom bloom_filter value=8 entries=4 flags=4 numa_node=0 extra=3 pinning=1\n\
         .map outer hash_of_maps key=8 value=4 entries=4 inner=(lpm_trie key=8 value=4 entries=2 flags=1 numa_node=1)\n\
         .section \"xdp\"\n.function p\nr1 = map[name:outer]\nr1 = map[name:bloom]\nexit",
    );
    let [bloom, outer] = &unit.maps[..] else { panic!("other maps") };
    assert_eq!((bloom.numa_node, bloom.extra, bloom.pinning), (Some(0), 3, 1));
    let inner = outer.inner.as_ref().expect("a template");
    assert_eq!((inner.kind, inner.key_size, inner.numa_node, inner.flags), (11, 8, Some(1), 1));
    let mut read = there_and_back(&unit);
    assert_eq!(read, unit);
    // As text, too.
    let text = text::disassemble(&read, &Style::default());
    read.sections[0].lines.clear();
    let mut again = assemble(&text);
    again.sections[0].lines.clear();
    assert_eq!(again, read, "{text}");
}

#[test]
fn a_called_function_is_moved_and_its_callers_still_find_it() {
    let unit = assemble(
        ".section \"xdp\"\n.function main\ncall helper\nr1 = subprog[helper]\nr1 = subprog[deeper]\nexit\n.function helper\nr0 = 3\ncall deeper\nexit\n\
         .function deeper\nr0 = 4\nexit",
    );
    let read = there_and_back(&unit);
    let names: Vec<(&str, Vec<(&str, usize)>)> = read
        .sections
        .iter()
        .map(|section| {
            (
                section.name.as_str(),
                section.functions.iter().map(|f| (f.name.as_str(), f.slot)).collect(),
            )
        })
        .collect();
    assert_eq!(names, [("xdp", vec![("main", 0)]), (".text", vec![("helper", 0), ("deeper", 3)])]);
    let references: Vec<_> =
        read.sections[0].references.iter().map(|named| (named.slot, named.to.clone())).collect();
    let helper = || Target::Function("helper".into());
    assert_eq!(references, [(0, helper()), (1, helper()), (3, Target::Function("deeper".into()))]);
    // Within a section, a call is a distance.
    let text = text::disassemble(&read, &Style::default());
    assert!(text.contains("    call deeper\n"), "{text}");
    assert_eq!(there_and_back(&read), read);
    let lines: Vec<(usize, u32)> =
        read.sections[1].lines.iter().map(|line| (line.slot, line.line)).collect();
    assert_eq!(lines, [(0, 8), (1, 9), (2, 10), (3, 12), (4, 13)]);
}
