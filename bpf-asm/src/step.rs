//! Steps: the lines of a function once its labels are numbers.

use crate::effect::{Effect, effect};
use crate::error::Location;
use crate::insn::{Insn, Register};
use crate::stack::Touch;

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) insn: Insn,
    pub(crate) at: Location,
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

impl Step {
    /// What it does to registers.
    pub(crate) fn effect(&self) -> Effect {
        let passed = match self.target {
            Target::Helper { arguments } | Target::Function { arguments, .. } => arguments,
            _ => Register::ARGUMENTS.len(),
        };
        effect(&self.insn, passed)
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
    for step in steps {
        if let Target::Step(target) = &mut step.target {
            // What lies behind the last step stays there.
            *target = numbers.get(*target).copied().unwrap_or(stay);
        }
    }
}
