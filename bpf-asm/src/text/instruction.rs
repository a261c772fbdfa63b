//! Parses one instruction.

use std::ops::Range;

use super::error::Fault;
use super::token::{Kind, Token, register};
use crate::insn::{
    AddressSpaceCast, Alu, AluOp, Atomic, AtomicOp, ByteOrder, Call, Compare, Endian, EndianBits,
    Extension, Insn, Jump, JumpIf, JumpLong, JumpRegister, Load, LoadAcquire, LoadSigned, MayGoto,
    Packet, PacketSize, Register, SignExtend, SignedSize, Size, Slot, Source, Store, StoreRelease,
    Wide, WideSource, Width, helper_id, helper_name, helper_names,
};

/// An instruction and its reference.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub insn: Insn,
    /// Its unresolved reference.
    pub names: Option<Named>,
    /// A warning about it.
    pub warning: Option<Fault>,
}

#[derive(Debug, Clone)]
pub(super) struct Named {
    pub name: String,
    pub span: Range<usize>,
    pub what: NameKind,
    /// Offset from its address in bytes.
    pub added: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    /// A jump target.
    Label,
    /// A numeric label: the nearest before or after.
    Numbered,
    /// A function of the program or a kfunc, to be called.
    Callee,
    /// A function whose address is loaded.
    Function,
    /// A map.
    Map,
    /// A variable or a configuration value of the kernel.
    Extern,
    /// A map, a function, or what the kernel defines.
    Address,
}

/// The encoding that was printed before the instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printed {
    pub opcode: u8,
    /// The source register field, if bytes were printed.
    pub src: Option<u8>,
}

/// Parses the tokens of a line.
pub(super) struct Pieces<'a> {
    tokens: std::iter::Peekable<std::slice::Iter<'a, Token>>,
    /// The span of the whole instruction.
    whole: Range<usize>,
    /// The line.
    line: &'a str,
    printed: Option<Printed>,
    /// Whether LLVM wrote it, which moves a subregister as `r1 = w2`.
    llvm: bool,
}

type Parsed<T> = Result<T, Fault>;

/// The range of immediates.
const RANGE: &str = "-2147483648 to 2147483647";

impl Statement {
    fn naming(insn: Insn, named: Named) -> Self {
        Statement { insn, names: Some(named), warning: None }
    }
}

impl From<Insn> for Statement {
    fn from(insn: Insn) -> Self {
        Statement { insn, names: None, warning: None }
    }
}

impl<'a> Pieces<'a> {
    pub fn new(tokens: &'a [Token], line: &'a str, printed: Option<Printed>) -> Self {
        let start = tokens.first().map_or(0, |token| token.span.start);
        let end = tokens.last().map_or(0, |token| token.span.end);
        Pieces { tokens: tokens.iter().peekable(), whole: start..end, line, printed, llvm: false }
    }

    /// The same for LLVM's output.
    #[cfg(feature = "elf")]
    pub fn of_llvm(self) -> Self {
        Pieces { llvm: true, ..self }
    }

    /// Parses all tokens as one instruction.
    pub fn statement(mut self) -> Parsed<Statement> {
        let mut statement = self.any()?;
        self.end()?;
        if let Some(printed) = self.printed {
            let mut bytes = Vec::new();
            statement.insn.encode(&mut bytes);
            if bytes.first() != Some(&printed.opcode) {
                let opcode = bytes.first().copied().unwrap_or_default();
                let message = format!(
                    "the opcode before this is {:02x}, but this has {opcode:02x}",
                    printed.opcode
                );
                return Err(Fault::new(self.whole, message)
                    .hint("leave the opcode out to assemble the text alone"));
            }
        }
        statement.warning = self.warning(&statement.insn);
        Ok(statement)
    }

    /// A warning about what no verifier accepts, and about probable mistakes.
    fn warning(&self, insn: &Insn) -> Option<Fault> {
        let fault = |message: String| Fault::new(self.whole.clone(), message);
        match *insn {
            Insn::Alu(Alu {
                op: AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod,
                src: Source::Imm(0),
                ..
            }) => Some(fault("the verifier rejects a division by 0".to_owned())),
            Insn::Alu(Alu {
                width,
                op: AluOp::Lsh | AluOp::Rsh | AluOp::Arsh,
                src: Source::Imm(by),
                ..
            }) => {
                let bits = if width == Width::W64 { 64 } else { 32 };
                (!(0..bits).contains(&by)).then(|| {
                    fault(format!("the verifier rejects a shift by {by}"))
                        .hint(format!("allowed is 0 to {}", bits - 1))
                })
            }
            Insn::Store(Store {
                size: size @ (Size::B | Size::H), src: Source::Imm(imm), ..
            }) => {
                let bits = size.bytes() as u32 * 8;
                let kept = imm & ((1 << bits) - 1);
                let fits = i64::from(imm) >= -(1 << (bits - 1)) && i64::from(imm) < 1 << bits;
                (!fits).then(|| {
                    let text = format!("{imm} does not fit a u{bits}: this stores {kept}");
                    fault(text).hint(format!("write {kept} if that is intended"))
                })
            }
            _ => None,
        }
    }

