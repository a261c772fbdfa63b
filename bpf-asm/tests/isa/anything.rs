//! Property tests: no input panics, and bytes are preserved.

use bpf_asm::insn::{Decoded, Insn, decode, encode};
use bpf_asm::text::{
    Function, Line, Map, Reference, Section, Style, Target, Unit, assemble, disassemble,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes that are instructions more often than random ones.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let opcodes = prop_oneof![
        any::<u8>(),
        Just(0x18),
        Just(0x05),
        Just(0x85),
        Just(0x15),
        Just(0xb7),
        Just(0xdb)
    ];
    let registers = (0..12u8, 0..12u8).prop_map(|(src, dst)| src << 4 | dst);
    let offset = prop_oneof![Just(0i16), -6..6i16, any::<i16>()];
    let imm = prop_oneof![Just(0i32), -6..6i32, any::<i32>()];
    let slot = (opcodes, registers, offset, imm).prop_map(|(opcode, registers, offset, imm)| {
        [&[opcode, registers][..], &offset.to_le_bytes(), &imm.to_le_bytes()].concat()
    });
    (vec(slot, 0..40), vec(any::<u8>(), 0..8))
        .prop_map(|(slots, rest)| [slots.concat(), rest].concat())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,4}", "L[0-9]", "bpf_loop", "r[0-9]", "pc", any::<String>()]
}

/// A unit with valid and invalid references.
fn unit() -> impl Strategy<Value = Unit> {
    let map =
        (name(), 0..40u32, any::<u32>(), any::<u32>()).prop_map(|(name, kind, size, entries)| {
            Map {
                name,
                kind,
                key_size: size,
                value_size: 8,
                max_entries: entries,
                flags: size,
                numa_node: (size % 3 == 0).then_some(size),
                extra: u64::from(entries) << (size % 40),
                pinning: size % 2,
                inner: (size % 5 == 0).then(|| Box::new(Map { kind: 2, ..Map::default() })),
                ..Map::default()
            }
        });
    let target = prop_oneof![
        name().prop_map(Target::Map),
        name().prop_map(Target::Function),
        name().prop_map(Target::Kernel)
    ];
    let section = (
        name(),
        code(),
        vec((name(), 0..60usize), 0..4),
        vec((0..60usize, target), 0..8),
        any::<String>(),
    );
    let section = section.prop_map(|(name, bytes, functions, references, text)| {
        let mut functions: Vec<Function> = functions
            .into_iter()
            .map(|(name, slot)| Function { name, slot, context: None })
            .collect();
        functions.sort_by_key(|function| function.slot);
        let mut references: Vec<Reference> =
            references.into_iter().map(|(slot, to)| Reference { slot, to }).collect();
        references.sort_by_key(|reference| reference.slot);
        let lines = vec![Line { slot: 0, file: text.clone(), line: 7, column: 0, text }];
        Section { name, code: decode(&bytes), functions, references, lines, found: None }
    });
    (any::<Option<String>>(), vec(map, 0..3), vec(section, 0..3))
        .prop_map(|(license, maps, sections)| Unit { license, maps, sections, ..Unit::default() })
}

