//! Steps: the lines of a function once its labels are numbers.

use crate::draft::{Operands, ValueId};
use crate::effect::{Effect, Use, effect, implied, named};
use crate::error::Location;
use crate::insn::{Insn, Register};
use crate::stack::Touch;

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) insn: Insn,
    pub(crate) at: Location,
    /// The values in the place of its registers, until these are allocated.
    pub(crate) operands: Operands,
    pub(crate) target: Target,
    /// The map that it loads.
    pub(crate) map: Option<usize>,
    /// The function of the kernel that it calls by name.
    pub(crate) kernel: Option<usize>,
    pub(crate) touches: Vec<Touch>,
}

/// The target of an instruction other than the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    None,
    /// A load of the address of a function of the program.
    Address {
        called: usize,
    },
    /// A jump to a step of the same function.
    Step(usize),
    /// A call of a helper with this many arguments.
    Helper {
        arguments: usize,
    },
    /// A call of a function of the program with this many arguments.
    Function {
        called: usize,
        arguments: usize,
    },
}

/// A register or a value: first the registers by number, then the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) usize);

impl Name {
    /// How many names there are with so many values.
    pub(crate) fn count(values: usize) -> usize {
        Register::ALL.len() + values
    }

    pub(crate) fn of_value(value: ValueId) -> Name {
        Name(Register::ALL.len() + value)
    }

    /// The value, if it is one.
    pub(crate) fn value(self) -> Option<ValueId> {
        self.0.checked_sub(Register::ALL.len())
    }

    /// The bit of a register.
    pub(crate) fn bit(self) -> u16 {
        if self.0 < Register::ALL.len() { 1 << self.0 } else { 0 }
    }
}

impl From<Register> for Name {
    fn from(register: Register) -> Name {
        Name(register.number().into())
    }
}

/// The registers and values that a step reads, and those to which it gives a new content.
#[derive(Default)]
pub(crate) struct Uses {
    pub(crate) reads: Vec<Name>,
    pub(crate) writes: Vec<Name>,
}

impl Step {
    /// What it does to registers, once they are allocated.
    pub(crate) fn effect(&self) -> Effect {
        effect(&self.insn, self.passed())
    }

    /// What it does to registers and values.
    pub(crate) fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        let mut insn = self.insn;
        for (field, value) in named(&mut insn).into_iter().zip(self.operands) {
            let Some((register, usage)) = field else { continue };
            let name = value.map_or(Name::from(*register), Name::of_value);
            if usage != Use::Writes {
                uses.reads.push(name);
            }
            if usage != Use::Reads {
                uses.writes.push(name);
            }
        }
        let (reads, writes) = implied(&self.insn, self.passed());
        uses.reads.extend(reads.numbers().map(Name));
        uses.writes.extend(writes.numbers().map(Name));
        uses
    }

    fn passed(&self) -> usize {
        match self.target {
            Target::Helper { arguments } | Target::Function { arguments, .. } => arguments,
            _ => Register::ARGUMENTS.len(),
        }
    }

    /// The step that this one jumps to.
    pub(crate) fn jump(&self) -> Option<usize> {
        match self.target {
            Target::Step(target) => Some(target),
            _ => None,
        }
    }
}

/// Removes steps. Jumps to a removed step go to the next remaining one.
pub(crate) fn keep(steps: &mut Vec<Step>, kept: impl Fn(usize) -> bool) {
    let mut stay = 0;
    let numbers: Vec<usize> = (0..steps.len())
        .map(|step| {
            let number = stay;
            stay += usize::from(kept(step));
            number
        })
        .collect();
    let mut step = 0;
    steps.retain(|_| {
        step += 1;
        kept(step - 1)
    });
    renumber(steps, |target| numbers.get(target).copied().unwrap_or(stay));
}

/// Gives the targets of jumps new numbers. What lies behind the last step stays there.
pub(crate) fn renumber(steps: &mut [Step], number: impl Fn(usize) -> usize) {
    for step in steps {
        if let Target::Step(target) = &mut step.target {
            *target = number(*target);
        }
    }
}
