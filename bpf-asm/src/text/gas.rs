//! The syntax of GNU as and LLVM for whole objects: what clang writes by `-S`, and what objects are
//! disassembled into that [`Unit`](super::Unit) cannot represent.
//!
//! The text has all sections with their flags, symbols, data and relocations. Instructions use the
//! kernel's notation. Types and line info (`.BTF`, `.BTF.ext`) are data that refers to code by
//! labels.

mod assemble;
mod disassemble;

pub(crate) use assemble::{assemble, is_gas};
pub(crate) use disassemble::{Known, Notes, disassemble};

/// A relocatable object: the parts of an ELF file that loaders use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Relocatable {
    pub(crate) sections: Vec<Part>,
    pub(crate) symbols: Vec<Symbol>,
}

/// A section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// `SHF_*`
    pub(crate) flags: u64,
    /// Whether it has no bytes in the file (`SHT_NOBITS`).
    pub(crate) nobits: bool,
    pub(crate) align: u64,
    /// Size in bytes, whether they are in the file or not.
    pub(crate) size: u64,
    pub(crate) bytes: Vec<u8>,
    /// By offset.
    pub(crate) relocations: Vec<Relocation>,
}

/// A relocation; the content of its place is the addend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub(crate) offset: u64,
    /// `R_BPF_*`
    pub(crate) kind: u32,
    pub(crate) to: Referent,
}

/// The index of what it refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Referent {
    Section(usize),
    Symbol(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) name: String,
    /// The section that defines it; none if it is external.
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

/// Section flags by letter.
const FLAGS: [(char, u64); 5] =
    [('a', SHF_ALLOC), ('w', SHF_WRITE), ('x', SHF_EXECINSTR), ('M', SHF_MERGE), ('S', 0x20)];

pub(crate) const STB_LOCAL: u8 = 0;
const STB_GLOBAL: u8 = 1;
pub(crate) const STB_WEAK: u8 = 2;
pub(crate) const STT_NOTYPE: u8 = 0;
const STT_OBJECT: u8 = 1;
const STT_FUNC: u8 = 2;

/// On a 64-bit load.
pub(crate) const R_BPF_64_64: u32 = 1;
/// On 8 bytes of data.
const R_BPF_64_ABS64: u32 = 2;
/// On 4 bytes of data.
const R_BPF_64_ABS32: u32 = 3;
/// On a call.
pub(crate) const R_BPF_64_32: u32 = 10;

/// The maximum size of a section with bytes, and of what directives fill in all of them.
const LIMIT: u64 = 256 << 20;
/// The maximum size of a section without bytes, which becomes a map.
const NOBITS_LIMIT: u64 = u32::MAX as u64;
/// The maximum alignment.
const ALIGN_LIMIT: u64 = 1 << 20;

impl Part {
    pub(crate) fn is_code(&self) -> bool {
        self.flags & SHF_EXECINSTR != 0
    }

    /// Whether it contains BTF, whose relocations loaders ignore.
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
    /// The function that starts at an address.
    fn function_at(&self, section: usize, value: u64) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| {
            symbol.kind == STT_FUNC && symbol.section == Some(section) && symbol.value == value
        })
    }
}