    fn any(&mut self) -> Parsed<Statement> {
        let first = self.span();
        if self.eat("*") {
            return self.store();
        }
        let word = self.word("an instruction")?;
        if register(&word).is_some() {
            return self.assignment(&word, first);
        }
        match word.as_str() {
            "exit" => Ok(Insn::Exit.into()),
            "goto" => self.jump(
                |offset| Ok(Insn::Jump(Jump { offset: short(offset)? })),
                Insn::Jump(Jump { offset: 0 }),
            ),
            "gotol" => self.jump(
                |offset| {
                    let offset = i32::try_from(offset)
                        .map_err(|_| format!("a long jump goes {RANGE} slots far"))?;
                    Ok(Insn::JumpLong(JumpLong { offset }))
                },
                Insn::JumpLong(JumpLong { offset: 0 }),
            ),
            "may_goto" => self.jump(
                |offset| Ok(Insn::MayGoto(MayGoto { offset: short(offset)? })),
                Insn::MayGoto(MayGoto { offset: 0 }),
            ),
            "gotox" => Ok(Insn::JumpRegister(JumpRegister { target: self.register()? }).into()),
            "if" => self.jump_if(),
            "call" => self.call(),
            "callx" => Ok(Insn::Call(Call::Register(self.register()?)).into()),
            "lock" => self.lock(),
            "store_release" => self.store_release(),
            "ld_pseudo" => self.pseudo(),
            _ => {
                let line = self.line.get(first.start..self.whole.end).unwrap_or_default();
                Err(match super::mnemonic::translated(line) {
                    Some(ours) if word != "ret" && word != "return" => {
                        let message = format!(
                            "`{word}` is a mnemonic; instructions are written as the kernel prints \
                            them"
                        );
                        Fault::new(self.whole.clone(), message).hint(format!("write `{ours}`"))
                    }
                    _ => unknown(&word, first),
                })
            }
        }
    }

    // Tokens.

    /// The span of the next token, or the end.
    fn span(&mut self) -> Range<usize> {
        self.tokens.peek().map_or(self.whole.end..self.whole.end, |token| token.span.clone())
    }

