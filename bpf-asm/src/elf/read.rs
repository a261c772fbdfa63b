//! Reads an object.

use std::collections::{BTreeMap, HashMap};

use object::elf::{R_BPF_64_32, R_BPF_64_64};
use object::read::elf::{ElfFile64, ElfSymbol64};
use object::read::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionIndex,
};
use object::{Architecture, LittleEndian, SectionKind, SymbolKind};

use super::{BTF, BTF_EXT, DATA, LICENSE, MAPS, ReadError, disassemble, maps};
use crate::btf::{BtfError, COPIES, Ext, ExtSection, Types};
use crate::draft::is_name;
use crate::insn::decode;
use crate::program::READ_ONLY;
use crate::text::{Function, Line, Map, Reference, Section, Target, Unit};
use crate::uapi::BPF_F_RDONLY_PROG;

/// BPF objects: 64-bit, in the byte order of this crate.
pub(super) type File<'a> = ElfFile64<'a, LittleEndian>;
type Symbol<'a, 'b> = ElfSymbol64<'a, 'b, LittleEndian>;

const WIDE: u8 = 0x18;
const CALL: u8 = 0x85;

/// Reads an object's code with relocations as references, its maps, and its line info.
///
/// Variables of `.data`, `.rodata` and `.bss` are values of maps with the section's name, as libbpf
/// creates them. Kfuncs and kernel variables are referred to by name, functions within a section by
/// distance.
///
/// A unit cannot represent all of an object: types, initial values of variables, CO-RE relocations.
/// If the object has any of them, [`Unit::incomplete`] says so;
/// [`disassemble`](super::disassemble()) covers everything.
///
/// # Errors
/// [`ReadError`] for bytes that are not a BPF ELF object, or that are malformed. No input causes a
/// panic.
pub fn read(bytes: &[u8]) -> Result<Unit, ReadError> {
    let mut unit = unit(bytes)?;
    unit.incomplete = disassemble::missing(bytes, &unit)?;
    Ok(unit)
}

/// The same, whether the unit is complete or not.
pub(super) fn unit(bytes: &[u8]) -> Result<Unit, ReadError> {
    let file = parse(bytes)?;
    let content = |name| file.section_by_name(name).map(|section| section.data()).transpose();
    let broken = |section| move |error| ReadError::Btf { section, error };
    let types = content(BTF)?.map(|bytes| Types::read(bytes).map_err(broken(BTF))).transpose()?;
    let ext =
        content(BTF_EXT)?.map(|bytes| Ext::read(bytes).map_err(broken(BTF_EXT))).transpose()?;

    let mut names = Names::default();
    for section in file.sections() {
        names.sections.insert(section.index().0, section_name(&section)?.to_owned());
    }
    for symbol in file.symbols() {
        names.add(&file, &symbol)?;
    }
    let maps = declared(types.as_ref(), names.in_section(MAPS))?;
    let mut reader = Reader { names: &names, file: &file, values: Vec::new() };
    let mut sections = Vec::new();
    let mut left = COPIES;
    for section in
        file.sections().filter(|section| section.kind() == SectionKind::Text && section.size() > 0)
    {
        let mut read = reader.section(&section)?;
        if let (Some(types), Some(ext)) = (&types, &ext) {
            read.lines = lines(types, ext, &read.name, section.size(), &mut left)
                .map_err(broken(BTF_EXT))?;
        }
        sections.push(read);
    }
    let license = content(LICENSE)?.map(c_string);
    let mut maps = maps;
    maps.extend(reader.values.into_iter().map(|(_, map)| map));
    let mut externs =
        types.as_ref().map_or_else(|| Ok(Vec::new()), Types::externs).map_err(broken(BTF))?;
    externs.retain_mut(|of| {
        let weak = names.undefined.get(&of.name);
        of.weak = weak == Some(&1);
        weak.is_some()
    });
    Ok(Unit { license, maps, externs, sections, ..Unit::default() })
}

/// Parses ELF for BPF.
pub(super) fn parse(bytes: &[u8]) -> Result<File<'_>, ReadError> {
    // 64-bit and little-endian (gabi, `e_ident`).
    if bytes.starts_with(b"\x7fELF") && bytes.get(4..6).is_some_and(|class| class != [2, 1]) {
        return Err(ReadError::Machine);
    }
    let file = File::parse(bytes)?;
    if file.architecture() == Architecture::Bpf { Ok(file) } else { Err(ReadError::Machine) }
}

pub(super) fn section_name<'a>(section: &impl ObjectSection<'a>) -> Result<&'a str, ReadError> {
    section.name().map_err(|_| ReadError::SectionName { index: section.index().0 })
}

