//! Writes an object.

use std::collections::{BTreeSet, HashMap};

use object::elf::{R_BPF_64_32, R_BPF_64_64, RelocationType};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};

use super::layout::{Piece, pieces};
use super::{At, BTF, BTF_EXT, DATA, LICENSE, MAPS, TEXT, WriteError, maps};
use crate::btf::{Blob, Ext, ExtSection, Linkage, position};
use crate::draft::is_name;
use crate::insn::{Call, Decoded, Insn, Wide, WideSource};
use crate::program::READ_ONLY;
use crate::text::{ExternType, Map, Target, Unit};
use crate::uapi::BPF_F_RDONLY_PROG;

/// Writes a unit as an object for libbpf 1.0 or later.
///
/// Functions that others call are moved to `.text`; the others stay in their sections as programs.
/// If a program has line info, the kernel requires it at the start of every function; where it is
/// missing, the function's name is written as its line.
///
/// # Errors
/// [`WriteError`] for what libbpf could not load: code outside sections or functions, undefined,
/// duplicate or invalid names, unsupported addresses of map values.
pub fn write(unit: &Unit) -> Result<Vec<u8>, WriteError> {
    if let Some(reason) = &unit.incomplete {
        return Err(WriteError::Incomplete { reason: reason.clone() });
    }
    check_counts(unit)?;
    let pieces = pieces(unit)?;
    check_names(unit, &pieces)?;
    if pieces.iter().map(Piece::size).sum::<usize>() > u32::MAX as usize {
        return Err(WriteError::TooLarge);
    }
    let mut writer = Writer {
        object: Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little),
        blob: Blob::new(),
        symbols: HashMap::new(),
        text: None,
    };
    if let Some(license) = &unit.license {
        let id = writer.object.add_section(Vec::new(), LICENSE.into(), SectionKind::Data);
        let text = [license.as_bytes(), &[0]].concat();
        writer.object.append_section_data(id, &text, 1);
    }
    writer.maps(unit, &pieces)?;
    writer.externs(unit);
    let sections = writer.place(&pieces);
    let mut ext = Ext::default();
    let has_lines = pieces.iter().any(|piece| !piece.lines.is_empty());
    for section in &sections {
        ext.sections.push(writer.section(section, has_lines)?);
    }
    let btf = writer.object.add_section(Vec::new(), BTF.into(), SectionKind::Other);
    let ext = if ext.sections.is_empty() { Vec::new() } else { ext.write() };
    writer.object.append_section_data(btf, &writer.blob.finish(), 4);
    // libbpf rejects an empty one, as for an object with only maps.
    if !ext.is_empty() {
        let id = writer.object.add_section(Vec::new(), BTF_EXT.into(), SectionKind::Other);
        writer.object.append_section_data(id, &ext, 4);
    }
    if writer.object.section(btf).data().len().max(ext.len()) > u32::MAX as usize {
        return Err(WriteError::TooLarge);
    }
    Ok(writer.object.write()?)
}

/// Checks that BTF can count what it describes: `vlen` of `struct btf_type` has 16 bits.
fn check_counts(unit: &Unit) -> Result<(), WriteError> {
    let parameters = unit.externs.iter().filter_map(|of| match &of.ty {
        ExternType::Function { parameters, .. } => Some(("parameters", parameters.len())),
        ExternType::Variable(_) | ExternType::Config(_) => None,
    });
    let counts = [("maps", unit.maps.len()), ("externs", unit.externs.len())];
    match counts.into_iter().chain(parameters).find(|(_, given)| *given > u16::MAX.into()) {
        Some((what, given)) => Err(WriteError::TooMany { what, given }),
        None => Ok(()),
    }
}

