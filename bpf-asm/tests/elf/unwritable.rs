//! What libbpf could not load is rejected with a hint.

use bpf_asm::elf::{self, UnitError, WriteError};
use bpf_asm::insn::decode;
use bpf_asm::text::{
    self, CType, Extern, ExternType, Function, Line, Map, Reference, Section, Target, Unit,
};
use bpf_asm::{Builder, Call, MapKind, MapRef, ProgramType, Reg, helper};
use proptest::collection::vec;
use proptest::prelude::*;

fn assemble(source: &str) -> Unit {
    text::assemble("test.s", source).unwrap_or_else(|error| panic!("{error}"))
}

/// Nothing in a program is dropped silently.
#[test]
fn a_program_that_an_object_cannot_hold_is_rejected() {
    const ARENA: MapRef<(), ()> = MapRef::arena("arena", 1).extra(1 << 44);
    let finished = |call: Call<Reg>| {
        let b = Builder::new("missing");
        drop(b.call(call));
        b.ret(0);
        b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let program = finished(Call::named("bpf_rcu_read_lock", vec![]));
    let unit = elf::unit("GPL", &[&program]).expect("all but its types can be written");
    let error = elf::write(&unit).expect_err("a kfunc without its types");
    assert!(
        matches!(&error, WriteError::Kernel { name, .. } if name == "bpf_rcu_read_lock"),
        "{error}"
    );
    let program = finished(Call::raw(1, vec![(&ARENA).into()]));
    let unit = elf::unit("GPL", &[&program]).expect("all but its address can be written");
    let error = elf::write(&unit).expect_err("an address of 64 bits");
    assert!(matches!(&error, WriteError::Extra { map, .. } if map == "arena"), "{error}");
    let b = Builder::new("other");
    b.ret(0);
    let program =
        b.finish(ProgramType::Other { number: 99, attach_type: 0 }).expect("any number will do");
    let error = elf::unit("GPL", &[&program]).expect_err("libbpf knows no section");
    assert!(matches!(error, UnitError::Type { number: 99, .. }), "{error}");
}

#[test]
fn what_libbpf_could_not_load_is_rejected_with_a_hint() {
    type Refused = fn(&WriteError) -> bool;
    let table: [(&str, Refused, &str); 14] = [
        ("r0 = 0\nexit", |e| matches!(e, WriteError::NoSection { .. }), "write `.section"),
        (
            ".section \"xdp\"\nr0 = 0\nexit",
            |e| matches!(e, WriteError::OutsideFunction { .. }),
            "write `.function NAME`",
        ),
        (
            ".section \"xdp\"\n.function a\n.function b\nexit",
            |e| matches!(e, WriteError::Empty { .. }),
            "`a`",
        ),
        (
            ".section \"xdp\"\n.function a\ncall a\nexit",
            |e| matches!(e, WriteError::NoProgram { .. }),
            "put functions that are only called into `.text`",
        ),
        (
            ".map x hash key=4 value=4 entries=1\n.section \"xdp\"\n.function x\nexit",
            |e| matches!(e, WriteError::Twice { .. }),
            "duplicate name `x`",
        ),
        (
            ".section \"xdp\"\n.function \"a b\"\nexit",
            |e| matches!(e, WriteError::Name { .. }),
            "`a b`",
        ),
        (
            ".section \".maps\"\n.function a\nexit",
            |e| matches!(e, WriteError::Section { .. }),
            "`.maps`",
        ),
        (
            ".section \"xdp\"\n.function a\ncall pc+1\nexit\nr0 = 0\nexit",
            |e| matches!(e, WriteError::Call { target: 2, .. }),
            "this calls slot 2 of section `xdp`",
        ),
        (
            ".extern f\n.section \"xdp\"\n.function a\ncall f\nexit",
            |e| matches!(e, WriteError::Kernel { .. }),
            "declare them as C does",
        ),
        (
            ".map x array key=4 value=8 entries=2\n.section \"xdp\"\n.function a\nr1 = map[name:x][0]+0\nexit",
            |e| matches!(e, WriteError::Value { .. }),
            "look the value up instead",
        ),
        (
            ".map x array key=4 value=8 entries=1\n.section \"xdp\"\n.function a\nr1 = map[name:x][0]+0\nr1 = map[name:x]\nexit",
            |e| matches!(e, WriteError::Value { .. }),
            "`x`",
        ),
        (
            ".map x array key=4 value=8 entries=1\n.value x 1\n.section \"xdp\"\n.function a\nr1 = map[name:x]\nexit",
            |e| matches!(e, WriteError::Content { .. }),
            "only where programs address it",
        ),
        (
            ".map x array_of_maps key=4 value=4 entries=1 inner=(array key=4 value=4 entries=1 pinning=1)\n.section \"xdp\"\n.function a\nexit",
            |e| matches!(e, WriteError::Inner { .. }),
            "cannot itself have",
        ),
        (
            ".section \"xdp\"\n.function a\nexit\n.byte 1, 2",
            |e| matches!(e, WriteError::Torn { .. }),
            "multiple of 8",
        ),
    ];
    for (source, expected, says) in table {
        let error = elf::write(&assemble(source)).expect_err(source);
        assert!(expected(&error), "{source}\n{error:?}");
        assert!(error.to_string().contains(says), "{source}\n{error}");
    }
}

/// A text could not tell them from its own labels, or would lose them.
#[test]
fn an_object_with_symbols_named_like_local_labels_has_no_text() {
    let data = "\t.type\tXLend0,@object\n\t.data\nXLend0:\t.quad 1\n\t.size\tXLend0, 8\n";
    let code = "\t.section tc,\"ax\"\n\t.type\tXLend0,@function\nXLend0:\texit\n";
    let table = [
        data.to_owned(),
        format!("\t.globl XLend0\n{data}").replace("end0", "name"),
        format!("{code}\t.data\n\t.quad 1\n").replace("end0", "name"),
    ];
    for source in table {
        let assembled = elf::assemble("test.s", &source).unwrap_or_else(|error| panic!("{error}"));
        let mut object = assembled.object;
        let places: Vec<usize> =
            (0..object.len() - 2).filter(|at| object[*at..].starts_with(b"XL")).collect();
        places.into_iter().for_each(|at| object[at] = b'.');
        let error = elf::disassemble(&object, &text::Style::default()).expect_err(&source);
        assert!(error.to_string().contains("has the name of a local label"), "{error}");
    }
}

#[test]
fn more_than_btf_can_count_is_rejected() {
    const COUNT: usize = u16::MAX as usize + 1;
    let variable = |n: usize| Extern {
        name: format!("variable{n}"),
        ty: ExternType::Variable(CType::Void),
        weak: false,
    };
    let parameters = vec![CType::Void; COUNT];
    let ty = ExternType::Function { result: CType::Void, parameters };
    let map = |n: usize| Map { name: format!("map{n}"), ..Map::default() };
    let table = [
        Unit { maps: (0..COUNT).map(map).collect(), ..Unit::default() },
        Unit { externs: (0..COUNT).map(variable).collect(), ..Unit::default() },
        Unit { externs: vec![Extern { ty, ..variable(0) }], ..Unit::default() },
    ];
    for unit in table {
        let error = elf::write(&unit).map(|object| object.len()).expect_err("too many");
        assert!(matches!(error, WriteError::TooMany { given: COUNT, .. }), "{error}");
    }
}

#[test]
fn an_undefined_reference_is_rejected() {
    let mut unit = assemble(
        ".map x hash key=4 value=4 entries=1\n.section \"xdp\"\n.function a\nr1 = map[name:x]\nexit",
    );
    for to in [
        Target::Map("y".into()),
        Target::Map("a".into()),
        Target::Function("x".into()),
        Target::Map("license".into()),
    ] {
        unit.sections[0].references[0].to = to.clone();
        let error = elf::write(&unit).expect_err("there is no such map or function");
        assert!(
            matches!(&error, WriteError::Unknown { at, .. } if at.slot == 0),
            "{to:?}: {error:?}"
        );
    }
}

#[test]
fn programs_with_different_maps_of_one_name_are_rejected() {
    let using = |map: MapRef<u32, u32>| {
        let b = Builder::new("user");
        let key = b.slot::<u32>();
        b.store(key.place(), 0);
        drop(b.call(helper::map_lookup_elem(&map, &key)));
        b.ret(0);
        b.finish(ProgramType::SocketFilter).expect("a program")
    };
    let small = using(MapRef::new("same", MapKind::Hash, 1));
    let large = using(MapRef::new("same", MapKind::Hash, 2));
    let refused = elf::unit("GPL", &[&small, &large]).expect_err("two maps");
    assert_eq!(refused, UnitError::Maps { map: "same".into() });
    assert_eq!(elf::unit("GPL", &[&small, &small]).expect("one map").maps.len(), 1);
}

#[test]
fn an_iterator_must_take_its_context() {
    let b = Builder::new("walk");
    b.ret(0);
    let program = b.finish(ProgramType::Iterator).expect("a program");
    assert_eq!(elf::unit("GPL", &[&program]), Err(UnitError::Iterator { program: "walk".into() }));
    let b = Builder::new("walk");
    drop(b.context::<bpf_asm::bpf_iter__sockmap>());
    b.ret(0);
    let program = b.finish(ProgramType::Iterator).expect("a program");
    assert_eq!(
        elf::unit("GPL", &[&program]).expect("over a sockmap").sections[0].name,
        "iter/sockmap"
    );
}

/// A few names, so that some are equal.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("xdp".to_owned()), Just(".text".to_owned()), "[ab]", any::<String>()]
}

