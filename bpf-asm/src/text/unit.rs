//! The content of a text or an object file.

use super::declaration::Extern;
use crate::insn::{Decoded, Insn, Minimum, Since, decode};
use crate::map::MapDef;
use crate::program::{Program, READ_ONLY};
use crate::record::Type;

/// Programs, their functions and their maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// The licence of the programs.
    pub license: Option<String>,
    /// The minimum to assemble for, if set.
    pub minimum: Minimum,
    /// The maps that they refer to.
    pub maps: Vec<Map>,
    /// What programs use of the kernel by name, with its types. libbpf needs those; the kernel
    /// itself, a BTF id only.
    pub externs: Vec<Extern>,
    /// The code.
    pub sections: Vec<Section>,
    /// What the unit lacks of the object that it was read from, if anything. Such a unit is only
    /// for inspection: it is rejected as an object and as assembler input, since either would be
    /// another program.
    pub incomplete: Option<String>,
}

/// A map, to be created under its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Map {
    /// The name.
    pub name: String,
    /// The kind (`enum bpf_map_type`).
    pub kind: u32,
    /// Size of a key in bytes.
    pub key_size: u32,
    /// Size of a value in bytes.
    pub value_size: u32,
    /// Maximum number of entries; size in bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` flags for `BPF_MAP_CREATE`.
    pub flags: u32,
    /// The NUMA node; requires `BPF_F_NUMA_NODE` in `flags`.
    pub numa_node: Option<u32>,
    /// `map_extra`: the number of hash functions of a Bloom filter, the address of an arena.
    pub extra: u64,
    /// How libbpf pins it (`enum libbpf_pin_type`): 0 for not at all, 1 under its name.
    pub pinning: u32,
    /// The template of the inner maps, whose name does not count.
    pub inner: Option<Box<Map>>,
    /// The first bytes of the only value, up to the last that is not 0, if the map has one that
    /// programs address. The others are 0.
    pub content: Vec<u8>,
    /// The type of the keys, if known, of the same size. Text has none.
    pub key: Option<Type>,
    /// The type of the values, likewise.
    pub value: Option<Type>,
}

impl Map {
    /// Sets the first bytes of the only value.
    pub(crate) fn set_content(&mut self, bytes: &[u8]) {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.content = bytes.get(..end).unwrap_or_default().to_vec();
    }
}

impl From<&MapDef> for Map {
    fn from(def: &MapDef) -> Self {
        Map {
            name: def.name.to_owned(),
            kind: def.kind.number(),
            key_size: def.key_size,
            value_size: def.value_size,
            max_entries: def.max_entries,
            flags: def.flags,
            numa_node: def.numa_node,
            extra: def.extra,
            pinning: 0,
            inner: def.inner.map(|inner| Box::new(Map { name: String::new(), ..inner.into() })),
            content: Vec::new(),
            key: def.key,
            value: def.value,
        }
    }
}

/// A section of code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// The name, from which libbpf takes the type of the programs; empty for code outside any
    /// section.
    pub name: String,
    /// Instructions and data.
    pub code: Vec<Decoded>,
    /// The functions that start in it, by slot.
    pub functions: Vec<Function>,
    /// The unresolved references of instructions, by slot.
    pub references: Vec<Reference>,
    /// The source lines of instructions, by slot.
    pub lines: Vec<Line>,
    /// The original code, of the same size, if references replaced numbers in it. It is only for
    /// display.
    pub found: Option<Vec<u8>>,
}

/// The start of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name, unique in a unit.
    pub name: String,
    /// Its first slot.
    pub slot: usize,
    /// The type of its context, if known. Text has none.
    pub context: Option<Type>,
}

/// A reference of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The instruction's first slot.
    pub slot: usize,
    /// The referent.
    pub to: Target,
}

/// A referent, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A map, on a load of a [`Map`](crate::insn::WideSource::Map) or a
    /// [`MapValue`](crate::insn::WideSource::MapValue) whose file descriptor is unresolved.
    Map(String),
    /// A function of another section, on a [local call](crate::insn::Call::Local) or a [load of its
    /// address](crate::insn::WideSource::Function). Functions of the same section need no
    /// reference.
    Function(String),
    /// A kfunc, on a [call](crate::insn::Call::Kernel) whose BTF id is unresolved; or a variable or
    /// a configuration value of the kernel, on a [load](crate::insn::WideSource::Variable).
    Kernel(String),
}

/// The source line of an instruction and those after it, up to the next entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The first slot.
    pub slot: usize,
    /// The file.
    pub file: String,
    /// The line in the file, from 1.
    pub line: u32,
    /// The column, from 1; 0 if unknown.
    pub column: u32,
    /// The text of the line.
    pub text: String,
}

impl Unit {
    /// A unit of bare code, as for `BPF_PROG_LOAD`. All bytes are valid input.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let section = Section { code: decode(bytes), ..Section::default() };
        Unit { sections: vec![section], ..Unit::default() }
    }

    /// What its instructions require.
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

/// A built program, in a section without a name.
impl From<&Program> for Unit {
    fn from(program: &Program) -> Self {
        let maps = program.maps().iter().map(|def| {
            let mut map = Map::from(def);
            if let Some(data) = program.read_only().filter(|_| def.name == READ_ONLY) {
                map.set_content(data);
            }
            map
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
        // The first function is the program, which takes the context.
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
    /// Number of instruction slots.
    pub fn slots(&self) -> usize {
        self.code.iter().map(Decoded::slots).sum()
    }

    /// Each instruction with its first slot.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, &Decoded)> {
        self.code.iter().scan(0, |next, piece| {
            let slot = *next;
            *next += piece.slots();
            Some((slot, piece))
        })
    }

    /// The reference of the instruction at a slot.
    pub fn reference(&self, slot: usize) -> Option<&Target> {
        let found = self.references.binary_search_by_key(&slot, |reference| reference.slot).ok()?;
        self.references.get(found).map(|reference| &reference.to)
    }
}

/// Names of map kinds by number (UAPI `linux/bpf.h`, `enum bpf_map_type`).
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

/// The number of a map kind (`enum bpf_map_type`) by its name in lower case, such as
/// `percpu_array`.
pub fn map_kind(name: &str) -> Option<u32> {
    let kind = MAP_KINDS.iter().position(|known| *known == name)?;
    u32::try_from(kind).ok()
}

/// The name of a map kind.
pub fn map_kind_name(kind: u32) -> Option<&'static str> {
    MAP_KINDS.get(usize::try_from(kind).ok()?).copied()
}

/// The names of all map kinds.
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
