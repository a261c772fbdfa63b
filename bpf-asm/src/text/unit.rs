//! What one text, or one object file, holds.

use crate::insn::{Decoded, Insn, Minimum, Since, decode};
use crate::program::Program;
use crate::record::Type;

/// Programs, their functions and their maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// What the programs are under.
    pub license: Option<String>,
    /// What they have to run on, if that was stated.
    pub minimum: Minimum,
    /// The maps that they name.
    pub maps: Vec<Map>,
    /// The code.
    pub sections: Vec<Section>,
    /// What the object that it was read from has and this does not hold, if there is anything. Such
    /// a unit is to be looked at: neither is it written as an object nor assembled from text, since
    /// either would be another program.
    pub incomplete: Option<String>,
}

/// A map, to be created under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// The name.
    pub name: String,
    /// The kind (`enum bpf_map_type`).
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries it can hold; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` flags for `BPF_MAP_CREATE`.
    pub flags: u32,
    /// The type of the keys, where it is known; it has as many bytes. Text has none.
    pub key: Option<Type>,
    /// The type of the values, likewise.
    pub value: Option<Type>,
}

/// A stretch of code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// The name, from which libbpf takes the type of the programs; empty for code that is in no
    /// section.
    pub name: String,
    /// Instructions, and what is none.
    pub code: Vec<Decoded>,
    /// The functions that begin in it, by slot.
    pub functions: Vec<Function>,
    /// What instructions name that has no number yet, by slot.
    pub references: Vec<Reference>,
    /// Where instructions come from, by slot.
    pub lines: Vec<Line>,
    /// The code as it is where it was found, if names have taken the place of numbers in it, as
    /// many bytes. They are shown and count for nothing else.
    pub found: Option<Vec<u8>>,
}

/// The beginning of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name, of which there is one in a unit.
    pub name: String,
    /// Its first slot.
    pub slot: usize,
    /// The type of the context that it takes, where it is known. Text has none.
    pub context: Option<Type>,
}

/// What an instruction names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The instruction's first slot.
    pub slot: usize,
    /// What it names.
    pub to: Target,
}

/// Something with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A map, on a load of a [`Map`](crate::insn::WideSource::Map) or a
    /// [`MapValue`](crate::insn::WideSource::MapValue), whose descriptor is to be put in.
    Map(String),
    /// A function of another section, on a [local call](crate::insn::Call::Local) or a [load of its
    /// address](crate::insn::WideSource::Function). What is in the same section is reached without
    /// reference.
    Function(String),
    /// A function of the kernel, on a [call](crate::insn::Call::Kernel), whose BTF id is to be put
    /// in.
    Kernel(String),
}

/// The source of an instruction and of those that follow it, up to the next such line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The first slot.
    pub slot: usize,
    /// The file.
    pub file: String,
    /// The line in the file, from 1.
    pub line: u32,
    /// The column in the line, from 1; 0 if it is not known.
    pub column: u32,
    /// What stands there.
    pub text: String,
}

impl Unit {
    /// Bare code, such as `BPF_PROG_LOAD` takes. Any bytes will do.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let section = Section { code: decode(bytes), ..Section::default() };
        Unit { sections: vec![section], ..Unit::default() }
    }

    /// What all of its instructions need.
    pub fn requires(&self) -> Since {
        let insns =
            self.sections.iter().flat_map(|section| &section.code).filter_map(
                |piece| match piece {
                    Decoded::Insn(insn) => Some(insn),
                    Decoded::Data(_) => None,
                },
            );
        insns.map(Insn::since).fold(Since::FIRST, Since::and)
    }
}

/// A program that the builder wrote, in a section without a name.
impl From<&Program> for Unit {
    fn from(program: &Program) -> Self {
        let maps = program.maps().iter().map(|map| Map {
            name: map.name.to_owned(),
            kind: map.kind.number(),
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries,
            flags: map.flags,
            key: map.key,
            value: map.value,
        });
        let references = program.lines.iter().filter_map(|line| {
            let to = match line.kernel {
                Some(name) => Target::Kernel(program.kernel_functions().get(name)?.clone()),
                None => Target::Map(program.maps().get(line.map?)?.name.to_owned()),
            };
            Some(Reference { slot: line.slot, to })
        });
        let lines = program.lines.iter().map(|line| Line {
            slot: line.slot,
            file: line.at.file().to_owned(),
            line: line.at.line(),
            column: line.at.column(),
            text: program.text(line),
        });
        // The first function is the program, and takes the context.
        let contexts = [program.context].into_iter().chain(std::iter::repeat(None));
        let functions = program.functions.iter().zip(contexts);
        let section = Section {
            name: String::new(),
            code: program.lines.iter().map(|line| Decoded::Insn(line.insn)).collect(),
            functions: functions
                .map(|(at, context)| Function { name: at.name.clone(), slot: at.slot, context })
                .collect(),
            references: references.collect(),
            lines: lines.collect(),
            found: None,
        };
        Unit { maps: maps.collect(), sections: vec![section], ..Unit::default() }
    }
}

impl Section {
    /// Instruction slots.
    pub fn slots(&self) -> usize {
        self.code.iter().map(Decoded::slots).sum()
    }

    /// Each piece of code with its first slot.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, &Decoded)> {
        self.code.iter().scan(0, |next, piece| {
            let slot = *next;
            *next += piece.slots();
            Some((slot, piece))
        })
    }

    /// What the instruction at a slot names.
    pub fn reference(&self, slot: usize) -> Option<&Target> {
        let found = self.references.binary_search_by_key(&slot, |reference| reference.slot).ok()?;
        self.references.get(found).map(|reference| &reference.to)
    }
}

/// Names of the kinds of maps by number (UAPI `linux/bpf.h`, `enum bpf_map_type`).
const MAP_KINDS: [&str; 35] = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
];

/// The number of a kind of map (`enum bpf_map_type`) by its name in lower case, `percpu_array` for
/// example.
pub fn map_kind(name: &str) -> Option<u32> {
    let kind = MAP_KINDS.iter().position(|known| *known == name)?;
    u32::try_from(kind).ok()
}

/// The name of a kind of map by its number.
pub fn map_kind_name(kind: u32) -> Option<&'static str> {
    MAP_KINDS.get(usize::try_from(kind).ok()?).copied()
}

/// The names of all kinds of maps.
pub(super) fn map_kinds() -> impl Iterator<Item = &'static str> {
    MAP_KINDS.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MapKind;

    #[test]
    fn kinds_of_maps_have_the_numbers_of_the_uapi() {
        let table = [
            ("hash", MapKind::Hash),
            ("array", MapKind::Array),
            ("lpm_trie", MapKind::LpmTrie),
            ("sockmap", MapKind::SockMap),
            ("sockhash", MapKind::SockHash),
            ("sk_storage", MapKind::SkStorage),
            ("ringbuf", MapKind::RingBuf),
        ];
        for (name, kind) in table {
            assert_eq!(
                (map_kind(name), map_kind_name(kind.number())),
                (Some(kind.number()), Some(name))
            );
        }
        assert_eq!(
            (map_kind("insn_array"), map_kind("Hash"), map_kind_name(35)),
            (Some(34), None, None)
        );
    }
}
