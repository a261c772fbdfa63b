//! Carries out directives.

use std::ops::Range;

use super::operands::{Operands, texts};
use super::{Assembler, Expression, OTHER_SYNTAX, OWN, Open, Place, SHARED, Unresolved, little};
use crate::text::error::Fault;
use crate::text::gas::{
    ALIGN_LIMIT, FLAGS, LIMIT, NOBITS_LIMIT, STB_GLOBAL, STB_LOCAL, STB_WEAK, STT_FUNC, STT_NOTYPE,
    STT_OBJECT,
};
use crate::text::token::{Kind, Token, tokens};

impl Assembler<'_> {
    pub(super) fn directive(
        &mut self,
        word: &str,
        span: Range<usize>,
        rest: &str,
        offset: usize,
    ) -> Result<(), Fault> {
        let enters = matches!(word, ".text" | ".data" | ".bss" | ".section");
        if self.skipping && !enters {
            return Ok(());
        }
        match word {
            ".text" | ".data" | ".bss" => {
                self.enter(word, None, None);
                Ok(())
            }
            ".section" => self.section(rest, offset),
            ".file" | ".loc" | ".ident" | ".addrsig" | ".addrsig_sym" => Ok(()),
            _ if word.starts_with(".cfi_") => Ok(()),
            ".ascii" | ".asciz" | ".string" => {
                for mut text in texts(rest, offset)? {
                    if word != ".ascii" {
                        text.push(0);
                    }
                    self.append(&text, &span)?;
                }
                Ok(())
            }
            _ => {
                let pieces = self.with_constants(tokens(rest, offset)?);
                let end = pieces.last().map_or(span.end, |piece| piece.span.end);
                let mut operands = Operands { pieces: &pieces, end };
                self.with_operands(word, &span, &mut operands)?;
                operands.end()
            }
        }
    }

    pub(super) fn with_operands(
        &mut self,
        word: &str,
        span: &Range<usize>,
        operands: &mut Operands<'_>,
    ) -> Result<(), Fault> {
        let size = match word {
            ".byte" => 1,
            ".short" | ".2byte" => 2,
            ".long" | ".4byte" => 4,
            ".quad" | ".8byte" => 8,
            _ => 0,
        };
        match word {
            _ if size > 0 => loop {
                let at = operands.span();
                let expression = operands.expression()?;
                self.value(size, expression, at)?;
                if !operands.eat(",") {
                    return Ok(());
                }
            },
            ".globl" | ".global" | ".weak" | ".local" | ".hidden" | ".protected" | ".internal" => {
                loop {
                    let name = operands.name("a symbol")?;
                    let symbol = self.declared(&name);
                    symbol.kept = true;
                    match word {
                        ".weak" => symbol.binding = Some(STB_WEAK),
                        ".local" => symbol.binding = Some(STB_LOCAL),
                        ".internal" => symbol.visibility = 1,
                        ".hidden" => symbol.visibility = 2,
                        ".protected" => symbol.visibility = 3,
                        _ => symbol.binding = Some(STB_GLOBAL),
                    }
                    if !operands.eat(",") {
                        return Ok(());
                    }
                }
            }
            ".type" => {
                let name = operands.name("a symbol")?;
                operands.expect(",")?;
                let _ = operands.eat("@") || operands.eat("%");
                let at = operands.span();
                let kind = match operands.name("@function or @object")?.as_str() {
                    "function" | "STT_FUNC" => STT_FUNC,
                    "object" | "STT_OBJECT" => STT_OBJECT,
                    "notype" | "STT_NOTYPE" => STT_NOTYPE,
                    other => {
                        return Err(Fault::new(
                            at,
                            format!("unknown type `{other}`; types are @function and @object"),
                        ));
                    }
                };
                let symbol = self.declared(&name);
                (symbol.kind, symbol.kept) = (kind, true);
                Ok(())
            }
            ".size" => {
                let name = operands.name("a symbol")?;
                operands.expect(",")?;
                let expression = operands.expression()?;
                self.declared(&name).kept = true;
                self.sizes.push((self.number, name, expression));
                Ok(())
            }
            ".p2align" | ".align" | ".balign" => {
                let at = operands.span();
                let (number, _) = operands.number()?;
                // The filling, and the maximum padding.
                while operands.eat(",") {
                    if !operands.eat(",") {
                        operands.number()?;
                    }
                }
                let align = if word == ".p2align" {
                    u32::try_from(number).ok().and_then(|n| 1u64.checked_shl(n))
                } else {
                    u64::try_from(number).ok()
                };
                let align = align.filter(|align| align.is_power_of_two() && *align <= ALIGN_LIMIT);
                let align =
                    align.ok_or_else(|| Fault::new(at, format!("invalid alignment {number}")))?;
                let here = self.here();
                let missing = here.offset.next_multiple_of(align) - here.offset;
                self.sections[here.section].align = self.sections[here.section].align.max(align);
                if self.sections[here.section].is_code() && !missing.is_multiple_of(8) {
                    return Err(Fault::new(
                        span.clone(),
                        "code can only be padded by whole instructions",
                    ));
                }
                self.zeros(missing, span)
            }
            ".zero" | ".skip" | ".space" => {
                let at = operands.span();
                let (number, _) = operands.number()?;
                let mut byte = 0;
                if operands.eat(",") {
                    let (number, at) = operands.number()?;
                    let [value] = little(number, 1)
                        .and_then(|bytes| <[u8; 1]>::try_from(bytes).ok())
                        .ok_or_else(|| Fault::new(at, format!("{number} does not fit 8 bits")))?;
                    byte = value;
                }
                let count = u64::try_from(number)
                    .map_err(|_| Fault::new(at, "expected a number of bytes"))?;
                self.fill(count, byte, span)
            }
            ".comm" => {
                let name = operands.name("a symbol")?;
                operands.expect(",")?;
                let (size, at) = operands.number()?;
                let align = if operands.eat(",") { operands.number()?.0 } else { 8 };
                let wrong = || Fault::new(at.clone(), "expected a number of bytes");
                let size = u64::try_from(size).map_err(|_| wrong())?;
                let align = u64::try_from(align)
                    .ok()
                    .filter(|a| a.is_power_of_two() && *a <= ALIGN_LIMIT)
                    .ok_or_else(wrong)?;
                let before = self.current;
                let bss = self.enter(".bss", None, None);
                let section = &mut self.sections[bss];
                section.align = section.align.max(align);
                let offset = section.size.next_multiple_of(align);
                let missing = offset - section.size;
                let filled = self.zeros(size.saturating_add(missing), span);
                self.current = before;
                filled?;
                if let Some((_, first)) =
                    self.labels.insert(name.clone(), (Place { section: bss, offset }, self.number))
                {
                    return Err(Fault::new(
                        span.clone(),
                        format!("duplicate symbol `{name}`, first defined on line {}", first + 1),
                    ));
                }
                let symbol = self.declared(&name);
                (symbol.size, symbol.kept, symbol.kind) = (size, true, STT_OBJECT);
                symbol.binding = symbol.binding.or(Some(STB_GLOBAL));
                Ok(())
            }
            ".equ" | ".set" => {
                let name = operands.name("the number's name")?;
                operands.expect(",")?;
                let (number, _) = operands.number()?;
                self.constants.insert(name, number);
                Ok(())
            }
            _ => {
                let fault = Fault::new(span.clone(), format!("unknown directive `{word}`"));
                Err(match OTHER_SYNTAX.iter().find(|(other, _)| *other == word) {
                    Some((_, instead)) => Fault::new(
                        span.clone(),
                        format!(
                            "`{word}` cannot be combined with GNU as directives, which this \
                            text has"
                        ),
                    )
                    .hint(format!("write {instead}")),
                    None => fault.similar(word, OWN.iter().chain(SHARED)),
                })
            }
        }
    }

    /// `NAME,"flags",@type`
    pub(super) fn section(&mut self, rest: &str, offset: usize) -> Result<(), Fault> {
        let pieces = tokens(rest, offset)?;
        let end = pieces.last().map_or(offset, |piece| piece.span.end);
        let mut operands = Operands { pieces: &pieces, end };
        let start = operands.span();
        let mut name = operands.name("the section's name")?;
        // Names may contain slashes and the like without quotes; they end at a space or comma.
        if let Some(Token { kind: Kind::Word(_), .. }) = pieces.first() {
            let from = start.start - offset;
            let whole = rest.get(from..).unwrap_or_default();
            let length = whole.find([',', ' ', '\t']).unwrap_or(whole.len());
            name = whole.get(..length).unwrap_or_default().to_owned();
            operands.skip_to(start.start + length);
        }
        let (mut flags, mut nobits) = (None, None);
        if operands.eat(",") {
            let at = operands.span();
            let letters = operands.name("the section's flags")?;
            let mut bits = 0;
            for letter in letters.chars() {
                let known = FLAGS.iter().find(|(known, _)| *known == letter);
                // Flags for linkers are ignored.
                bits |= match (known, letter) {
                    (Some((_, flag)), _) => *flag,
                    (None, 'e' | 'o' | 'R' | 'G' | '?') => 0,
                    _ => {
                        return Err(Fault::new(
                            at,
                            format!("unknown section flag `{letter}`; flags are a, w, x, M and S"),
                        ));
                    }
                };
            }
            flags = Some(bits);
            if operands.eat(",") {
                let _ = operands.eat("@") || operands.eat("%");
                nobits = Some(operands.name("@progbits or @nobits")? == "nobits");
            }
        }
        self.skipping = [".debug", ".llvm", ".note", ".eh_frame", ".comment"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if !self.skipping {
            self.enter(&name, flags, nobits);
        }
        Ok(())
    }

    pub(super) fn zeros(&mut self, count: u64, span: &Range<usize>) -> Result<(), Fault> {
        self.fill(count, 0, span)
    }

    /// Appends so many of a byte.
    fn fill(&mut self, count: u64, byte: u8, span: &Range<usize>) -> Result<(), Fault> {
        let here = self.here();
        let section = &mut self.sections[here.section];
        let (limit, said) =
            if section.nobits { (NOBITS_LIMIT, "4 GiB") } else { (LIMIT, "256 MiB") };
        let size = section.size.checked_add(count).filter(|size| *size <= limit);
        let size = size.ok_or_else(|| {
            Fault::new(span.clone(), format!("the section would be larger than {said}"))
        })?;
        if section.nobits && count > 0 && byte != 0 {
            return Err(only_zeros(&section.name, span));
        }
        if !section.nobits {
            let filled = self.filled.checked_add(count).filter(|filled| *filled <= LIMIT);
            self.filled = filled.ok_or_else(|| {
                Fault::new(span.clone(), "the sections would be larger than 256 MiB")
            })?;
            section.bytes.resize(size as usize, byte);
        }
        section.size = size;
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8], span: &Range<usize>) -> Result<(), Fault> {
        let here = self.here();
        let section = &mut self.sections[here.section];
        if section.nobits {
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(only_zeros(&section.name, span));
            }
            return self.zeros(bytes.len() as u64, span);
        }
        section.bytes.extend(bytes);
        section.size = section.bytes.len() as u64;
        Ok(())
    }

    pub(super) fn value(
        &mut self,
        size: usize,
        expression: Expression,
        span: Range<usize>,
    ) -> Result<(), Fault> {
        let at = self.here();
        let bytes = match &expression {
            Expression::Number(number) => little(*number, size).ok_or_else(|| {
                Fault::new(span.clone(), format!("{number} does not fit {} bits", size * 8))
            })?,
            _ => {
                self.open.push(Open {
                    number: self.number,
                    at,
                    span: span.clone(),
                    what: Unresolved::Data(size, expression),
                });
                vec![0; size]
            }
        };
        self.append(&bytes, &span)
    }
}

fn only_zeros(section: &str, span: &Range<usize>) -> Fault {
    Fault::new(span.clone(), format!("section `{section}` can only contain zeros"))
}
