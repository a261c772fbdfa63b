//! Assembles text into code.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::declaration::Declaration;
use super::directive::{Directive, directive};
use super::disassemble::target;
use super::error::{Fault, TextError, TextErrors, TextWarnings};
use super::instruction::{NameKind, Named, Pieces, Printed, Statement};
use super::name::Name;
use super::objdump::{Dumped, dumped};
use super::token::{Kind, Token, tokens, without_comment};
use super::unit::{Function, Line, Reference, Section, Target, Unit};
use crate::insn::{
    Call, Data, Decoded, Insn, Jump, JumpIf, JumpLong, MayGoto, Wide, WideSource, helper_names,
};

/// Assembles a text in the notation that [the module](super) describes. `file` is its name, for
/// errors and line info.
///
/// # Errors
///
/// All errors in the text: syntax errors, numbers that do not fit, undefined and duplicate names,
/// instructions above the minimum.
pub fn assemble(file: &str, text: &str) -> Result<Unit, TextErrors> {
    assemble_with_warnings(file, text).map(|(unit, _)| unit)
}

/// The same with warnings: about what no verifier accepts, such as a division by 0, and about
/// probable mistakes, such as a byte that is set to 300.
///
/// # Errors
///
/// As [`assemble`].
pub fn assemble_with_warnings(file: &str, text: &str) -> Result<(Unit, TextWarnings), TextErrors> {
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
    /// The current line, from 0.
    number: usize,
    unit: Unit,
    /// The index of the current section in the unit.
    current: usize,
    /// The next slot of each section.
    slots: Vec<usize>,
    /// The start and line of each function.
    functions: HashMap<String, (Position, usize)>,
    /// The line of each kfunc.
    externs: HashMap<String, usize>,
    /// The index and line of each map.
    maps: HashMap<String, (usize, usize)>,
    /// Declared maps, including those with errors.
    attempted: HashSet<String>,
    /// The labels of the current function, by slot and line.
    labels: HashMap<String, (usize, usize)>,
    /// The numeric labels of the current function, including repeated ones.
    numbered: HashMap<u64, Vec<(usize, usize)>>,
    /// Named constants (`.equ`).
    constants: HashMap<String, i128>,
    /// The names for which a suggestion was searched.
    suggested: usize,
    /// The references of the current function that may be labels.
    inside: Vec<Open>,
    /// The references to names of the whole text.
    outside: Vec<Open>,
    /// The relocations of a listing.
    relocations: Vec<Open>,
    /// Jumps to undefined labels, by line.
    unplaced: Vec<(usize, String, Fault)>,
    errors: Vec<TextError>,
    warnings: Vec<TextError>,
}

/// The number of names for which a suggestion is searched. Each search compares with every name,
/// and that many errors usually have one cause.
pub(super) const SUGGESTIONS: usize = 50;

/// A slot of a section.
#[derive(Debug, Clone, Copy)]
struct Position {
    section: usize,
    slot: usize,
}

/// An instruction with an unresolved reference.
struct Open {
    named: Named,
    number: usize,
    at: Position,
    /// Its index in the section's code.
    piece: usize,
}

