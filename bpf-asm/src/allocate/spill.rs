//! Values without a register.
//!
//! One whose content is a number, a map or a function is made again wherever it is used. Any other
//! has eight bytes of the frame: it is loaded before each use and stored after each change. What is
//! loaded is a value of its own, for one step.

use super::conflicts::Conflicts;
use super::{Values, copied};
use crate::draft::ValueId;
use crate::effect::{Use, named};
use crate::insn::{Alu, AluOp, Insn, Load, Register, Size, Source, Store, Width};
use crate::stack::{Access, FRAME, SlotBytes, Touch};
use crate::step::{Name, Step, Target, renumber};

/// The bytes that a value takes.
pub(super) const SIZE: usize = 8;

/// What becomes of a value.
#[derive(Clone)]
enum Place {
    Register,
    /// So many bytes from r10.
    Frame(i64),
    /// It is made by this step.
    Again(Step),
}

/// Takes values out of registers. Fails with a value for which the frame has no room.
pub(super) fn spill(
    steps: &mut Vec<Step>,
    values: &mut Values,
    spilled: &[ValueId],
    conflicts: &Conflicts,
) -> Result<(), ValueId> {
    let mut places = vec![Place::Register; values.at.len()];
    let depth = values.depth.next_multiple_of(SIZE);
    for &value in spilled {
        places[value] = match made_by(steps, value) {
            Some(step) => Place::Again(step),
            None => {
                let free = |offset: &i64| {
                    let mut others = conflicts.values[value].iter().map(|other| &places[*other]);
                    !others.any(|other| matches!(other, Place::Frame(taken) if taken == offset))
                };
                let offsets = (1..).map(|slot| -((depth + slot * SIZE) as i64));
                let offset = offsets.take_while(|offset| *offset >= -(FRAME as i64)).find(free);
                let offset = offset.ok_or(value)?;
                values.depth = values.depth.max(offset.unsigned_abs() as usize);
                Place::Frame(offset)
            }
        };
    }
    let mut numbers = Vec::with_capacity(steps.len() + 1);
    let mut rewritten = Vec::with_capacity(steps.len());
    for step in std::mem::take(steps) {
        numbers.push(rewritten.len());
        rewrite(step, &places, values, &mut rewritten);
    }
    numbers.push(rewritten.len());
    // What is inserted before a step is inserted behind its label.
    renumber(&mut rewritten, |target| numbers[target]);
    *steps = rewritten;
    Ok(())
}

/// The only step that gives a value a content, if it can be repeated anywhere.
fn made_by(steps: &[Step], value: ValueId) -> Option<Step> {
    let name = Name::of_value(value);
    let mut makes = steps.iter().filter(|step| step.uses().writes.contains(&name));
    let only = makes.next().filter(|_| makes.next().is_none())?;
    let repeats = match only.insn {
        Insn::Wide(_) => true,
        Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, src, .. }) => {
            matches!(src, Source::Imm(_))
        }
        _ => false,
    };
    repeats.then(|| only.clone())
}

/// A step, with what its spilled values need before and after it.
fn rewrite(mut step: Step, places: &[Place], values: &mut Values, to: &mut Vec<Step>) {
    let place = |value: Option<ValueId>| value.and_then(|value| places.get(value));
    let [dst, src] = step.operands;
    if copied(&step).is_some() {
        match (place(dst), place(src)) {
            (Some(&Place::Frame(offset)), None | Some(Place::Register)) => {
                let Insn::Alu(Alu { src: from, .. }) = step.insn else { return };
                return to.push(store(&step, offset, from, src));
            }
            (None | Some(Place::Register), Some(&Place::Frame(offset))) => {
                let Insn::Alu(Alu { dst: into, .. }) = step.insn else { return };
                return to.push(load(&step, offset, into, dst));
            }
            _ => {}
        }
    }
    let mut behind = None;
    let mut parts: Vec<(ValueId, ValueId)> = Vec::new();
    let mut operands = step.operands;
    let mut before = Vec::new();
    for (field, operand) in named(&mut step.insn.clone()).into_iter().zip(&mut operands) {
        let (Some((_, usage)), Some(value)) = (field, *operand) else { continue };
        let Some(place) = places.get(value).filter(|place| !matches!(place, Place::Register))
        else {
            continue;
        };
        if usage == Use::Writes && matches!(place, Place::Again(_)) {
            return;
        }
        let known = parts.iter().find(|(of, _)| *of == value).map(|(_, part)| *part);
        let part = known.unwrap_or_else(|| {
            values.at.push(values.at[value]);
            values.at.len() - 1
        });
        *operand = Some(part);
        let loaded = before.iter().any(|(loaded, _)| *loaded == part);
        if usage != Use::Writes && !loaded {
            before.push((
                part,
                match place {
                    Place::Again(made) => {
                        Step { at: step.at, operands: [Some(part), None], ..made.clone() }
                    }
                    Place::Frame(offset) => load(&step, *offset, Register::R0, Some(part)),
                    Place::Register => continue,
                },
            ));
        }
        if let (Place::Frame(offset), true) = (place, usage != Use::Reads) {
            behind = Some(store(&step, *offset, Source::Reg(Register::R0), Some(part)));
        }
        parts.push((value, part));
    }
    step.operands = operands;
    to.extend(before.into_iter().map(|(_, step)| step));
    to.push(step);
    to.extend(behind);
}

fn load(beside: &Step, offset: i64, dst: Register, value: Option<ValueId>) -> Step {
    let insn = Load { size: Size::DW, dst, base: Register::R10, offset: offset as i16 };
    spilled(beside, Insn::Load(insn), [value, None], offset, Access::Reads)
}

fn store(beside: &Step, offset: i64, src: Source, value: Option<ValueId>) -> Step {
    let insn = Store { size: Size::DW, base: Register::R10, offset: offset as i16, src };
    spilled(beside, Insn::Store(insn), [None, value], offset, Access::Writes)
}

fn spilled(
    beside: &Step,
    insn: Insn,
    operands: [Option<ValueId>; 2],
    offset: i64,
    access: Access,
) -> Step {
    let slot = SlotBytes { number: u32::MAX, at: beside.at, offset, size: SIZE };
    Step {
        insn,
        at: beside.at,
        operands,
        target: Target::None,
        map: None,
        kernel: None,
        touches: vec![Touch::all(slot, access)],
    }
}