/// Text up to its first NUL.
fn c_string(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// What symbols refer to.
#[derive(Default)]
struct Names {
    /// Section names by index.
    sections: BTreeMap<usize, String>,
    /// Functions and variables by section and byte.
    at: BTreeMap<(usize, u64), (String, SymbolKind)>,
    /// What others define: 1 if it may be missing.
    undefined: HashMap<String, usize>,
}

impl Names {
    fn add(&mut self, file: &File<'_>, symbol: &Symbol<'_, '_>) -> Result<(), ReadError> {
        let Some(index) = symbol.section_index() else {
            if let (true, Ok(name)) = (symbol.is_undefined(), symbol.name()) {
                self.undefined.insert(name.to_owned(), usize::from(symbol.is_weak()));
            }
            return Ok(());
        };
        if !matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) {
            return Ok(());
        }
        let name = symbol.name()?;
        let lost = || ReadError::Symbol { name: name.to_owned() };
        let section = file.section_by_index(index).map_err(|_| lost())?;
        let (address, code) = (symbol.address(), section.kind() == SectionKind::Text);
        if address > section.size() || code && !address.is_multiple_of(8) {
            return Err(lost());
        }
        self.at.entry((index.0, address)).or_insert_with(|| (name.to_owned(), symbol.kind()));
        Ok(())
    }

    /// The names in all sections with this name.
    fn in_section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        let here =
            move |index: &usize| self.sections.get(index).is_some_and(|name| name == section);
        self.at
            .iter()
            .filter(move |((index, _), _)| here(index))
            .map(|(_, (name, _))| name.as_str())
    }
}

/// The maps that BTF declares under these names.
fn declared<'a>(
    types: Option<&Types<'_>>,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Map>, ReadError> {
    let broken = |error| ReadError::Btf { section: BTF, error };
    let variables =
        types.map_or_else(|| Ok(Vec::new()), |types| types.variables(MAPS)).map_err(broken)?;
    let mut maps = Vec::new();
    for name in names {
        let found = variables.iter().find(|(known, _)| *known == name);
        let (Some(types), Some((_, ty))) = (types, found) else {
            return Err(ReadError::Map { map: name.to_owned(), problem: "is missing" });
        };
        maps.push(maps::declared(types, name, *ty).map_err(broken)?);
    }
    Ok(maps)
}

/// The line info of a section; `left` is what the texts of all sections may still take.
fn lines(
    types: &Types<'_>,
    ext: &Ext,
    section: &str,
    size: u64,
    left: &mut usize,
) -> Result<Vec<Line>, BtfError> {
    let mut copied = |offset| types.copied(offset, left, "lines");
    let mut lines = BTreeMap::new();
    for ExtSection { name, lines: records, .. } in &ext.sections {
        if types.string(*name)? != section {
            continue;
        }
        for [byte, file, text, position] in records {
            if !byte.is_multiple_of(8) || u64::from(*byte) >= size {
                return Err(BtfError::Part { part: "lines" });
            }
            let slot = *byte as usize / 8;
            let (file, text) = (copied(*file)?.to_owned(), copied(*text)?.trim().to_owned());
            lines.insert(
                slot,
                Line { slot, file, line: position >> 10, column: position & 0x3ff, text },
            );
        }
    }
    Ok(lines.into_values().collect())
}

/// Reads a section of code.
struct Reader<'a> {
    names: &'a Names,
    file: &'a File<'a>,
    /// The maps whose value is a section of variables, by section.
    values: Vec<(usize, Map)>,
}

