//! Directives: lines that start with a dot.

use std::ops::Range;

use super::declaration::{Declaration, declaration};
use super::error::Fault;
use super::token::{Kind, Token, tokens};
use super::unit::{Map, map_kind, map_kinds};
use crate::insn::{Isa, Kernel, Minimum};

pub(super) enum Directive {
    License(String),
    Map(Map),
    /// Bytes of the first value of a map.
    Value(String, Vec<u8>),
    Minimum(Minimum),
    Section(String),
    Function(String),
    Extern(Declaration),
    /// Bytes in the code.
    Bytes(Vec<u8>),
    /// A named constant.
    Constant(String, i128),
}

const DIRECTIVES: [&str; 12] = [
    ".license",
    ".map",
    ".value",
    ".minimum",
    ".section",
    ".function",
    ".extern",
    ".byte",
    ".short",
    ".long",
    ".quad",
    ".equ",
];

/// Parses the arguments of a directive, `offset` bytes into its line.
pub(super) fn directive(name: &Token, rest: &str, offset: usize) -> Result<Directive, Fault> {
    let Kind::Word(word) = &name.kind else {
        return Err(Fault::new(name.span.clone(), "expected a directive"));
    };
    if word == ".minimum" {
        return minimum(rest, offset, name.span.end).map(Directive::Minimum);
    }
    let pieces = tokens(rest, offset)?;
    let end = pieces.last().map_or(name.span.end, |piece| piece.span.end);
    let mut pieces = Pieces { pieces: pieces.into_iter().peekable(), end };
    let read = match word.as_str() {
        ".license" => pieces.name("the licence, in quotes").map(Directive::License),
        ".section" => pieces.name("the section's name").map(Directive::Section),
        ".function" => pieces.name("the function's name").map(Directive::Function),
        ".extern" => {
            let tokens: Vec<Token> = pieces.pieces.by_ref().collect();
            declaration(&tokens, end).map(Directive::Extern)
        }
        ".map" => pieces.map().map(Directive::Map),
        ".value" => pieces.value(),
        ".byte" => pieces.bytes(1).map(Directive::Bytes),
        ".short" | ".2byte" => pieces.bytes(2).map(Directive::Bytes),
        ".long" | ".4byte" => pieces.bytes(4).map(Directive::Bytes),
        ".quad" | ".8byte" => pieces.bytes(8).map(Directive::Bytes),
        ".equ" | ".set" => pieces.constant(),
        ".incomplete" => {
            let span = name.span.start..end;
            let reason = pieces.name("what is missing, in quotes")?;
            Err(Fault::new(
                span,
                format!(
                    "this lacks parts of the object that it was read from: \
                {reason}"
                ),
            )
            .hint(
                "assemble the output of `shunt disasm` for the object, or remove this line \
                    to assemble the rest",
            ))
        }
        _ => {
            let fault = Fault::new(name.span.clone(), format!("unknown directive `{word}`"));
            let fault = fault.similar(word, DIRECTIVES.iter());
            Err(if fault.hint.is_none() {
                fault.hint(format!("directives are {}", DIRECTIVES.join(" ")))
            } else {
                fault
            })
        }
    }?;
    pieces.end()?;
    Ok(read)
}

/// `v3`, `5.10`, or both.
fn minimum(rest: &str, offset: usize, end: usize) -> Result<Minimum, Fault> {
    let mut minimum = Minimum::default();
    let mut start = offset;
    for word in rest.split(' ') {
        let span = start..start + word.len();
        start = span.end + 1;
        if word.is_empty() {
            continue;
        }
        let isa = [Isa::V1, Isa::V2, Isa::V3, Isa::V4, Isa::Extension]
            .into_iter()
            .find(|isa| isa.to_string() == word);
        let kernel = || {
            let (major, minor) = word.split_once('.')?;
            Some(Kernel::new(major.parse().ok()?, minor.parse().ok()?))
        };
        if let Some(isa) = isa {
            minimum.isa = Some(isa);
        } else if let Some(kernel) = kernel() {
            minimum.kernel = Some(kernel);
        } else {
            return Err(Fault::new(span, format!("invalid minimum `{word}`")).hint(
                "write an instruction set version (v1, v2, v3, v4, extension), a kernel \
                    version (5.10), or both",
            ));
        }
    }
    if minimum == Minimum::default() {
        return Err(Fault::new(end..end, "expected a minimum").hint("as in `.minimum v3 5.10`"));
    }
    Ok(minimum)
}

/// Kinds of maps without a capacity, or whose capacity libbpf sets: perf event arrays, storage
/// maps, and `struct_ops`.
const UNSIZED: [u32; 8] = [4, 19, 21, 24, 26, 28, 29, 32];

const RINGBUF: u32 = 27;

/// The attributes of maps.
const ATTRIBUTES: [&str; 8] =
    ["key", "value", "entries", "flags", "numa_node", "extra", "pinning", "inner"];

struct Pieces {
    pieces: std::iter::Peekable<std::vec::IntoIter<Token>>,
    end: usize,
}

impl Pieces {
    fn span(&mut self) -> Range<usize> {
        self.pieces.peek().map_or(self.end..self.end, |piece| piece.span.clone())
    }

    fn eat(&mut self, sign: &str) -> bool {
        self.pieces
            .next_if(|piece| matches!(piece.kind, Kind::Sign(found) if found == sign))
            .is_some()
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.pieces.next() {
            None => Ok(()),
            Some(piece) => {
                Err(Fault::new(piece.span.start..self.end, "unexpected text after the directive"))
            }
        }
    }

