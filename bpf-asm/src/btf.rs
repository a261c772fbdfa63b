//! BTF of a program: function info, line info, and the key and value types of maps (kernel
//! `Documentation/bpf/btf.rst`, UAPI `linux/btf.h`).

mod blob;
mod kind;
// Used by ELF objects only.
#[cfg(feature = "elf")]
mod describe;
#[cfg(feature = "elf")]
mod error;
#[cfg(feature = "elf")]
mod ext;
#[cfg(feature = "elf")]
mod externs;
#[cfg(feature = "elf")]
mod types;
#[cfg(feature = "elf")]
mod variables;
#[cfg(feature = "elf")]
mod words;

use crate::map::MapDef;
use crate::program::Program;
pub(crate) use blob::{Blob, Linkage, put};
#[cfg(feature = "elf")]
pub use error::BtfError;
#[cfg(feature = "elf")]
pub(crate) use ext::{Ext, ExtSection, Place};
#[cfg(feature = "elf")]
pub(crate) use types::{COPIES, Type as KnownType, Types};

/// The magic number of BTF (UAPI `linux/btf.h`).
pub(crate) const MAGIC: u16 = 0xeb9f;
pub(crate) const VERSION: u8 = 1;

/// Bytes of one record in [`BtfImage::func_info`].
pub const FUNC_INFO_SIZE: u32 = 8;
/// Bytes of one record in [`BtfImage::line_info`].
pub const LINE_INFO_SIZE: u32 = 16;

/// A program's BTF with its function and line info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfImage {
    /// For `BPF_BTF_LOAD`.
    pub blob: Vec<u8>,
    /// Records of `struct bpf_func_info`: where each function begins, and its type.
    pub func_info: Vec<u8>,
    /// Records of `struct bpf_line_info`: the Rust file, line and column of each instruction, with
    /// the instruction as the line's text.
    pub line_info: Vec<u8>,
}

/// The types of several maps in one blob of BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapsBtf {
    /// For `BPF_BTF_LOAD`.
    pub blob: Vec<u8>,
    /// For each map, in the order given; `None` for a kind that takes no types.
    pub types: Vec<Option<MapTypes>>,
}

/// The BTF type ids of one map.
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
            (true, Some(key), Some(value)) => {
                Some(MapTypes { key: blob.type_id(&key), value: blob.type_id(&value) })
            }
            _ => None,
        })
        .collect();
    MapsBtf { blob: blob.finish(), types }
}

impl Program {
    /// The program's function and line info. The kernel requires line info for the first
    /// instruction of each function, in ascending order, and never for the second slot of a 64-bit
    /// load; here every instruction has it.
    pub fn btf(&self) -> BtfImage {
        let mut blob = Blob::new();
        let mut func_info = Vec::new();
        for (number, function) in self.functions.iter().enumerate() {
            let id = match number {
                0 => blob.function(&function.name, Linkage::Global, self.context.as_ref()),
                _ => blob.function(&function.name, Linkage::Static, None),
            };
            put(&mut func_info, &[function.slot as u32, id]);
        }
        let mut line_info = Vec::new();
        for line in &self.lines {
            let file = blob.string(line.at.file());
            let text = blob.string(&self.text(line));
            put(
                &mut line_info,
                &[line.slot as u32, file, text, position(line.at.line(), line.at.column())],
            );
        }
        BtfImage { blob: blob.finish(), func_info, line_info }
    }
}

/// `line_col` of `struct bpf_line_info`: 22 bits of line, 10 bits of column. Larger numbers are
/// clamped.
pub(crate) fn position(line: u32, column: u32) -> u32 {
    line.min((1 << 22) - 1) << 10 | column.min((1 << 10) - 1)
}
