//! Text to code.

use std::collections::HashMap;
use std::ops::Range;

use super::directive::{Directive, directive};
use super::error::{Fault, TextError, TextErrors};
use super::instruction::{Named, Pieces, Printed, Statement, What};
use super::token::{Kind, Token, tokens, without_comment};
use super::unit::{Function, Line, Reference, Section, Target, Unit};
use crate::insn::{Call, Decoded, Insn, Wide, WideSource, helper_names};

/// Reads a text in the notation that [the module](super) describes; `file` is its name, for errors and for the lines
/// that instructions come from.
///
/// # Errors
///
/// All that is wrong with the text: a line that is not understood, a number that does not fit, a name that is not
/// there or twice, an instruction above the stated minimum.
pub fn assemble(file: &str, text: &str) -> Result<Unit, TextErrors> {
    let lines: Vec<&str> = text.lines().collect();
    let mut assembler = Assembler { file, lines: &lines, ..Assembler::default() };
    for (number, line) in lines.iter().enumerate() {
        assembler.number = number;
        if let Err(fault) = assembler.line(line) {
            assembler.fail(number, fault);
        }
    }
    assembler.finish()
}

#[derive(Default)]
struct Assembler<'a> {
    file: &'a str,
    lines: &'a [&'a str],
    /// The present line, from 0.
    number: usize,
    unit: Unit,
    /// The next slot of the last section.
    slot: usize,
    /// Where each function begins, and its line.
    functions: HashMap<String, (Position, usize)>,
    /// The line of each.
    externs: HashMap<String, usize>,
    maps: HashMap<String, usize>,
    /// The labels of the function being read, by slot and line.
    labels: HashMap<String, (usize, usize)>,
    /// The jumps of the function being read, and all else that may name a label of it.
    inside: Vec<Open>,
    /// What names something of the whole text.
    outside: Vec<Open>,
    /// Jumps to what is no label of their function: by line, with the name.
    unplaced: Vec<(usize, String, Fault)>,
    errors: Vec<TextError>,
}

/// A slot of a section, by its number.
#[derive(Debug, Clone, Copy)]
struct Position {
    section: usize,
    slot: usize,
}

/// An instruction with a name that stands for a number.
struct Open {
    named: Named,
    number: usize,
    at: Position,
    /// Its place in the section's code.
    piece: usize,
}

