//! Assembles text in the syntax of GNU as and LLVM into an object.

use std::collections::HashMap;
use std::ops::Range;

use super::{
    ALIGN_LIMIT, FLAGS, LIMIT, NOBITS_LIMIT, Part, R_BPF_64_32, R_BPF_64_64, R_BPF_64_ABS32,
    R_BPF_64_ABS64, Referent, Relocatable, Relocation, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE,
    STB_GLOBAL, STB_LOCAL, STB_WEAK, STT_FUNC, STT_NOTYPE, STT_OBJECT, Symbol,
};
use crate::insn::{Call, Insn, Wide, WideSource};
use crate::text::assemble::{label, prefix};
use crate::text::error::{Fault, TextError, TextErrors, TextWarnings, similar};
use crate::text::instruction::{NameKind, Named, Pieces, Statement};
use crate::text::token::{Kind, Token, tokens, without_comment_as};

/// Directives that only this syntax has.
const OWN: &[&str] = &[
    ".text",
    ".data",
    ".bss",
    ".globl",
    ".global",
    ".weak",
    ".hidden",
    ".protected",
    ".internal",
    ".local",
    ".type",
    ".size",
    ".p2align",
    ".align",
    ".balign",
    ".file",
    ".loc",
    ".ident",
    ".comm",
    ".zero",
    ".skip",
    ".space",
    ".ascii",
    ".asciz",
    ".string",
    ".addrsig",
    ".addrsig_sym",
    ".cfi_startproc",
    ".cfi_endproc",
    ".cfi_sections",
];
const SHARED: &[&str] = &[
    ".section", ".byte", ".short", ".2byte", ".long", ".4byte", ".quad", ".8byte", ".equ", ".set",
];
/// Directives of the other syntax, and what to write instead.
const OTHER_SYNTAX: [(&str, &str); 5] = [
    (".license", "`.section license,\"aw\",@progbits` and `.asciz \"GPL\"`"),
    (".map", "the map's variable in `.section .maps`, and its type in `.section .BTF`"),
    (".function", "`.globl NAME`, `.type NAME,@function` and `NAME:`"),
    (".extern", "`.globl NAME`"),
    (".minimum", "nothing"),
];

/// Whether a text has this syntax: it contains one of its directives.
pub(crate) fn is_gas(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        OWN.contains(&word) || word == ".section" && without_comment_as(line, true).contains(",")
    })
}

/// Assembles a text; `file` is its name.
///
/// # Errors
/// All errors in the text.
pub(crate) fn assemble(file: &str, text: &str) -> Result<(Relocatable, TextWarnings), TextErrors> {
    let lines: Vec<&str> = text.lines().collect();
    let mut assembler = Assembler { lines: &lines, ..Assembler::default() };
    for (number, line) in lines.iter().enumerate() {
        assembler.number = number;
        if let Err(fault) = assembler.line(line) {
            assembler.fail(number, fault);
        }
    }
    let object = assembler.finish().map_err(|errors| TextErrors::new(file, errors));
    object.map(|(object, warnings)| (object, TextWarnings::new(file, warnings)))
}

#[derive(Default)]
struct Assembler<'a> {
    lines: &'a [&'a str],
    /// The current line, from 0.
    number: usize,
    sections: Vec<Part>,
    current: Option<usize>,
    /// Whether the current section is skipped because only debuggers use it.
    skipping: bool,
    labels: HashMap<String, (Place, usize)>,
    numbered: HashMap<u64, Vec<(usize, Place)>>,
    constants: HashMap<String, i128>,
    /// Symbol attributes, in the order of their first use.
    symbols: Vec<Declared>,
    by_name: HashMap<String, usize>,
    open: Vec<Open>,
    sizes: Vec<(usize, String, Expression)>,
    suggested: usize,
    errors: Vec<TextError>,
    warnings: Vec<TextError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    section: usize,
    offset: u64,
}

#[derive(Debug, Clone)]
struct Declared {
    name: String,
    binding: Option<u8>,
    visibility: u8,
    kind: u8,
    size: u64,
    /// Whether it becomes a symbol of the object.
    kept: bool,
}

impl Declared {
    /// Names that start with `.L` are local labels, whatever their attributes.
    fn is_symbol(&self) -> bool {
        self.kept && !self.name.starts_with(".L")
    }

