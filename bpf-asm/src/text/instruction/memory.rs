//! Loads, stores, atomic operations and packet loads.

use std::ops::Range;

use super::{Parsed, Pieces, Statement};
use crate::insn::{
    Atomic, AtomicOp, Insn, Load, LoadSigned, Packet, PacketSize, Register, SignedSize, Size,
    Source, Store, StoreRelease, Width,
};
use crate::text::error::Fault;
use crate::text::token::Kind;

#[derive(Debug, Clone, Copy)]
pub(super) enum Cast {
    Unsigned(Size),
    Signed(SignedSize),
}

impl Pieces<'_> {
    /// `(u32 *)`
    pub(super) fn cast(&mut self) -> Parsed<Cast> {
        let start = self.span();
        let wrong = |at: Range<usize>| {
            Fault::new(at, "expected a cast to a pointer").hint("as in `*(u32 *)(r2 +8)`")
        };
        if !self.eat("(") {
            return Err(wrong(start));
        }
        let span = self.span();
        let word = self.word("a size")?;
        let unsigned =
            Size::ALL.into_iter().find(|size| size.to_string() == word).map(Cast::Unsigned);
        let signed =
            || SignedSize::ALL.into_iter().find(|size| size.to_string() == word).map(Cast::Signed);
        let cast = unsigned.or_else(signed).ok_or_else(|| {
            Fault::new(
                span,
                format!("unknown size `{word}`; sizes are u8, u16, u32, u64, s8, s16 and s32"),
            )
        })?;
        let star = self.span();
        if !self.eat("*") {
            return Err(Fault::new(star, "expected `*`").hint(format!("write `({word} *)`")));
        }
        self.expect(")")?;
        Ok(cast)
    }

    /// The same without sign.
    pub(super) fn size(&mut self) -> Parsed<Size> {
        let span = self.span();
        match self.cast()? {
            Cast::Unsigned(size) => Ok(size),
            Cast::Signed(size) => Err(Fault::new(
                span,
                format!("only loads have a sign; write `u{}`", size.size().bytes() * 8),
            )),
        }
    }

    /// `(r2 +8)`
    pub(super) fn memory(&mut self) -> Parsed<(Register, i16)> {
        let span = self.span();
        if !self.eat("(") {
            let fault = Fault::new(span, "expected an address in parentheses");
            return Err(match self.any_register() {
                Ok((_, base)) => fault.hint(format!("write `({base} +0)`")),
                Err(_) => fault.hint("as in `(r2 +8)`"),
            });
        }
        let memory = self.bare_memory()?;
        self.expect(")")?;
        Ok(memory)
    }

    /// `r2 +8`
    pub(super) fn bare_memory(&mut self) -> Parsed<(Register, i16)> {
        let base = self.register()?;
        if !matches!(self.peek(), Some(Kind::Sign("+" | "-"))) {
            return Ok((base, 0));
        }
        let (number, span) = self.some_number()?;
        let offset = number.try_into().map_err(|_| {
            let message = format!(
                "the offset {number} does not fit: allowed is -32768 to 32767 \
                bytes"
            );
            let spare = self.spare();
            Fault::new(span, message).hint(format!(
                "move a pointer first: `{spare} = {base}`, then `{spare} += {number}`, then use \
                `({spare} +0)`"
            ))
        })?;
        Ok((base, offset))
    }

    pub(super) fn store(&mut self) -> Parsed<Statement> {
        let size = self.size()?;
        let (base, offset) = self.memory()?;
        let span = self.span();
        if !self.eat("=") {
            return Err(
                Fault::new(span, "expected `=`").hint("an atomic operation begins with `lock`")
            );
        }
        let src = match self.number()? {
            Some((number, span)) => Source::Imm(self.imm(number, span, size == Size::DW)?),
            None => Source::Reg(self.register_of(size)?),
        };
        Ok(Insn::Store(Store { size, base, offset, src }).into())
    }

    pub(super) fn store_release(&mut self) -> Parsed<Statement> {
        self.expect("(")?;
        let size = self.size()?;
        let (base, offset) = self.memory()?;
        self.expect(",")?;
        let src = self.register_of(size)?;
        self.expect(")")?;
        Ok(Insn::StoreRelease(StoreRelease { size, base, offset, src }).into())
    }

    /// The width of an atomic operation.
    pub(super) fn atomic_width(&mut self) -> Parsed<Width> {
        let span = self.tokens.clone().nth(1).map_or_else(|| self.span(), |size| size.span.clone());
        match self.size()? {
            Size::W => Ok(Width::W32),
            Size::DW => Ok(Width::W64),
            Size::B | Size::H => Err(Fault::new(span, "atomic operations work on u32 or u64")),
        }
    }

    pub(super) fn lock(&mut self) -> Parsed<Statement> {
        self.expect("*")?;
        let width = self.atomic_width()?;
        let (base, offset) = self.memory()?;
        let ops = [
            ("+=", AtomicOp::Add),
            ("|=", AtomicOp::Or),
            ("&=", AtomicOp::And),
            ("^=", AtomicOp::Xor),
        ];
        let span = self.span();
        let op = ops.into_iter().find(|(sign, _)| self.eat(sign)).map(|(_, op)| op);
        let op = op.ok_or_else(|| Fault::new(span, "expected `+=`, `|=`, `&=` or `^=`"))?;
        let src = self.register_of(bytes(width))?;
        Ok(Insn::Atomic(Atomic { width, op, base, offset, src }).into())
    }

    /// The arguments of `atomic64_fetch_add((u64 *)(r1 +0), src)` and the like.
    pub(super) fn fetch(
        &mut self,
        op: AtomicOp,
        named: Option<Width>,
        dst: (Register, Range<usize>),
    ) -> Parsed<Statement> {
        self.expect("(")?;
        let span = self.span();
        let (width, (base, offset)) = match named {
            Some(width) if !matches!(self.peek(), Some(Kind::Sign("("))) => {
                (width, self.bare_memory()?)
            }
            _ => (self.atomic_width()?, self.memory()?),
        };
        if named.is_some_and(|named| named != width) {
            return Err(Fault::new(span, "the size contradicts the name"));
        }
        self.expect(",")?;
        let size = bytes(width);
        if op == AtomicOp::CompareExchange {
            let span = self.span();
            if self.register_of(size)? != Register::R0 || dst.0 != Register::R0 {
                return Err(Fault::new(
                    span,
                    "the instruction compares with r0 and puts the old content into r0",
                ));
            }
            self.expect(",")?;
        }
        let src = self.register_of(size)?;
        if op != AtomicOp::CompareExchange && dst.0 != src {
            return Err(Fault::new(
                dst.1,
                format!("the old content goes into {src}, the operand's register"),
            ));
        }
        self.expect(")")?;
        Ok(Insn::Atomic(Atomic { width, op, base, offset, src }).into())
    }

    /// `(u32 *)(r2 +8)` or `(u8 *)skb[5]`, after the star.
    pub(super) fn load(
        &mut self,
        width: Width,
        dst: Register,
        dst_span: Range<usize>,
    ) -> Parsed<Statement> {
        let span = self.span();
        let cast = self.cast()?;
        if self.eat_word("skb") {
            let size = match cast {
                Cast::Unsigned(size) => {
                    PacketSize::ALL.into_iter().find(|packet| packet.size() == size)
                }
                Cast::Signed(_) => None,
            };
            let size =
                size.ok_or_else(|| Fault::new(span, "packets are read by u8, u16 or u32"))?;
            if dst != Register::R0 {
                return Err(Fault::new(dst_span, "packet loads go into r0"));
            }
            return self.packet(size);
        }
        let (base, offset) = self.memory()?;
        match cast {
            Cast::Unsigned(size) => {
                half(width, size, dst, dst_span)?;
                Ok(Insn::Load(Load { size, dst, base, offset }).into())
            }
            Cast::Signed(size) => {
                whole(width, dst, dst_span)?;
                Ok(Insn::LoadSigned(LoadSigned { size, dst, base, offset }).into())
            }
        }
    }

    pub(super) fn packet(&mut self, size: PacketSize) -> Parsed<Statement> {
        self.expect("[")?;
        let indexed = matches!(self.peek(), Some(Kind::Word(_)));
        let index = if indexed { Some(self.register()?) } else { None };
        let closed = matches!(self.peek(), Some(Kind::Sign("]")));
        let offset = if indexed && closed {
            0
        } else {
            // The kernel writes `+ -1` for a negative offset.
            if indexed && !matches!(self.peek(), Some(Kind::Sign("-"))) {
                self.expect("+")?;
            }
            let (number, span) = self.some_number()?;
            self.imm(number, span, true)?
        };
        self.expect("]")?;
        Ok(Insn::Packet(Packet { size, index, offset }).into())
    }
}

