//! Calls: arguments into r1 to r5, all at once.

use std::panic::Location as Caller;

use super::{Builder, VALUE, alu_mov};
use crate::draft::Link;
use crate::error::{ErrorKind, Location};
use crate::helper::{self, Arg, ArgSource, Call};
use crate::insn::{Alu, AluOp, Call as CallInsn, Insn, Register, Source, Wide, WideSource, Width};
use crate::place::Base;
use crate::stack::{Access, Touch};
use crate::value::{Held, Operand, Value};

impl Builder {
    /// Calls a helper of the kernel, or another of its functions; gives its result.
    #[track_caller]
    pub fn call<R: Held>(&self, call: Call<R>) -> R {
        let at = Caller::caller();
        let arguments = call.args.len();
        let link = match call.name {
            Some(name) => Link::Kernel { name: self.core().draft.kernel_function(name), arguments },
            None => Link::Helper { arguments },
        };
        R::from_value(self.write_call(call.function, link, &call.args, at))
    }

    /// Writes a call with its arguments; gives its result.
    pub(super) fn write_call(
        &self,
        insn: CallInsn,
        link: Link,
        args: &[Arg],
        at: Location,
    ) -> Value {
        self.pass(args, at);
        self.write_linked(Insn::Call(insn), [None; 2], link, at);
        let touches = args.iter().filter_map(|arg| self.handed_over(arg, insn, at)).collect();
        self.core().touching(touches);
        self.value_from(Register::R0, at)
    }

    /// What a call does to memory that it is given the address of.
    fn handed_over(&self, arg: &Arg, insn: CallInsn, at: Location) -> Option<Touch> {
        let ArgSource::Address { base, offset, memory } = &arg.0 else { return None };
        let told =
            memory.told.map(|told| usize::try_from(told).ok().filter(|told| *told <= memory.size));
        if let (Some(None), Some(given), CallInsn::Helper { id }) = (told, memory.told, insn) {
            let (helper, size) = (helper::name(id), memory.size);
            self.report(ErrorKind::SizeOfMemory { helper, given, size }, at);
        }
        let Base::Frame(claim) = base else { return None };
        match (memory.access, told.flatten()) {
            (access, Some(bytes)) => Some(claim.touch(*offset, bytes, access)),
            // The call may write less, so the bytes do not count as initialised; the verifier
            // requires the whole buffer to be inside the stack frame. It may be larger than the
            // place, which is only where it starts.
            (_, None) => Some(claim.touch(*offset, claim.slot.size, Access::May)),
        }
    }

    /// Brings arguments into r1, r2, …: values first, so that one may be in the register of another
    /// argument until then.
    fn pass(&self, args: &[Arg], at: Location) {
        if args.len() > Register::ARGUMENTS.len() {
            self.report(ErrorKind::TooManyArguments { given: args.len() }, at);
        }
        let passed = || Register::ARGUMENTS.into_iter().zip(args);
        for (to, Arg(source)) in passed() {
            match source {
                ArgSource::Value(value) => {
                    self.write(alu_mov(to, Source::Reg(VALUE)), None, Some(value), at)
                }
                ArgSource::Address { base, .. } => {
                    self.check_frame(base, at);
                    self.write(alu_mov(to, Source::Reg(base.register())), None, base.value(), at);
                }
                ArgSource::Imm(_) | ArgSource::Map(_) | ArgSource::Function { .. } => {}
            }
        }
        for (to, Arg(source)) in passed() {
            match source {
                ArgSource::Value(_) => {}
                ArgSource::Address { offset, .. } => self.add(to, *offset, at),
                ArgSource::Imm(imm) => self.set_register(to, &Operand::Imm(*imm), at),
                ArgSource::Function { builder, index } => {
                    self.load_address(to, None, builder, *index, at)
                }
                ArgSource::Map(def) => {
                    let index = self.map(*def, at);
                    let insn = Insn::Wide(Wide { dst: to, source: WideSource::Map { fd: 0 } });
                    self.write_linked(insn, [None; 2], Link::Map(index), at);
                }
            }
        }
    }

    fn add(&self, to: Register, offset: i64, at: Location) {
        let Ok(imm) = i32::try_from(offset) else {
            return self.report(ErrorKind::OffsetRange { offset }, at);
        };
        if imm != 0 {
            let add = Alu { width: Width::W64, op: AluOp::Add, dst: to, src: Source::Imm(imm) };
            self.write(Insn::Alu(add), None, None, at);
        }
    }
}
