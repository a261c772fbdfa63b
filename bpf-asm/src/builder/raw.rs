//! Instructions by themselves: what no other method writes.

use std::panic::Location as Caller;

use super::Builder;
use crate::draft::Link;
use crate::effect::{Registers, Use, effect, implied, named};
use crate::error::{ErrorKind, Location};
use crate::insn::{Call, Insn, Register, Wide, WideSource};
use crate::stack::{Access, FRAME, NO_SLOT, SlotBytes, Touch};
use crate::value::{Held, Operand, Reg, Value};

/// An instruction for [`Builder::emit`]: as it is, or with values in the place of registers that it
/// names.
#[derive(Debug)]
pub struct Raw {
    insn: Insn,
    values: [Option<Value>; 2],
}

impl Raw {
    /// The instruction as it is.
    pub fn new(insn: Insn) -> Raw {
        Raw { insn, values: [None, None] }
    }

    /// A value in the place of the destination register: what is changed, the address of a store,
    /// the left side of a comparison.
    #[must_use]
    pub fn dst(mut self, value: &impl Held) -> Raw {
        self.values[0] = Some(value.as_value().clone());
        self
    }

    /// A value in the place of the source register: the right side of an operation, the address of
    /// a load, the content of a store.
    #[must_use]
    pub fn src(mut self, value: &impl Held) -> Raw {
        self.values[1] = Some(value.as_value().clone());
        self
    }
}

impl From<Insn> for Raw {
    fn from(insn: Insn) -> Raw {
        Raw::new(insn)
    }
}

impl Builder {
    /// Writes an instruction as it is, or with values in the place of its registers ([`Raw::dst`],
    /// [`Raw::src`]). A value that the instruction changes has a new content, as after
    /// [`Reg::set`]; registers that are named by their number hold no value meanwhile.
    ///
    /// The instruction is checked and optimised like any other: it may not read a value that some
    /// path has not made, nor a register that is empty; it is eliminated where its result is dead;
    /// and it has a Rust line. One that reads r10 may access every slot. Jumps, calls and addresses
    /// that are given as distances are refused, since the layout is not known yet: they take labels
    /// ([`Builder::jump_if`]) and functions ([`Builder::call_local`],
    /// [`Builder::address_of_function`]).
    ///
    /// ```
    /// use bpf_asm::insn::{Extension, Insn, Register, SignExtend};
    /// use bpf_asm::{Builder, ProgramType, Raw, __sk_buff};
    ///
    /// let b = Builder::new("raw");
    /// let packet = b.context::<__sk_buff>();
    /// let (mark, low) = (b.load(packet.at(__sk_buff::mark)), b.value(0));
    /// let extend = SignExtend { extension: Extension::ByteTo64, dst: Register::R0, src: Register::R0 };
    /// b.emit(Raw::new(Insn::SignExtend(extend)).dst(&low).src(&mark));
    /// b.ret(&low);
    /// assert!(b.finish(ProgramType::SocketFilter)?.to_string().contains("r0 = (s8)r1"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn emit(&self, raw: impl Into<Raw>) {
        self.raw(&raw.into(), Caller::caller());
    }

    /// The same, and gives what the instruction leaves in the register that it changes: r0 for
    /// calls, packet loads and compare-and-exchange.
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
    pub fn emit_value(&self, raw: impl Into<Raw>) -> Reg {
        let at = Caller::caller();
        let raw = raw.into();
        let insn = raw.insn;
        self.raw(&raw, at);
        let mut copy = insn;
        let mut fields = named(&mut copy).into_iter().zip(&raw.values);
        let changed = fields.find_map(|(field, value)| {
            let (register, _) = field.filter(|(_, usage)| *usage != Use::Reads)?;
            Some((*register, value.as_ref()))
        });
        match changed {
            Some((_, Some(value))) => {
                let copy = self.new_value(at);
                self.set(&copy, &Operand::Value(value.clone()), at);
                Reg(copy)
            }
            Some((register, None)) => Reg(self.value_from(register, at)),
            None => {
                let (_, changed) = implied(&insn, 0);
                if changed == Registers::NONE {
                    self.report(ErrorKind::NoResult { insn }, at);
                    return Reg(self.new_value(at));
                }
                Reg(self.value_from(Register::R0, at))
            }
        }
    }

    fn raw(&self, raw: &Raw, at: Location) {
        let insn = raw.insn;
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
        let mut copy = insn;
        let fields = named(&mut copy).into_iter().zip(&raw.values).zip(["destination", "source"]);
        for ((named, value), field) in fields {
            if named.is_none() && value.is_some() {
                return self.report(ErrorKind::NoField { insn, field }, at);
            }
        }
        let link = match insn {
            Insn::Call(_) => Link::Helper { arguments: Register::ARGUMENTS.len() },
            _ => Link::None,
        };
        let [dst, src] = &raw.values;
        self.write_linked(insn, [dst.as_ref(), src.as_ref()], link, at);
        let mut core = self.core();
        if effect(&insn, Register::ARGUMENTS.len()).reads.has(Register::R10) {
            // Bytes that only later slots take can be accessed by what keeps the address.
            let frame = SlotBytes { number: NO_SLOT, at, offset: -(FRAME as i64), size: FRAME };
            let slots = [frame].into_iter().chain(core.function().frame.live());
            let touches = slots.map(|slot| Touch::all(slot, Access::Escapes)).collect();
            core.touching(touches);
        }
        if insn == Insn::Exit {
            core.function().goes_on = false;
        }
    }
}