impl Assembler<'_> {
    fn fail(&mut self, number: usize, fault: Fault) {
        self.errors.push(fault.at(number + 1, self.lines.get(number).copied().unwrap_or_default()));
    }

    fn line(&mut self, line: &str) -> Result<(), Fault> {
        let code = without_comment(line);
        let (printed, start) = prefix(code);
        let mut rest = code.get(start..).unwrap_or_default();
        let mut offset = start;
        while let Some((label, length)) = label(rest, offset)? {
            self.label(label)?;
            rest = rest.get(length..).unwrap_or_default();
            offset += length;
        }
        // What a directive takes is its own matter.
        let trimmed = rest.trim_start();
        if trimmed.starts_with('.') {
            let start = offset + rest.len() - trimmed.len();
            let length = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
            let name = tokens(trimmed.get(..length).unwrap_or_default(), start)?;
            let rest = trimmed.get(length..).unwrap_or_default();
            let name = name.first().filter(|name| name.span.len() == length);
            let name = name.ok_or_else(|| Fault::new(start..start + length, "this is no directive"))?;
            return self.directive(directive(name, rest, start + length)?, name.span.clone());
        }
        let pieces = tokens(rest, offset)?;
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let span = first.span.start..last.span.end;
        let Statement { insn, names } = Pieces::new(&pieces, printed).statement()?;
        let needed = insn.since();
        if !needed.within(self.unit.minimum) {
            let message = format!("`{insn}` needs {needed}, and the stated minimum is {}", self.unit.minimum);
            return Err(Fault::new(span, message).hint("write it with older instructions, or raise `.minimum`"));
        }
        self.code(Decoded::Insn(insn), span, names)
    }

    fn section(&mut self) -> (usize, &mut Section) {
        if self.unit.sections.is_empty() {
            self.unit.sections.push(Section::default());
        }
        let last = self.unit.sections.len() - 1;
        (last, &mut self.unit.sections[last])
    }

    fn here(&mut self) -> Position {
        let (number, _) = self.section();
        Position { section: number, slot: self.slot }
    }

    fn code(&mut self, piece: Decoded, span: Range<usize>, names: Option<Named>) -> Result<(), Fault> {
        let (number, file) = (self.number, self.file.to_owned());
        let at = self.here();
        let (_, section) = self.section();
        if let Some(Decoded::Data(data)) = section.code.last()
            && data.bytes().len() < 8
        {
            return Err(Fault::new(span, "nothing can follow data of less than a slot's eight bytes"));
        }
        let index = section.code.len();
        section.code.push(piece);
        self.slot += piece.slots();
        let text = self.lines.get(number).map(|line| without_comment(line).trim().to_owned()).unwrap_or_default();
        let line = u32::try_from(number + 1).unwrap_or(u32::MAX);
        self.section().1.lines.push(Line { slot: at.slot, file, line, column: 0, text });
        if let Some(named) = names {
            self.inside.push(Open { named, number, at, piece: index });
        }
        Ok(())
    }

    fn label(&mut self, token: Token) -> Result<(), Fault> {
        let (Kind::Word(name) | Kind::Quoted(name)) = token.kind else { return Ok(()) };
        let here = self.here();
        match self.labels.get(&name) {
            Some((_, first)) => Err(twice("label", &name, token.span, *first)),
            None => {
                self.labels.insert(name, (here.slot, self.number));
                Ok(())
            }
        }
    }

    fn directive(&mut self, directive: Directive, span: Range<usize>) -> Result<(), Fault> {
        let line = self.number;
        match directive {
            Directive::License(license) => match self.unit.license.replace(license) {
                None => Ok(()),
                Some(_) => Err(Fault::new(span, "the licence is stated already")),
            },
            Directive::Minimum(minimum) => {
                if self.unit.sections.iter().any(|section| !section.code.is_empty()) {
                    return Err(Fault::new(span, "the minimum is stated before the first instruction"));
                }
                self.unit.minimum = minimum;
                Ok(())
            }
            Directive::Map(map) => {
                if let Some(first) = self.maps.insert(map.name.clone(), line) {
                    return Err(twice("map", &map.name, span, first));
                }
                self.unit.maps.push(map);
                Ok(())
            }
            Directive::Section(name) => {
                self.close();
                if self.unit.sections.iter().any(|section| section.name == name) {
                    return Err(Fault::new(span, format!("there is a section `{name}` already"))
                        .hint("what belongs to one section stands together"));
                }
                self.unit.sections.push(Section { name, ..Section::default() });
                self.slot = 0;
                Ok(())
            }
            Directive::Function(name) => {
                self.close();
                let here = self.here();
                if let Some((_, first)) = self.functions.insert(name.clone(), (here, line)) {
                    return Err(twice("function", &name, span, first));
                }
                self.section().1.functions.push(Function { name, slot: here.slot, context: None });
                Ok(())
            }
            Directive::Extern(name) => match self.externs.insert(name.clone(), line) {
                None => Ok(()),
                Some(first) => Err(twice("function", &name, span, first)),
            },
            Directive::Byte(data) => self.code(Decoded::Data(data), span, None),
        }
    }

    /// Ends the function being read: its labels are known.
    fn close(&mut self) {
        let labels = std::mem::take(&mut self.labels);
        for open in std::mem::take(&mut self.inside) {
            match labels.get(&open.named.name) {
                Some((slot, _)) if matches!(open.named.what, What::Label | What::Callee | What::Function) => {
                    self.reach(&open, *slot);
                }
                _ if open.named.what == What::Label => {
                    let message = format!("there is no label `{}` in this function", open.named.name);
                    let fault = Fault::new(open.named.span, message).similar(&open.named.name, labels.keys());
                    self.unplaced.push((open.number, open.named.name, fault));
                }
                _ => self.outside.push(open),
            }
        }
    }

    fn insn(&mut self, open: &Open) -> Option<&mut Insn> {
        match self.unit.sections.get_mut(open.at.section)?.code.get_mut(open.piece)? {
            Decoded::Insn(insn) => Some(insn),
            Decoded::Data(_) => None,
        }
    }

    /// Gives an instruction the distance to a slot of its section.
    fn reach(&mut self, open: &Open, slot: usize) {
        let distance = slot as i64 - open.at.slot as i64 - 1;
        let Some(insn) = self.insn(open) else { return };
        let (short, long) = (i16::try_from(distance), i32::try_from(distance));
        match (insn, short, long) {
            (Insn::Jump(jump), Ok(offset), _) => jump.offset = offset,
            (Insn::JumpIf(jump), Ok(offset), _) => jump.offset = offset,
            (Insn::MayGoto(jump), Ok(offset), _) => jump.offset = offset,
            (Insn::JumpLong(jump), _, Ok(offset)) => jump.offset = offset,
            (Insn::Call(call), _, Ok(offset)) => *call = Call::Local { offset },
            (Insn::Wide(Wide { source, .. }), _, Ok(offset)) => *source = WideSource::Function { offset },
            _ => {
                let message = format!("the jump goes {distance} slots far, allowed is -32768 to 32767");
                let fault = Fault::new(open.named.span.clone(), message).hint("`gotol` goes further, since v4");
                self.fail(open.number, fault);
            }
        }
    }

    fn finish(mut self) -> Result<Unit, TextErrors> {
        self.close();
        for (number, name, fault) in std::mem::take(&mut self.unplaced) {
            let function = self.functions.contains_key(&name);
            let hint = || format!("a jump stays in its function; write `call {name}`");
            self.fail(number, if function { fault.hint(hint()) } else { fault });
        }
        for open in std::mem::take(&mut self.outside) {
            self.resolve(open);
        }
        if !self.errors.is_empty() {
            return Err(TextErrors::new(self.file, self.errors));
        }
        for section in &mut self.unit.sections {
            section.references.sort_by_key(|reference| reference.slot);
        }
        Ok(self.unit)
    }

    /// What names something that may stand anywhere in the text.
    fn resolve(&mut self, open: Open) {
        let Named { name, what, .. } = &open.named;
        let function = self.functions.get(name).map(|(at, _)| *at).filter(|_| *what != What::Map);
        if let Some(function) = function {
            if function.section == open.at.section {
                return self.reach(&open, function.slot);
            }
            self.refer(&open, Target::Function(name.clone()));
        } else if *what == What::Callee && self.externs.contains_key(name) {
            self.refer(&open, Target::Kernel(name.clone()));
        } else if matches!(what, What::Map | What::Address) && self.maps.contains_key(name) {
            self.refer(&open, Target::Map(name.clone()));
        } else {
            let fault = self.unresolved(&open.named);
            self.fail(open.number, fault);
        }
    }

    /// Leaves it to whoever loads the code to put a number in.
    fn refer(&mut self, open: &Open, to: Target) {
        match (self.insn(open), &to) {
            (Some(Insn::Wide(Wide { source, .. })), Target::Function(_)) => {
                *source = WideSource::Function { offset: -1 }
            }
            (Some(Insn::Call(call)), Target::Kernel(_)) => *call = Call::Kernel { id: 0, btf: 0 },
            _ => {}
        }
        if let Some(section) = self.unit.sections.get_mut(open.at.section) {
            section.references.push(Reference { slot: open.at.slot, to });
        }
    }

    fn unresolved(&self, Named { name, span, what }: &Named) -> Fault {
        let functions = || self.functions.keys().chain(self.externs.keys()).map(String::as_str);
        let maps = || self.maps.keys().map(String::as_str);
        let (kind, declare, known): (_, _, Vec<&str>) = match what {
            What::Map => {
                ("map", format!("declare it, as in `.map {name} array key=4 value=8 entries=1`"), maps().collect())
            }
            What::Callee => (
                "function",
                format!("a function of the kernel that is no helper is declared by `.extern {name}`"),
                functions().chain(helper_names()).collect(),
            ),
            What::Label | What::Function => {
                ("function", "only a function of this text has an address".to_owned(), functions().collect())
            }
            What::Address => (
                "map or function",
                "only what this text declares has an address".to_owned(),
                functions().chain(maps()).collect(),
            ),
        };
        Fault::new(span.clone(), format!("there is no {kind} `{name}`")).hint(declare).similar(name, known.into_iter())
    }
}

