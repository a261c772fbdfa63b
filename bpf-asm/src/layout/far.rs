//! Jumps that go farther than 16 bits can tell.
//!
//! ```text
//! if r1 == 0 goto far          if r1 != 0 goto pc+1
//!                       ->     gotol far
//! ```

use crate::insn::{Insn, Jump, JumpIf, JumpLong};
use crate::step::{Step, Target};

/// Makes far jumps long ones. What is inserted for one can make others far, so that this goes on
/// until all of them reach; a jump that was made long stays so.
pub(crate) fn lengthen(steps: &mut Vec<Step>) {
    while let Some(far) = far(steps) {
        let mut longer = Vec::with_capacity(steps.len() + 2 * far.len());
        let mut numbers = Vec::with_capacity(steps.len() + 1);
        let mut waiting = far.into_iter().peekable();
        for (number, step) in std::mem::take(steps).into_iter().enumerate() {
            numbers.push(longer.len());
            if waiting.next_if_eq(&number).is_some() {
                long(step, &mut longer)
            } else {
                longer.push((step, None))
            }
        }
        numbers.push(longer.len());
        *steps = longer
            .into_iter()
            .map(|(mut step, inserted)| {
                if let Target::Step(target) = &mut step.target {
                    *target = inserted.unwrap_or_else(|| numbers[*target]);
                }
                step
            })
            .collect();
    }
}

/// The jumps that do not reach their targets.
fn far(steps: &[Step]) -> Option<Vec<usize>> {
    let mut next = 0;
    let mut slots: Vec<usize> = Vec::with_capacity(steps.len() + 1);
    for step in steps {
        slots.push(next);
        next += step.insn.slots();
    }
    slots.push(next);
    let reaches = |number: usize| {
        let step = &steps[number];
        let short = matches!(step.insn, Insn::Jump(_) | Insn::JumpIf(_) | Insn::MayGoto(_));
        let target = step.jump().and_then(|target| slots.get(target));
        !short
            || target.is_none_or(|target| {
                i16::try_from(*target as i64 - slots[number] as i64 - 1).is_ok()
            })
    };
    let far: Vec<usize> = (0..steps.len()).filter(|number| !reaches(*number)).collect();
    (!far.is_empty()).then_some(far)
}

/// The same jump by way of a long one. Targets among the inserted steps have their number beside
/// them already.
fn long(step: Step, to: &mut Vec<(Step, Option<usize>)>) {
    let here = to.len();
    let beside = |insn: Insn, target: usize| {
        let target = Target::Step(target);
        Step { insn, target, touches: Vec::new(), ..step.clone() }
    };
    let gotol = Insn::JumpLong(JumpLong { offset: 0 });
    match step.insn {
        Insn::JumpIf(jump) if jump.compare.negated().is_some() => {
            let compare = jump.compare.negated().unwrap_or(jump.compare);
            to.push((beside(Insn::JumpIf(JumpIf { compare, ..jump }), here + 2), Some(here + 2)));
        }
        Insn::Jump(_) => {}
        _ => {
            to.push((beside(step.insn, here + 2), Some(here + 2)));
            to.push((beside(Insn::Jump(Jump { offset: 0 }), here + 3), Some(here + 3)));
        }
    }
    to.push((Step { insn: gotol, ..step }, None));
}