/// Loads, calls and returns, so that references are on valid instructions; and anything.
fn slot() -> impl Strategy<Value = [u8; 8]> {
    let wide = (0..7u8).prop_map(|pseudo| [0x18, pseudo << 4 | 1, 0, 0, 0, 0, 0, 0]);
    let call = any::<i8>().prop_map(|to| {
        [[0x85, 0x10, 0, 0], i32::from(to % 8).to_le_bytes()].concat().try_into().unwrap()
    });
    prop_oneof![wide, Just([0; 8]), call, Just([0x95, 0, 0, 0, 0, 0, 0, 0]), any::<[u8; 8]>()]
}

fn section() -> impl Strategy<Value = Section> {
    let target = prop_oneof![
        name().prop_map(Target::Map),
        name().prop_map(Target::Function),
        name().prop_map(Target::Kernel)
    ];
    let parts = (
        name(),
        vec(slot(), 0..8),
        vec((name(), 0..6usize), 0..3),
        vec((0..9usize, target), 0..4),
        vec(0..9usize, 0..3),
    );
    parts.prop_map(|(name, code, functions, references, lines)| Section {
        name: name.clone(),
        code: decode(code.as_flattened()),
        functions: functions
            .into_iter()
            .map(|(name, slot)| Function { name, slot, context: None })
            .collect(),
        references: references.into_iter().map(|(slot, to)| Reference { slot, to }).collect(),
        lines: lines
            .into_iter()
            .map(|slot| Line {
                slot,
                file: name.clone(),
                line: u32::MAX,
                column: u32::MAX,
                text: String::new(),
            })
            .collect(),
        found: None,
    })
}

fn map() -> impl Strategy<Value = Map> {
    (name(), 0..4u32, 0..9u32, 0..9u32, any::<u32>()).prop_map(
        |(name, kind, key_size, value_size, max_entries)| Map {
            name,
            kind,
            key_size,
            value_size,
            max_entries,
            ..Map::default()
        },
    )
}

proptest! {
    #[test]
    fn any_unit_becomes_an_object_that_can_be_read_or_an_error(
        sections in vec(section(), 0..4),
        maps in vec(map(), 0..4),
        license in proptest::option::of(any::<String>()),
    ) {
        let unit = Unit { license, maps, sections, ..Unit::default() };
        if let Ok(object) = elf::write(&unit) {
            prop_assert!(elf::read(&object).is_ok(), "{unit:?}");
        }
    }
}
