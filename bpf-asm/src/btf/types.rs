//! Reads BTF, as far as maps and line info need it.

use super::words::{Words, header};
use super::{BtfError, kind};

/// The longest chain of modifiers and typedefs before a type with a size.
const DEPTH: usize = 32;

/// The most bytes that the copies of strings may take, of all lines or of all types.
pub(crate) const COPIES: usize = 64 << 20;

/// The types and strings of a blob.
pub(crate) struct Types<'a> {
    pub(super) types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// A `struct btf_type` and what follows it.
#[derive(Clone, Copy)]
pub(crate) struct Type<'a> {
    pub(super) id: u32,
    pub(super) name: u32,
    pub(super) kind: u32,
    /// The number of members, parameters and the like that follow; the linkage of a function.
    pub(super) count: u32,
    /// `kind_flag`, whose meaning depends on the kind.
    pub(super) flag: u32,
    pub(super) size_or_type: u32,
    /// For a struct member: name, type and offset. For a variable of a section: type, offset and
    /// size.
    pub(super) rest: &'a [u8],
}

impl<'a> Types<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let ([types_at, types_size, strings_at, strings_size], rest) = header(bytes)?;
        let part = |start: u32, size: u32, part| {
            let end = (start as usize).checked_add(size as usize);
            end.and_then(|end| rest.get(start as usize..end)).ok_or(BtfError::Part { part })
        };
        let strings = part(strings_at, strings_size, "strings")?;
        let mut words = Words::new(part(types_at, types_size, "types")?);
        let mut types = Vec::new();
        while !words.is_empty() {
            let malformed = || BtfError::Part { part: "types" };
            let id = types.len() as u32 + 1;
            let [name, info, size_or_type] = words.take().ok_or_else(malformed)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let size = following(kind, count).ok_or(BtfError::Kind { id, kind })?;
            let rest = words.skip(size).ok_or_else(malformed)?;
            types.push(Type {
                id,
                name,
                kind,
                count: info & 0xffff,
                flag: info >> 31,
                size_or_type,
                rest,
            });
        }
        Ok(Types { types, strings })
    }

    /// The string at an offset.
    pub(crate) fn string(&self, offset: u32) -> Result<&'a str, BtfError> {
        let text = self
            .strings
            .get(offset as usize..)
            .and_then(|rest| rest.split(|byte| *byte == 0).next());
        text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(BtfError::String { offset })
    }

    /// The string at an offset, to be copied: many records may name one long string. `left` is what
    /// all copies of a part may still take.
    pub(crate) fn copied(
        &self,
        offset: u32,
        left: &mut usize,
        part: &'static str,
    ) -> Result<&'a str, BtfError> {
        let text = self.string(offset)?;
        *left = left.checked_sub(text.len()).ok_or(BtfError::TooLarge { part })?;
        Ok(text)
    }

    pub(super) fn get(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let at = (id as usize).checked_sub(1);
        at.and_then(|at| self.types.get(at)).copied().ok_or(BtfError::Type { id })
    }

    /// The variables of a section by name, each with its type; empty if there is no such section.
    pub(crate) fn variables(&self, section: &str) -> Result<Vec<(&'a str, Type<'a>)>, BtfError> {
        let mut found = Vec::new();
        for ty in self.types.iter().filter(|ty| ty.kind == kind::DATASEC) {
            if self.string(ty.name)? != section {
                continue;
            }
            let mut words = Words::new(ty.rest);
            while let Some([variable, _offset, _size]) = words.take() {
                let variable = self.get(variable)?;
                found.push((self.string(variable.name)?, self.unqualified(variable.size_or_type)?));
            }
        }
        Ok(found)
    }

    /// The members of a structure by name, each with the type that it, or an element of it, points
    /// to.
    pub(crate) fn pointers(
        &self,
        of: Type<'a>,
    ) -> Result<Vec<(&'a str, Option<Type<'a>>)>, BtfError> {
        let mut found = Vec::new();
        let mut words = Words::new(if of.kind == kind::STRUCT { of.rest } else { &[] });
        while let Some([name, ty, _offset]) = words.take() {
            let mut ty = self.unqualified(ty)?;
            if ty.kind == kind::ARRAY {
                let [element, ..] = Words::new(ty.rest).take::<3>().unwrap_or_default();
                ty = if element == 0 { ty } else { self.unqualified(element)? };
            }
            let target = if ty.kind == kind::PTR && ty.size_or_type != 0 {
                Some(self.unqualified(ty.size_or_type)?)
            } else {
                None
            };
            found.push((self.string(name)?, target));
        }
        Ok(found)
    }

    /// The length of an array.
    pub(crate) fn len(&self, of: Type<'a>) -> Option<u32> {
        let [_element, _index, len] =
            Words::new(of.rest).take().filter(|_| of.kind == kind::ARRAY)?;
        Some(len)
    }

    /// The size of a type in bytes.
    pub(crate) fn size(&self, of: Type<'a>) -> Result<u32, BtfError> {
        let (mut ty, mut count) = (of, 1u32);
        let none = BtfError::Size { id: of.id };
        for _ in 0..DEPTH {
            ty = self.resolve(ty)?;
            let size = match ty.kind {
                kind::PTR => 8,
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::DATASEC
                | kind::FLOAT
                | kind::ENUM64 => ty.size_or_type,
                kind::ARRAY => {
                    let [element, _index, len] = Words::new(ty.rest).take().ok_or(none.clone())?;
                    count = count.checked_mul(len).ok_or(none.clone())?;
                    ty = self.get(element)?;
                    continue;
                }
                _ => return Err(none),
            };
            return count.checked_mul(size).ok_or(none);
        }
        Err(none)
    }

    /// The type without typedefs and qualifiers.
    fn unqualified(&self, id: u32) -> Result<Type<'a>, BtfError> {
        self.resolve(self.get(id)?)
    }

    fn resolve(&self, mut ty: Type<'a>) -> Result<Type<'a>, BtfError> {
        for _ in 0..DEPTH {
            let names =
                [kind::TYPEDEF, kind::VOLATILE, kind::CONST, kind::RESTRICT, kind::TYPE_TAG];
            if !names.contains(&ty.kind) {
                return Ok(ty);
            }
            ty = self.get(ty.size_or_type)?;
        }
        Err(BtfError::Size { id: ty.id })
    }
}

