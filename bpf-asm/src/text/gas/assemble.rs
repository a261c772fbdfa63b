//! Assembles text in the syntax of GNU as and LLVM into an object.
//!
//! | file | what |
//! |---|---|
//! | `directive.rs` | carries out directives |
//! | `operands.rs` | their arguments |
//! | `resolve.rs` | what was not known in its line: labels, symbols, differences |

mod directive;
mod operands;
mod resolve;

use std::collections::HashMap;
use std::ops::Range;

use operands::separated;

use super::{Part, Relocatable, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, STB_LOCAL, STT_NOTYPE};
use crate::insn::Insn;
use crate::text::assemble::{label, prefix};
use crate::text::error::{Fault, TextError, TextErrors, TextWarnings};
use crate::text::instruction::{Named, Pieces, Statement};
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
    /// Bytes of all sections that no text stands for: a short text may ask for any number.
    filled: u64,
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
}

/// A number of this many bytes, signed or unsigned.
fn little(number: i128, size: usize) -> Option<Vec<u8>> {
    let bits = size as u32 * 8;
    let fits = number >= -(1 << (bits - 1)) && number < 1 << bits;
    fits.then(|| number.to_le_bytes().into_iter().take(size).collect())
}

// After the whole text is read.