impl Assembler<'_> {
    fn fail(&mut self, number: usize, fault: Fault) {
        self.errors.push(fault.at(number + 1, self.lines.get(number).copied().unwrap_or_default()));
    }

    fn line(&mut self, line: &str) -> Result<(), Fault> {
        if let Some(dumped) = dumped(line) {
            return self.dumped(dumped, line);
        }
        let code = without_comment(line);
        if let Some(comment) = line.get(code.len()..).and_then(|comment| comment.strip_prefix(';'))
        {
            self.commented_out(code, comment);
        }
        let (printed, number, start) = prefix(code);
        if let Some(number) = number {
            let here = self.here();
            let line = self.number;
            self.numbered.entry(number).or_default().push((line, here.slot));
        }
        let mut rest = code.get(start..).unwrap_or_default();
        let mut offset = start;
        while let Some((label, length)) = label(rest, offset)? {
            self.label(label)?;
            rest = rest.get(length..).unwrap_or_default();
            offset += length;
        }
        // A directive parses its own arguments.
        let trimmed = rest.trim_start();
        if trimmed.starts_with('.') {
            let start = offset + rest.len() - trimmed.len();
            let length = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
            let name = tokens(trimmed.get(..length).unwrap_or_default(), start)?;
            let rest = trimmed.get(length..).unwrap_or_default();
            // A name whose declaration has an error still counts as declared.
            self.declare_despite_errors(trimmed);
            let name = name.first().filter(|name| name.span.len() == length);
            let name =
                name.ok_or_else(|| Fault::new(start..start + length, "expected a directive"))?;
            return self.directive(directive(name, rest, start + length)?, name.span.clone());
        }
        let pieces = with_constants(&self.constants, tokens(rest, offset)?);
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let span = first.span.start..last.span.end;
        let Statement { insn, names, warning } = Pieces::new(&pieces, line, printed).statement()?;
        if let Some(warning) = warning {
            self.warnings.push(warning.at(self.number + 1, line));
        }
        let needed = insn.since();
        if !needed.within(self.unit.minimum) {
            let message =
                format!("`{insn}` requires {needed}, but the minimum is {}", self.unit.minimum);
            return Err(
                Fault::new(span, message).hint("use older instructions, or raise `.minimum`")
            );
        }
        self.code(Decoded::Insn(insn), span, names)
    }

    /// A line between the instructions of a listing.
    fn dumped(&mut self, dumped: Dumped<'_>, line: &str) -> Result<(), Fault> {
        let end = line.trim_end().len();
        let within =
            |name: &str| line.rfind(name).map_or(0..end, |start| start..start + name.len());
        match dumped {
            Dumped::File | Dumped::Label => Ok(()),
            Dumped::Core => {
                let message = "a listing lacks the types that CO-RE relocations refer to";
                Err(Fault::new(end - line.trim().len()..end, message)
                    .hint("disassemble the object itself by `shunt disasm`"))
            }
            Dumped::Section(name) => self.directive(Directive::Section(name.to_owned()), 0..end),
            Dumped::Function(name) => {
                self.directive(Directive::Function(name.to_owned()), within(name))
            }
            Dumped::Relocation { kind, to } => self.relocation(kind, to, within(to)),
        }
    }

    /// A relocation of the instruction before it.
    fn relocation(&mut self, kind: &str, to: &str, span: Range<usize>) -> Result<(), Fault> {
        let number = self.number;
        let here = self.here();
        let (_, section) = self.section();
        let last = section.code.len().checked_sub(1);
        let insn = match last.and_then(|last| section.code.get_mut(last)) {
            Some(Decoded::Insn(insn)) => Some(insn),
            _ => None,
        };
        let (what, added, slots) = match (kind, insn) {
            ("R_BPF_64_32", Some(Insn::Call(Call::Local { offset }))) => {
                let added = (i64::from(*offset) + 1) * 8;
                *offset = -1;
                (NameKind::Callee, added, 1)
            }
            ("R_BPF_64_64", Some(Insn::Wide(Wide { source: WideSource::Imm(imm), .. }))) => {
                (NameKind::Address, imm.cast_signed(), 2)
            }
            _ => {
                return Err(Fault::new(span, "the instruction before this has no such relocation")
                    .hint("it follows a call (R_BPF_64_32) or a 64-bit load (R_BPF_64_64)"));
            }
        };
        let at = Position { slot: here.slot - slots, ..here };
        let named = Named { name: to.to_owned(), span, what, added };
        self.relocations.push(Open { named, number, at, piece: last.unwrap_or_default() });
        Ok(())
    }

    /// Resolves a relocation: to a function, at a distance from a symbol or from the start of its
    /// section; to what the kernel defines; or to a map, where a section of variables is one.
    fn relocate(&mut self, open: Open) {
        let Named { name, what, added, .. } = &open.named;
        let start = self.functions.get(name).map(|(at, _)| *at).or_else(|| {
            let section = self.unit.sections.iter().position(|section| section.name == *name)?;
            Some(Position { section, slot: 0 })
        });
        let function = start.and_then(|start| {
            let slot = usize::try_from(*added).ok().filter(|bytes| bytes.is_multiple_of(8))? / 8;
            let slot = start.slot.checked_add(slot)?;
            let section = self.unit.sections.get(start.section)?;
            let found = section.functions.iter().find(|function| function.slot == slot)?;
            Some((Position { slot, ..start }, found.name.clone()))
        });
        if let Some((at, name)) = function {
            if at.section == open.at.section {
                return self.reach(&open, at.slot);
            }
            return self.refer(&open, Target::Function(name));
        }
        let offset = u32::try_from(*added).ok();
        // Variables have a section, whose name has a dot.
        let value = name.starts_with('.');
        if self.externs.contains_key(name) && *added == 0 {
            self.refer(&open, Target::Kernel(name.clone()));
        } else if let Some(offset) = offset.filter(|offset| value || *offset == 0)
            && *what == NameKind::Address
            && self.maps.contains_key(name)
        {
            let (name, source) = (
                name.clone(),
                match value {
                    true => WideSource::MapValue { fd: 0, offset },
                    false => WideSource::Map { fd: 0 },
                },
            );
            if let Some(Insn::Wide(wide)) = self.insn(&open) {
                wide.source = source;
            }
            self.refer(&open, Target::Map(name));
        } else if !self.attempted.contains(name) {
            self.suggested += 1;
            let fault = self.unresolved(&open.named).hint(match what {
                NameKind::Callee => format!("declare it before, as in `.extern void {name}(void)`"),
                _ => format!(
                    "listings do not say what it is; declare it before, as in `.map {} array \
                    key=4 value=8 entries=1`",
                    Name(name)
                ),
            });
            self.fail(open.number, fault);
        }
    }

    /// Warns about an instruction in a comment: elsewhere a semicolon separates instructions.
    fn commented_out(&mut self, code: &str, comment: &str) {
        let start = code.len() + 1;
        let is_insn = |text: &str, offset: usize| {
            let pieces = tokens(text, offset).unwrap_or_default();
            !pieces.is_empty() && Pieces::new(&pieces, text, None).statement().is_ok()
        };
        if !code.trim().is_empty()
            && comment.split(';').next().is_some_and(|first| is_insn(first, 0))
        {
            let end = start + comment.trim_end().len();
            let fault = Fault::new(
                start - 1..end,
                "this instruction is part of a comment, which starts at the semicolon",
            )
            .hint("write it on a line of its own");
            let line = self.lines.get(self.number).copied().unwrap_or_default();
            self.warnings.push(fault.at(self.number + 1, line));
        }
    }

    /// Records the name that a line declares, even if the line has an error.
    fn declare_despite_errors(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (directive, Some(name)) = (words.next().unwrap_or_default(), words.next()) else {
            return;
        };
        let name = name.trim_matches('"').to_owned();
        if directive == ".map" {
            self.attempted.insert(name);
        }
    }

    fn section(&mut self) -> (usize, &mut Section) {
        if self.unit.sections.is_empty() {
            self.unit.sections.push(Section::default());
            self.slots.push(0);
        }
        (self.current, &mut self.unit.sections[self.current])
    }

    fn here(&mut self) -> Position {
        let (section, _) = self.section();
        Position { section, slot: self.slots[section] }
    }

    fn code(
        &mut self,
        piece: Decoded,
        span: Range<usize>,
        names: Option<Named>,
    ) -> Result<(), Fault> {
        let (number, file) = (self.number, self.file.to_owned());
        let at = self.here();
        let (_, section) = self.section();
        if let Some(Decoded::Data(data)) = section.code.last()
            && data.bytes().len() < 8
        {
            return Err(Fault::new(span, "the bytes before this do not fill an 8-byte slot")
                .hint("pad it with `.byte 0`"));
        }
        let index = section.code.len();
        section.code.push(piece);
        self.slots[at.section] += piece.slots();
        let text = self
            .lines
            .get(number)
            .map(|line| without_comment(line).trim().to_owned())
            .unwrap_or_default();
        let line = u32::try_from(number + 1).unwrap_or(u32::MAX);
        self.section().1.lines.push(Line { slot: at.slot, file, line, column: 0, text });
        if let Some(named) = names {
            if named.added != 0 {
                return Err(Fault::new(named.span, "an offset is not allowed here").hint(format!(
                    "the value of a map is addressed by `map[name:{}][0]+{}`",
                    named.name, named.added
                )));
            }
            self.inside.push(Open { named, number, at, piece: index });
        }
        Ok(())
    }

    /// Appends bytes to slots; a partial slot is filled by the next bytes.
    fn bytes(&mut self, bytes: &[u8], span: Range<usize>) -> Result<(), Fault> {
        let (_, section) = self.section();
        let mut bytes = bytes;
        if let Some(Decoded::Data(last)) = section.code.last_mut()
            && last.bytes().len() < 8
        {
            let (fill, rest) =
                bytes.split_at_checked(8 - last.bytes().len()).unwrap_or((bytes, &[]));
            *last = Data::new(&[last.bytes(), fill].concat());
            bytes = rest;
        }
        bytes
            .chunks(8)
            .try_for_each(|slot| self.code(Decoded::Data(Data::new(slot)), span.clone(), None))
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
                Some(_) => Err(Fault::new(span, "duplicate `.license`")),
            },
            Directive::Minimum(minimum) => {
                if self.unit.sections.iter().any(|section| !section.code.is_empty()) {
                    return Err(Fault::new(span, "the minimum must precede the first instruction"));
                }
                self.unit.minimum = minimum;
                Ok(())
            }
            Directive::Map(map) => {
                let index = self.unit.maps.len();
                if let Some((_, first)) = self.maps.insert(map.name.clone(), (index, line)) {
                    return Err(twice("map", &map.name, span, first));
                }
                self.unit.maps.push(map);
                Ok(())
            }
            Directive::Value(name, bytes) => {
                let index = self.maps.get(&name).map(|(index, _)| *index);
                let Some(map) = index.and_then(|index| self.unit.maps.get_mut(index)) else {
                    if self.attempted.contains(&name) {
                        return Ok(());
                    }
                    let fault = Fault::new(span, format!("there is no map `{name}` above"));
                    self.suggested += 1;
                    return Err(match self.suggested > SUGGESTIONS {
                        true => fault,
                        false => fault.similar(&name, self.maps.keys()),
                    });
                };
                map.content.extend(bytes);
                if map.content.len() > map.value_size as usize {
                    let message = format!(
                        "the value of map `{name}` has {} bytes, but this is byte {}",
                        map.value_size,
                        map.content.len()
                    );
                    return Err(Fault::new(span, message));
                }
                Ok(())
            }
            Directive::Section(name) => {
                self.close();
                // An existing section continues.
                match self.unit.sections.iter().position(|section| section.name == name) {
                    Some(known) => self.current = known,
                    None => {
                        self.current = self.unit.sections.len();
                        self.unit.sections.push(Section { name, ..Section::default() });
                        self.slots.push(0);
                    }
                }
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
            Directive::Extern(declared) => {
                let name = match declared {
                    Declaration::Name(name) => name,
                    Declaration::Extern(of) => {
                        let name = of.name.clone();
                        self.unit.externs.push(of);
                        name
                    }
                };
                match self.externs.insert(name.clone(), line) {
                    None => Ok(()),
                    Some(first) => Err(twice("`.extern`", &name, span, first)),
                }
            }
            Directive::Bytes(bytes) => self.bytes(&bytes, span),
            Directive::Constant(name, value) => {
                self.constants.insert(name, value);
                Ok(())
            }
        }
    }

    /// Ends the current function, whose labels are now known.
    fn close(&mut self) {
        let labels = std::mem::take(&mut self.labels);
        let numbered = std::mem::take(&mut self.numbered);
        for open in std::mem::take(&mut self.inside) {
            if open.named.what == NameKind::Numbered {
                match nearest(&numbered, &open.named.name, open.number) {
                    Some(slot) => self.reach(&open, slot),
                    None => {
                        let (digits, way) = open.named.name.split_at(open.named.name.len() - 1);
                        let side = if way == "b" { "before" } else { "after" };
                        let message =
                            format!("there is no label `{digits}:` {side} this in this function");
                        self.fail(open.number, Fault::new(open.named.span, message));
                    }
                }
                continue;
            }
            match labels.get(&open.named.name) {
                Some((slot, _))
                    if matches!(
                        open.named.what,
                        NameKind::Label | NameKind::Callee | NameKind::Function
                    ) =>
                {
                    self.reach(&open, *slot);
                }
                _ if open.named.what == NameKind::Label => {
                    let message =
                        format!("there is no label `{}` in this function", open.named.name);
                    let fault = Fault::new(open.named.span, message);
                    self.suggested += 1;
                    let fault = if self.suggested > SUGGESTIONS {
                        fault
                    } else {
                        fault.similar(&open.named.name, labels.keys())
                    };
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

    /// Sets an instruction's distance to a slot of its section.
    fn reach(&mut self, open: &Open, slot: usize) {
        let distance = slot as i64 - open.at.slot as i64 - 1;
        let Some(insn) = self.insn(open) else { return };
        match reaching(*insn, distance) {
            Some(reaching) => *insn = reaching,
            None => {
                let message =
                    format!("the jump goes {distance} slots far, allowed is -32768 to 32767");
                let fault = Fault::new(open.named.span.clone(), message)
                    .hint("`gotol` goes further, since v4");
                self.fail(open.number, fault);
            }
        }
    }

    fn finish(mut self) -> Result<(Unit, TextWarnings), TextErrors> {
        self.close();
        for (number, name, fault) in std::mem::take(&mut self.unplaced) {
            let function = self.functions.contains_key(&name);
            let hint = || format!("jumps cannot leave their function; write `call {name}`");
            self.fail(number, if function { fault.hint(hint()) } else { fault });
        }
        for open in std::mem::take(&mut self.outside) {
            self.resolve(open);
        }
        for open in std::mem::take(&mut self.relocations) {
            self.relocate(open);
        }
        if !self.errors.is_empty() {
            return Err(TextErrors::new(self.file, self.errors));
        }
        for map in &mut self.unit.maps {
            let content = std::mem::take(&mut map.content);
            map.set_content(&content);
        }
        for section in &mut self.unit.sections {
            section.references.sort_by_key(|reference| reference.slot);
        }
        self.unreachable();
        Ok((self.unit, TextWarnings::new(self.file, self.warnings)))
    }

    /// Warns about unreachable instructions after `exit` or `goto`, once for each sequence.
    fn unreachable(&mut self) {
        let mut found = Vec::new();
        for section in &self.unit.sections {
            let insns = || {
                section.pieces().filter_map(|(slot, piece)| match piece {
                    Decoded::Insn(insn) => Some((slot, insn)),
                    Decoded::Data(_) => None,
                })
            };
            if insns().any(|(_, insn)| matches!(insn, Insn::JumpRegister(_))) {
                continue;
            }
            let mut reached: HashSet<usize> =
                insns().filter_map(|(slot, insn)| target(slot, insn)).collect();
            reached.extend(section.functions.iter().map(|function| function.slot));
            let ends = |insn: &Insn| matches!(insn, Insn::Exit | Insn::Jump(_) | Insn::JumpLong(_));
            let pairs = insns().zip(insns().skip(1));
            let dead =
                pairs.filter(|((_, before), (slot, _))| ends(before) && !reached.contains(slot));
            found.extend(
                dead.filter_map(|(_, (slot, _))| {
                    section.lines.iter().find(|line| line.slot == slot)
                }),
            );
        }
        let numbers: Vec<u32> = found.into_iter().map(|line| line.line).collect();
        for number in numbers {
            let text = self.lines.get(number as usize - 1).copied().unwrap_or_default();
            let code = without_comment(text).trim_end();
            let span = code.len() - code.trim_start().len()..code.len();
            let fault = Fault::new(span, "unreachable instruction, which the verifier rejects");
            self.warnings.push(fault.hint("remove it, or jump to it").at(number as usize, text));
        }
    }

    /// Resolves a reference to a name of the whole text.
    fn resolve(&mut self, open: Open) {
        let Named { name, what, .. } = &open.named;
        let function = self
            .functions
            .get(name)
            .map(|(at, _)| *at)
            .filter(|_| !matches!(what, NameKind::Map | NameKind::Extern));
        if let Some(function) = function {
            if function.section == open.at.section {
                return self.reach(&open, function.slot);
            }
            self.refer(&open, Target::Function(name.clone()));
        } else if matches!(what, NameKind::Callee | NameKind::Extern | NameKind::Address)
            && self.externs.contains_key(name)
        {
            self.refer(&open, Target::Kernel(name.clone()));
        } else if matches!(what, NameKind::Map | NameKind::Address) && self.maps.contains_key(name)
        {
            self.refer(&open, Target::Map(name.clone()));
        } else if *what != NameKind::Map || !self.attempted.contains(name) {
            self.suggested += 1;
            let fault = self.unresolved(&open.named);
            self.fail(open.number, fault);
        }
    }

    /// Leaves the reference to be resolved by the loader.
    fn refer(&mut self, open: &Open, to: Target) {
        match (self.insn(open), &to) {
            (Some(Insn::Wide(Wide { source, .. })), Target::Function(_)) => {
                *source = WideSource::Function { offset: -1 }
            }
            (Some(Insn::Wide(Wide { source, .. })), Target::Kernel(_)) => {
                *source = WideSource::Variable { id: 0, btf: 0 }
            }
            (Some(Insn::Call(call)), Target::Kernel(_)) => *call = Call::Kernel { id: 0, btf: 0 },
            _ => {}
        }
        if let Some(section) = self.unit.sections.get_mut(open.at.section) {
            section.references.push(Reference { slot: open.at.slot, to });
        }
    }

    fn unresolved(&self, Named { name, span, what, .. }: &Named) -> Fault {
        let functions = || self.functions.keys().chain(self.externs.keys()).map(String::as_str);
        let maps = || self.maps.keys().map(String::as_str);
        let (kind, declare, known): (_, _, Vec<&str>) = match what {
            NameKind::Map => (
                "map",
                format!("declare it, as in `.map {name} array key=4 value=8 entries=1`"),
                maps().collect(),
            ),
            NameKind::Callee => (
                "function",
                format!("declare it by `.extern {name}` if it is a kfunc"),
                functions().chain(helper_names()).collect(),
            ),
            NameKind::Extern => (
                "declared variable of the kernel",
                format!("declare it, as in `.extern int {name} __kconfig`"),
                self.externs.keys().map(String::as_str).collect(),
            ),
            NameKind::Label | NameKind::Numbered | NameKind::Function => (
                "function",
                "only a function of this text has an address".to_owned(),
                functions().collect(),
            ),
            NameKind::Address => (
                "map or function",
                "only what this text declares has an address".to_owned(),
                functions().chain(maps()).collect(),
            ),
        };
        let fault = Fault::new(span.clone(), format!("there is no {kind} `{name}`")).hint(declare);
        if self.suggested > SUGGESTIONS { fault } else { fault.similar(name, known.into_iter()) }
    }
}

/// The line of the label that `1b` or `1f` refers to: the last one before or in a line, or the
/// first one after it.
pub(super) fn nearest<T: Copy>(
    labels: &HashMap<u64, Vec<(usize, T)>>,
    name: &str,
    line: usize,
) -> Option<T> {
    let (digits, way) = name.split_at_checked(name.len().checked_sub(1)?)?;
    let labels = labels.get(&digits.parse().ok()?)?;
    let next = labels.partition_point(|(at, _)| *at <= line);
    let found = if way == "b" { labels.get(next.checked_sub(1)?) } else { labels.get(next) };
    found.map(|(_, place)| *place)
}

/// The tokens of a line with constants replaced by numbers.
pub(super) fn with_constants(constants: &HashMap<String, i128>, pieces: Vec<Token>) -> Vec<Token> {
    if constants.is_empty() {
        return pieces;
    }
    let number = |token: Token| match &token.kind {
        Kind::Word(word) => match constants.get(word) {
            Some(value) => {
                let span = token.span.clone();
                let bits = u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX);
                let sign = (*value < 0)
                    .then_some(Token { kind: Kind::Sign("-"), span: span.start..span.start });
                sign.into_iter().chain([Token { kind: Kind::Number(bits), span }]).collect()
            }
            None => vec![token],
        },
        _ => vec![token],
    };
    pieces.into_iter().flat_map(number).collect()
}

/// A jump, call or load with the distance to its target; `None` if it does not fit.
pub(super) fn reaching(insn: Insn, distance: i64) -> Option<Insn> {
    let (short, long) = (i16::try_from(distance).ok(), i32::try_from(distance).ok());
    Some(match insn {
        Insn::Jump(_) => Insn::Jump(Jump { offset: short? }),
        Insn::JumpIf(jump) => Insn::JumpIf(JumpIf { offset: short?, ..jump }),
        Insn::MayGoto(_) => Insn::MayGoto(MayGoto { offset: short? }),
        Insn::JumpLong(_) => Insn::JumpLong(JumpLong { offset: long? }),
        Insn::Call(_) => Insn::Call(Call::Local { offset: long? }),
        Insn::Wide(wide) => {
            Insn::Wide(Wide { source: WideSource::Function { offset: long? }, ..wide })
        }
        _ => return None,
    })
}

fn twice(what: &str, name: &str, span: Range<usize>, first: usize) -> Fault {
    Fault::new(span, format!("duplicate {what} `{name}`, first defined on line {}", first + 1))
}

/// A label at the start of a line, and its length in bytes.
pub(super) fn label(rest: &str, offset: usize) -> Result<Option<(Token, usize)>, Fault> {
    // Only a line with a colon can begin with a label; a directive has a space before it.
    let trimmed = rest.trim_start();
    let directive = |colon: usize| {
        let colon = colon.saturating_sub(rest.len() - trimmed.len());
        trimmed.starts_with('.')
            && trimmed.get(..colon).is_none_or(|name| name.contains([' ', '\t', ',']))
    };
    let Some(_) = rest.find(':').filter(|colon| !directive(*colon)) else { return Ok(None) };
    let mut pieces = tokens(rest, offset)?.into_iter();
    let (Some(name), Some(colon)) = (pieces.next(), pieces.next()) else { return Ok(None) };
    let named =
        matches!(name.kind, Kind::Word(_) | Kind::Quoted(_)) && colon.kind == Kind::Sign(":");
    Ok(named.then(|| (name, colon.span.end - offset)))
}

/// The prefix of a printed instruction: its slot or label, its opcode or bytes; and the prefix's
/// length in bytes.
pub(super) fn prefix(line: &str) -> (Option<Printed>, Option<u64>, usize) {
    let all = line.trim_start();
    let numbered = all.trim_start_matches(|c: char| c.is_ascii_digit());
    let (rest, number) = match numbered.strip_prefix(':') {
        Some(rest) if numbered.len() < all.len() => (
            rest.trim_start(),
            all.get(..all.len() - numbered.len()).and_then(|digits| digits.parse().ok()),
        ),
        _ => (all, None),
    };
    let at = |rest: &str| line.len() - rest.len();
    let hex = |text: &str| {
        u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 2 && !text.starts_with('+'))
    };
    if let Some((opcode, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        && let Some(opcode) = hex(opcode)
    {
        return (Some(Printed { opcode, src: None }), number, at(after));
    }
    for count in [16, 8] {
        let length = count * 3 - 1;
        let Some(bytes) = rest.get(..length) else { continue };
        let after = rest.get(length..).unwrap_or_default();
        let bytes: Option<Vec<u8>> = bytes.split(' ').map(hex).collect();
        if let Some([opcode, registers, ..]) = bytes.filter(|bytes| bytes.len() == count).as_deref()
            && after.starts_with([' ', '\t'])
        {
            return (
                Some(Printed { opcode: *opcode, src: Some(registers >> 4) }),
                number,
                at(after),
            );
        }
    }
    (None, number, at(rest))
}
