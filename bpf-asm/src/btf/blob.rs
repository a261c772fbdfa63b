//! Writes BTF.

use std::collections::HashMap;

use super::{MAGIC, VERSION, kind};
use crate::record::{FieldInfo, Type};

const HEADER: u32 = 24;

/// Linkage of functions and variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linkage {
    Static = 0,
    Global = 1,
}

/// A blob of BTF that is being written.
pub(crate) struct Blob {
    types: Vec<u8>,
    /// The number of types; 0 is `void`, which is not written.
    count: u32,
    strings: Vec<u8>,
    known_strings: HashMap<String, u32>,
    known_types: Vec<(Type, u32)>,
}

impl Blob {
    pub(crate) fn new() -> Self {
        let known_strings = HashMap::from([(String::new(), 0)]);
        Blob {
            types: Vec::new(),
            count: 0,
            strings: vec![0],
            known_strings,
            known_types: Vec::new(),
        }
    }

    /// The offset of a string.
    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if let Some(&offset) = self.known_strings.get(text) {
            return offset;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(text.bytes());
        self.strings.push(0);
        self.known_strings.insert(text.to_owned(), offset);
        offset
    }

    /// Writes a `struct btf_type` and what follows it, and returns its id.
    pub(super) fn add(&mut self, name: u32, info: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        put(&mut self.types, &[name, info, size_or_type]);
        put(&mut self.types, rest);
        self.count += 1;
        self.count
    }

    /// The id of a type, which is written if it is new.
    pub(crate) fn type_id(&mut self, ty: &Type) -> u32 {
        if let Some((_, id)) = self.known_types.iter().find(|(known, _)| known == ty) {
            return *id;
        }
        let id = match *ty {
            Type::Int { name, size, signed } => {
                let name = self.string(name);
                self.add(
                    name,
                    kind::INT << 24,
                    size as u32,
                    &[(u32::from(signed) << 24) | (size as u32 * 8)],
                )
            }
            Type::Array { element, len } => {
                let element = self.type_id(element);
                self.array(element, len as u32)
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
        self.add(name, kind::STRUCT << 24 | fields.len() as u32, size as u32, &members)
    }

    /// A pointer type.
    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.add(0, kind::PTR << 24, to, &[])
    }

    /// An array type.
    pub(crate) fn array(&mut self, element: u32, len: u32) -> u32 {
        let index = self.type_id(&Type::Int { name: "u32", size: 4, signed: false });
        self.add(0, kind::ARRAY << 24, 0, &[element, index, len])
    }

    /// A function that returns an `int` and takes a context or nothing. The kernel recognises a
    /// context type by its name.
    pub(crate) fn function(&mut self, name: &str, linkage: Linkage, context: Option<&Type>) -> u32 {
        let result = self.type_id(&Type::Int { name: "int", size: 4, signed: true });
        let prototype = match context {
            Some(context) => {
                let context = self.type_id(context);
                let pointer = self.pointer(context);
                let parameter = self.string("context");
                self.add(0, kind::FUNC_PROTO << 24 | 1, result, &[parameter, pointer])
            }
            None => self.add(0, kind::FUNC_PROTO << 24, result, &[]),
        };
        let name = self.string(name);
        self.add(name, kind::FUNC << 24 | linkage as u32, prototype, &[])
    }

    /// The whole blob: header, types, strings.
    pub(crate) fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut blob = Vec::new();
        blob.extend(MAGIC.to_le_bytes());
        blob.extend([VERSION, 0]);
        put(&mut blob, &[HEADER, 0, types, types, strings]);
        blob.extend(self.types);
        blob.extend(self.strings);
        blob
    }
}

/// Appends words in the byte order of BPF.
pub(crate) fn put(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