    fn name(&mut self, what: &str) -> Result<String, Fault> {
        let span = self.span();
        match self.pieces.next().map(|piece| piece.kind) {
            Some(Kind::Word(name) | Kind::Quoted(name)) => Ok(name),
            _ => Err(Fault::new(span, format!("expected {what}"))),
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, Fault> {
        let span = self.span();
        let number = match self.pieces.next().map(|piece| piece.kind) {
            Some(Kind::Number(number)) => T::try_from(number).ok(),
            _ => None,
        };
        number.ok_or_else(|| Fault::new(span, format!("expected {what}")))
    }

    fn map(&mut self) -> Result<Map, Fault> {
        let name = self.name("the map's name")?;
        self.attributes(name, false)
    }

    /// The kind and the attributes of a map, up to the end or, of a template, the parenthesis.
    fn attributes(&mut self, name: String, template: bool) -> Result<Map, Fault> {
        let span = self.span();
        let kind = match self.pieces.next().map(|piece| piece.kind) {
            Some(Kind::Word(word)) => map_kind(&word).ok_or_else(|| {
                Fault::new(span, format!("unknown kind of map `{word}`"))
                    .similar(&word, map_kinds())
            })?,
            Some(Kind::Number(number)) if u32::try_from(number).is_ok() => number as u32,
            _ => {
                return Err(Fault::new(span, "expected the kind of the map")
                    .hint("as in `.map counts array key=4 value=8 entries=1`"));
            }
        };
        let mut sized = false;
        let mut map = Map { name, kind, ..Map::default() };
        while self.pieces.peek().is_some() && !(template && self.eat(")")) {
            let span = self.span();
            let word = self.name("key=, value=, entries= or flags=")?;
            if !ATTRIBUTES.contains(&word.as_str()) {
                let fault = Fault::new(span, format!("unknown map attribute `{word}`"));
                let listed = format!("attributes are {}", ATTRIBUTES.join(", "));
                return Err(fault.hint(listed).similar(&word, ATTRIBUTES.iter()));
            }
            if !self.eat("=") {
                return Err(Fault::new(self.span(), "expected `=`"));
            }
            sized |= word == "entries";
            let number = "a number of up to 32 bits";
            match word.as_str() {
                "key" => map.key_size = self.number(number)?,
                "value" => map.value_size = self.number(number)?,
                "entries" => map.max_entries = self.number(number)?,
                "flags" => map.flags = self.number(number)?,
                "numa_node" => map.numa_node = Some(self.number(number)?),
                "pinning" => map.pinning = self.number(number)?,
                "extra" => map.extra = self.number("a number of up to 64 bits")?,
                _ if template => {
                    return Err(Fault::new(span, "a template has no template of its own"));
                }
                _ => {
                    if !self.eat("(") {
                        return Err(Fault::new(self.span(), "expected `(`")
                            .hint("as in `inner=(array key=4 value=8 entries=1)`"));
                    }
                    map.inner = Some(Box::new(self.attributes(String::new(), true)?));
                }
            }
        }
        if !sized && !UNSIZED.contains(&kind) {
            let fault = Fault::new(
                self.end..self.end,
                match template {
                    true => "the inner map needs a capacity".to_owned(),
                    false => format!("map `{}` needs a capacity", map.name),
                },
            );
            return Err(fault.hint(if kind == RINGBUF {
                "write `entries=` with its size: a power of two and a multiple of the page size, \
                such as 4096"
            } else {
                "write, for example, `entries=1024`"
            }));
        }
        Ok(map)
    }

    /// Bytes as text or numbers.
    fn value(&mut self) -> Result<Directive, Fault> {
        let name = self.name("the map's name")?;
        if let Some(Kind::Quoted(text)) = self.pieces.peek().map(|piece| &piece.kind) {
            let bytes = text.as_bytes().to_vec();
            self.pieces.next();
            return Ok(Directive::Value(name, bytes));
        }
        Ok(Directive::Value(name, self.bytes(1)?))
    }

    /// A signed number.
    fn signed(&mut self) -> Result<(i128, Range<usize>), Fault> {
        let start = self.span();
        let negative = self.eat("-");
        let span = start.start..self.span().end;
        match self.pieces.next().map(|piece| piece.kind) {
            Some(Kind::Number(number)) => {
                Ok((if negative { -i128::from(number) } else { i128::from(number) }, span))
            }
            _ => Err(Fault::new(span, "expected a number")),
        }
    }

    /// Numbers of this many bytes, signed or unsigned.
    fn bytes(&mut self, size: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        loop {
            let (number, span) = self.signed()?;
            let bits = size as u32 * 8;
            if number < -(1 << (bits - 1)) || number >= 1 << bits {
                return Err(Fault::new(span, format!("{number} does not fit {bits} bits")));
            }
            bytes.extend(number.to_le_bytes().get(..size).unwrap_or_default());
            if !self.eat(",") {
                return Ok(bytes);
            }
        }
    }

    /// `NAME, 5`
    fn constant(&mut self) -> Result<Directive, Fault> {
        let name = self.name("the number's name")?;
        if !self.eat(",") {
            return Err(
                Fault::new(self.span(), "expected `,`").hint(format!("as in `.equ {name}, 5`"))
            );
        }
        Ok(Directive::Constant(name, self.signed()?.0))
    }
}