/// Bytes that follow a `struct btf_type` (UAPI `linux/btf.h`); `None` for an unknown kind.
fn following(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        kind::PTR | kind::FWD | kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT => 0,
        kind::FUNC | kind::FLOAT | kind::TYPE_TAG => 0,
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
        kind::ENUM | kind::FUNC_PROTO => count * 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Blob;
    use crate::record::Type as RustType;

    const U16: RustType = RustType::Int { name: "u16", size: 2, signed: false };
    const TRIPLE: RustType = RustType::Array { element: &U16, len: 3 };

    #[test]
    fn variables_members_lengths_and_sizes_are_read() {
        let mut blob = Blob::new();
        let (value, number) = (blob.type_id(&TRIPLE), blob.array(0, 7));
        let members = [("value", blob.pointer(value)), ("max_entries", blob.pointer(number))];
        let ty = blob.pointers(&members);
        let variable = blob.variable("map", ty);
        blob.section(".maps", 16, &[[variable, 0, 16]]);
        let bytes = blob.finish();
        let types = Types::read(&bytes).expect("whole");
        assert!(types.variables(".data").expect("no such section").is_empty());
        let variables = types.variables(".maps").expect("the section");
        let (name, ty) = variables[0];
        let members = types.pointers(ty).expect("its members");
        let [("value", Some(value)), ("max_entries", Some(number))] = members[..] else {
            panic!("other members")
        };
        assert_eq!(
            (name, types.size(ty), types.size(value), types.len(number)),
            ("map", Ok(16), Ok(6), Some(7))
        );
        assert_eq!(types.len(ty), None);
    }

    /// A blob with these words as types and only the empty string.
    fn blob(types: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let size = types.len() as u32 * 4;
        crate::btf::put(&mut bytes, &[24, 0, size, size, 1]);
        crate::btf::put(&mut bytes, types);
        bytes.push(0);
        bytes
    }

    #[test]
    fn malformed_types_are_errors() {
        let size = |types: &[u32]| {
            let bytes = blob(types);
            let types = Types::read(&bytes)?;
            types.size(types.get(1)?)
        };
        // Each type: its name, its kind, and a size or another type.
        let (typedef, array) = (kind::TYPEDEF << 24, kind::ARRAY << 24);
        assert_eq!(size(&[0, kind::INT << 24, 4, 32]), Ok(4));
        assert_eq!(size(&[0, kind::INT << 24, 4]), Err(BtfError::Part { part: "types" }));
        assert_eq!(size(&[0, 31 << 24, 4]), Err(BtfError::Kind { id: 1, kind: 31 }));
        assert_eq!(size(&[0, typedef, 2]), Err(BtfError::Type { id: 2 }));
        assert_eq!(size(&[0, typedef, 1]), Err(BtfError::Size { id: 1 }));
        assert_eq!(size(&[0, array, 0, 1, 1, 2]), Err(BtfError::Size { id: 1 }));
        assert_eq!(size(&[0, kind::FUNC << 24, 0]), Err(BtfError::Size { id: 1 }));
        assert_eq!(size(&[]), Err(BtfError::Type { id: 1 }));
        let huge = [0, array, 0, 2, 2, u32::MAX, 0, kind::INT << 24, 8, 64];
        assert_eq!(size(&huge), Err(BtfError::Size { id: 1 }));
        let bytes = blob(&[]);
        let types = Types::read(&bytes).expect("empty");
        assert_eq!(
            (types.string(0), types.string(2)),
            (Ok(""), Err(BtfError::String { offset: 2 }))
        );
    }
}
