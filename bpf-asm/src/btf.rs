//! BTF: what the kernel is told about a program's lines and about the types in maps
//! (kernel `Documentation/bpf/btf.rst`, UAPI `linux/btf.h`).

use std::collections::HashMap;

use crate::map::MapDef;
use crate::program::Program;
use crate::record::{FieldInfo, Type};

const MAGIC: u16 = 0xeb9f;
const HEADER: u32 = 24;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;

const LINKAGE_STATIC: u32 = 0;
const LINKAGE_GLOBAL: u32 = 1;

/// Bytes of one record in [`BtfImage::func_info`].
pub const FUNC_INFO_SIZE: u32 = 8;
/// Bytes of one record in [`BtfImage::line_info`].
pub const LINE_INFO_SIZE: u32 = 16;

/// What `BPF_BTF_LOAD` and `BPF_PROG_LOAD` take so that a program's lines have names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfImage {
    /// For `BPF_BTF_LOAD`.
    pub blob: Vec<u8>,
    /// Records of `struct bpf_func_info`: where each function begins, and its type.
    pub func_info: Vec<u8>,
    /// Records of `struct bpf_line_info`: the Rust file, line and column of each instruction, with the instruction as
    /// the line's text.
    pub line_info: Vec<u8>,
}

/// The types of several maps in one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapsBtf {
    /// For `BPF_BTF_LOAD`.
    pub blob: Vec<u8>,
    /// For each map, in the order given; `None` for a kind that takes no types.
    pub types: Vec<Option<MapTypes>>,
}

/// The types of one map, as numbers in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapTypes {
    /// For `btf_key_type_id`.
    pub key: u32,
    /// For `btf_value_type_id`.
    pub value: u32,
}

/// Describes maps, so that `bpftool map dump` prints their fields by name.
pub fn maps(defs: &[&MapDef]) -> MapsBtf {
    let mut blob = Blob::new();
    let types = defs
        .iter()
        .map(|def| match (def.kind.has_btf(), def.key, def.value) {
            (true, Some(key), Some(value)) => Some(MapTypes { key: blob.type_id(&key), value: blob.type_id(&value) }),
            _ => None,
        })
        .collect();
    MapsBtf { blob: blob.finish(), types }
}

impl Program {
    /// The program's functions and lines. The kernel wants a line for the first instruction of each function and rising
    /// positions that never point into the second half of a 64-bit load; every instruction has one here.
    pub fn btf(&self) -> BtfImage {
        let mut blob = Blob::new();
        let result = blob.type_id(&Type::Int { name: "int", size: 4, signed: true });
        // Under its own name the kernel knows the context for what it is.
        let main = match &self.context {
            Some(context) => {
                let context = blob.type_id(context);
                let pointer = blob.add(0, KIND_PTR << 24, context, &[]);
                let parameter = blob.string("context");
                blob.add(0, KIND_FUNC_PROTO << 24 | 1, result, &[parameter, pointer])
            }
            None => blob.add(0, KIND_FUNC_PROTO << 24, result, &[]),
        };
        let local = blob.add(0, KIND_FUNC_PROTO << 24, result, &[]);

        let mut func_info = Vec::new();
        for (number, function) in self.functions.iter().enumerate() {
            let name = blob.string(&function.name);
            let (linkage, prototype) = if number == 0 { (LINKAGE_GLOBAL, main) } else { (LINKAGE_STATIC, local) };
            let id = blob.add(name, KIND_FUNC << 24 | linkage, prototype, &[]);
            put(&mut func_info, &[function.slot as u32, id]);
        }
        let mut line_info = Vec::new();
        for line in &self.lines {
            let file = blob.string(line.at.file());
            let text = blob.string(&self.text(line));
            // 22 bits of line, 10 bits of column: a place beyond them is shown as the last one there is.
            let position = line.at.line().min((1 << 22) - 1) << 10 | line.at.column().min((1 << 10) - 1);
            put(&mut line_info, &[line.slot as u32, file, text, position]);
        }
        BtfImage { blob: blob.finish(), func_info, line_info }
    }
}

/// A blob being written.
struct Blob {
    types: Vec<u8>,
    /// The number of types; 0 is `void`, which is not written.
    count: u32,
    strings: Vec<u8>,
    known_strings: HashMap<String, u32>,
    known_types: Vec<(Type, u32)>,
}

impl Blob {
    fn new() -> Self {
        let known_strings = HashMap::from([(String::new(), 0)]);
        Blob { types: Vec::new(), count: 0, strings: vec![0], known_strings, known_types: Vec::new() }
    }

    /// The offset of a string.
    fn string(&mut self, text: &str) -> u32 {
        if let Some(&offset) = self.known_strings.get(text) {
            return offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.bytes());
        self.strings.push(0);
        self.known_strings.insert(text.to_owned(), offset);
        offset
    }

    /// Writes a `struct btf_type` and what follows it; gives its number.
    fn add(&mut self, name: u32, info: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        put(&mut self.types, &[name, info, size_or_type]);
        put(&mut self.types, rest);
        self.count += 1;
        self.count
    }

    /// The number of a type; writes it if it is new.
    fn type_id(&mut self, ty: &Type) -> u32 {
        if let Some((_, id)) = self.known_types.iter().find(|(known, _)| known == ty) {
            return *id;
        }
        let id = match *ty {
            Type::Int { name, size, signed } => {
                let name = self.string(name);
                self.add(name, KIND_INT << 24, size as u32, &[(u32::from(signed) << 24) | (size as u32 * 8)])
            }
            Type::Array { element, len } => {
                let element = self.type_id(element);
                let index = self.type_id(&Type::Int { name: "u32", size: 4, signed: false });
                self.add(0, KIND_ARRAY << 24, 0, &[element, index, len as u32])
            }
            Type::Record { name, size, fields } => self.record(name, size, fields),
        };
        self.known_types.push((*ty, id));
        id
    }

    fn record(&mut self, name: &str, size: usize, fields: &[FieldInfo]) -> u32 {
        let mut members = Vec::new();
        for field in fields {
            let ty = self.type_id(&field.ty);
            members.extend([self.string(field.name), ty, field.offset as u32 * 8]);
        }
        let name = self.string(name);
        self.add(name, KIND_STRUCT << 24 | fields.len() as u32, size as u32, &members)
    }

    /// Header, types, strings.
    fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut blob = Vec::new();
        blob.extend(MAGIC.to_le_bytes());
        blob.extend([1, 0]);
        put(&mut blob, &[HEADER, 0, types, types, strings]);
        blob.extend(self.types);
        blob.extend(self.strings);
        blob
    }
}

fn put(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
