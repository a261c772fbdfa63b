//! Loads of addresses: of maps, functions, and what the kernel defines.

use std::ops::Range;

use super::cursor::{like_register, not_register};
use super::memory::whole;
use super::{NameKind, Named, Parsed, Pieces, Statement};
use crate::insn::{Insn, Register, Slot, Wide, WideSource, Width};
use crate::text::error::Fault;
use crate::text::token::Kind;

impl Pieces<'_> {
    /// `counts ll`: the address of a map or function.
    pub(super) fn address(
        &mut self,
        width: Width,
        dst: Register,
        dst_span: Range<usize>,
    ) -> Parsed<Statement> {
        let span = self.span();
        let name = self.name().unwrap_or_default();
        if like_register(&name) {
            return Err(not_register(&name, span));
        }
        let added = self.added()?;
        if !self.eat_word("ll") {
            let known = [
                "load_acquire",
                "addr_space_cast",
                "be16",
                "be32",
                "be64",
                "bswap64",
                "atomic64_fetch_add",
            ];
            return Err(Fault::new(span, format!("unknown operand `{name}`"))
                .similar(&name, known.into_iter()));
        }
        whole(width, dst, dst_span)?;
        let insn = Insn::Wide(Wide { dst, source: WideSource::Map { fd: 0 } });
        Ok(Statement::naming(insn, Named { name, span, what: NameKind::Address, added }))
    }

    /// An optional offset.
    pub(super) fn added(&mut self) -> Parsed<i64> {
        match self.peek() {
            Some(Kind::Sign("+" | "-")) => self.fitting("an offset"),
            _ => Ok(0),
        }
    }

    /// `name:counts][0]+8`, after the bracket.
    pub(super) fn map(&mut self, dst: Register) -> Parsed<Statement> {
        let span = self.span();
        let word = self.word("`name:`, `fd:` or `idx:`")?;
        self.expect(":")?;
        let at = self.span();
        let (named, number) = match word.as_str() {
            "name" => {
                (Some(self.name().ok_or_else(|| Fault::new(at.clone(), "expected a name"))?), 0)
            }
            // In loaded programs, the map's id replaces the descriptor.
            "fd" | "id" | "idx" => (None, self.fitting("a descriptor or index")?),
            _ => {
                return Err(Fault::new(
                    span,
                    format!("expected `name`, `fd` or `idx`, not `{word}`"),
                ));
            }
        };
        self.expect("]")?;
        let mut value = false;
        if self.eat("[") {
            let zero = self.span();
            if self.some_number()?.0 != 0 {
                return Err(Fault::new(
                    zero,
                    "only the first value has an address that can be loaded",
                ));
            }
            self.expect("]")?;
            value = true;
        }
        let offset = if self.eat("+") {
            value = true;
            self.fitting("an offset into a value")?
        } else {
            0
        };
        let source = match (word.as_str(), value) {
            ("idx", false) => WideSource::MapIndex { index: number },
            ("idx", true) => WideSource::MapIndexValue { index: number, offset },
            (_, false) => WideSource::Map { fd: number },
            (_, true) => WideSource::MapValue { fd: number, offset },
        };
        let names = named.map(|name| Named { name, span: at, what: NameKind::Map, added: 0 });
        Ok(Statement { insn: Insn::Wide(Wide { dst, source }), names, warning: None })
    }

    /// `id:7, fd:4]`, after the bracket.
    pub(super) fn variable(&mut self, dst: Register) -> Parsed<Statement> {
        let span = self.span();
        if !self.eat_word("id") {
            return Err(Fault::new(span, "expected `id:`"));
        }
        self.expect(":")?;
        let id = self.fitting("a BTF id")?;
        let mut btf = 0;
        if self.eat(",") {
            let span = self.span();
            if !self.eat_word("fd") {
                return Err(Fault::new(span, "expected `fd:`"));
            }
            self.expect(":")?;
            btf = self.fitting("a descriptor")?;
        }
        self.expect("]")?;
        Ok(Insn::Wide(Wide { dst, source: WideSource::Variable { id, btf } }).into())
    }

    /// `CONFIG_HZ]`, after the bracket.
    pub(super) fn kernel_variable(&mut self, dst: Register) -> Parsed<Statement> {
        let span = self.span();
        let name = self.name().ok_or_else(|| Fault::new(span.clone(), "expected a name"))?;
        self.expect("]")?;
        let insn = Insn::Wide(Wide { dst, source: WideSource::Variable { id: 0, btf: 0 } });
        Ok(Statement::naming(insn, Named { name, span, what: NameKind::Extern, added: 0 }))
    }

    /// `+5]` or `callback]`, after the bracket.
    pub(super) fn function(&mut self, dst: Register) -> Parsed<Statement> {
        let span = self.span();
        let (offset, names) = match self.name() {
            Some(name) => (0, Some(Named { name, span, what: NameKind::Function, added: 0 })),
            None => (self.fitting("a distance in slots")?, None),
        };
        self.expect("]")?;
        Ok(Statement {
            insn: Insn::Wide(Wide { dst, source: WideSource::Function { offset } }),
            names,
            warning: None,
        })
    }

    /// `r1, 1, 5`: LLVM's form of 64-bit loads of addresses, after the mnemonic.
    pub(super) fn pseudo(&mut self) -> Parsed<Statement> {
        let dst = self.register()?;
        self.expect(",")?;
        let span = self.span();
        let kind: u8 = self.fitting("the kind of a load, 1 to 6")?;
        self.expect(",")?;
        let (number, at) = self.some_number()?;
        let bits = u64::try_from(number).or_else(|_| i64::try_from(number).map(i64::cast_unsigned));
        let bits =
            bits.map_err(|_| Fault::new(at, "the number has more than 64 bits"))?.to_le_bytes();
        let [low @ .., _, _, _, _] = bits;
        let [_, _, _, _, high @ ..] = bits;
        let first = Slot {
            opcode: 0x18,
            dst: dst.number(),
            src: kind,
            offset: 0,
            imm: i32::from_le_bytes(low),
        };
        let second = Slot { opcode: 0, dst: 0, src: 0, offset: 0, imm: i32::from_le_bytes(high) };
        let insn =
            Insn::decode(&[first.to_bytes(), second.to_bytes()].concat()).filter(|_| kind < 16);
        insn.map(Statement::from)
            .ok_or_else(|| Fault::new(span, "a load of this kind does not exist"))
    }
}
