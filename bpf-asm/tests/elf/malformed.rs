//! Malformed objects: reading gives a unit or an error.

use std::sync::LazyLock;

use bpf_asm::elf::ReadError;
use bpf_asm::text::{self, Style};
use bpf_asm::{Builder, MapKind, MapRef, ProgramType, elf, helper};
use proptest::prelude::*;

use crate::clang;

/// An object of ours, and one of clang.
static OBJECTS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [written(), clang::object()]);

static TEXTS: LazyLock<[String; 2]> = LazyLock::new(|| {
    OBJECTS.each_ref().map(|object| elf::disassemble(object, &Style::default()).expect("a text"))
});

fn written() -> Vec<u8> {
    const VALUES: MapRef<u32, [u64; 2]> = MapRef::new("values", MapKind::Hash, 16);
    const STATE: MapRef<u32, u64> = MapRef::new("state", MapKind::Array, 1);
    let b = Builder::new("reader");
    let twice = b.function("twice", |[number]: [bpf_asm::Reg; 1]| {
        number.lsh(1);
        b.ret(&number);
    });
    let key = b.slot::<u32>();
    b.store(key.place(), 1);
    drop(b.call(helper::map_lookup_elem(&VALUES, &key)));
    let state = b.map_value(&STATE);
    let number = b.load(state.at_all());
    drop(state);
    b.ret(b.call_local(&twice, [(&number).into()]));
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|error| panic!("{error}"));
    elf::write(&elf::unit("GPL", &[&program]).expect("one program"))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_long_line_of_many_instructions_is_refused() {
    let object = |count: usize| {
        let code = "r0 = 0\n".repeat(count - 1);
        let source = format!(".section \"xdp\"\n.function f\n{code}exit");
        let mut unit = text::assemble("long.s", &source).expect("a unit");
        let text = "x".repeat(1 << 20);
        let line =
            |slot| text::Line { slot, file: String::new(), line: 1, column: 0, text: text.clone() };
        unit.sections[0].lines = (0..count).map(line).collect();
        elf::write(&unit).expect("an object")
    };
    assert!(elf::read(&object(3)).is_ok());
    let error = elf::read(&object(65)).map(drop).expect_err("65 MiB of lines");
    assert!(error.to_string().contains("its lines would take more than 64 MiB"), "{error}");
    assert!(elf::disassemble(&object(65), &Style::default()).is_ok());
}

/// Reads an object, and uses the result in every way.
fn read(bytes: &[u8]) -> bool {
    read_and(bytes, true)
}

