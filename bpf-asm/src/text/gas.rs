//! The language of GNU as and LLVM for whole objects: what clang writes by `-S`, and what an object
//! is disassembled into that has more than [`Unit`](super::Unit) holds.
//!
//! Sections with their flags, symbols, data and relocations are all in the text, so that nothing is
//! lost. Instructions are written as everywhere here. Types and lines (`.BTF`, `.BTF.ext`) are
//! data, whose references to code are labels.

mod assemble;
mod disassemble;

pub(crate) use assemble::{assemble, is_gas};
pub(crate) use disassemble::{Known, Notes, disassemble};

/// A relocatable object: what of an ELF file is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Relocatable {
    pub(crate) sections: Vec<Part>,
    pub(crate) symbols: Vec<Symbol>,
}

/// A section of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// `SHF_*`
    pub(crate) flags: u64,
    /// Whether it has no bytes in the file (`SHT_NOBITS`).
    pub(crate) nobits: bool,
    pub(crate) align: u64,
    /// Bytes, be they in the file or not.
    pub(crate) size: u64,
    pub(crate) bytes: Vec<u8>,
    /// By offset.
    pub(crate) relocations: Vec<Relocation>,
}

/// A place of a section that holds an address; what is there already is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub(crate) offset: u64,
    /// `R_BPF_*`
    pub(crate) kind: u32,
    pub(crate) to: Referent,
}

/// What is addressed: by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Referent {
    Section(usize),
    Symbol(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) name: String,
    /// Where it is defined; none if it is another's.
    pub(crate) section: Option<usize>,
    pub(crate) value: u64,
    pub(crate) size: u64,
    /// `STT_*`
    pub(crate) kind: u8,
    /// `STB_*`
    pub(crate) binding: u8,
    /// `STV_*`
    pub(crate) visibility: u8,
}

const SHF_WRITE: u64 = 1;
pub(crate) const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHF_MERGE: u64 = 0x10;

/// The flags of sections by letter.
const FLAGS: [(char, u64); 5] =
    [('a', SHF_ALLOC), ('w', SHF_WRITE), ('x', SHF_EXECINSTR), ('M', SHF_MERGE), ('S', 0x20)];

pub(crate) const STB_LOCAL: u8 = 0;
const STB_GLOBAL: u8 = 1;
pub(crate) const STB_WEAK: u8 = 2;
pub(crate) const STT_NOTYPE: u8 = 0;
const STT_OBJECT: u8 = 1;
const STT_FUNC: u8 = 2;

/// On a load of 64 bits.
pub(crate) const R_BPF_64_64: u32 = 1;
/// On 8 bytes of data.
const R_BPF_64_ABS64: u32 = 2;
/// On 4 bytes of data.
const R_BPF_64_ABS32: u32 = 3;
/// On a call.
pub(crate) const R_BPF_64_32: u32 = 10;

/// Bytes of the largest section that holds some.
const LIMIT: u64 = 256 << 20;
/// Of the largest that does not, which becomes a map.
const NOBITS_LIMIT: u64 = u32::MAX as u64;
/// The largest alignment.
const ALIGN_LIMIT: u64 = 1 << 20;

impl Part {
    pub(crate) fn is_code(&self) -> bool {
        self.flags & SHF_EXECINSTR != 0
    }

    /// Whether it holds types or lines, in which nothing is relocated when it is loaded.
    pub(crate) fn is_btf(&self) -> bool {
        matches!(self.name.as_str(), ".BTF" | ".BTF.ext")
    }
}

impl Symbol {
    fn is_local(&self) -> bool {
        self.binding == STB_LOCAL
    }
}

impl Relocatable {
    /// The function that begins at an address.
    fn function_at(&self, section: usize, value: u64) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| {
            symbol.kind == STT_FUNC && symbol.section == Some(section) && symbol.value == value
        })
    }
}