/// Checks that names are unique and valid in BTF.
fn check_names(unit: &Unit, pieces: &[Piece<'_>]) -> Result<(), WriteError> {
    let mut known = BTreeSet::new();
    let names = unit
        .maps
        .iter()
        .map(|map| &map.name)
        .chain(unit.externs.iter().map(|of| &of.name))
        .chain(pieces.iter().map(|piece| &piece.function.name));
    for name in names {
        let data = || unit.maps.iter().any(|map| map.name == *name && maps::is_value(map));
        if !(is_name(name) || name == READ_ONLY && data()) {
            return Err(WriteError::Name { name: name.clone() });
        }
        if !known.insert(name) {
            return Err(WriteError::Twice { name: name.clone() });
        }
    }
    for piece in pieces {
        let name = &piece.from.name;
        let taken = [LICENSE, MAPS, BTF, BTF_EXT, "version"].contains(&name.as_str())
            || name.starts_with(DATA)
            || name.starts_with(READ_ONLY);
        if taken || name.contains('\0') {
            return Err(WriteError::Section { section: name.clone() });
        }
    }
    Ok(())
}

/// The maximum size of a value whose bytes are in the object.
const VALUE_LIMIT: u32 = 16 << 20;

struct Writer {
    object: Object<'static>,
    blob: Blob,
    symbols: HashMap<String, SymbolId>,
    text: Option<SymbolId>,
}

/// A section of the object.
struct Placed<'a> {
    name: &'a str,
    id: SectionId,
    /// Its functions, each with its offset in bytes.
    pieces: Vec<(usize, &'a Piece<'a>)>,
}