fn twice(what: &str, name: &str, span: Range<usize>, first: usize) -> Fault {
    Fault::new(span, format!("there is a {what} `{name}` already, in line {}", first + 1))
}

/// A name and a colon at the beginning of a line, and the bytes that they take.
fn label(rest: &str, offset: usize) -> Result<Option<(Token, usize)>, Fault> {
    // Only a line with a colon can begin with a label; a directive does not.
    let Some(_) = rest.find(':').filter(|_| !rest.trim_start().starts_with('.')) else { return Ok(None) };
    let mut pieces = tokens(rest, offset)?.into_iter();
    let (Some(name), Some(colon)) = (pieces.next(), pieces.next()) else { return Ok(None) };
    let named = matches!(name.kind, Kind::Word(_) | Kind::Quoted(_)) && colon.kind == Kind::Sign(":");
    Ok(named.then(|| (name, colon.span.end - offset)))
}

/// What stands before an instruction where a machine printed it: its number, and its opcode or bytes.
fn prefix(line: &str) -> (Option<Printed>, usize) {
    let all = line.trim_start();
    let numbered = all.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = match numbered.strip_prefix(':') {
        Some(rest) if numbered.len() < all.len() => rest.trim_start(),
        _ => all,
    };
    let at = |rest: &str| line.len() - rest.len();
    let hex = |text: &str| u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
    if let Some((opcode, behind)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        && let Some(opcode) = hex(opcode)
    {
        return (Some(Printed { opcode, src: None }), at(behind));
    }
    for count in [16, 8] {
        let length = count * 3 - 1;
        let Some(bytes) = rest.get(..length) else { continue };
        let behind = rest.get(length..).unwrap_or_default();
        let bytes: Option<Vec<u8>> = bytes.split(' ').map(hex).collect();
        if let Some([opcode, registers, ..]) = bytes.filter(|bytes| bytes.len() == count).as_deref()
            && behind.starts_with([' ', '\t'])
        {
            return (Some(Printed { opcode: *opcode, src: Some(registers >> 4) }), at(behind));
        }
    }
    (None, at(rest))
}