    fn peek(&mut self) -> Option<&'a Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    fn eat(&mut self, sign: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(token.kind, Kind::Sign(found) if found == sign))
            .is_some()
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(&token.kind, Kind::Word(found) if found == word))
            .is_some()
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        let span = self.span();
        if self.eat(sign) { Ok(()) } else { Err(Fault::new(span, format!("expected `{sign}`"))) }
    }

    fn end(&mut self) -> Parsed<()> {
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

    fn word(&mut self, what: &str) -> Parsed<String> {
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
    fn name(&mut self) -> Option<String> {
        match self.peek() {
            Some(Kind::Word(name) | Kind::Quoted(name)) => {
                self.tokens.next();
                Some(name.clone())
            }
            _ => None,
        }
    }

    /// A signed number, if it comes next.
    fn number(&mut self) -> Parsed<Option<(i128, Range<usize>)>> {
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

    fn some_number(&mut self) -> Parsed<(i128, Range<usize>)> {
        let span = self.span();
        self.number()?.ok_or_else(|| Fault::new(span, "expected a number"))
    }

    fn fitting<T: TryFrom<i128>>(&mut self, what: &str) -> Parsed<T> {
        let (number, span) = self.some_number()?;
        number.try_into().map_err(|_| Fault::new(span, format!("{number} does not fit {what}")))
    }

    /// A 32-bit immediate. Unsigned 32 bits are accepted if it is not extended, or was printed by a
    /// tool.
    fn imm(&self, number: i128, span: Range<usize>, extended: bool) -> Parsed<i32> {
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

    fn too_large(&self, span: Range<usize>, number: i128) -> Fault {
        let written = self.line.get(span.clone()).map_or_else(|| number.to_string(), str::to_owned);
        Fault::new(span, format!("`{written}` does not fit: the instruction holds {RANGE}"))
    }

    /// A register that the line does not use.
    fn spare(&self) -> String {
        let named = |number: &u8| {
            self.line.contains(&format!("r{number}")) || self.line.contains(&format!("w{number}"))
        };
        let number = (1..=9).find(|number| !named(number)).unwrap_or(1);
        format!("r{number}")
    }

    fn any_register(&mut self) -> Parsed<(Width, Register)> {
        let span = self.span();
        let word = self.word("a register")?;
        register(&word).ok_or_else(|| not_register(&word, span))
    }

    /// A 64-bit register.
    fn register(&mut self) -> Parsed<Register> {
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
    fn register_of(&mut self, size: Size) -> Parsed<Register> {
        let span = self.span();
        match self.any_register()? {
            (Width::W32, register) if size == Size::DW => Err(Fault::new(
                span,
                format!("a 32-bit subregister does not have 8 bytes; write `{register}`"),
            )),
            (_, register) => Ok(register),
        }
    }

    /// `(u32 *)`
    fn cast(&mut self) -> Parsed<Cast> {
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
    fn size(&mut self) -> Parsed<Size> {
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
    fn memory(&mut self) -> Parsed<(Register, i16)> {
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
    fn bare_memory(&mut self) -> Parsed<(Register, i16)> {
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

    // Memory.

    fn store(&mut self) -> Parsed<Statement> {
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

    fn store_release(&mut self) -> Parsed<Statement> {
        self.expect("(")?;
        let size = self.size()?;
        let (base, offset) = self.memory()?;
        self.expect(",")?;
        let src = self.register_of(size)?;
        self.expect(")")?;
        Ok(Insn::StoreRelease(StoreRelease { size, base, offset, src }).into())
    }

    /// The width of an atomic operation.
    fn atomic_width(&mut self) -> Parsed<Width> {
        let span = self.tokens.clone().nth(1).map_or_else(|| self.span(), |size| size.span.clone());
        match self.size()? {
            Size::W => Ok(Width::W32),
            Size::DW => Ok(Width::W64),
            Size::B | Size::H => Err(Fault::new(span, "atomic operations work on u32 or u64")),
        }
    }

    fn lock(&mut self) -> Parsed<Statement> {
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
    fn fetch(
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

    // Instructions that start with a register.

    fn assignment(&mut self, word: &str, span: Range<usize>) -> Parsed<Statement> {
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

    fn same_width(&mut self, width: Width) -> Parsed<Register> {
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

    /// The source register of a move.
    fn moved(&mut self, width: Width, dst: Register) -> Parsed<Register> {
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
    fn two_operands(&mut self, dst: &str, src: &str) -> Parsed<()> {
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
    fn value(&mut self, width: Width, dst: Register, dst_span: Range<usize>) -> Parsed<Statement> {
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

    fn bracket_follows(&self) -> bool {
        let mut ahead = self.tokens.clone();
        ahead.next();
        matches!(ahead.next().map(|token| &token.kind), Some(Kind::Sign("[")))
    }

    /// `counts ll`: the address of a map or function.
    fn address(
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
    fn added(&mut self) -> Parsed<i64> {
        match self.peek() {
            Some(Kind::Sign("+" | "-")) => self.fitting("an offset"),
            _ => Ok(0),
        }
    }

    fn constant(
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

    fn sign_extension(&mut self, width: Width, dst: Register) -> Parsed<Statement> {
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

    /// `(u32 *)(r2 +8)` or `(u8 *)skb[5]`, after the star.
    fn load(&mut self, width: Width, dst: Register, dst_span: Range<usize>) -> Parsed<Statement> {
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

    fn packet(&mut self, size: PacketSize) -> Parsed<Statement> {
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

    /// `name:counts][0]+8`, after the bracket.
    fn map(&mut self, dst: Register) -> Parsed<Statement> {
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
    fn variable(&mut self, dst: Register) -> Parsed<Statement> {
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
    fn kernel_variable(&mut self, dst: Register) -> Parsed<Statement> {
        let span = self.span();
        let name = self.name().ok_or_else(|| Fault::new(span.clone(), "expected a name"))?;
        self.expect("]")?;
        let insn = Insn::Wide(Wide { dst, source: WideSource::Variable { id: 0, btf: 0 } });
        Ok(Statement::naming(insn, Named { name, span, what: NameKind::Extern, added: 0 }))
    }

    /// `+5]` or `callback]`, after the bracket.
    fn function(&mut self, dst: Register) -> Parsed<Statement> {
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
    fn pseudo(&mut self) -> Parsed<Statement> {
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

    // Jumps and calls.

    /// Parses a jump target; `make` makes the jump from a distance in slots.
    fn jump(
        &mut self,
        make: impl Fn(i128) -> Result<Insn, String>,
        unset: Insn,
    ) -> Parsed<Statement> {
        let span = self.span();
        // `pc+3`, or `+3` alone.
        let counted = self.eat_word("pc");
        let signed = matches!(self.peek(), Some(Kind::Sign("+" | "-")));
        let statement = if counted || signed {
            let (offset, at) = self.some_number()?;
            make(offset).map_err(|message| Fault::new(span.start..at.end, message))?.into()
        } else if let Some(name) = self.name() {
            let numbered = self
                .line
                .get(span.clone())
                .is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()));
            let what = if numbered { NameKind::Numbered } else { NameKind::Label };
            Statement::naming(unset, Named { name, span, what, added: 0 })
        } else if let Some(Kind::Number(number)) = self.peek() {
            return Err(Fault::new(span, "expected a label or a distance").hint(format!(
                "write `+{number}` for a number of slots, or `{number}f` or \
                    `{number}b` for the label `{number}:` after or before this"
            )));
        } else {
            return Err(Fault::new(span, "expected a jump target")
                .hint("write a label, or slots as in `pc+3`"));
        };
        // `<LBB0_2>`: llvm-objdump's guess of the target, ignored.
        if self.eat("<") {
            while !self.eat(">") {
                let span = self.span();
                self.tokens.next().ok_or_else(|| Fault::new(span, "expected `>`"))?;
            }
        }
        Ok(statement)
    }

    fn jump_if(&mut self) -> Parsed<Statement> {
        // Parentheses as in C are ignored.
        let parenthesised = self.eat("(");
        let start = self.span();
        let (width, dst) = self.any_register()?;
        let span = self.span();
        let compare = Compare::ALL.into_iter().find(|compare| self.eat(compare.symbol()));
        let compare = compare.ok_or_else(|| {
            let fault = Fault::new(span.clone(), "expected a comparison");
            let register = self.line.get(start).unwrap_or_default();
            match self.peek() {
                Some(Kind::Sign("=")) => fault.hint("equality is compared by `==`"),
                Some(Kind::Word(word)) if word == "goto" => {
                    fault.hint(format!("write `if {register} != 0 goto …`"))
                }
                _ => fault.hint("comparisons are == != > >= < <= s> s>= s< s<= and &"),
            }
        })?;
        let src = match self.number()? {
            Some((number, span)) => Source::Imm(self.imm(number, span, width == Width::W64)?),
            None => Source::Reg(self.same_width(width)?),
        };
        if parenthesised {
            self.expect(")")?;
        }
        let span = self.span();
        if !self.eat_word("goto") {
            return Err(Fault::new(span, "expected `goto`"));
        }
        let insn = |offset| Insn::JumpIf(JumpIf { width, compare, dst, src, offset });
        self.jump(|offset| Ok(insn(short(offset)?)), insn(0))
    }

    fn call(&mut self) -> Parsed<Statement> {
        let span = self.span();
        if let Some((number, at)) = self.number()? {
            let number = number.try_into().map_err(|_| {
                Fault::new(at, format!("no helper has the number {number}")).hint(
                    "helpers are called by name, as in `call bpf_map_lookup_elem`, or by \
                        number, as in `call 1`",
                )
            })?;
            let call = match self.printed.and_then(|printed| printed.src) {
                Some(1) => Call::Local { offset: number },
                Some(2) => Call::Kernel { id: number, btf: 0 },
                _ => Call::Helper { id: number },
            };
            return Ok(Insn::Call(call).into());
        }
        if self.eat_word("pc") {
            let offset = self.fitting("the distance of a call")?;
            // `#bpf_prog_…`: bpftool's guess of the target, ignored.
            if self.eat("#") {
                self.name();
            }
            return Ok(Insn::Call(Call::Local { offset }).into());
        }
        let quoted = matches!(self.peek(), Some(Kind::Quoted(_)));
        let name = self.name().ok_or_else(|| {
            Fault::new(span.clone(), "expected a function to call")
                .hint("write the name of a helper or function, or the number of a helper")
        })?;
        if name == "kernel" && self.eat("-") {
            return self.kernel_function();
        }
        if !quoted && self.eat("#") {
            let at = self.span();
            let id = self.fitting("the number of a function")?;
            return match (helper_id(&name), helper_name(id)) {
                (Some(known), _) if known != id => {
                    Err(Fault::new(at, format!("`{name}` is helper {known}, not {id}"))
                        .hint("leave one of them out"))
                }
                (None, Some(known)) if name == "unknown" => {
                    Err(Fault::new(at, format!("helper {id} is known, as `{known}`")))
                }
                (None, _) if name != "unknown" => {
                    Ok(Insn::Call(Call::Kernel { id, btf: 0 }).into())
                }
                _ => Ok(Insn::Call(Call::Helper { id }).into()),
            };
        }
        match helper_id(&name) {
            Some(id) if !quoted => Ok(Insn::Call(Call::Helper { id }).into()),
            _ => {
                let insn = Insn::Call(Call::Local { offset: -1 });
                let added = self.added()?;
                Ok(Statement::naming(insn, Named { name, span, what: NameKind::Callee, added }))
            }
        }
    }

    /// `function#7, btf 2`, after `kernel-`.
    fn kernel_function(&mut self) -> Parsed<Statement> {
        let span = self.span();
        if !self.eat_word("function") {
            return Err(Fault::new(span, "expected `function`"));
        }
        self.expect("#")?;
        let id = self.fitting("a BTF id")?;
        let mut btf = 0;
        if self.eat(",") {
            let span = self.span();
            if !self.eat_word("btf") {
                return Err(Fault::new(span, "expected `btf`"));
            }
            btf = self.fitting("an index of 16 bits")?;
        }
        Ok(Insn::Call(Call::Kernel { id, btf }).into())
    }
}

#[derive(Debug, Clone, Copy)]
enum Cast {
    Unsigned(Size),
    Signed(SignedSize),
}

fn short(offset: i128) -> Result<i16, String> {
    i16::try_from(offset).map_err(|_| {
        format!(
            "the jump goes {offset} slots far, allowed is -32768 to 32767; `gotol` goes further"
        )
    })
}

fn bytes(width: Width) -> Size {
    match width {
        Width::W32 => Size::W,
        Width::W64 => Size::DW,
    }
}

/// Checks the destination of a load of this size: a subregister holds four bytes at most, and is
/// encoded like a register.
fn half(width: Width, size: Size, dst: Register, span: Range<usize>) -> Parsed<()> {
    if size == Size::DW { whole(width, dst, span) } else { Ok(()) }
}

fn whole(width: Width, dst: Register, span: Range<usize>) -> Parsed<()> {
    match width {
        Width::W64 => Ok(()),
        Width::W32 => {
            Err(Fault::new(span, format!("a 32-bit subregister does not hold this; write `{dst}`")))
        }
    }
}

fn not_register(word: &str, span: Range<usize>) -> Fault {
    Fault::new(span, format!("unknown register `{word}`"))
        .hint("registers are r0 to r9, the frame pointer r10, and w0 to w10 for their lower halves")
}

/// Whether a word looks like a register, of any number.
fn like_register(word: &str) -> bool {
    word.strip_prefix(['r', 'w']).is_some_and(|digits| digits.parse::<u32>().is_ok())
}

fn unknown(word: &str, span: Range<usize>) -> Fault {
    let known = [
        "exit",
        "goto",
        "gotol",
        "gotox",
        "may_goto",
        "if",
        "call",
        "callx",
        "lock",
        "store_release",
        "return",
        "ret",
    ];
    let fault = Fault::new(span.clone(), format!("unknown instruction `{word}`"));
    match word {
        "return" | "ret" => fault.hint("put the result into r0, then `exit`"),
        _ if helper_id(word).is_some() => fault.hint(format!("write `call {word}`")),
        _ if like_register(word) => not_register(word, span),
        _ => fault.similar(word, known.into_iter().chain(helper_names())),
    }
}

/// The operation of `atomic64_fetch_add` and the like, with the width if the name determines it.
fn fetching(word: &str) -> Option<(AtomicOp, Option<Width>)> {
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

fn byte_order(word: &str) -> Option<(ByteOrder, EndianBits)> {
    ByteOrder::ALL.into_iter().find_map(|order| {
        let digits = word.strip_prefix(order.symbol())?;
        let bits = EndianBits::ALL.into_iter().find(|bits| (*bits as i32).to_string() == digits)?;
        Some((order, bits))
    })
}