/// Whether a text can express all names of a unit.
fn unambiguous(unit: &Unit) -> bool {
    let unique = |names: Vec<&String>| {
        let set: std::collections::HashSet<&String> = names.iter().copied().collect();
        set.len() == names.len()
    };
    unique(unit.maps.iter().map(|map| &map.name).collect())
        && unique(unit.sections.iter().map(|section| &section.name).collect())
        && unique(
            unit.sections
                .iter()
                .flat_map(|section| &section.functions)
                .map(|function| &function.name)
                .collect(),
        )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_preserved(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(encode(&decode(&bytes)), bytes.clone());
        let text = disassemble(&Unit::from_bytes(&bytes), &Style::default());
        let unit = assemble("any.s", &text).map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        prop_assert_eq!(unit.sections.first().map(|section| encode(&section.code)).unwrap_or_default(), bytes);
    }

    #[test]
    fn code_is_preserved_in_text_with_labels(bytes in code()) {
        prop_assert_eq!(encode(&decode(&bytes)), bytes.clone());
        let text = disassemble(&Unit::from_bytes(&bytes), &Style { slots: true, bytes: true, lines: true });
        let unit = assemble("any.s", &text).map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        prop_assert_eq!(unit.sections.first().map(|section| encode(&section.code)).unwrap_or_default(), bytes);
    }

    #[test]
    fn units_are_preserved_with_their_names(unit in unit()) {
        let text = disassemble(&unit, &Style { slots: true, bytes: false, lines: true });
        match assemble("any.s", &text) {
            Ok(read) => {
                let named: Vec<&str> = unit.sections.iter().map(|section| section.name.as_str()).collect();
                prop_assert!(read.sections.len() <= named.len());
                // Sections of one name are merged.
                for (read, section) in read.sections.iter().zip(&unit.sections).filter(|_| unambiguous(&unit)) {
                    prop_assert_eq!(&read.name, &section.name);
                    prop_assert_eq!(encode(&read.code), encode(&section.code), "{}", text);
                }
                prop_assert_eq!((&read.license, &read.maps), (&unit.license, &unit.maps));
            }
            // Text cannot continue after data that ends in a partial slot, nor express duplicate
            // names.
            Err(errors) => prop_assert!(!unambiguous(&unit), "{}\n{}", errors, text),
        }
    }

    #[test]
    fn an_instruction_is_never_longer_than_its_bytes(bytes in vec(any::<u8>(), 0..20)) {
        if let Some(insn) = Insn::decode(&bytes) {
            prop_assert!(insn.slots() * 8 <= bytes.len());
            prop_assert_eq!(Insn::decode(&encode(&[Decoded::Insn(insn)])), Some(insn));
        }
    }

    #[test]
    fn any_text_is_assembled_or_rejected_at_a_position(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn nearly_valid_text_is_assembled_or_rejected_at_a_position(
        words in vec(prop_oneof![
            prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<u64>().prop_map(|number| format!("{number:#x}")),
            "\\PC{0,3}",
        ], 0..40),
        glue in prop::sample::select(vec!["", " ", "\t"]),
    ) {
        check(&words.join(glue))?;
    }
}

const WORDS: [&str; 72] = [
    "r0",
    "r1",
    "r10",
    "r11",
    "w2",
    "=",
    "+=",
    "s>>=",
    "s/=",
    "-",
    "+",
    "*",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "#",
    "<",
    ">",
    "==",
    "s>",
    "&",
    "u8",
    "u32",
    "u64",
    "s16",
    "if",
    "goto",
    "gotol",
    "may_goto",
    "gotox",
    "pc",
    "call",
    "callx",
    "exit",
    "lock",
    "atomic64_fetch_add",
    "atomic_cmpxchg",
    "xchg_64",
    "load_acquire",
    "store_release",
    "addr_space_cast",
    "skb",
    "map",
    "name",
    "fd",
    "idx",
    "id",
    "btf",
    "subprog",
    "ll",
    "be16",
    "bswap64",
    "bpf_loop",
    "kernel",
    "function",
    "\n",
    "\n",
    "\n",
    "\n.map",
    ".function",
    ".section",
    ".byte",
    ".license",
    ".minimum",
    ".extern",
    "\"",
    "x:",
    "x",
    "12: (bf)",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    let lines: Vec<&str> = text.lines().collect();
    match assemble("any.s", text) {
        Ok(unit) => {
            let again = disassemble(&unit, &Style::default());
            let read = assemble("again.s", &again)
                .map_err(|errors| TestCaseError::fail(format!("{errors}\n{again}")))?;
            for (read, unit) in read.sections.iter().zip(&unit.sections) {
                prop_assert_eq!(encode(&read.code), encode(&unit.code), "{}", again);
                prop_assert_eq!(&read.functions, &unit.functions);
                prop_assert_eq!(&read.references, &unit.references);
            }
        }
        Err(errors) => {
            prop_assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                let line = lines.get(error.line - 1).copied();
                prop_assert_eq!(line, Some(error.text.as_str()));
                prop_assert!(
                    error.column + error.width - 1 <= error.text.chars().count() + 1,
                    "{:?}",
                    error
                );
            }
            prop_assert!(errors.to_string().contains("any.s:") && !errors.render(true).is_empty());
        }
    }
    Ok(())
}
