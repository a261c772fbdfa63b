//! The end of building: distances between lines become numbers.

use super::{Core, Link};
use crate::error::{BuildError, ErrorKind, Location};
use crate::insn::{Call, Insn};
use crate::program::{FunctionStart, ProgramLine};

/// The most instruction slots that the kernel loads (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_SLOTS: usize = 1_000_000;

/// Where everything is, once all lines are known.
pub(crate) struct Resolved {
    pub(crate) lines: Vec<ProgramLine>,
    pub(crate) functions: Vec<FunctionStart>,
}

/// Reports functions that do not end, that nothing calls, or that the kernel could not name.
pub(super) fn check_ends(core: &mut Core) {
    let mut found = Vec::new();
    for function in &core.functions {
        if let Some(end) = function.falls_off() {
            found.push((ErrorKind::FallsOff { function: function.name.clone() }, end));
        }
        if !function.called {
            found.push((ErrorKind::NeverCalled { function: function.name.clone() }, function.at));
        }
        if !is_name(&function.name) {
            found.push((ErrorKind::Name { name: function.name.clone() }, function.at));
        }
    }
    for (kind, at) in found {
        core.report(kind, at);
    }
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=127).contains(&name.len()) && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Fills in jumps and calls. The program comes first, then its functions, latest first: a function knows only functions
/// written before it, so that every call goes forward, as rbpf wants it.
pub(super) fn resolve(core: &Core, errors: &mut Vec<BuildError>) -> Resolved {
    let order = || std::iter::once(0).chain((1..core.functions.len()).rev());
    let mut functions: Vec<FunctionStart> = Vec::new();
    let mut slots: Vec<Vec<usize>> = vec![Vec::new(); core.functions.len()];
    let mut next = 0;
    for index in order() {
        let function = &core.functions[index];
        functions.push(FunctionStart { name: function.name.clone(), slot: next });
        let of_function = &mut slots[index];
        for line in &function.lines {
            of_function.push(next);
            next += line.insn.slots();
        }
        // A label may stand behind the last line; a jump to it is an error, but it has a place.
        of_function.push(next);
    }
    let mut report = |kind, at: Location| errors.push(BuildError { at, kind });
    if next > MAX_SLOTS {
        report(ErrorKind::TooLong { given: next }, core.functions[0].at);
    }

    let mut lines = Vec::new();
    for index in order() {
        for (number, line) in core.functions[index].lines.iter().enumerate() {
            let slot = slots[index][number];
            let mut insn = line.insn;
            let mut map = None;
            match line.link {
                Link::None | Link::Helper => {}
                Link::Map(known) => map = Some(known),
                Link::Label(label) => {
                    let label = &core.labels[label];
                    let Some((target, _)) = label.placed else {
                        report(ErrorKind::LabelNotPlaced { label: label.at }, line.at);
                        continue;
                    };
                    let Some(target) = slots[index].get(target).filter(|_| label.function == index) else { continue };
                    let distance = *target as i64 - slot as i64 - 1;
                    match (i16::try_from(distance), &mut insn) {
                        (Ok(offset), Insn::Jump(jump)) => jump.offset = offset,
                        (Ok(offset), Insn::JumpIf(jump)) => jump.offset = offset,
                        (Ok(_), _) => {}
                        (Err(_), _) => report(ErrorKind::JumpRange { distance }, line.at),
                    }
                }
                Link::Function(called) => {
                    let start = slots.get(called).and_then(|slots| slots.first()).copied().unwrap_or(0);
                    let distance = start as i64 - slot as i64 - 1;
                    match i32::try_from(distance) {
                        Ok(offset) => insn = Insn::Call(Call::Local { offset }),
                        Err(_) => report(ErrorKind::JumpRange { distance }, line.at),
                    }
                }
            }
            lines.push(ProgramLine { insn, at: line.at, slot, map });
        }
    }
    Resolved { lines, functions }
}
