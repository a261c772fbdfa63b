//! Functions of the program's own, with frames of their own.

use std::panic::Location as Caller;

use super::{Builder, VALUE};
use crate::draft::{self, Link};
use crate::error::{ErrorKind, Location};
use crate::helper::{Arg, ArgSource};
use crate::insn::{Call as CallInsn, Insn, Register, Wide, WideSource};
use crate::value::{Reg, Value};

/// A function that a program can call, with `N` arguments; made by [`Builder::function`].
#[derive(Debug)]
pub struct Function<const N: usize> {
    builder: Builder,
    index: usize,
}

impl Builder {
    /// Writes a function of up to five arguments; `body` gets them as values, and ends every path
    /// with [`Builder::ret`]. Values, slots and labels of the caller cannot be used inside.
    #[track_caller]
    pub fn function<const N: usize>(&self, name: &str, body: impl FnOnce([Reg; N])) -> Function<N> {
        let at = Caller::caller();
        let index = {
            let mut core = self.core();
            let index = core.draft.functions.len();
            core.draft.functions.push(draft::Function::new(name, at));
            core.open.push(index);
            index
        };
        if N > Register::ARGUMENTS.len() {
            self.report(ErrorKind::TooManyArguments { given: N }, at);
        }
        self.core().function().arguments = N;
        let arguments = std::array::from_fn(|n| {
            let register = Register::ARGUMENTS[n.min(Register::ARGUMENTS.len() - 1)];
            Reg(self.value_from(register, at))
        });
        body(arguments);
        {
            let mut core = self.core();
            core.open.pop();
            core.draft.finished.push(index);
        }
        Function { builder: self.clone(), index }
    }

    /// The address of a function of this program, for helpers that call it back; [`Arg`] has the
    /// same from a `&`[`Function`]. Linux 5.13.
    ///
    /// The frame of a function that the kernel calls back counts to that of its caller, which is
    /// looked at by the verifier alone: it depends on the helper.
    ///
    /// ```
    /// use bpf_asm::{Builder, ProgramType, Reg, helper};
    ///
    /// let b = Builder::new("sum");
    /// let add = b.function("add", |[index, sum]: [Reg; 2]| {
    ///     let sum = sum.cast::<u64>();
    ///     let new = b.load(sum.at_all());
    ///     new.add(&index);
    ///     b.store(sum.at_all(), &new);
    ///     b.ret(0);
    /// });
    /// let sum = b.slot::<u64>();
    /// b.store(sum.place(), 0);
    /// b.call(helper::bpf_loop(10, &add, &sum, 0));
    /// b.ret(b.load(sum.place()));
    /// assert!(b.finish(ProgramType::SocketFilter)?.to_string().contains("r2 = subprog["));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn address_of_function<const N: usize>(&self, function: &Function<N>) -> Reg {
        let at = Caller::caller();
        let value = self.new_value(at);
        self.load_address(VALUE, Some(&value), &function.builder, function.index, at);
        Reg(value)
    }

    /// Loads the address of a function into a register.
    pub(super) fn load_address(
        &self,
        dst: Register,
        value: Option<&Value>,
        builder: &Builder,
        function: usize,
        at: Location,
    ) {
        if !self.same(builder) {
            return self.report(ErrorKind::OtherBuilder, at);
        }
        self.core().draft.functions[function].called = true;
        let insn = Insn::Wide(Wide { dst, source: WideSource::Function { offset: 0 } });
        self.write_linked(insn, [value, None], Link::Address(function), at);
    }

    /// Calls a function of this program; gives its result.
    #[track_caller]
    pub fn call_local<const N: usize>(&self, function: &Function<N>, args: [Arg; N]) -> Reg {
        let at = Caller::caller();
        let link = if self.same(&function.builder) {
            self.core().draft.functions[function.index].called = true;
            Link::Function(function.index)
        } else {
            self.report(ErrorKind::OtherBuilder, at);
            Link::None
        };
        Reg(self.write_call(CallInsn::Local { offset: 0 }, link, &args, at))
    }
}

impl<const N: usize> From<&Function<N>> for Arg {
    fn from(function: &Function<N>) -> Self {
        Arg(ArgSource::Function { builder: function.builder.clone(), index: function.index })
    }
}