/// The same, with or without its text.
fn read_and(bytes: &[u8], text: bool) -> bool {
    if text
        && let Ok(text) = elf::disassemble(bytes, &Style { lines: true, slots: true, bytes: true })
    {
        let again =
            elf::assemble("again.s", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(elf::disassemble(&again.object, &Style::default()).is_ok(), "{text}");
    }
    let Ok(unit) = elf::read(bytes) else { return false };
    let _ = text::disassemble(&unit, &Style { lines: true, slots: true, bytes: true });
    let _ = elf::write(&unit);
    true
}

#[test]
fn a_truncated_object_is_an_error() {
    for object in OBJECTS.iter() {
        assert!(read(object));
        for length in 0..object.len() {
            // Section headers come last, and nothing can be read without all of them.
            assert!(
                !read(&object[..length]),
                "{length} of {} bytes are accepted as an object",
                object.len()
            );
        }
    }
}

/// The position of these bytes in an object.
fn find(object: &[u8], bytes: &[u8]) -> Vec<usize> {
    let windows = object.windows(bytes.len()).enumerate();
    windows.filter(|(_, window)| *window == bytes).map(|(at, _)| at).collect()
}

#[test]
fn each_contradiction_has_an_error_of_its_own() {
    let object = &OBJECTS[0];
    let read = |at: usize, bytes: &[u8]| {
        let mut object = object.clone();
        object[at..at + bytes.len()].copy_from_slice(bytes);
        elf::read(&object).map(drop).expect_err("a contradiction")
    };
    assert!(matches!(read(0, b"\x7fELG"), ReadError::Elf(_)));
    // e_machine: x86-64.
    assert!(matches!(read(18, &[62, 0]), ReadError::Machine));
    // .BTF and .BTF.ext begin with the same header.
    let headers = find(object, &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(headers.len(), 2);
    for (at, section) in headers.into_iter().zip([".BTF", ".BTF.ext"]) {
        let error = read(at, &[0, 0]);
        assert!(
            matches!(error, ReadError::Btf { section: found, .. } if found == section),
            "{error}"
        );
    }
    // The map's variable and its symbol differ in name.
    let names = find(object, b"\0values\0");
    assert_eq!(names.len(), 2, "in .BTF and in .strtab");
    let error = read(names[0], b"\0others\0");
    assert!(matches!(&error, ReadError::Map { map, .. } if map == "values"), "{error}");
    // The relocated instruction is of another kind.
    let load = find(object, &[0x18, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let call = find(object, &[0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    for (at, says) in [(load[0], "is not on a 64-bit load"), (call[0], "is not on a call")] {
        let error = read(at, &[0x95]);
        assert!(
            matches!(&error, ReadError::Relocation { section, problem, .. } if section == "socket" && *problem == says)
        );
    }
    // A function that starts inside an instruction: its symbol is found by its start and size.
    let code = elf::read(object)
        .expect("whole")
        .sections
        .iter()
        .find(|section| section.name == "socket")
        .map(|s| s.slots());
    let symbol = [[0; 8], (code.expect("code") as u64 * 8).to_le_bytes()].concat();
    let error = read(find(object, &symbol)[0], &[4]);
    assert!(matches!(&error, ReadError::Symbol { name } if name == "reader"), "{error}");
    // A call to a slot that is not the start of a function.
    let error = read(call[0] + 4, &[0]);
    assert!(error.to_string().contains("does not refer to the start of a function"), "{error}");
}

#[test]
fn no_changed_byte_makes_the_reader_panic() {
    let mut taken = 0;
    for object in OBJECTS.iter() {
        for at in 0..object.len() {
            let mut object = object.clone();
            // All bits, a low bit, and the sign bit.
            object[at] ^= [0xff, 0x01, 0x80][at % 3];
            taken += u32::from(read_and(&object, at % 7 == 0));
        }
    }
    assert!(taken > 1000, "too few changed objects were still read: {taken}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_bytes_make_the_reader_panic(
        which in 0usize..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>(), 1usize..5), 1..8),
    ) {
        let mut object = OBJECTS[which].clone();
        for (at, word, length) in changes {
            let at = at.index(object.len());
            for (byte, new) in object[at..].iter_mut().zip(word.to_le_bytes()).take(length) {
                *byte = new;
            }
        }
        read(&object);
    }

    #[test]
    fn no_changed_text_makes_the_assembler_panic(
        which in 0usize..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..12), 1..6),
    ) {
        const PIECES: [&str; 12] =
            ["", "-", ",", "\"", "é", ".L", "\n.data\n", "\n.bss\n", " .quad f-f+", "\n1: goto 1b;", "0x", "\\"];
        let mut text = TEXTS[which].clone();
        for (from, to, piece) in changes {
            let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let (from, to) = (*from.get(&ends), *to.get(&ends));
            let end = ends.iter().copied().find(|end| *end >= to.clamp(from, from + 20)).unwrap_or(text.len());
            text.replace_range(from..end, PIECES[piece]);
        }
        match elf::assemble("changed.s", &text) {
            Ok(assembled) => prop_assert!(assembled.object.starts_with(b"\x7fELF")),
            Err(errors) => prop_assert!(errors.to_string().contains("changed.s:"), "{}", errors),
        }
    }

    #[test]
    fn bytes_that_were_never_an_object_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(elf::read(&bytes).is_err());
    }
}
