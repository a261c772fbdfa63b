//! Splits sections into functions, and resolves what their instructions refer to.

use std::collections::{BTreeSet, HashMap};

use super::{At, TEXT, WriteError};
use crate::insn::{Call, Decoded, Insn, Wide, WideSource};
use crate::text::{Function, Line, Section, Target, Unit};

/// A function to be placed in an object.
pub(super) struct Piece<'a> {
    pub(super) function: &'a Function,
    /// Its section in the unit.
    pub(super) from: &'a Section,
    /// Its section in the object.
    pub(super) section: &'a str,
    /// Its instructions, each with its slot in the original section.
    pub(super) code: Vec<(usize, Decoded)>,
    /// The references of its instructions by slot, including calls within a section.
    pub(super) targets: HashMap<usize, Target>,
    /// Its line info.
    pub(super) lines: Vec<&'a Line>,
}

impl Piece<'_> {
    /// Size of the code in bytes.
    pub(super) fn size(&self) -> usize {
        self.code.iter().map(|(_, part)| part.slots() * 8).sum()
    }
}

/// The functions of a unit in order.
pub(super) fn pieces(unit: &Unit) -> Result<Vec<Piece<'_>>, WriteError> {
    let mut pieces = Vec::new();
    for section in unit
        .sections
        .iter()
        .filter(|section| !section.code.is_empty() || !section.functions.is_empty())
    {
        split(section, &mut pieces)?;
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
            return Err(WriteError::NoProgram { at: At::new(piece.from, piece.function.slot) });
        }
    }
    Ok(pieces)
}

/// Splits a section into its functions.
fn split<'a>(section: &'a Section, pieces: &mut Vec<Piece<'a>>) -> Result<(), WriteError> {
    let at = |slot| At::new(section, slot);
    if section.name.is_empty() {
        return Err(WriteError::NoSection { at: at(0) });
    }
    if section.functions.first().is_none_or(|first| first.slot != 0) {
        return Err(WriteError::OutsideFunction { at: at(0) });
    }
    let ends = section.functions.iter().skip(1).map(|next| next.slot).chain([usize::MAX]);
    for (function, end) in section.functions.iter().zip(ends) {
        let inside = |slot: usize| (function.slot..end).contains(&slot);
        let code: Vec<(usize, Decoded)> = section
            .pieces()
            .filter(|(slot, _)| inside(*slot))
            .map(|(slot, part)| (slot, *part))
            .collect();
        if code.first().is_none_or(|(slot, _)| *slot != function.slot) {
            return Err(WriteError::Empty {
                at: at(function.slot),
                function: function.name.clone(),
            });
        }
        let partial = code
            .iter()
            .find(|(_, part)| matches!(part, Decoded::Data(data) if data.bytes().len() != 8));
        if let Some((slot, _)) = partial {
            return Err(WriteError::Torn { at: at(*slot) });
        }
        if let Some((slot, _)) = code.last().filter(|(_, part)| continues(part)) {
            return Err(WriteError::FallsOff { at: at(*slot), function: function.name.clone() });
        }
        let mut targets = HashMap::new();
        for (slot, part) in &code {
            if let Some(target) = target(section, *slot, part)? {
                targets.insert(*slot, target);
            }
        }
        let begins =
            |line: &&Line| code.binary_search_by_key(&line.slot, |(slot, _)| *slot).is_ok();
        let lines = section.lines.iter().filter(begins).collect();
        pieces.push(Piece {
            function,
            from: section,
            section: &section.name,
            code,
            targets,
            lines,
        });
    }
    Ok(())
}

/// Whether execution always continues after an instruction. It does not after the kfunc
/// `bpf_throw`.
fn continues(part: &Decoded) -> bool {
    match part {
        Decoded::Insn(
            Insn::Exit
            | Insn::Jump(_)
            | Insn::JumpLong(_)
            | Insn::JumpRegister(_)
            | Insn::Call(Call::Kernel { .. }),
        ) => false,
        Decoded::Insn(_) => true,
        Decoded::Data(_) => false,
    }
}

/// What an instruction refers to: by reference, or by the distance to a function of its section.
fn target(section: &Section, slot: usize, part: &Decoded) -> Result<Option<Target>, WriteError> {
    if let Some(target) = section.reference(slot) {
        return Ok(Some(target.clone()));
    }
    let distance = match part {
        Decoded::Insn(
            Insn::Call(Call::Local { offset })
            | Insn::Wide(Wide { source: WideSource::Function { offset }, .. }),
        ) => i64::from(*offset),
        _ => return Ok(None),
    };
    let target = slot as i64 + 1 + distance;
    match section.functions.iter().find(|function| function.slot as i64 == target) {
        Some(function) => Ok(Some(Target::Function(function.name.clone()))),
        None => Err(WriteError::Call { at: At::new(section, slot), target }),
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