impl Reader<'_> {
    fn section<'a>(&mut self, section: &impl ObjectSection<'a>) -> Result<Section, ReadError> {
        let name = section_name(section)?;
        let mut bytes = section.data()?.to_vec();
        let mut references = BTreeMap::new();
        for (offset, relocation) in section.relocations() {
            let wrong =
                |problem| ReadError::Relocation { section: name.to_owned(), offset, problem };
            let slot = usize::try_from(offset)
                .ok()
                .filter(|offset| offset.is_multiple_of(8))
                .map(|offset| offset / 8);
            let slot = slot.ok_or_else(|| wrong("is not at the start of an instruction slot"))?;
            let code = bytes.get_mut(slot * 8..).ok_or_else(|| wrong("is outside the section"))?;
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return Err(wrong("is of an unknown kind"));
            };
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                return Err(wrong("has no symbol"));
            };
            let symbol = self
                .file
                .symbol_by_index(symbol)
                .map_err(|_| wrong("refers to a missing symbol"))?;
            let target = match r_type {
                R_BPF_64_64 => self.load(code, slot, section.index(), &symbol),
                R_BPF_64_32 => self.call(code, slot, section.index(), &symbol),
                _ => Err("is of a kind that code cannot have"),
            };
            if let Some(to) = target.map_err(wrong)? {
                references.insert(slot, Reference { slot, to });
            }
        }
        let index = section.index().0;
        let functions = self.names.at.range((index, 0)..(index, section.size()));
        let functions = functions.filter(|(_, (_, kind))| *kind == SymbolKind::Text).map(
            |((_, byte), (name, _))| Function {
                name: name.clone(),
                slot: (byte / 8) as usize,
                context: None,
            },
        );
        Ok(Section {
            name: name.to_owned(),
            code: decode(&bytes),
            functions: functions.collect(),
            references: references.into_values().collect(),
            lines: Vec::new(),
            found: None,
        })
    }

    /// A load of the address of a map, a variable or a function.
    fn load(
        &mut self,
        code: &mut [u8],
        slot: usize,
        here: SectionIndex,
        symbol: &Symbol<'_, '_>,
    ) -> Result<Option<Target>, &'static str> {
        let Some(wide) = code.first_chunk_mut::<16>().filter(|code| code[0] == WIDE) else {
            return Err("is not on a 64-bit load");
        };
        let added = read_word(wide, 4);
        let Some(index) = symbol.section_index() else {
            // A kernel variable, or a kconfig value.
            set(wide, 3, 0, 0);
            return Ok(Some(Target::Kernel(
                symbol.name().map_err(|_| "refers to a symbol without a name")?.to_owned(),
            )));
        };
        let section = self
            .file
            .section_by_index(index)
            .map_err(|_| "refers to a symbol outside any section")?;
        let section_name = section.name().map_err(|_| "refers to a section without a name")?;
        let address = symbol.address().wrapping_add(u64::from(added));
        if section.kind() == SectionKind::Text {
            let (name, distance) = self.function(index, address, here, slot)?;
            set(wide, 4, distance.unwrap_or(-1).cast_unsigned(), 0);
            return Ok(distance.is_none().then_some(Target::Function(name)));
        }
        if section_name == MAPS {
            let known = self.names.at.get(&(index.0, address));
            let (name, _) = known.ok_or("does not refer to a declared map")?;
            set(wide, 1, 0, 0);
            return Ok(Some(Target::Map(name.clone())));
        }
        let (offset, value_size) = (u32::try_from(address), u32::try_from(section.size()));
        let (Ok(offset), Ok(value_size)) = (offset, value_size) else {
            return Err("exceeds the size of a map value");
        };
        let read_only = section_name.strip_prefix(READ_ONLY);
        let rest = match read_only {
            Some(rest) => rest.strip_prefix('.').filter(|name| is_name(name)),
            None => section_name.strip_prefix(DATA).filter(|name| !name.is_empty()),
        };
        let name = rest.unwrap_or(section_name).to_owned();
        set(wide, 2, 0, offset);
        let place = self.values.partition_point(|(known, _)| *known < index.0);
        if self.values.get(place).is_none_or(|(known, _)| *known != index.0) {
            let mut map = Map {
                name: name.clone(),
                kind: maps::ARRAY,
                key_size: 4,
                value_size,
                max_entries: 1,
                flags: if read_only.is_some() { BPF_F_RDONLY_PROG } else { 0 },
                ..Map::default()
            };
            map.set_content(section.data().map_err(|_| "refers to a section without its bytes")?);
            self.values.insert(place, (index.0, map));
        }
        Ok(Some(Target::Map(name)))
    }

    /// A call of a function of the object or of a kfunc.
    fn call(
        &self,
        code: &mut [u8],
        slot: usize,
        here: SectionIndex,
        symbol: &Symbol<'_, '_>,
    ) -> Result<Option<Target>, &'static str> {
        let Some(call) = code.first_chunk_mut::<8>().filter(|code| code[0] == CALL) else {
            return Err("is not on a call");
        };
        let Some(index) = symbol.section_index() else {
            call[1] = 2 << 4;
            call[4..].fill(0);
            return Ok(Some(Target::Kernel(
                symbol.name().map_err(|_| "refers to a symbol without a name")?.to_owned(),
            )));
        };
        // The distance counts from the symbol, as if the call were just before it.
        let slots = i64::from(read_word(call, 4).cast_signed()) + 1;
        let address = symbol.address().wrapping_add_signed(slots * 8);
        let (name, distance) = self.function(index, address, here, slot)?;
        call[1] = 1 << 4;
        call[4..].copy_from_slice(&distance.unwrap_or(-1).to_le_bytes());
        Ok(distance.is_none().then_some(Target::Function(name)))
    }

    /// The function at an address, and its distance if it is in the same section.
    fn function(
        &self,
        index: SectionIndex,
        address: u64,
        here: SectionIndex,
        slot: usize,
    ) -> Result<(String, Option<i32>), &'static str> {
        let found =
            self.names.at.get(&(index.0, address)).filter(|(_, kind)| *kind == SymbolKind::Text);
        let (name, _) = found.ok_or("does not refer to the start of a function")?;
        if index != here {
            return Ok((name.clone(), None));
        }
        let distance = (address / 8) as i64 - slot as i64 - 1;
        let distance = i32::try_from(distance).map_err(|_| "exceeds the range of calls")?;
        Ok((name.clone(), Some(distance)))
    }
}

fn read_word(code: &[u8], at: usize) -> u32 {
    let bytes = code.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Sets what a wide load loads (`BPF_PSEUDO_*`) and its two immediates.
fn set(wide: &mut [u8; 16], pseudo: u8, low: u32, high: u32) {
    wide[1] = wide[1] & 0x0f | pseudo << 4;
    wide[4..8].copy_from_slice(&low.to_le_bytes());
    wide[12..16].copy_from_slice(&high.to_le_bytes());
}