pub(super) fn bytes(width: Width) -> Size {
    match width {
        Width::W32 => Size::W,
        Width::W64 => Size::DW,
    }
}

/// Checks the destination of a load of this size: a subregister holds four bytes at most, and is
/// encoded like a register.
pub(super) fn half(width: Width, size: Size, dst: Register, span: Range<usize>) -> Parsed<()> {
    if size == Size::DW { whole(width, dst, span) } else { Ok(()) }
}

pub(super) fn whole(width: Width, dst: Register, span: Range<usize>) -> Parsed<()> {
    match width {
        Width::W64 => Ok(()),
        Width::W32 => {
            Err(Fault::new(span, format!("a 32-bit subregister does not hold this; write `{dst}`")))
        }
    }
}

/// The operation of `atomic64_fetch_add` and the like, with the width if the name determines it.
pub(super) fn fetching(word: &str) -> Option<(AtomicOp, Option<Width>)> {
    let compilers = [
        ("xchg_64", AtomicOp::Exchange, Width::W64),
        ("xchg32_32", AtomicOp::Exchange, Width::W32),
        ("cmpxchg_64", AtomicOp::CompareExchange, Width::W64),
        ("cmpxchg32_32", AtomicOp::CompareExchange, Width::W32),
    ];
    if let Some((_, op, width)) = compilers.into_iter().find(|(name, ..)| *name == word) {
        return Some((op, Some(width)));
    }
    let rest = word.strip_prefix("atomic")?;
    let (wide, op) = match rest.strip_prefix("64_") {
        Some(op) => (true, op),
        None => (false, rest.strip_prefix('_')?),
    };
    let ops = [
        ("fetch_add", AtomicOp::FetchAdd),
        ("fetch_or", AtomicOp::FetchOr),
        ("fetch_and", AtomicOp::FetchAnd),
        ("fetch_xor", AtomicOp::FetchXor),
        ("xchg", AtomicOp::Exchange),
        ("cmpxchg", AtomicOp::CompareExchange),
    ];
    let (_, op) = ops.into_iter().find(|(name, _)| *name == op)?;
    // Without the 64, compilers mean either width.
    Some((op, wide.then_some(Width::W64)))
}
