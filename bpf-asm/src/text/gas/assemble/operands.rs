//! The arguments of directives.

use std::ops::Range;

use super::Expression;
use crate::text::error::Fault;
use crate::text::token::{Kind, Token};

/// The arguments of a directive.
pub(super) struct Operands<'a> {
    pub(super) pieces: &'a [Token],
    pub(super) end: usize,
}

impl Operands<'_> {
    pub(super) fn span(&self) -> Range<usize> {
        self.pieces.first().map_or(self.end..self.end, |piece| piece.span.clone())
    }

    pub(super) fn eat(&mut self, sign: &str) -> bool {
        match self.pieces.split_first() {
            Some((Token { kind: Kind::Sign(found), .. }, rest)) if *found == sign => {
                self.pieces = rest;
                true
            }
            _ => false,
        }
    }

    /// Skips tokens that start before a byte of the line.
    pub(super) fn skip_to(&mut self, byte: usize) {
        let before = self.pieces.iter().take_while(|piece| piece.span.start < byte).count();
        self.pieces = self.pieces.get(before..).unwrap_or_default();
    }

    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.pieces.first() {
            None => Ok(()),
            Some(piece) => {
                Err(Fault::new(piece.span.start..self.end, "unexpected text after the directive"))
            }
        }
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        let span = self.span();
        if self.eat(sign) { Ok(()) } else { Err(Fault::new(span, format!("expected `{sign}`"))) }
    }

    pub(super) fn name(&mut self, what: &str) -> Result<String, Fault> {
        let span = self.span();
        match self.pieces.split_first() {
            Some((Token { kind: Kind::Word(name) | Kind::Quoted(name), .. }, rest)) => {
                self.pieces = rest;
                Ok(name.clone())
            }
            _ => Err(Fault::new(span, format!("expected {what}"))),
        }
    }

    pub(super) fn number(&mut self) -> Result<(i128, Range<usize>), Fault> {
        let span = self.span();
        let negative = self.eat("-");
        match self.pieces.split_first() {
            Some((Token { kind: Kind::Number(number), span: end }, rest)) => {
                self.pieces = rest;
                let number = i128::from(*number);
                Ok((if negative { -number } else { number }, span.start..end.end))
            }
            _ => Err(Fault::new(span, "expected a number")),
        }
    }

    /// A number, an address, or the difference of two addresses.
    pub(super) fn expression(&mut self) -> Result<Expression, Fault> {
        if !matches!(self.pieces.first(), Some(Token { kind: Kind::Word(_) | Kind::Quoted(_), .. }))
        {
            return Ok(Expression::Number(self.number()?.0));
        }
        let name = self.name("a number or a name")?;
        let minus = self.eat("-");
        if minus
            && matches!(
                self.pieces.first(),
                Some(Token { kind: Kind::Word(_) | Kind::Quoted(_), .. })
            )
        {
            return Ok(Expression::Difference(name, self.name("a label")?));
        }
        if minus || self.eat("+") {
            let (number, at) = self.number()?;
            let added = i64::try_from(if minus { -number } else { number });
            return Ok(Expression::Name(
                name,
                added.map_err(|_| Fault::new(at, "the offset does not fit"))?,
            ));
        }
        Ok(Expression::Name(name, 0))
    }
}

/// The statements of a line.
pub(super) fn separated(code: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    code.split(move |c| {
        let separates = !quoted && c == ';';
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
        separates
    })
}

/// Strings in quotes with C escapes, as bytes.
pub(super) fn texts(rest: &str, offset: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let mut texts = Vec::new();
    let mut chars = rest.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_whitespace() || *c == ',' && !texts.is_empty()).is_some()
        {
        }
        let Some((start, quote)) = chars.next() else { break };
        let wrong = |end: usize, message: &str| Fault::new(offset + start..offset + end, message);
        if quote != '"' {
            return Err(wrong(start + quote.len_utf8(), "expected a string"));
        }
        let mut text = Vec::new();
        loop {
            let (at, c) =
                chars.next().ok_or_else(|| wrong(rest.trim_end().len(), "unterminated string"))?;
            match c {
                '"' => break,
                '\\' => {
                    let (_, c) =
                        chars.next().ok_or_else(|| wrong(at + 1, "unterminated string"))?;
                    match c {
                        'n' => text.push(b'\n'),
                        't' => text.push(b'\t'),
                        'r' => text.push(b'\r'),
                        'b' => text.push(8),
                        'f' => text.push(12),
                        '"' | '\\' => text.push(c as u8),
                        '0'..='7' => {
                            let mut value = c as u32 - '0' as u32;
                            for _ in 0..2 {
                                let Some((_, c)) = chars.next_if(|(_, c)| ('0'..='7').contains(c))
                                else {
                                    break;
                                };
                                value = value * 8 + (c as u32 - '0' as u32);
                            }
                            text.push(value as u8);
                        }
                        _ => {
                            return Err(Fault::new(
                                offset + at..offset + at + 1 + c.len_utf8(),
                                "unknown escape sequence",
                            ));
                        }
                    }
                }
                c => text.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        texts.push(text);
    }
    if texts.is_empty() {
        return Err(Fault::new(offset..offset, "expected a string"));
    }
    Ok(texts)
}
