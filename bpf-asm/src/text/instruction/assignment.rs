//! Instructions that start with a register: arithmetic, moves, and what a register is set to.

use std::ops::Range;

use super::cursor::not_register;
use super::memory::{fetching, half, whole};
use super::{Parsed, Pieces, Statement};
use crate::insn::{
    AddressSpaceCast, Alu, AluOp, ByteOrder, Endian, EndianBits, Extension, Insn, LoadAcquire,
    Register, SignExtend, Source, Wide, WideSource, Width,
};
use crate::text::error::Fault;
use crate::text::token::{Kind, register};

impl Pieces<'_> {
    pub(super) fn assignment(&mut self, word: &str, span: Range<usize>) -> Parsed<Statement> {
        let (width, dst) = register(word).ok_or_else(|| not_register(word, span.clone()))?;
        if self.eat("=") {
            return self.value(width, dst, span);
        }
        let at = self.span();
        let op =
            AluOp::ALL.into_iter().find(|op| op.symbol().is_some_and(|symbol| self.eat(symbol)));
        let op = op.ok_or_else(|| {
            let fault = Fault::new(at, "expected an operator");
            match self.peek() {
                Some(Kind::Sign("==")) => {
                    fault.hint(format!("a register is set by `=`; `if {word} == …` compares"))
                }
                _ => fault.hint("operators are = += -= *= /= s/= %= s%= |= &= ^= <<= >>= and s>>="),
            }
        })?;
        let src = match self.number()? {
            Some((number, span)) => Source::Imm(self.imm(number, span, width == Width::W64)?),
            None => Source::Reg(self.same_width(width)?),
        };
        Ok(Insn::Alu(Alu { width, op, dst, src }).into())
    }

    /// The source register of a move.
    pub(super) fn moved(&mut self, width: Width, dst: Register) -> Parsed<Register> {
        let span = self.span();
        match self.any_register()? {
            (found, register) if found == width => Ok(register),
            (_, src) => Err(Fault::new(span, "both operands must have the same width").hint(format!(
                "write `w{0} = w{1}` for the lower 32 bits, clearing the upper ones, or `r{0} = \
                r{1}` for all 64",
                dst.number(),
                src.number()
            ))),
        }
    }

    /// Rejects a second operand, as in `r1 = r2 + 4`.
    pub(super) fn two_operands(&mut self, dst: &str, src: &str) -> Parsed<()> {
        let Some(Kind::Sign(sign @ ("+" | "-" | "*" | "&" | "%"))) = self.peek() else {
            return Ok(());
        };
        let span = self.span().start..self.whole.end;
        let operand = self.line.get(span.start + 1..span.end).unwrap_or_default().trim();
        let hint = match (dst == src, *sign == "+" && dst == operand) {
            (true, _) => format!("write `{dst} {sign}= {operand}`"),
            (false, true) => format!("write `{dst} += {src}`"),
            (false, false) => {
                format!("write `{dst} = {src}`, and in the next line `{dst} {sign}= {operand}`")
            }
        };
        Err(Fault::new(span, "an instruction has two operands and changes the first").hint(hint))
    }

    /// The right side of `r1 = …`.
    pub(super) fn value(
        &mut self,
        width: Width,
        dst: Register,
        dst_span: Range<usize>,
    ) -> Parsed<Statement> {
        let span = self.span();
        if self.eat("*") {
            return self.load(width, dst, dst_span);
        }
        if matches!(self.peek(), Some(Kind::Sign("("))) {
            return self.sign_extension(width, dst);
        }
        // A minus negates a register, or is the sign of a number.
        let mut ahead = self.tokens.clone();
        ahead.next();
        let negation = matches!(self.peek(), Some(Kind::Sign("-")))
            && matches!(ahead.peek().map(|token| &token.kind), Some(Kind::Word(_)));
        if negation {
            self.expect("-")?;
            let span = self.span();
            if self.same_width(width)? != dst {
                return Err(Fault::new(
                    span,
                    "a register is negated in place: both sides are the same",
                ));
            }
            return Ok(Insn::Alu(Alu { width, op: AluOp::Neg, dst, src: Source::Imm(0) }).into());
        }
        if let Some((number, span)) = self.number()? {
            return self.constant(width, dst, number, span);
        }
        let Some(Kind::Word(word) | Kind::Quoted(word)) = self.peek() else {
            return Err(Fault::new(span, "expected a register, a number or memory"));
        };
        if matches!(self.peek(), Some(Kind::Quoted(_))) {
            return self.address(width, dst, dst_span);
        }
        if register(word).is_some() {
            let half = self.llvm && register(word).is_some_and(|(half, _)| half == Width::W32);
            let width = if half { Width::W32 } else { width };
            let src = self.moved(width, dst)?;
            let name = |register: Register| format!("{}{}", width.letter(), register.number());
            self.two_operands(&name(dst), &name(src))?;
            return Ok(Insn::Alu(Alu { width, op: AluOp::Mov, dst, src: Source::Reg(src) }).into());
        }
        if let Some((op, named)) = fetching(word) {
            self.tokens.next();
            return self.fetch(op, named, (dst, dst_span));
        }
        if let Some((order, bits)) = byte_order(word) {
            self.tokens.next();
            let span = self.span();
            if width == Width::W32 {
                let hint = format!("write `{dst} = {word} {dst}`, which clears the upper bits");
                return Err(
                    Fault::new(dst_span, "byte order is converted in 64-bit registers").hint(hint)
                );
            }
            if self.register()? != dst {
                return Err(Fault::new(
                    span,
                    "byte order is converted in place: both sides are the same register",
                )
                .hint(format!("move it to {dst} first, and write `{dst} = {word} {dst}`")));
            }
            return Ok(Insn::Endian(Endian { order, bits, dst }).into());
        }
        match word.as_str() {
            "load_acquire" => {
                self.tokens.next();
                self.expect("(")?;
                let size = self.size()?;
                half(width, size, dst, dst_span)?;
                let (base, offset) = self.memory()?;
                self.expect(")")?;
                Ok(Insn::LoadAcquire(LoadAcquire { size, dst, base, offset }).into())
            }
            "addr_space_cast" => {
                self.tokens.next();
                whole(width, dst, dst_span)?;
                self.expect("(")?;
                let src = self.register()?;
                self.expect(",")?;
                let to = self.fitting("a space, 0 to 65535")?;
                self.expect(",")?;
                let from = self.fitting("a space, 0 to 65535")?;
                self.expect(")")?;
                Ok(Insn::AddressSpaceCast(AddressSpaceCast { dst, src, to, from }).into())
            }
            "map" | "subprog" | "btf" | "extern" if self.bracket_follows() => {
                whole(width, dst, dst_span)?;
                self.tokens.next();
                self.expect("[")?;
                match word.as_str() {
                    "map" => self.map(dst),
                    "btf" => self.variable(dst),
                    "extern" => self.kernel_variable(dst),
                    _ => self.function(dst),
                }
            }
            _ => self.address(width, dst, dst_span),
        }
    }

    pub(super) fn bracket_follows(&self) -> bool {
        let mut ahead = self.tokens.clone();
        ahead.next();
        matches!(ahead.next().map(|token| &token.kind), Some(Kind::Sign("[")))
    }

    pub(super) fn constant(
        &mut self,
        width: Width,
        dst: Register,
        number: i128,
        span: Range<usize>,
    ) -> Parsed<Statement> {
        let asked = self.eat_word("ll");
        let printed = self.printed.is_some_and(|printed| printed.opcode == 0x18);
        let short = i32::try_from(number).ok();
        match (width, short) {
            (Width::W64, Some(imm)) if !asked && !printed => {
                Ok(Insn::Alu(Alu { width, op: AluOp::Mov, dst, src: Source::Imm(imm) }).into())
            }
            (Width::W64, _) => {
                let bits = u64::try_from(number)
                    .or_else(|_| i64::try_from(number).map(i64::cast_unsigned));
                let imm = bits.map_err(|_| Fault::new(span, "the number has more than 64 bits"))?;
                Ok(Insn::Wide(Wide { dst, source: WideSource::Imm(imm) }).into())
            }
            (Width::W32, _) if asked => {
                Err(Fault::new(span, "a 32-bit subregister does not hold 64 bits")
                    .hint(format!("write `{dst}`, or leave `ll` out")))
            }
            (Width::W32, _) => {
                let imm = self.imm(number, span, false)?;
                Ok(Insn::Alu(Alu { width, op: AluOp::Mov, dst, src: Source::Imm(imm) }).into())
            }
        }
    }

    pub(super) fn sign_extension(&mut self, width: Width, dst: Register) -> Parsed<Statement> {
        self.expect("(")?;
        let span = self.span();
        let word = self.word("s8, s16 or s32")?;
        let extension = Extension::ALL
            .into_iter()
            .find(|extension| extension.to() == width && extension.from().to_string() == word)
            .ok_or_else(|| {
                let sizes = if width == Width::W64 { "s8, s16 and s32" } else { "s8 and s16" };
                Fault::new(span, format!("`{word}` cannot be extended here; there are {sizes}"))
            })?;
        self.expect(")")?;
        let src = self.same_width(width)?;
        Ok(Insn::SignExtend(SignExtend { extension, dst, src }).into())
    }
}

pub(super) fn byte_order(word: &str) -> Option<(ByteOrder, EndianBits)> {
    ByteOrder::ALL.into_iter().find_map(|order| {
        let digits = word.strip_prefix(order.symbol())?;
        let bits = EndianBits::ALL.into_iter().find(|bits| (*bits as i32).to_string() == digits)?;
        Some((order, bits))
    })
}
