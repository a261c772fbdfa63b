//! Registers for values, once all lines are known.
//!
//! | file | what it does |
//! |---|---|
//! | [`conflicts`] | which values are alive at the same time, and which calls they outlive |
//! | [`colour`] | a register for each value, such that conflicting values have different ones |
//! | [`spill`] | values without a register: stored in the stack frame, or rematerialised at each use |
//!
//! Registers are given in the order in which values are made. A value that is moved takes the
//! register that it is moved to or from, if it can, and the move is not needed. A value that
//! outlives a call takes one of r6 to r9, any other one of r0 to r5 as long as there are some. Of
//! those that find none, the values that are used the least are spilled, and all is given out
//! again.

mod colour;
mod conflicts;
mod spill;

use crate::draft::{Function, ValueId};
use crate::effect::named;
use crate::error::{BuildError, ErrorKind, Location};
use crate::insn::{Alu, AluOp, Insn, Register, Source, Width};
use crate::step::{Name, Step, keep};
use colour::Colouring;
use conflicts::Conflicts;

/// The values of a function while they get their registers.
struct Values {
    /// Where each was made.
    at: Vec<Location>,
    /// How many the function has written; the others are parts of spilled ones.
    written: usize,
    /// Bytes of the frame that are taken.
    depth: usize,
}

/// Puts registers into the place of values. Tells how many bytes of the frame are taken then.
pub(crate) fn function(function: &Function, steps: &mut Vec<Step>) -> Result<usize, BuildError> {
    let at = function.values.clone();
    let mut values = Values { written: at.len(), at, depth: function.frame.depth };
    loop {
        let conflicts = Conflicts::of(steps, values.at.len());
        match colour::give(&conflicts, values.written) {
            Colouring::Done(registers) => {
                put(steps, &registers);
                return Ok(values.depth);
            }
            Colouring::Spill(spilled) => spill::spill(steps, &mut values, &spilled, &conflicts)
                .map_err(|value| BuildError {
                    at: values.at[value],
                    kind: ErrorKind::OutOfStack {
                        size: spill::SIZE,
                        holders: function.frame.holders(),
                    },
                })?,
            Colouring::Stuck { value, holders } => {
                let holders = holders.into_iter().map(|holder| values.at[holder]).collect();
                let kind = ErrorKind::OutOfRegisters { holders };
                return Err(BuildError { at: values.at[value], kind });
            }
        }
    }
}

/// Puts registers into the place of values, and leaves out the moves that have become needless.
fn put(steps: &mut Vec<Step>, registers: &[Register]) {
    let mut gone = vec![false; steps.len()];
    for (step, gone) in steps.iter_mut().zip(&mut gone) {
        let operands = std::mem::take(&mut step.operands);
        for (field, value) in named(&mut step.insn).into_iter().zip(operands) {
            if let (Some((register, _)), Some(value)) = (field, value) {
                *register = registers[value];
            }
        }
        *gone = operands != [None; 2] && copied(step).is_some_and(|(from, to)| from == to);
    }
    keep(steps, |step| !gone[step]);
}

/// From where to where a step copies a register or value.
fn copied(step: &Step) -> Option<(Name, Name)> {
    let Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src: Source::Reg(src) }) =
        step.insn
    else {
        return None;
    };
    let name = |register: Register, value: Option<ValueId>| {
        value.map_or(Name::from(register), Name::of_value)
    };
    let [to, from] = step.operands;
    Some((name(src, from), name(dst, to)))
}
