//! Joins the read-only data of the programs of an object, which has one section for it.

use crate::insn::{Decoded, Insn, Wide, WideSource};
use crate::program::READ_ONLY;
use crate::text::{Map, Section, Target};

/// What the data of each program begins at, as the builder aligns each string.
const ALIGNMENT: u32 = 8;

/// Appends a program's data, and returns where it begins.
pub(super) fn append(known: &mut Map, data: &Map) -> u32 {
    let start = known.value_size.next_multiple_of(ALIGNMENT);
    let mut bytes = std::mem::take(&mut known.content);
    bytes.resize(start as usize, 0);
    bytes.extend(&data.content);
    known.set_content(&bytes);
    known.value_size = start.saturating_add(data.value_size);
    known.value = None;
    start
}

/// Moves the references of a section to read-only data.
pub(super) fn shift(section: &mut Section, by: u32) {
    let mut slot = 0;
    for part in &mut section.code {
        let slots = part.slots();
        if let Decoded::Insn(Insn::Wide(Wide {
            source: WideSource::MapValue { offset, .. }, ..
        })) = part
            && let Ok(found) =
                section.references.binary_search_by_key(&slot, |reference| reference.slot)
            && matches!(&section.references[found].to, Target::Map(name) if name == READ_ONLY)
        {
            *offset = offset.saturating_add(by);
        }
        slot += slots;
    }
}
