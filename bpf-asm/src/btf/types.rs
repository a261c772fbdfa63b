//! BTF being read: as much of it as tells what maps and lines are.

use super::words::{Words, header};
use super::{BtfError, kind};

/// How many types may stand one behind the other before one that has a size.
const DEPTH: usize = 32;

/// The types and strings of a blob.
pub(crate) struct Types<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// A `struct btf_type` and what follows it.
#[derive(Clone, Copy)]
pub(crate) struct Type<'a> {
    id: u32,
    name: u32,
    kind: u32,
    size_or_type: u32,
    /// For members three words each: name, type and offset; for variables of a section type, offset and size.
    rest: &'a [u8],
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
            let torn = || BtfError::Part { part: "types" };
            let id = types.len() as u32 + 1;
            let [name, info, size_or_type] = words.take().ok_or_else(torn)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let size = following(kind, count).ok_or(BtfError::Kind { id, kind })?;
            let rest = words.skip(size).ok_or_else(torn)?;
            types.push(Type { id, name, kind, size_or_type, rest });
        }
        Ok(Types { types, strings })
    }

    /// The string at an offset.
    pub(crate) fn string(&self, offset: u32) -> Result<&'a str, BtfError> {
        let text = self.strings.get(offset as usize..).and_then(|rest| rest.split(|byte| *byte == 0).next());
        text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(BtfError::String { offset })
    }

    fn get(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let at = (id as usize).checked_sub(1);
        at.and_then(|at| self.types.get(at)).copied().ok_or(BtfError::Type { id })
    }

    /// The variables of a section by name, each with its type; none if there is no such section.
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

    /// The members of a structure by name, each with what it points to.
    pub(crate) fn pointers(&self, of: Type<'a>) -> Result<Vec<(&'a str, Option<Type<'a>>)>, BtfError> {
        let mut found = Vec::new();
        let mut words = Words::new(if of.kind == kind::STRUCT { of.rest } else { &[] });
        while let Some([name, ty, _offset]) = words.take() {
            let ty = self.unqualified(ty)?;
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
        let [_element, _index, len] = Words::new(of.rest).take().filter(|_| of.kind == kind::ARRAY)?;
        Some(len)
    }

    /// Bytes of a type.
    pub(crate) fn size(&self, of: Type<'a>) -> Result<u32, BtfError> {
        let (mut ty, mut count) = (of, 1u32);
        let none = BtfError::Size { id: of.id };
        for _ in 0..DEPTH {
            ty = self.resolve(ty)?;
            let size = match ty.kind {
                kind::PTR => 8,
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::DATASEC | kind::FLOAT | kind::ENUM64 => {
                    ty.size_or_type
                }
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

    /// The type behind names and qualifiers.
    fn unqualified(&self, id: u32) -> Result<Type<'a>, BtfError> {
        self.resolve(self.get(id)?)
    }

    fn resolve(&self, mut ty: Type<'a>) -> Result<Type<'a>, BtfError> {
        for _ in 0..DEPTH {
            let names = [kind::TYPEDEF, kind::VOLATILE, kind::CONST, kind::RESTRICT, kind::TYPE_TAG];
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
