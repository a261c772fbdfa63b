//! Jumps and calls.

use super::{NameKind, Named, Parsed, Pieces, Statement};
use crate::insn::{Call, Compare, Insn, JumpIf, Source, Width, helper_id, helper_name};
use crate::text::error::Fault;
use crate::text::token::Kind;

impl Pieces<'_> {
    /// Parses a jump target; `make` makes the jump from a distance in slots.
    pub(super) fn jump(
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

    pub(super) fn jump_if(&mut self) -> Parsed<Statement> {
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

    pub(super) fn call(&mut self) -> Parsed<Statement> {
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
    pub(super) fn kernel_function(&mut self) -> Parsed<Statement> {
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

pub(super) fn short(offset: i128) -> Result<i16, String> {
    i16::try_from(offset).map_err(|_| {
        format!(
            "the jump goes {offset} slots far, allowed is -32768 to 32767; `gotol` goes further"
        )
    })
}
