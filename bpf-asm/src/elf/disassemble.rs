//! Disassembles an object.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use super::{BTF, BTF_EXT, LICENSE, MAPS, ReadError, maps, read, relocatable, write};
use crate::btf::{Ext, Place, Types};
use crate::text::gas::{self, Known, Notes, Part, R_BPF_64_32, R_BPF_64_64, Referent, Relocatable};
use crate::text::{self, Style, Unit};

/// Writes an object as text from which [`assemble`](super::assemble()) makes the same object, as
/// far as loaders use it.
///
/// An object that [`Unit`] can represent is written as by [`text::disassemble`]. Others have types,
/// data, CO-RE relocations or symbols that need more; they are written in the syntax of GNU as and
/// LLVM, as by clang `-S`, with types as commented data. Debug sections (`.debug_*`) are left out.
///
/// # Errors
/// [`ReadError`] for bytes that are not an object, or that text cannot express.
pub fn disassemble(bytes: &[u8], style: &Style) -> Result<String, ReadError> {
    let object = relocatable::read(bytes)?;
    // Maps without types are still variables.
    let unit = read::unit(bytes).unwrap_or_default();
    if let Some(text) = as_unit(&object, &unit, style) {
        return Ok(text);
    }
    let notes = notes(&object, &unit)?;
    gas::disassemble(&object, &notes, style).map_err(|reason| ReadError::NoText { reason })
}

/// What the description of a CO-RE relocation begins with.
const CORE: &str = "relocation ";

/// The text of a unit, if it assembles to the same object.
fn as_unit(object: &Relocatable, unit: &Unit, style: &Style) -> Option<String> {
    let all = loaded(object)?;
    if all.iter().any(|part| part.starts_with(CORE)) {
        return None;
    }
    let text = text::disassemble(unit, style);
    let again = write(&text::assemble("", &text).ok()?).ok()?;
    let again = relocatable::read(&again).ok()?;
    (all == loaded(&again)?).then_some(text)
}

/// What an object has that the unit read from it lacks; none if it is complete.
///
/// # Errors
/// [`ReadError`] for bytes that are not an object.
pub(super) fn missing(bytes: &[u8], unit: &Unit) -> Result<Option<String>, ReadError> {
    let object = relocatable::read(bytes)?;
    let all = loaded(&object);
    // No unit can represent them.
    if all.as_ref().is_some_and(|parts| parts.iter().any(|part| part.starts_with(CORE))) {
        return Ok(Some("its CO-RE relocations".to_owned()));
    }
    let again = match write(unit) {
        Ok(again) => relocatable::read(&again)?,
        // Variables that are not maps come first.
        Err(error) => {
            let data = object.sections.iter().find(|part| {
                !part.is_code() && !part.is_btf() && part.name != LICENSE && part.name != MAPS
            });
            return Ok(Some(data.map_or_else(|| error.to_string(), |part| in_section(&part.name))));
        }
    };
    let (Some(all), Some(held)) = (all, loaded(&again)) else {
        return Ok(Some("its malformed types".to_owned()));
    };
    let lost = || all.iter().filter(|part| held.binary_search(part).is_err());
    let first = |kind: &str| lost().find(|part| part.starts_with(kind));
    let name = |part: &String| part.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(if let Some(section) = first("section ") {
        Some(in_section(&name(section)))
    } else if let Some(symbol) = first("symbol ") {
        Some(format!("the position or binding of its symbol `{}`", name(symbol)))
    } else if lost().next().is_some() || all.len() != held.len() {
        Some("its types".to_owned())
    } else {
        None
    })
}

fn in_section(name: &str) -> String {
    format!("the content or relocations of its section `{name}`")
}

