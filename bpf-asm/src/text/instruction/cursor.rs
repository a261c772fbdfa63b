//! Takes tokens one after the other: numbers, names, registers.

use std::ops::Range;

use super::{Parsed, Pieces};
use crate::insn::{Register, Size, Width};
use crate::text::error::Fault;
use crate::text::token::{Kind, register};

/// The range of immediates.
pub(super) const RANGE: &str = "-2147483648 to 2147483647";

impl<'a> Pieces<'a> {
    /// The span of the next token, or the end.
    pub(super) fn span(&mut self) -> Range<usize> {
        self.tokens.peek().map_or(self.whole.end..self.whole.end, |token| token.span.clone())
    }

    pub(super) fn peek(&mut self) -> Option<&'a Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    pub(super) fn eat(&mut self, sign: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(token.kind, Kind::Sign(found) if found == sign))
            .is_some()
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(&token.kind, Kind::Word(found) if found == word))
            .is_some()
    }

    pub(super) fn expect(&mut self, sign: &str) -> Parsed<()> {
        let span = self.span();
        if self.eat(sign) { Ok(()) } else { Err(Fault::new(span, format!("expected `{sign}`"))) }
    }

    pub(super) fn end(&mut self) -> Parsed<()> {
        match self.tokens.peek() {
            None => Ok(()),
            Some(token) => {
                let span = token.span.start..self.whole.end;
                let rest = self.line.get(span.clone()).unwrap_or_default();
                let fault = Fault::new(span, "unexpected text after the instruction");
                Err(match &token.kind {
                    Kind::Word(_) | Kind::Sign("*") => {
                        fault.hint(format!("write `{rest}` on a line of its own"))
                    }
                    _ => fault,
                })
            }
        }
    }

    pub(super) fn word(&mut self, what: &str) -> Parsed<String> {
        let span = self.span();
        match self.peek() {
            Some(Kind::Word(word)) => {
                self.tokens.next();
                Ok(word.clone())
            }
            _ => Err(Fault::new(span, format!("expected {what}"))),
        }
    }

    /// A name, if it comes next.
    pub(super) fn name(&mut self) -> Option<String> {
        match self.peek() {
            Some(Kind::Word(name) | Kind::Quoted(name)) => {
                self.tokens.next();
                Some(name.clone())
            }
            _ => None,
        }
    }

    /// A signed number, if it comes next.
    pub(super) fn number(&mut self) -> Parsed<Option<(i128, Range<usize>)>> {
        let start = self.span();
        let negative = self.eat("-");
        let signed = negative || self.eat("+");
        let span = self.span();
        match self.peek() {
            Some(&Kind::Number(number)) => {
                self.tokens.next();
                let number = if negative { -i128::from(number) } else { i128::from(number) };
                Ok(Some((number, start.start..span.end)))
            }
            _ if signed => Err(Fault::new(span, "expected a number after the sign")),
            _ => Ok(None),
        }
    }

    pub(super) fn some_number(&mut self) -> Parsed<(i128, Range<usize>)> {
        let span = self.span();
        self.number()?.ok_or_else(|| Fault::new(span, "expected a number"))
    }

    pub(super) fn fitting<T: TryFrom<i128>>(&mut self, what: &str) -> Parsed<T> {
        let (number, span) = self.some_number()?;
        number.try_into().map_err(|_| Fault::new(span, format!("{number} does not fit {what}")))
    }

    /// A 32-bit immediate. Unsigned 32 bits are accepted if it is not extended, or was printed by a
    /// tool.
    pub(super) fn imm(&self, number: i128, span: Range<usize>, extended: bool) -> Parsed<i32> {
        if let Ok(imm) = i32::try_from(number) {
            return Ok(imm);
        }
        match u32::try_from(number) {
            Ok(bits) if !extended || self.printed.is_some() => Ok(bits.cast_signed()),
            Ok(bits) => Err(self.too_large(span, number).hint(format!(
                "load it into a free register, as in `{} = {number:#x} ll`; for a signed 32-bit \
                number, write {}",
                self.spare(),
                bits.cast_signed()
            ))),
            Err(_) if !extended => Err(self.too_large(span, number)),
            Err(_) => Err(self.too_large(span, number).hint(format!(
                "load it into a free register, as in `{} = {} ll`",
                self.spare(),
                if number < 0 { number.to_string() } else { format!("{number:#x}") }
            ))),
        }
    }

    pub(super) fn too_large(&self, span: Range<usize>, number: i128) -> Fault {
        let written = self.line.get(span.clone()).map_or_else(|| number.to_string(), str::to_owned);
        Fault::new(span, format!("`{written}` does not fit: the instruction holds {RANGE}"))
    }

    /// A register that the line does not use.
    pub(super) fn spare(&self) -> String {
        let named = |number: &u8| {
            self.line.contains(&format!("r{number}")) || self.line.contains(&format!("w{number}"))
        };
        let number = (1..=9).find(|number| !named(number)).unwrap_or(1);
        format!("r{number}")
    }

    pub(super) fn any_register(&mut self) -> Parsed<(Width, Register)> {
        let span = self.span();
        let word = self.word("a register")?;
        register(&word).ok_or_else(|| not_register(&word, span))
    }

    /// A 64-bit register.
    pub(super) fn register(&mut self) -> Parsed<Register> {
        let span = self.span();
        match self.any_register()? {
            (Width::W64, register) => Ok(register),
            (Width::W32, register) => Err(Fault::new(
                span,
                format!("a 64-bit register is required here; write `{register}`"),
            )),
        }
    }

    /// A register for this size; a subregister is accepted up to 32 bits.
    pub(super) fn register_of(&mut self, size: Size) -> Parsed<Register> {
        let span = self.span();
        match self.any_register()? {
            (Width::W32, register) if size == Size::DW => Err(Fault::new(
                span,
                format!("a 32-bit subregister does not have 8 bytes; write `{register}`"),
            )),
            (_, register) => Ok(register),
        }
    }

    pub(super) fn same_width(&mut self, width: Width) -> Parsed<Register> {
        let span = self.span();
        match self.any_register()? {
            (found, register) if found == width => Ok(register),
            (_, register) => {
                let (name, number) = (width.letter(), register.number());
                Err(Fault::new(span, "both operands must have the same width")
                    .hint(format!("write `{name}{number}`")))
            }
        }
    }
}

pub(super) fn not_register(word: &str, span: Range<usize>) -> Fault {
    Fault::new(span, format!("unknown register `{word}`"))
        .hint("registers are r0 to r9, the frame pointer r10, and w0 to w10 for their lower halves")
}

/// Whether a word looks like a register, of any number.
pub(super) fn like_register(word: &str) -> bool {
    word.strip_prefix(['r', 'w']).is_some_and(|digits| digits.parse::<u32>().is_ok())
}
