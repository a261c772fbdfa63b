//! Functions of the program's own, with frames of their own.

use std::panic::Location as Caller;

use super::{Builder, FunctionState, Link};
use crate::error::ErrorKind;
use crate::helper::Arg;
use crate::insn::{Call as CallInsn, Register};
use crate::value::Reg;

/// A function that a program can call, with `N` arguments; made by [`Builder::function`].
pub struct Function<const N: usize> {
    builder: Builder,
    index: usize,
}

impl Builder {
    /// Writes a function of up to five arguments; `body` gets them as values, and ends every path with
    /// [`Builder::ret`]. Values, slots and labels of the caller cannot be used inside.
    #[track_caller]
    pub fn function<const N: usize>(&self, name: &str, body: impl FnOnce([Reg; N])) -> Function<N> {
        let at = Caller::caller();
        let index = {
            let mut core = self.core();
            let index = core.functions.len();
            core.functions.push(FunctionState::new(name, at));
            core.open.push(index);
            index
        };
        if N > Register::ARGUMENTS.len() {
            self.report(ErrorKind::TooManyArguments { given: N }, at);
        }
        let arguments = std::array::from_fn(|n| {
            let register = Register::ARGUMENTS[n.min(Register::ARGUMENTS.len() - 1)];
            let value = self.value_in(register, at);
            self.core().function().arguments.push(value.id);
            Reg(value)
        });
        body(arguments);
        {
            let mut core = self.core();
            core.open.pop();
            core.finished.push(index);
        }
        Function { builder: self.clone(), index }
    }

    /// Calls a function of this program; gives its result. As with helpers, only kept values and slots survive.
    #[track_caller]
    pub fn call_local<const N: usize>(&self, function: &Function<N>, args: [Arg; N]) -> Reg {
        let at = Caller::caller();
        let link = if self.same(&function.builder) {
            self.core().functions[function.index].called = true;
            Link::Function(function.index)
        } else {
            self.report(ErrorKind::OtherBuilder, at);
            Link::None
        };
        Reg(self.write_call(CallInsn::Local { offset: 0 }, link, &args, at))
    }
}