/// The loaded parts of an object except line info, independent of how the object was written; none
/// if its types are malformed.
fn loaded(object: &Relocatable) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    for part in &object.sections {
        if part.is_btf() {
            continue;
        }
        let Part { name, flags, nobits, size, .. } = part;
        let mut bytes = part.bytes.clone();
        let mut relocations = Vec::new();
        for relocation in &part.relocations {
            // The content before relocation is the addend.
            let at = relocation.offset as usize;
            let word = match relocation.kind {
                R_BPF_64_64 | R_BPF_64_32 => at + 4,
                _ => at,
            };
            let place = bytes.get_mut(word..word.checked_add(4)?)?;
            let added = i64::from(i32::from_le_bytes(place.try_into().ok()?));
            place.fill(0);
            let added = if relocation.kind == R_BPF_64_32 { (added + 1) * 8 } else { added };
            relocations.push(format!(
                "{at} {} {}",
                relocation.kind,
                address(object, relocation.to, added)?
            ));
        }
        relocations.sort();
        parts.push(format!("section {name} {flags:#x} {nobits} {size} {bytes:?} {relocations:?}"));
    }
    for symbol in &object.symbols {
        let section =
            symbol.section.and_then(|section| object.sections.get(section)).map(|part| &part.name);
        parts.push(format!(
            "symbol {} {section:?} {} {} {} {} {}",
            symbol.name, symbol.value, symbol.size, symbol.kind, symbol.binding, symbol.visibility
        ));
    }
    let part = |name: &str| {
        object.sections.iter().find(|part| part.name == name).map(|part| part.bytes.as_slice())
    };
    if let Some(types) = part(BTF) {
        let types = Types::read(types).ok()?;
        parts.extend(types.described().ok()?.into_iter().map(|described| described.text));
        if let Some(ext) = part(BTF_EXT) {
            // Of line info, only its presence counts; the other records are compared word by word.
            let known = Ext::read(ext).ok()?;
            for section in &known.sections {
                parts.push(format!(
                    "functions {:?} {:?}",
                    types.string(section.name).ok()?,
                    section.functions
                ));
            }
            for relocation in Ext::relocations(ext).ok()? {
                let [section, offset, ty, access, kind] = relocation;
                let (section, access) = (types.string(section).ok()?, types.string(access).ok()?);
                parts.push(format!("{CORE}{section:?} {offset} {ty} {access:?} {kind}"));
            }
        }
    }
    parts.sort();
    Some(parts)
}

/// An address in a form independent of symbols: a position in a section, or an external symbol.
fn address(object: &Relocatable, to: Referent, added: i64) -> Option<String> {
    let (section, value) = match to {
        Referent::Section(section) => (section, 0),
        Referent::Symbol(symbol) => {
            let symbol = object.symbols.get(symbol)?;
            match symbol.section {
                Some(section) => (section, symbol.value),
                None => return Some(format!("{} {added}", symbol.name)),
            }
        }
    };
    Some(format!("{} {}", object.sections.get(section)?.name, value.wrapping_add_signed(added)))
}

/// Comments on an object's bytes.
fn notes(object: &Relocatable, unit: &Unit) -> Result<Notes, ReadError> {
    let mut notes = Notes::default();
    notes.head.push(
        "As clang writes it by -S; `shunt asm` and llvm-mc assemble it to the same object."
            .to_owned(),
    );
    for map in unit.maps.iter().filter(|map| !map.name.starts_with('.')) {
        notes.head.push(maps::in_words(map));
    }
    for section in &unit.sections {
        notes.lines.insert(section.name.clone(), section.lines.clone());
    }
    let broken = |section| move |error| ReadError::Btf { section, error };
    let part = |name: &str| {
        object.sections.iter().find(|part| part.name == name).map(|part| part.bytes.as_slice())
    };
    let Some(btf) = part(BTF) else { return Ok(notes) };
    let types = Types::read(btf).map_err(broken(BTF))?;
    let start = u64::from(
        btf.get(4..8)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(24, |bytes| u32::from_le_bytes(*bytes)),
    ) + u64::from(
        btf.get(8..12)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes)),
    );
    let described = types.described().map_err(broken(BTF))?;
    notes.types = described.into_iter().map(|ty| (start + ty.at, ty.size, ty.text)).collect();
    if let Some(ext) = part(BTF_EXT) {
        let mut names: HashMap<u32, Rc<str>> = HashMap::new();
        for Place { at, section, relocated } in Ext::places(ext).map_err(broken(BTF_EXT))? {
            let section = match names.entry(section) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(new) => {
                    let name = types.string(section).map_err(broken(BTF_EXT))?;
                    new.insert(name.into()).clone()
                }
            };
            notes.offsets.insert(at, Known { section, relocated });
        }
    }
    Ok(notes)
}
