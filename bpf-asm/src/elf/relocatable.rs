//! Reads and writes the loaded parts of ELF objects.

use object::read::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget,
};
use object::write::{self, StandardSegment, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionFlags, SectionKind, SymbolFlags, SymbolScope,
    elf,
};

use super::{BTF, BTF_EXT, ReadError};
use crate::text::gas::{
    Part, Referent, Relocatable, Relocation, SHF_ALLOC, STB_LOCAL, STB_WEAK, STT_NOTYPE, Symbol,
};

const STT_SECTION: u8 = 3;
const STT_FILE: u8 = 4;

/// Reads an object without what only debuggers and linkers use: sections that are not loaded, and
/// local labels.
///
/// # Errors
/// [`ReadError`] for bytes that are not a BPF ELF object, or that are malformed.
pub(super) fn read(bytes: &[u8]) -> Result<Relocatable, ReadError> {
    let file = super::read::parse(bytes)?;
    let mut object = Relocatable::default();
    // By index in the file.
    let mut numbers = std::collections::HashMap::new();
    for section in file.sections() {
        let name = super::read::section_name(&section)?;
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        let sh_flags = sh_flags.0;
        let loaded = sh_flags & SHF_ALLOC != 0 && section.size() > 0;
        if !loaded && name != BTF && name != BTF_EXT {
            continue;
        }
        numbers.insert(section.index().0, object.sections.len());
        let nobits = section.kind() == SectionKind::UninitializedData;
        object.sections.push(Part {
            name: name.to_owned(),
            flags: sh_flags,
            nobits,
            align: section.align().max(1),
            size: section.size(),
            bytes: if nobits { Vec::new() } else { section.data()?.to_vec() },
            relocations: Vec::new(),
        });
    }
    let mut used = std::collections::HashSet::new();
    for section in file.sections().filter(|section| numbers.contains_key(&section.index().0)) {
        for (_, relocation) in section.relocations() {
            if let RelocationTarget::Symbol(symbol) = relocation.target() {
                used.insert(symbol.0);
            }
        }
    }
    let mut referents = std::collections::HashMap::new();
    for symbol in file.symbols() {
        let SymbolFlags::Elf { st_info, st_other } = symbol.flags() else { continue };
        let (st_info, st_other) = (st_info.0, st_other.0);
        let (kind, binding) = (st_info & 0xf, st_info >> 4);
        let section = symbol.section_index().map(|index| numbers.get(&index.0).copied());
        let lost = || ReadError::Symbol { name: symbol.name().unwrap_or_default().to_owned() };
        match (kind, section) {
            (STT_FILE, _) | (_, Some(None)) => continue,
            (STT_SECTION, Some(Some(section))) => {
                referents.insert(symbol.index().0, Referent::Section(section));
                continue;
            }
            // Compiler-generated labels.
            (STT_NOTYPE, Some(_)) if binding == STB_LOCAL && !used.contains(&symbol.index().0) => {
                continue;
            }
            (_, None) if !symbol.is_undefined() => return Err(lost()),
            _ => {}
        }
        let name = symbol.name()?;
        if name.is_empty() {
            continue;
        }
        referents.insert(symbol.index().0, Referent::Symbol(object.symbols.len()));
        object.symbols.push(Symbol {
            name: name.to_owned(),
            section: section.flatten(),
            value: symbol.address(),
            size: symbol.size(),
            kind,
            binding,
            visibility: st_other & 3,
        });
    }
    for section in file.sections() {
        let Some(number) = numbers.get(&section.index().0) else { continue };
        for (offset, relocation) in section.relocations() {
            let name = || object.sections[*number].name.clone();
            let wrong = |problem| ReadError::Relocation { section: name(), offset, problem };
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return Err(wrong("is of an unknown kind"));
            };
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                return Err(wrong("has no symbol"));
            };
            // Relocations of types and line info do not affect loading.
            if object.sections[*number].is_btf() {
                continue;
            }
            let to = *referents
                .get(&symbol.0)
                .ok_or_else(|| wrong("refers to a section that is not loaded"))?;
            object.sections[*number].relocations.push(Relocation { offset, kind: r_type.0, to });
        }
        object.sections[*number].relocations.sort_by_key(|relocation| relocation.offset);
    }
    Ok(object)
}

/// Writes an object.
///
/// # Errors
/// Errors of the ELF writer.
pub(super) fn write(relocatable: &Relocatable) -> Result<Vec<u8>, write::Error> {
    let mut object = write::Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let mut sections = Vec::new();
    for part in &relocatable.sections {
        let kind = match part {
            _ if part.nobits => SectionKind::UninitializedData,
            _ if part.is_code() => SectionKind::Text,
            _ if part.flags & SHF_ALLOC != 0 => SectionKind::Data,
            _ => SectionKind::Other,
        };
        let segment = object.segment_name(StandardSegment::Data).to_vec();
        let id = object.add_section(segment, part.name.as_bytes().to_vec(), kind);
        object.section_mut(id).flags = SectionFlags::Elf {
            sh_type: if part.nobits { elf::SHT_NOBITS } else { elf::SHT_PROGBITS },
            sh_flags: elf::SectionFlags(part.flags),
        };
        if part.nobits {
            object.append_section_bss(id, part.size, part.align.max(1));
        } else {
            object.append_section_data(id, &part.bytes, part.align.max(1));
        }
        sections.push(id);
    }
    let mut symbols: Vec<SymbolId> = Vec::new();
    for symbol in &relocatable.symbols {
        let section = symbol.section.and_then(|section| sections.get(section));
        symbols.push(
            object.add_symbol(write::Symbol {
                name: symbol.name.as_bytes().to_vec(),
                value: symbol.value,
                size: symbol.size,
                kind: object::SymbolKind::Data,
                scope: if symbol.binding == STB_LOCAL {
                    SymbolScope::Compilation
                } else {
                    SymbolScope::Dynamic
                },
                weak: symbol.binding == STB_WEAK,
                section: section
                    .map_or(SymbolSection::Undefined, |section| SymbolSection::Section(*section)),
                flags: SymbolFlags::Elf {
                    st_info: elf::SymbolInfo(symbol.binding << 4 | symbol.kind),
                    st_other: elf::SymbolOther(symbol.visibility),
                },
            }),
        );
    }
    for (part, id) in relocatable.sections.iter().zip(&sections) {
        for relocation in &part.relocations {
            let symbol = match relocation.to {
                Referent::Section(section) => {
                    sections.get(section).map(|section| object.section_symbol(*section))
                }
                Referent::Symbol(symbol) => symbols.get(symbol).copied(),
            };
            let Some(symbol) = symbol else { continue };
            let flags = RelocationFlags::Elf { r_type: elf::RelocationType(relocation.kind) };
            object.add_relocation(
                *id,
                write::Relocation { offset: relocation.offset, symbol, addend: 0, flags },
            )?;
        }
    }
    object.write()
}