    fn is_local(&self) -> bool {
        self.binding.is_none_or(|binding| binding == STB_LOCAL)
    }
}

/// A place with an unresolved reference.
struct Open {
    number: usize,
    at: Place,
    /// The span of the name in its line.
    span: Range<usize>,
    what: Unresolved,
}

enum Unresolved {
    Insn(Insn, Named),
    Data(usize, Expression),
}

#[derive(Debug, Clone)]
enum Expression {
    Number(i128),
    /// An address with an offset.
    Name(String, i64),
    Difference(String, String),
}

impl Assembler<'_> {
    fn fail(&mut self, number: usize, fault: Fault) {
        self.errors.push(fault.at(number + 1, self.lines.get(number).copied().unwrap_or_default()));
    }

    fn line(&mut self, line: &str) -> Result<(), Fault> {
        let code = without_comment_as(line, true);
        // Semicolons separate statements.
        let mut start = 0;
        for piece in separated(code) {
            self.statement(line, piece, start)?;
            start += piece.len() + 1;
        }
        Ok(())
    }

    fn statement(&mut self, line: &str, code: &str, start: usize) -> Result<(), Fault> {
        let (printed, number, skipped) = prefix(code);
        let (mut rest, mut offset) = (code.get(skipped..).unwrap_or_default(), start + skipped);
        if let Some(number) = number.filter(|_| !self.skipping) {
            let (line, here) = (self.number, self.here());
            self.numbered.entry(number).or_default().push((line, here));
        }
        while let Some((name, length)) = label(rest, offset)? {
            let (Kind::Word(word) | Kind::Quoted(word)) = name.kind else { break };
            if !self.skipping {
                let here = self.here();
                if let Some((_, first)) = self.labels.insert(word.clone(), (here, self.number)) {
                    return Err(Fault::new(
                        name.span,
                        format!("duplicate label `{word}`, first defined on line {}", first + 1),
                    ));
                }
            }
            rest = rest.get(length..).unwrap_or_default();
            offset += length;
        }
        let trimmed = rest.trim_start();
        offset += rest.len() - trimmed.len();
        if trimmed.starts_with('.') {
            let length = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
            let (word, rest) = trimmed.split_at(length);
            return self.directive(word, offset..offset + length, rest, offset + length);
        }
        if trimmed.is_empty() || self.skipping {
            return Ok(());
        }
        let pieces = self.with_constants(tokens(trimmed, offset)?);
        let Statement { insn, names, warning } =
            Pieces::new(&pieces, line, printed).of_llvm().statement()?;
        if let Some(warning) = warning {
            self.warnings.push(warning.at(self.number + 1, line));
        }
        let at = self.here();
        let span = offset..offset + trimmed.trim_end().len();
        let section = &mut self.sections[at.section];
        if section.nobits || !section.is_code() {
            let message = format!("section `{}` cannot contain code", section.name);
            return Err(Fault::new(span, message).hint("code sections have the flags \"ax\""));
        }
        insn.encode(&mut section.bytes);
        section.size = section.bytes.len() as u64;
        if let Some(named) = names {
            let span = named.span.clone();
            self.open.push(Open {
                number: self.number,
                at,
                span,
                what: Unresolved::Insn(insn, named),
            });
        }
        Ok(())
    }

    fn with_constants(&self, pieces: Vec<Token>) -> Vec<Token> {
        crate::text::assemble::with_constants(&self.constants, pieces)
    }

    fn here(&mut self) -> Place {
        let section = match self.current {
            Some(current) => current,
            None => self.enter(".text", None, None),
        };
        Place { section, offset: self.sections[section].size }
    }

    /// Switches to a section, creating it if necessary.
    fn enter(&mut self, name: &str, flags: Option<u64>, nobits: Option<bool>) -> usize {
        self.skipping = false;
        let index = match self.sections.iter().position(|section| section.name == name) {
            Some(known) => known,
            None => {
                let begins = |prefix: &str| {
                    name == prefix
                        || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
                };
                let usual = match name {
                    _ if begins(".rodata") => SHF_ALLOC,
                    ".maps" | "license" | "version" => SHF_ALLOC | SHF_WRITE,
                    _ if begins(".data") || begins(".bss") => SHF_ALLOC | SHF_WRITE,
                    _ => SHF_ALLOC | SHF_EXECINSTR,
                };
                let nobits = nobits.unwrap_or_else(|| begins(".bss"));
                let section = Part {
                    name: name.to_owned(),
                    flags: flags.unwrap_or(usual),
                    nobits,
                    align: 1,
                    ..Part::default()
                };
                self.sections.push(section);
                self.sections.len() - 1
            }
        };
        if self.sections[index].is_code() {
            self.sections[index].align = self.sections[index].align.max(8);
        }
        self.current = Some(index);
        index
    }

    fn declared(&mut self, name: &str) -> &mut Declared {
        let next = self.symbols.len();
        let index = *self.by_name.entry(name.to_owned()).or_insert(next);
        if index == next {
            self.symbols.push(Declared {
                name: name.to_owned(),
                binding: None,
                visibility: 0,
                kind: STT_NOTYPE,
                size: 0,
                kept: false,
            });
        }
        &mut self.symbols[index]
    }

    fn directive(
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

    fn with_operands(
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
                if operands.eat(",") {
                    let at = operands.span();
                    if operands.number()?.0 != 0 {
                        return Err(Fault::new(at, "only zeros can be filled in"));
                    }
                }
                let count = u64::try_from(number)
                    .map_err(|_| Fault::new(at, "expected a number of bytes"))?;
                self.zeros(count, span)
            }
            ".comm" => {
                let name = operands.name("a symbol")?;
                operands.expect(",")?;
                let (size, at) = operands.number()?;
                let align = if operands.eat(",") { operands.number()?.0 } else { 8 };
                let wrong = || Fault::new(at.clone(), "expected a number of bytes");
                let size =
                    u64::try_from(size).ok().filter(|size| *size <= LIMIT).ok_or_else(wrong)?;
                let align = u64::try_from(align)
                    .ok()
                    .filter(|a| a.is_power_of_two() && *a <= ALIGN_LIMIT)
                    .ok_or_else(wrong)?;
                let before = self.current;
                let bss = self.enter(".bss", None, None);
                self.current = before;
                let section = &mut self.sections[bss];
                section.align = section.align.max(align);
                let offset = section.size.next_multiple_of(align);
                section.size = offset + size;
                if !section.nobits {
                    section.bytes.resize(section.size as usize, 0);
                }
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
    fn section(&mut self, rest: &str, offset: usize) -> Result<(), Fault> {
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

    fn zeros(&mut self, count: u64, span: &Range<usize>) -> Result<(), Fault> {
        let here = self.here();
        let section = &mut self.sections[here.section];
        let (limit, said) =
            if section.nobits { (NOBITS_LIMIT, "4 GiB") } else { (LIMIT, "256 MiB") };
        let size = section.size.checked_add(count).filter(|size| *size <= limit);
        let size = size.ok_or_else(|| {
            Fault::new(span.clone(), format!("the section would be larger than {said}"))
        })?;
        section.size = size;
        if !section.nobits {
            section.bytes.resize(size as usize, 0);
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8], span: &Range<usize>) -> Result<(), Fault> {
        let here = self.here();
        let section = &mut self.sections[here.section];
        if section.nobits {
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(Fault::new(
                    span.clone(),
                    format!("section `{}` can only contain zeros", section.name),
                ));
            }
            return self.zeros(bytes.len() as u64, span);
        }
        section.bytes.extend(bytes);
        section.size = section.bytes.len() as u64;
        Ok(())
    }

    fn value(
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

/// A number of this many bytes, signed or unsigned.
fn little(number: i128, size: usize) -> Option<Vec<u8>> {
    let bits = size as u32 * 8;
    let fits = number >= -(1 << (bits - 1)) && number < 1 << bits;
    fits.then(|| number.to_le_bytes().into_iter().take(size).collect())
}

// After the whole text is read.
impl Assembler<'_> {
    fn finish(mut self) -> Result<(Relocatable, Vec<TextError>), Vec<TextError>> {
        for (number, name, expression) in std::mem::take(&mut self.sizes) {
            let size = match expression {
                Expression::Number(number) => u64::try_from(number).ok(),
                Expression::Difference(a, b) => {
                    self.difference(&a, &b).and_then(|size| u64::try_from(size).ok())
                }
                Expression::Name(..) => None,
            };
            match size {
                Some(size) => self.declared(&name).size = size,
                None => {
                    let line = self.lines.get(number).copied().unwrap_or_default();
                    let fault =
                        Fault::new(0..line.trim_end().len(), format!("invalid size of `{name}`"));
                    self.fail(
                        number,
                        fault
                            .hint("write a number, or the difference of two labels of one section"),
                    );
                }
            }
        }
        for open in std::mem::take(&mut self.open) {
            if let Err(fault) = self.resolve(&open) {
                self.fail(open.number, fault);
            }
        }
        self.functions_without_end();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        for section in &mut self.sections {
            section.relocations.sort_by_key(|relocation| relocation.offset);
        }
        // An undeclared name is not a symbol; `Referent::Symbol` counts only declared ones.
        let mut kept: Vec<Option<usize>> = Vec::new();
        let mut symbols = Vec::new();
        for declared in &self.symbols {
            kept.push(declared.is_symbol().then_some(symbols.len()));
            if declared.is_symbol() {
                let place = self.labels.get(&declared.name).map(|(place, _)| *place);
                let usual = if place.is_some() { STB_LOCAL } else { STB_GLOBAL };
                symbols.push(Symbol {
                    name: declared.name.clone(),
                    section: place.map(|place| place.section),
                    value: place.map_or(0, |place| place.offset),
                    size: declared.size,
                    kind: declared.kind,
                    binding: declared.binding.unwrap_or(usual),
                    visibility: declared.visibility,
                });
            }
        }
        for section in &mut self.sections {
            section.relocations.retain_mut(|relocation| match relocation.to {
                Referent::Section(_) => true,
                Referent::Symbol(symbol) => match kept.get(symbol).copied().flatten() {
                    Some(symbol) => {
                        relocation.to = Referent::Symbol(symbol);
                        true
                    }
                    None => {
                        debug_assert!(false, "a relocation to what is no symbol");
                        false
                    }
                },
            });
        }
        Ok((Relocatable { sections: self.sections, symbols }, self.warnings))
    }

    /// Functions without `.size` end at the next function or at the end of their section.
    fn functions_without_end(&mut self) {
        let places: Vec<Place> = self
            .symbols
            .iter()
            .filter(|symbol| symbol.kind == STT_FUNC)
            .filter_map(|symbol| self.labels.get(&symbol.name).map(|(place, _)| *place))
            .collect();
        for symbol in &mut self.symbols {
            let Some((place, _)) = self.labels.get(&symbol.name) else { continue };
            let Some(section) = self.sections.get(place.section) else { continue };
            if section.is_code() && symbol.kind == STT_NOTYPE && symbol.binding.is_some() {
                symbol.kind = STT_FUNC;
            }
            if symbol.kind == STT_FUNC && symbol.size == 0 {
                let next = places
                    .iter()
                    .filter(|next| next.section == place.section && next.offset > place.offset);
                let end = next.map(|next| next.offset).min().unwrap_or(section.size);
                symbol.size = end.saturating_sub(place.offset);
            }
        }
    }

    fn difference(&self, a: &str, b: &str) -> Option<i128> {
        let place = |name: &str| self.labels.get(name).map(|(place, _)| *place);
        let (a, b) = (place(a)?, place(b)?);
        (a.section == b.section).then(|| i128::from(a.offset) - i128::from(b.offset))
    }

    fn put(&mut self, at: Place, bytes: &[u8]) {
        let section = self
            .sections
            .get_mut(at.section)
            .and_then(|section| section.bytes.get_mut(at.offset as usize..));
        if let Some(place) = section.and_then(|section| section.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    fn put_insn(&mut self, at: Place, insn: Insn) {
        let mut bytes = Vec::new();
        insn.encode(&mut bytes);
        self.put(at, &bytes);
    }

    fn relocate(&mut self, at: Place, kind: u32, to: Referent) {
        if let Some(section) = self.sections.get_mut(at.section) {
            section.relocations.push(Relocation { offset: at.offset, kind, to });
        }
    }

    /// What a name refers to in a relocation, and the addend: a symbol, or the section of a local
    /// symbol.
    fn referent(
        &mut self,
        name: &str,
        added: i64,
        number: usize,
        span: &Range<usize>,
    ) -> Result<(Referent, i64), Fault> {
        let place = self.labels.get(name).map(|(place, _)| *place);
        let symbol = self.by_name.get(name).copied();
        match (place, symbol) {
            (Some(place), symbol) => {
                let kept = symbol.filter(|symbol| {
                    let symbol = &self.symbols[*symbol];
                    symbol.is_symbol() && (symbol.kind != STT_FUNC || !symbol.is_local())
                });
                Ok(match kept {
                    Some(symbol) => (Referent::Symbol(symbol), added),
                    None => (Referent::Section(place.section), added + place.offset as i64),
                })
            }
            (None, Some(symbol)) if self.symbols[symbol].is_symbol() => {
                Ok((Referent::Symbol(symbol), added))
            }
            _ => {
                if let Some(section) = self.sections.iter().position(|section| section.name == name)
                {
                    return Ok((Referent::Section(section), added));
                }
                if name.starts_with(".L") {
                    let fault =
                        Fault::new(span.clone(), format!("there is no label `{name}` here"));
                    return Err(self.suggest(fault, name));
                }
                let described = self.sections.iter().any(Part::is_btf);
                self.declared(name).kept = true;
                // A name in BTF may be the kernel's or another object's.
                if !described {
                    let fault = Fault::new(
                        span.clone(),
                        format!("undefined symbol `{name}`, assumed to be external"),
                    );
                    let fault = self.suggest(
                        fault.hint(format!("declare it by `.globl {name}` if it is")),
                        name,
                    );
                    let line = self.lines.get(number).copied().unwrap_or_default();
                    self.warnings.push(fault.at(number + 1, line));
                }
                Ok((Referent::Symbol(self.by_name[name]), added))
            }
        }
    }

    fn suggest(&mut self, fault: Fault, name: &str) -> Fault {
        self.suggested += 1;
        if self.suggested > crate::text::assemble::SUGGESTIONS {
            return fault;
        }
        match similar(name, self.labels.keys().map(String::as_str)) {
            Some(_) => fault.similar(name, self.labels.keys().map(String::as_str)),
            None => fault,
        }
    }

    fn resolve(&mut self, open: &Open) -> Result<(), Fault> {
        match &open.what {
            Unresolved::Data(size, Expression::Difference(a, b)) => {
                let message = "not two labels of one section";
                let value =
                    self.difference(a, b).ok_or_else(|| Fault::new(open.span.clone(), message))?;
                let bytes = little(value, *size).ok_or_else(|| {
                    Fault::new(open.span.clone(), format!("{value} does not fit"))
                })?;
                self.put(open.at, &bytes);
                Ok(())
            }
            Unresolved::Data(size, Expression::Name(name, added)) => {
                // BTF is not relocated: its offsets are relative to the start of a section. If that
                // has a global symbol, the name is enough, and compilers leave the rest to the
                // linker.
                if self.sections[open.at.section].is_btf() {
                    let local = self
                        .by_name
                        .get(name)
                        .is_none_or(|symbol| self.symbols[*symbol].is_local());
                    let offset = self
                        .labels
                        .get(name)
                        .filter(|_| local)
                        .map_or(0, |(place, _)| place.offset);
                    let bytes =
                        little(i128::from(offset) + i128::from(*added), *size).unwrap_or_default();
                    self.put(open.at, &bytes);
                    return Ok(());
                }
                let (to, added) = self.referent(name, *added, open.number, &open.span)?;
                let kind = match size {
                    8 => R_BPF_64_ABS64,
                    4 => R_BPF_64_ABS32,
                    _ => {
                        return Err(Fault::new(
                            open.span.clone(),
                            "addresses have eight or four bytes",
                        ));
                    }
                };
                let bytes = little(i128::from(added), *size).unwrap_or_default();
                self.put(open.at, &bytes);
                self.relocate(open.at, kind, to);
                Ok(())
            }
            Unresolved::Data(_, Expression::Number(_)) => Ok(()),
            Unresolved::Insn(insn, named) => self.insn(open, *insn, named),
        }
    }

    fn insn(&mut self, open: &Open, insn: Insn, named: &Named) -> Result<(), Fault> {
        let here = open.at.offset as i64 / 8;
        if matches!(named.what, NameKind::Label | NameKind::Numbered) {
            let place = match named.what {
                NameKind::Label => self.labels.get(&named.name).map(|(place, _)| *place),
                _ => crate::text::assemble::nearest(&self.numbered, &named.name, open.number),
            };
            let Some(place) = place.filter(|place| place.section == open.at.section) else {
                let fault = Fault::new(
                    named.span.clone(),
                    format!("there is no label `{}` in this section", named.name),
                );
                return Err(self.suggest(fault, &named.name));
            };
            let distance = place.offset as i64 / 8 - here - 1;
            let far = || {
                let message =
                    format!("the jump goes {distance} slots far, allowed is -32768 to 32767");
                Fault::new(named.span.clone(), message).hint("`gotol` goes further, since v4")
            };
            let insn = crate::text::assemble::reaching(insn, distance).ok_or_else(far)?;
            self.put_insn(open.at, insn);
            return Ok(());
        }
        let name = named.name.as_str();
        match insn {
            Insn::Call(_) => {
                let place = self.labels.get(name).map(|(place, _)| *place);
                let local =
                    self.by_name.get(name).is_none_or(|symbol| self.symbols[*symbol].is_local());
                let (offset, to) =
                    match place.filter(|place| place.section == open.at.section && local) {
                        Some(place) => ((place.offset as i64 + named.added) / 8 - here - 1, None),
                        None => {
                            let (to, added) =
                                self.referent(name, named.added, open.number, &named.span)?;
                            (added / 8 - 1, Some(to))
                        }
                    };
                let wrong = || Fault::new(named.span.clone(), "the call distance does not fit");
                let call =
                    Insn::Call(Call::Local { offset: i32::try_from(offset).map_err(|_| wrong())? });
                self.put_insn(open.at, call);
                if let Some(to) = to {
                    self.relocate(open.at, R_BPF_64_32, to);
                }
            }
            Insn::Wide(Wide { dst, source }) => {
                let inside = match source {
                    WideSource::MapValue { offset, .. } => i64::from(offset),
                    _ => 0,
                };
                let (to, added) =
                    self.referent(name, named.added + inside, open.number, &named.span)?;
                let wrong = || Fault::new(named.span.clone(), "the distance does not fit");
                let low = i32::try_from(added).map_err(|_| wrong())?;
                let insn = Insn::Wide(Wide {
                    dst,
                    source: WideSource::Imm(u64::from(low.cast_unsigned())),
                });
                self.put_insn(open.at, insn);
                self.relocate(open.at, R_BPF_64_64, to);
            }
            _ => {
                return Err(Fault::new(
                    named.span.clone(),
                    "this instruction cannot refer to a symbol",
                ));
            }
        }
        Ok(())
    }
}

/// The statements of a line.
fn separated(code: &str) -> impl Iterator<Item = &str> {
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
fn texts(rest: &str, offset: usize) -> Result<Vec<Vec<u8>>, Fault> {
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

/// The arguments of a directive.
struct Operands<'a> {
    pieces: &'a [Token],
    end: usize,
}

impl Operands<'_> {
    fn span(&self) -> Range<usize> {
        self.pieces.first().map_or(self.end..self.end, |piece| piece.span.clone())
    }

    fn eat(&mut self, sign: &str) -> bool {
        match self.pieces.split_first() {
            Some((Token { kind: Kind::Sign(found), .. }, rest)) if *found == sign => {
                self.pieces = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        let span = self.span();
        if self.eat(sign) { Ok(()) } else { Err(Fault::new(span, format!("expected `{sign}`"))) }
    }

    /// Skips tokens that start before a byte of the line.
    fn skip_to(&mut self, byte: usize) {
        let before = self.pieces.iter().take_while(|piece| piece.span.start < byte).count();
        self.pieces = self.pieces.get(before..).unwrap_or_default();
    }

    fn end(&self) -> Result<(), Fault> {
        match self.pieces.first() {
            None => Ok(()),
            Some(piece) => {
                Err(Fault::new(piece.span.start..self.end, "unexpected text after the directive"))
            }
        }
    }

    fn name(&mut self, what: &str) -> Result<String, Fault> {
        let span = self.span();
        match self.pieces.split_first() {
            Some((Token { kind: Kind::Word(name) | Kind::Quoted(name), .. }, rest)) => {
                self.pieces = rest;
                Ok(name.clone())
            }
            _ => Err(Fault::new(span, format!("expected {what}"))),
        }
    }

    fn number(&mut self) -> Result<(i128, Range<usize>), Fault> {
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
    fn expression(&mut self) -> Result<Expression, Fault> {
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
