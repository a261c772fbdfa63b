//! Describes types in the format of `bpftool btf dump`.

use super::types::{COPIES, Types};
use super::words::Words;
use super::{BtfError, kind};

/// Names of kinds by number.
const KINDS: [&str; 20] = [
    "VOID",
    "INT",
    "PTR",
    "ARRAY",
    "STRUCT",
    "UNION",
    "ENUM",
    "FWD",
    "TYPEDEF",
    "VOLATILE",
    "CONST",
    "RESTRICT",
    "FUNC",
    "FUNC_PROTO",
    "VAR",
    "DATASEC",
    "FLOAT",
    "DECL_TAG",
    "TYPE_TAG",
    "ENUM64",
];

/// A type: its position and its description.
pub(crate) struct Described {
    /// Bytes from the start of the types.
    pub(crate) at: u64,
    /// Its size in bytes.
    pub(crate) size: u64,
    pub(crate) text: String,
}

impl Types<'_> {
    /// All types in order. Two blobs with the same types give the same descriptions, however their
    /// strings are ordered.
    pub(crate) fn described(&self) -> Result<Vec<Described>, BtfError> {
        let mut at = 0;
        let mut described = Vec::new();
        let mut left = COPIES;
        for ty in &self.types {
            let size = 12 + ty.rest.len() as u64;
            described.push(Described { at, size, text: self.describe(ty, &mut left)? });
            at += size;
        }
        Ok(described)
    }

    fn describe(&self, ty: &super::types::Type<'_>, left: &mut usize) -> Result<String, BtfError> {
        let mut string = |offset| self.copied(offset, left, "types");
        let name = KINDS.get(ty.kind as usize).copied().unwrap_or("?");
        let mut text = format!("[{}] {name} '{}'", ty.id, string(ty.name)?);
        let number = ty.size_or_type;
        text += &match ty.kind {
            kind::INT
            | kind::STRUCT
            | kind::UNION
            | kind::ENUM
            | kind::ENUM64
            | kind::DATASEC
            | kind::FLOAT => {
                format!(" size={number}")
            }
            kind::ARRAY | kind::FWD => String::new(),
            _ => format!(" type_id={number}"),
        };
        if ty.flag != 0 {
            text += " kind_flag";
        }
        let mut words = Words::new(ty.rest);
        match ty.kind {
            kind::INT => {
                let [word] = words.take().unwrap_or_default();
                text += &format!(" bits={} encoding={:#x}", word & 0xff, word >> 24);
                text += &format!(" offset={}", word >> 16 & 0xff);
            }
            kind::ARRAY => {
                let [element, index, len] = words.take().unwrap_or_default();
                text += &format!(" type_id={element} index_type_id={index} nr_elems={len}");
            }
            kind::STRUCT | kind::UNION => {
                while let Some([name, ty, offset]) = words.take() {
                    text += &format!(", '{}' type_id={ty} bits_offset={offset}", string(name)?);
                }
            }
            kind::ENUM => {
                while let Some([name, value]) = words.take() {
                    text += &format!(", '{}' val={value}", string(name)?);
                }
            }
            kind::ENUM64 => {
                while let Some([name, low, high]) = words.take() {
                    text += &format!(
                        ", '{}' val={:#x}",
                        string(name)?,
                        u64::from(high) << 32 | u64::from(low)
                    );
                }
            }
            kind::FUNC_PROTO => {
                while let Some([name, ty]) = words.take() {
                    text += &format!(", '{}' type_id={ty}", string(name)?);
                }
            }
            kind::DATASEC => {
                while let Some([ty, offset, size]) = words.take() {
                    text += &format!(", type_id={ty} offset={offset} size={size}");
                }
            }
            kind::FUNC => text += &format!(" linkage={}", ty.count),
            kind::VAR | kind::DECL_TAG => {
                let [word] = words.take().unwrap_or_default();
                let name = if ty.kind == kind::VAR { "linkage" } else { "component_idx" };
                text += &format!(" {name}={}", word.cast_signed());
            }
            _ => {}
        }
        // One line, whatever characters the names contain.
        Ok(text.escape_debug().to_string().replace("\\'", "'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Blob;

    #[test]
    fn a_long_name_of_many_members_is_refused() {
        let name = "x".repeat(1 << 20);
        let described = |count| {
            let mut blob = Blob::new();
            let ty = blob.pointer(0);
            blob.pointers(&vec![(name.as_str(), ty); count]);
            let bytes = blob.finish();
            Types::read(&bytes).and_then(|types| types.described()).map(|types| types.len())
        };
        assert_eq!(described(3), Ok(2));
        assert_eq!(described(65), Err(BtfError::TooLarge { part: "types" }));
    }
}
