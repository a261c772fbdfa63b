//! Which function goes where, and what its instructions name.

use std::collections::{BTreeSet, HashMap};

use super::{TEXT, WriteError};
use crate::insn::{Call, Decoded, Insn, Wide, WideSource};
use crate::text::{Function, Line, Section, Target, Unit};

/// A function on its way into an object.
pub(super) struct Piece<'a> {
    pub(super) function: &'a Function,
    /// Where it stands in the unit.
    pub(super) from: &'a Section,
    /// The section of the object that it goes to.
    pub(super) section: &'a str,
    /// Its code, each part with its slot in the section that it comes from.
    pub(super) code: Vec<(usize, Decoded)>,
    /// What instructions name, by slot; calls inside a section are among them.
    pub(super) targets: HashMap<usize, Target>,
    /// Its lines.
    pub(super) lines: Vec<&'a Line>,
}

impl Piece<'_> {
    /// Bytes of code.
    pub(super) fn size(&self) -> usize {
        self.code.iter().map(|(_, part)| part.slots() * 8).sum()
    }
}

/// The functions of a unit, in its order.
pub(super) fn pieces(unit: &Unit) -> Result<Vec<Piece<'_>>, WriteError> {
    let mut pieces = Vec::new();
    for section in unit.sections.iter().filter(|section| !section.code.is_empty() || !section.functions.is_empty()) {
        cut(section, &mut pieces)?;
    }
    let called: BTreeSet<String> = pieces.iter().flat_map(Piece::called).collect();
    for piece in &mut pieces {
        if called.contains(&piece.function.name) {
            piece.section = TEXT;
        }
    }
    for piece in &pieces {
        let programs = || pieces.iter().any(|other| other.section == piece.from.name);
        if piece.from.name != TEXT && !programs() {
            return Err(WriteError::NoProgram { section: piece.from.name.clone() });
        }
    }
    Ok(pieces)
}

/// Cuts a section into its functions.
fn cut<'a>(section: &'a Section, pieces: &mut Vec<Piece<'a>>) -> Result<(), WriteError> {
    let name = || section.name.clone();
    let first = section.functions.first().map(|first| first.name.clone());
    if section.name.is_empty() {
        return Err(WriteError::NoSection { function: first.unwrap_or_else(|| "instruction 0".to_owned()) });
    }
    if section.functions.first().is_none_or(|first| first.slot != 0) {
        return Err(WriteError::OutsideFunction { section: name() });
    }
    let ends = section.functions.iter().skip(1).map(|next| next.slot).chain([usize::MAX]);
    for (function, end) in section.functions.iter().zip(ends) {
        let inside = |slot: usize| (function.slot..end).contains(&slot);
        let code: Vec<(usize, Decoded)> =
            section.pieces().filter(|(slot, _)| inside(*slot)).map(|(slot, part)| (slot, *part)).collect();
        if code.first().is_none_or(|(slot, _)| *slot != function.slot) {
            return Err(WriteError::Empty { function: function.name.clone() });
        }
        if code.iter().any(|(_, part)| matches!(part, Decoded::Data(data) if data.bytes().len() != 8)) {
            return Err(WriteError::Torn { section: name() });
        }
        let mut targets = HashMap::new();
        for (slot, part) in &code {
            if let Some(target) = target(section, *slot, part)? {
                targets.insert(*slot, target);
            }
        }
        let begins = |line: &&Line| code.binary_search_by_key(&line.slot, |(slot, _)| *slot).is_ok();
        let lines = section.lines.iter().filter(begins).collect();
        pieces.push(Piece { function, from: section, section: &section.name, code, targets, lines });
    }
    Ok(())
}

/// What an instruction names: by a reference, or by the distance to a function of the same section.
fn target(section: &Section, slot: usize, part: &Decoded) -> Result<Option<Target>, WriteError> {
    if let Some(target) = section.reference(slot) {
        return Ok(Some(target.clone()));
    }
    let distance = match part {
        Decoded::Insn(
            Insn::Call(Call::Local { offset }) | Insn::Wide(Wide { source: WideSource::Function { offset }, .. }),
        ) => i64::from(*offset),
        _ => return Ok(None),
    };
    let target = slot as i64 + 1 + distance;
    match section.functions.iter().find(|function| function.slot as i64 == target) {
        Some(function) => Ok(Some(Target::Function(function.name.clone()))),
        None => Err(WriteError::Call { section: section.name.clone(), slot, target }),
    }
}

impl Piece<'_> {
    fn called(&self) -> impl Iterator<Item = String> {
        self.targets.values().filter_map(|target| match target {
            Target::Function(name) => Some(name.clone()),
            Target::Map(_) | Target::Kernel(_) => None,
        })
    }
}
