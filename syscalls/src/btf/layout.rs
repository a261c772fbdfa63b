//! The BTF format: header, type records, and what follows each kind of record.

use super::error::BtfError;
use std::ops::Range;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// `struct btf_header`: magic, version, flags, its own length, then offset and length of types and
/// of strings.
const HEADER: usize = 24;
/// Newer kernels have a `BTF_MAX_SIZE` of 16 MiB; no kernel's BTF is larger than this.
const MAX_LEN: usize = 1 << 30;

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The sections of types and strings.
pub(super) struct Header {
    pub types: Range<usize>,
    pub strings: Range<usize>,
}

impl Header {
    pub fn read(data: &[u8]) -> Result<Self, BtfError> {
        if data.len() < HEADER || data.len() > MAX_LEN {
            return Err(BtfError::Length { len: data.len() });
        }
        let magic = u16::from_ne_bytes([data[0], data[1]]);
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::OtherByteOrder);
        }
        if magic != MAGIC || data[2] != VERSION {
            return Err(BtfError::NotBtf { magic, version: data[2] });
        }
        // Within the length checked above.
        let field = |index: usize| word(data, 4 + 4 * index).map_or(0, |w| w as usize);
        let header_len = field(0);
        if header_len < HEADER {
            return Err(BtfError::HeaderLength { len: header_len });
        }
        let section = |name, offset: usize, len: usize| {
            let start = header_len + offset;
            let end = start + len;
            if end > data.len() {
                return Err(BtfError::Section { name });
            }
            Ok(start..end)
        };
        let types = section("type", field(1), field(2))?;
        let strings = section("string", field(3), field(4))?;
        if field(1) % 4 != 0 {
            return Err(BtfError::Section { name: "type" });
        }
        Ok(Self { types, strings })
    }
}

/// `struct btf_type`, with its position.
///
/// ```text
/// info: | kind_flag:1 | unused:2 | kind:5 | unused:8 | vlen:16 |
/// ```
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub start: usize,
    pub name: u32,
    info: u32,
    pub size_or_type: u32,
}

impl Type {
    /// Size of `struct btf_type`: three words.
    pub const LEN: usize = 12;

    pub fn read(data: &[u8], start: usize) -> Option<Self> {
        Some(Self {
            start,
            name: word(data, start)?,
            info: word(data, start.checked_add(4)?)?,
            size_or_type: word(data, start.checked_add(8)?)?,
        })
    }

    pub fn raw_kind(&self) -> u8 {
        (self.info >> 24) as u8 & 0x1f
    }

    pub fn kind(&self) -> Option<Kind> {
        Kind::from_raw(self.raw_kind())
    }

    /// `vlen`: the number of members, enumerators, parameters or variables that follow.
    pub fn count(&self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// `kind_flag`: signed enumerators; members with bit-field widths.
    pub fn flag(&self) -> bool {
        self.info >> 31 != 0
    }
}

/// `BTF_KIND_*`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are C's own")]
pub enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    DataSec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    fn from_raw(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::Int,
            2 => Self::Ptr,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Fwd,
            8 => Self::Typedef,
            9 => Self::Volatile,
            10 => Self::Const,
            11 => Self::Restrict,
            12 => Self::Func,
            13 => Self::FuncProto,
            14 => Self::Var,
            15 => Self::DataSec,
            16 => Self::Float,
            17 => Self::DeclTag,
            18 => Self::TypeTag,
            19 => Self::Enum64,
            _ => return None,
        })
    }

    /// The name in C and `bpftool btf dump`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Ptr => "pointer",
            Self::Array => "array",
            Self::Struct => "struct",
            Self::Union => "union",
            Self::Enum | Self::Enum64 => "enum",
            Self::Fwd => "forward declaration",
            Self::Typedef => "typedef",
            Self::Volatile => "volatile",
            Self::Const => "const",
            Self::Restrict => "restrict",
            Self::Func => "function",
            Self::FuncProto => "function prototype",
            Self::Var => "variable",
            Self::DataSec => "data section",
            Self::Float => "float",
            Self::DeclTag => "declaration tag",
            Self::TypeTag => "type tag",
        }
    }

    /// Size of what follows the type's record.
    pub(super) fn tail(self, count: usize) -> usize {
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::DataSec | Self::Enum64 => 12 * count,
            Self::Enum | Self::FuncProto => 8 * count,
            _ => 0,
        }
    }

    /// Whether it is a typedef or modifier.
    pub(super) fn is_alias(self) -> bool {
        matches!(
            self,
            Self::Typedef | Self::Volatile | Self::Const | Self::Restrict | Self::TypeTag
        )
    }

    /// Whether the record's third word is the type's size.
    pub(super) fn has_size(self) -> bool {
        matches!(
            self,
            Self::Int
                | Self::Struct
                | Self::Union
                | Self::Enum
                | Self::Enum64
                | Self::Float
                | Self::DataSec
        )
    }
}
