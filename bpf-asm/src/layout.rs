//! The end of building: labels become numbers, and then distances.

mod far;

use crate::draft::{Draft, Line, Link};
use crate::error::{BuildError, ErrorKind, Location};
use crate::insn::{Call, Insn, WideSource};
use crate::map::MapDef;
use crate::program::{FunctionStart, ProgramLine};
use crate::step::{Step, Target};

pub(crate) use far::lengthen;

/// The most instruction slots that the kernel loads (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_SLOTS: usize = 1_000_000;

/// Where everything is, once all lines are known.
pub(crate) struct Resolved {
    pub(crate) lines: Vec<ProgramLine>,
    pub(crate) functions: Vec<FunctionStart>,
    /// The maps that some line loads.
    pub(crate) maps: Vec<MapDef>,
    /// The functions of the kernel that some line calls by name.
    pub(crate) kernel_functions: Vec<String>,
}

/// The lines of each function with the numbers of what they lead to.
pub(crate) fn bind(draft: &Draft, errors: &mut Vec<BuildError>) -> Vec<Vec<Step>> {
    let mut report = |kind, at: Location| errors.push(BuildError { at, kind });
    let mut step = |function: usize, line: &Line| {
        let (mut map, mut kernel) = (None, None);
        let target = match line.link {
            Link::None => Target::None,
            Link::Map(known) => {
                map = Some(known);
                Target::None
            }
            Link::Helper { arguments } => Target::Helper { arguments },
            Link::Kernel { name, arguments } => {
                kernel = Some(name);
                Target::Helper { arguments }
            }
            Link::Address(called) => Target::Address { called },
            Link::Function(called) => {
                Target::Function { called, arguments: draft.functions[called].arguments }
            }
            Link::Label(label) => {
                let label = &draft.labels[label];
                match label.placed {
                    // Refused when it was written. Its place is a line of another function.
                    _ if label.function != function => Target::None,
                    Some((target, _)) => Target::Step(target),
                    None => {
                        report(ErrorKind::LabelNotPlaced { label: label.at }, line.at);
                        Target::None
                    }
                }
            }
        };
        let Line { insn, at, operands, .. } = *line;
        Step { insn, at, operands, target, map, kernel, touches: line.touches.clone() }
    };
    let functions = draft.functions.iter().enumerate();
    let bound = functions
        .map(|(index, function)| function.lines.iter().map(|line| step(index, line)).collect());
    bound.collect()
}

/// Fills in the distances of jumps and calls. The program comes first, then its functions, latest
/// first: a function knows only functions written before it, so that every call goes forward, as
/// rbpf wants it. Functions that are called no more are left out.
pub(crate) fn lay_out(
    draft: &Draft,
    steps: &[Vec<Step>],
    errors: &mut Vec<BuildError>,
) -> Resolved {
    let mut report = |kind, at: Location| errors.push(BuildError { at, kind });
    let order = called(steps);
    let mut functions: Vec<FunctionStart> = Vec::new();
    let mut slots: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    let mut next = 0;
    for &index in &order {
        functions.push(FunctionStart { name: draft.functions[index].name.clone(), slot: next });
        for step in &steps[index] {
            slots[index].push(next);
            next += step.insn.slots();
        }
        // A label may stand behind the last line; a jump to it is an error, but it has a place.
        slots[index].push(next);
    }
    if next > MAX_SLOTS {
        report(ErrorKind::TooLong { given: next }, draft.functions[0].at);
    }

    let mut lines = Vec::with_capacity(next);
    let mut maps: Vec<MapDef> = Vec::new();
    let mut used: Vec<Option<usize>> = vec![None; draft.maps.len()];
    let mut kernel_functions: Vec<String> = Vec::new();
    for &index in &order {
        for (step, &slot) in steps[index].iter().zip(&slots[index]) {
            let distance = |target: usize| target as i64 - slot as i64 - 1;
            let mut insn = step.insn;
            match step.target {
                Target::None | Target::Helper { .. } => {}
                Target::Step(target) => {
                    let distance = slots[index].get(target).map_or(0, |target| distance(*target));
                    match (i16::try_from(distance), &mut insn) {
                        // As many slots as there can be, and more, are within its reach.
                        (_, Insn::JumpLong(jump)) => jump.offset = distance as i32,
                        (Ok(offset), Insn::Jump(jump)) => jump.offset = offset,
                        (Ok(offset), Insn::JumpIf(jump)) => jump.offset = offset,
                        (Ok(offset), Insn::MayGoto(jump)) => jump.offset = offset,
                        (Ok(_), _) => {}
                        (Err(_), _) => report(ErrorKind::JumpRange { distance }, step.at),
                    }
                }
                Target::Function { called, .. } | Target::Address { called } => {
                    let distance = slots[called].first().map_or(0, |start| distance(*start));
                    match i32::try_from(distance) {
                        Ok(offset) => match &mut insn {
                            Insn::Wide(wide) => wide.source = WideSource::Function { offset },
                            _ => insn = Insn::Call(Call::Local { offset }),
                        },
                        Err(_) => report(ErrorKind::JumpRange { distance }, step.at),
                    }
                }
            }
            let map = step.map.map(|map| {
                *used[map].get_or_insert_with(|| {
                    maps.push(draft.finished_map(map));
                    maps.len() - 1
                })
            });
            let kernel = step.kernel.map(|name| {
                let name = &draft.kernel_functions[name];
                kernel_functions.iter().position(|known| known == name).unwrap_or_else(|| {
                    kernel_functions.push(name.clone());
                    kernel_functions.len() - 1
                })
            });
            lines.push(ProgramLine { insn, at: step.at, slot, map, kernel });
        }
    }
    Resolved { lines, functions, maps, kernel_functions }
}

/// The functions that some call or address leads to, the program first and then the latest first.
fn called(steps: &[Vec<Step>]) -> Vec<usize> {
    let mut found = vec![false; steps.len()];
    let mut waiting = vec![0];
    while let Some(index) = waiting.pop() {
        if !std::mem::replace(&mut found[index], true) {
            waiting.extend(steps[index].iter().filter_map(|step| match step.target {
                Target::Function { called, .. } | Target::Address { called } => Some(called),
                _ => None,
            }));
        }
    }
    std::iter::once(0).chain((1..steps.len()).rev()).filter(|index| found[*index]).collect()
}
