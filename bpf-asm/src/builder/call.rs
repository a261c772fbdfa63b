//! Calls: arguments into r1 to r5, all at once.

use std::panic::Location as Caller;

use super::{Builder, Link, alu_mov};
use crate::error::{ErrorKind, Location};
use crate::helper::{self, Arg, ArgSource, Call};
use crate::insn::{Alu, AluOp, Call as CallInsn, Insn, Register, Source, Wide, WideSource, Width};
use crate::place::Base;
use crate::stack::{Access, Touch};
use crate::value::{Held, Value};

/// A register to be copied into an argument's register.
#[derive(Clone, Copy)]
struct Move<'a> {
    to: Register,
    from: Register,
    value: Option<&'a Value>,
}

impl Builder {
    /// Calls a helper of the kernel, or another of its functions. Afterwards only kept values,
    /// slots and the result can be read.
    #[track_caller]
    pub fn call<R: Held>(&self, call: Call<R>) -> R {
        let at = Caller::caller();
        let arguments = call.args.len();
        let link = match call.name {
            Some(name) => Link::Kernel { name: self.core().kernel_function(name), arguments },
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
        let in_place = self.pass(args, at);
        let reads: Vec<&Value> = in_place.iter().collect();
        self.write_linked(Insn::Call(insn), &reads, None, link, at);
        let touches = args.iter().filter_map(|arg| self.handed_over(arg, insn, at)).collect();
        self.core().touching(touches);
        self.core().lose_temporaries();
        let result = self.value_in(Register::R0, at);
        self.core().result(&result);
        result
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
            // Nobody can rely on such a call to write anything, and the verifier wants all of it to
            // be there.
            (_, None) => Some(claim.touch(*offset, memory.size, Access::May)),
        }
    }

    /// Brings arguments into r1, r2, … as if all were written at once. Gives the values that were
    /// in their place already.
    fn pass(&self, args: &[Arg], at: Location) -> Vec<Value> {
        if args.len() > Register::ARGUMENTS.len() {
            self.report(ErrorKind::TooManyArguments { given: args.len() }, at);
        }
        let passed = || Register::ARGUMENTS.into_iter().zip(args);
        let mut moves = Vec::new();
        for (to, Arg(source)) in passed() {
            match source {
                ArgSource::Value(value) => {
                    moves.push(Move { to, from: value.register, value: Some(value) })
                }
                ArgSource::Address { base, .. } => {
                    self.check_frame(base, at);
                    moves.push(Move { to, from: base.register(), value: base.value() });
                }
                ArgSource::Imm(_) | ArgSource::Map(_) | ArgSource::Function { .. } => {}
            }
        }
        let in_place = moves
            .iter()
            .filter(|wait| wait.from == wait.to)
            .filter_map(|wait| wait.value.cloned())
            .collect();
        moves.retain(|wait| wait.from != wait.to);
        self.move_all(moves, at);
        // The registers that values came from may be overwritten from here on.
        for (to, Arg(source)) in passed() {
            match source {
                ArgSource::Value(_) => {}
                ArgSource::Address { offset, .. } => self.add(to, *offset, at),
                ArgSource::Imm(imm) => self.load_number(to, *imm, at),
                ArgSource::Function { builder, index } => {
                    self.load_address(to, None, builder, *index, at)
                }
                ArgSource::Map(def) => {
                    let index = self.map(*def, at);
                    let insn = Insn::Wide(Wide { dst: to, source: WideSource::Map { fd: 0 } });
                    self.write_linked(insn, &[], None, Link::Map(index), at);
                }
            }
        }
        in_place
    }

    /// A move is made when nothing waits for the content of its target. If every move waits, they
    /// form rings, and r0, which the call destroys anyway and no ring contains, opens one.
    fn move_all(&self, mut waiting: Vec<Move>, at: Location) {
        while !waiting.is_empty() {
            let ready = (0..waiting.len()).find(|&n| {
                let to = waiting[n].to;
                waiting.iter().enumerate().all(|(other, wait)| other == n || wait.from != to)
            });
            match ready {
                Some(n) => {
                    let Move { to, from, value } = waiting.swap_remove(n);
                    self.write(alu_mov(to, Source::Reg(from)), value.as_slice(), None, at);
                }
                None => {
                    let Move { from, value, .. } = waiting[0];
                    self.write(
                        alu_mov(Register::R0, Source::Reg(from)),
                        value.as_slice(),
                        None,
                        at,
                    );
                    for wait in waiting.iter_mut().filter(|wait| wait.from == from) {
                        *wait = Move { from: Register::R0, value: None, ..*wait };
                    }
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
            self.write(Insn::Alu(add), &[], None, at);
        }
    }
}