impl Writer {
    fn symbol(
        &mut self,
        name: &str,
        section: SectionId,
        value: usize,
        size: usize,
        kind: SymbolKind,
        scope: SymbolScope,
    ) {
        let id = self.object.add_symbol(Symbol {
            name: name.into(),
            value: value as u64,
            size: size as u64,
            kind,
            scope,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
        self.symbols.insert(name.to_owned(), id);
    }

    /// Maps: those whose value is addressed become sections, the others variables in `.maps`.
    fn maps(&mut self, unit: &Unit, pieces: &[Piece<'_>]) -> Result<(), WriteError> {
        let addressed = uses(pieces, |source| matches!(source, WideSource::MapValue { .. }));
        let used = uses(pieces, |source| !matches!(source, WideSource::MapValue { .. }));
        let (values, declared): (Vec<&Map>, Vec<&Map>) =
            unit.maps.iter().partition(|map| addressed.contains(map.name.as_str()));
        self.declared(&declared)?;
        for map in values {
            if !maps::is_value(map)
                || !(1..=VALUE_LIMIT).contains(&map.value_size)
                || used.contains(map.name.as_str())
            {
                return Err(WriteError::Value { map: map.name.clone() });
            }
            self.value(map)?;
        }
        Ok(())
    }

    /// Maps that are variables in `.maps`.
    fn declared(&mut self, maps: &[&Map]) -> Result<(), WriteError> {
        let mut declared: Vec<(&Map, u32, u32)> = Vec::new();
        for map in maps {
            if !map.content.is_empty() {
                return Err(WriteError::Content { map: map.name.clone() });
            }
            let (ty, size) = maps::declare(&mut self.blob, map)?;
            declared.push((map, ty, size));
        }
        if declared.is_empty() {
            return Ok(());
        }
        let section = self.object.add_section(Vec::new(), MAPS.into(), SectionKind::Data);
        let mut variables = Vec::new();
        for (map, ty, size) in declared {
            let start = self.object.append_section_data(section, &vec![0; size as usize], 8);
            self.symbol(
                &map.name,
                section,
                start as usize,
                size as usize,
                SymbolKind::Data,
                SymbolScope::Dynamic,
            );
            variables.push([self.blob.variable(&map.name, ty), start as u32, size]);
        }
        let size = variables.iter().map(|[_, _, size]| size).sum();
        self.blob.section(MAPS, size, &variables);
        Ok(())
    }

    /// A map of one value, as libbpf creates it from a section of variables.
    fn value(&mut self, map: &Map) -> Result<(), WriteError> {
        let (name, kind) = match map.flags {
            BPF_F_RDONLY_PROG if map.name == READ_ONLY => {
                (READ_ONLY.to_owned(), SectionKind::ReadOnlyData)
            }
            BPF_F_RDONLY_PROG => (format!("{READ_ONLY}.{}", map.name), SectionKind::ReadOnlyData),
            _ => (format!("{DATA}{}", map.name), SectionKind::Data),
        };
        let section = self.object.add_section(Vec::new(), name.clone().into(), kind);
        let mut bytes = map.content.clone();
        if bytes.len() > map.value_size as usize {
            return Err(WriteError::Content { map: map.name.clone() });
        }
        bytes.resize(map.value_size as usize, 0);
        self.object.append_section_data(section, &bytes, 8);
        if map.name == READ_ONLY {
            // Bytes without a name or a type, as compilers write strings.
            let symbol = self.object.section_symbol(section);
            self.symbols.insert(map.name.clone(), symbol);
            return Ok(());
        }
        self.symbol(
            &map.name,
            section,
            0,
            map.value_size as usize,
            SymbolKind::Data,
            SymbolScope::Dynamic,
        );
        let ty = maps::part_type(&mut self.blob, map, "value", map.value_size, map.value)?;
        let variable = self.blob.variable(&map.name, ty);
        self.blob.section(&name, map.value_size, &[[variable, 0, map.value_size]]);
        Ok(())
    }

    /// Undefined symbols, and their types.
    fn externs(&mut self, unit: &Unit) {
        self.blob.externs(&unit.externs);
        for of in &unit.externs {
            let symbol = self.object.add_symbol(Symbol {
                name: of.name.as_bytes().to_vec(),
                value: 0,
                size: 0,
                kind: SymbolKind::Unknown,
                scope: SymbolScope::Dynamic,
                weak: of.weak,
                section: SymbolSection::Undefined,
                flags: SymbolFlags::None,
            });
            self.symbols.insert(of.name.clone(), symbol);
        }
    }

    /// Creates the sections and places the functions with their symbols.
    fn place<'a>(&mut self, pieces: &'a [Piece<'a>]) -> Vec<Placed<'a>> {
        let mut placed: Vec<Placed<'a>> = Vec::new();
        for piece in pieces {
            match placed.iter_mut().find(|section| section.name == piece.section) {
                Some(section) => {
                    let start =
                        section.pieces.last().map_or(0, |(start, last)| start + last.size());
                    section.pieces.push((start, piece));
                }
                None => {
                    let id = self.object.add_section(
                        Vec::new(),
                        piece.section.into(),
                        SectionKind::Text,
                    );
                    placed.push(Placed { name: piece.section, id, pieces: vec![(0, piece)] });
                }
            }
        }
        for Placed { name, id, pieces } in &placed {
            let called = *name == TEXT;
            if called {
                self.text = Some(self.object.section_symbol(*id));
            }
            for (start, piece) in pieces {
                let scope = if called { SymbolScope::Compilation } else { SymbolScope::Dynamic };
                self.symbol(
                    &piece.function.name,
                    *id,
                    *start,
                    piece.size(),
                    SymbolKind::Text,
                    scope,
                );
            }
        }
        placed
    }
}

impl Writer {
    /// Writes the code and relocations of a section; returns its function and line info.
    fn section(&mut self, section: &Placed<'_>, has_lines: bool) -> Result<ExtSection, WriteError> {
        let mut described =
            ExtSection { name: self.blob.string(section.name), ..ExtSection::default() };
        let linkage = if section.name == TEXT { Linkage::Static } else { Linkage::Global };
        for (start, piece) in &section.pieces {
            let function =
                self.blob.function(&piece.function.name, linkage, piece.function.context.as_ref());
            described.functions.push([*start as u32, function]);
            // The new position of each instruction.
            let byte = |slot: usize| (start + (slot - piece.function.slot) * 8) as u32;
            let first = piece.lines.first().is_some_and(|line| line.slot == piece.function.slot);
            if has_lines && !first {
                let text = self.blob.string(&piece.function.name);
                described.lines.push([*start as u32, text, text, 0]);
            }
            for line in &piece.lines {
                let (file, text) = (self.blob.string(&line.file), self.blob.string(&line.text));
                described.lines.push([
                    byte(line.slot),
                    file,
                    text,
                    position(line.line, line.column),
                ]);
            }
            let mut code = Vec::with_capacity(piece.size());
            for (slot, part) in &piece.code {
                let (insn, named) = match piece.targets.get(slot) {
                    Some(target) => {
                        let (insn, relocation) = self.named(piece, *slot, part, target)?;
                        (Decoded::Insn(insn), Some(relocation))
                    }
                    None => (*part, None),
                };
                if let Some((symbol, r_type)) = named {
                    let offset = u64::from(byte(*slot));
                    let flags = RelocationFlags::Elf { r_type };
                    self.object.add_relocation(
                        section.id,
                        Relocation { offset, symbol, addend: 0, flags },
                    )?;
                }
                insn.encode(&mut code);
            }
            self.object.append_section_data(section.id, &code, 8);
        }
        Ok(described)
    }

    /// An instruction with a reference in the form that libbpf expects, with the symbol and kind of
    /// its relocation.
    fn named(
        &self,
        piece: &Piece<'_>,
        slot: usize,
        part: &Decoded,
        target: &Target,
    ) -> Result<(Insn, (SymbolId, RelocationType)), WriteError> {
        let at = || At::new(piece.from, slot);
        let (Target::Map(name) | Target::Function(name) | Target::Kernel(name)) = target;
        let kind = match target {
            Target::Map(_) => SymbolKind::Data,
            Target::Function(_) => SymbolKind::Text,
            // What others define has no kind.
            Target::Kernel(_) => SymbolKind::Unknown,
        };
        let known = self.symbols.get(name).copied().filter(|symbol| {
            let found = self.object.symbol(*symbol).kind;
            found == kind || found == SymbolKind::Section && kind == SymbolKind::Data
        });
        let Some(symbol) = known else {
            if matches!(target, Target::Kernel(_)) {
                return Err(WriteError::Kernel { at: at(), name: name.clone() });
            }
            return Err(WriteError::Unknown { at: at(), name: name.clone() });
        };
        let wide =
            |dst, low: u32| Insn::Wide(Wide { dst, source: WideSource::Imm(u64::from(low)) });
        Ok(match (target, part) {
            (
                Target::Map(_),
                Decoded::Insn(Insn::Wide(Wide { dst, source: WideSource::Map { .. } })),
            ) => (wide(*dst, 0), (symbol, R_BPF_64_64)),
            (
                Target::Map(_),
                Decoded::Insn(Insn::Wide(Wide {
                    dst,
                    source: WideSource::MapValue { offset, .. },
                })),
            ) => (wide(*dst, *offset), (symbol, R_BPF_64_64)),
            // A distance of -1 refers to the symbol itself.
            (Target::Function(_), Decoded::Insn(Insn::Call(Call::Local { .. }))) => {
                (Insn::Call(Call::Local { offset: -1 }), (symbol, R_BPF_64_32))
            }
            (Target::Kernel(_), Decoded::Insn(Insn::Call(Call::Kernel { .. }))) => {
                (Insn::Call(Call::Local { offset: -1 }), (symbol, R_BPF_64_32))
            }
            (
                Target::Kernel(_),
                Decoded::Insn(Insn::Wide(Wide { dst, source: WideSource::Variable { .. } })),
            ) => (wide(*dst, 0), (symbol, R_BPF_64_64)),
            // Addresses of local functions are relative to the section.
            (
                Target::Function(_),
                Decoded::Insn(Insn::Wide(Wide { dst, source: WideSource::Function { .. } })),
            ) => {
                let start = self.object.symbol(symbol).value;
                (wide(*dst, start as u32), (self.text.unwrap_or(symbol), R_BPF_64_64))
            }
            _ => return Err(WriteError::Reference { at: at(), name: name.clone() }),
        })
    }
}

/// The maps that loads of this kind refer to.
fn uses<'a>(pieces: &'a [Piece<'_>], kind: impl Fn(&WideSource) -> bool) -> BTreeSet<&'a str> {
    let named = pieces.iter().flat_map(|piece| {
        piece.code.iter().filter_map(|(slot, part)| match (part, piece.targets.get(slot)) {
            (Decoded::Insn(Insn::Wide(Wide { source, .. })), Some(Target::Map(name))) => {
                Some((name.as_str(), source))
            }
            _ => None,
        })
    });
    named.filter(|(_, source)| kind(source)).map(|(name, _)| name).collect()
}
