//! Instructions by themselves: what no other method writes.

use std::panic::Location as Caller;

use super::{Builder, Line, Link, Reads};
use crate::effect::{Registers, effect};
use crate::error::{ErrorKind, Location};
use crate::insn::{Call, Insn, Register, Wide, WideSource};
use crate::stack::{Access, Touch};
use crate::value::{Reg, ValueId};

impl Builder {
    /// Writes an instruction as it is. [`Reg::register`] and
    /// [`Ptr::register`](crate::Ptr::register) tell where values are; one whose register the
    /// instruction changes has a new content, as after [`Reg::set`].
    ///
    /// The instruction is checked and optimised like any other: it may not read a value that is
    /// lost on some path, nor an uninitialised register; it is eliminated where its result is dead;
    /// and it has a Rust line. One that reads r10 may access every slot. Jumps, calls and addresses
    /// that are given as distances are refused, since the layout is not known yet: they take labels
    /// ([`Builder::jump_if`]) and functions ([`Builder::call_local`],
    /// [`Builder::address_of_function`]).
    ///
    /// ```
    /// use bpf_asm::insn::{Extension, Insn, SignExtend};
    /// use bpf_asm::{Builder, ProgramType, __sk_buff};
    ///
    /// let b = Builder::new("raw");
    /// let packet = b.context::<__sk_buff>();
    /// let (mark, low) = (b.load(packet.at(__sk_buff::mark)), b.value(0));
    /// b.emit(Insn::SignExtend(SignExtend { extension: Extension::ByteTo64, dst: low.register(), src: mark.register() }));
    /// b.ret(&low);
    /// assert!(b.finish(ProgramType::SocketFilter)?.to_string().contains("r2 = (s8)r1"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn emit(&self, insn: Insn) {
        self.raw(insn, Caller::caller());
    }

    /// Writes an instruction as it is and gives what it leaves in the register that it changes: r0
    /// for calls, packet loads and compare-and-exchange. The register must be free: one that a
    /// value has keeps its value, with [`Builder::emit`].
    ///
    /// ```
    /// use bpf_asm::insn::{Call, Insn};
    /// use bpf_asm::{Builder, ProgramType};
    ///
    /// let b = Builder::new("ticks");
    /// b.ret(b.emit_value(Insn::Call(Call::Helper { id: 118 })));
    /// assert!(b.finish(ProgramType::SocketFilter)?.to_string().contains("call bpf_jiffies64#118"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn emit_value(&self, insn: Insn) -> Reg {
        let at = Caller::caller();
        let changed = effect(&insn, Register::ARGUMENTS.len()).changes.numbers().next();
        let register =
            changed.and_then(|number| Register::from_number(number as u8)).unwrap_or_else(|| {
                self.report(ErrorKind::NoResult { insn }, at);
                Register::R0
            });
        let lost = matches!(insn, Insn::Call(_) | Insn::Packet(_));
        let held = self.core().held(Registers::of(register)).next();
        if let Some(value) = held.filter(|_| !lost) {
            let value = self.core().values[value].origin;
            self.report(ErrorKind::RegisterTaken { register, value }, at);
        }
        self.raw(insn, at);
        let result = self.value_in(register, at);
        self.core().result(&result);
        Reg(result)
    }

    fn raw(&self, insn: Insn, at: Location) {
        let counts = matches!(
            insn,
            Insn::Jump(_)
                | Insn::JumpIf(_)
                | Insn::JumpLong(_)
                | Insn::MayGoto(_)
                | Insn::JumpRegister(_)
                | Insn::Call(Call::Local { .. })
                | Insn::Wide(Wide { source: WideSource::Function { .. }, .. })
        );
        if counts {
            return self.report(ErrorKind::Distance { insn }, at);
        }
        let mut core = self.core();
        let effect = effect(&insn, Register::ARGUMENTS.len());
        let mut reads = Reads::default();
        reads
            .0
            .iter_mut()
            .zip(core.held(effect.reads))
            .for_each(|(read, value)| *read = Some(value));
        let loses = matches!(insn, Insn::Call(_) | Insn::Packet(_));
        let writes = core.held(effect.changes).next().filter(|_| !loses);
        let link = match insn {
            Insn::Call(_) => Link::Helper { arguments: Register::ARGUMENTS.len() },
            _ => Link::Raw,
        };
        core.push(Line { insn, at, reads, writes, link, touches: Vec::new() });
        if effect.reads.has(Register::R10) {
            let slots = core.function().frame.live();
            let touch = |slot| Touch::all(slot, Access::Escapes);
            core.touching(slots.into_iter().map(touch).collect());
        }
        if loses {
            core.lose_temporaries();
        }
        if insn == Insn::Exit {
            core.function().holds = None;
        }
    }
}

impl super::Core {
    /// The live values in these registers.
    fn held(&self, registers: Registers) -> impl Iterator<Item = ValueId> {
        let holds = self.functions[self.current()].holds.unwrap_or_default();
        registers
            .numbers()
            .filter_map(move |register| holds[register])
            .filter(|value| self.is_alive(*value))
    }
}
