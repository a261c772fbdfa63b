//! Disassembles an object into text that assembles to the same object.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::rc::Rc;

use super::{
    ALIGN_LIMIT, FLAGS, LIMIT, NOBITS_LIMIT, Part, R_BPF_64_32, R_BPF_64_64, R_BPF_64_ABS32,
    R_BPF_64_ABS64, Referent, Relocatable, Relocation, SHF_MERGE, STB_GLOBAL, STB_WEAK, STT_FUNC,
    STT_OBJECT, Symbol,
};
use crate::insn::{
    Atomic, AtomicOp, Call, Decoded, Insn, Wide, WideSource, Width, decode, helper_name,
};
use crate::text::disassemble::{is_jump, target};
use crate::text::name::GasName as Name;
use crate::text::{Line, Style};

/// Comments on an object's bytes.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Lines for the start of the text.
    pub(crate) head: Vec<String>,
    /// The source lines of code sections, by name.
    pub(crate) lines: HashMap<String, Vec<Line>>,
    /// Positions in `.BTF.ext` of instruction offsets.
    pub(crate) offsets: BTreeMap<u64, Known>,
    /// The position and size of each type in `.BTF`, and its description.
    pub(crate) types: Vec<(u64, u64, String)>,
}

/// An instruction that `.BTF.ext` refers to.
#[derive(Debug)]
pub(crate) struct Known {
    /// The name of its section.
    pub(crate) section: Rc<str>,
    /// Whether it has a CO-RE relocation; otherwise it starts a function or a line.
    pub(crate) relocated: bool,
}

/// Writes an object as text.
///
/// # Errors
/// What text cannot express.
pub(crate) fn disassemble(
    object: &Relocatable,
    notes: &Notes,
    style: &Style,
) -> Result<String, String> {
    let names: Vec<&str> = object.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
    let sections = object.sections.iter().map(|section| section.name.as_str());
    let mut known = HashSet::new();
    if let Some(twice) = names.iter().copied().chain(sections).find(|name| !known.insert(*name)) {
        return Err(format!("two of its sections or symbols have the name `{twice}`"));
    }
    let mut writer = Writer { object, notes, style, known, text: String::new() };
    for line in &notes.head {
        // Writing to a string cannot fail.
        let _ = writeln!(writer.text, "# {line}");
    }
    for symbol in object.symbols.iter().filter(|symbol| symbol.section.is_none()) {
        writer.bind(symbol)?;
    }
    for (index, section) in object.sections.iter().enumerate() {
        writer.section(index, section)?;
    }
    Ok(writer.text)
}

struct Writer<'a> {
    object: &'a Relocatable,
    notes: &'a Notes,
    style: &'a Style,
    known: HashSet<&'a str>,
    text: String,
}

impl Writer<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{line}");
    }

    /// The binding of a symbol.
    fn bind(&mut self, symbol: &Symbol) -> Result<(), String> {
        // Local labels are no symbols of an object, and may be left out of it.
        if symbol.name.starts_with(".L") && !(symbol.is_local() && symbol.kind != STT_FUNC) {
            return Err(like_a_label(&symbol.name));
        }
        let name = Name(&symbol.name);
        match symbol.binding {
            STB_GLOBAL => self.line(format_args!("\t.globl\t{name}")),
            STB_WEAK => self.line(format_args!("\t.weak\t{name}")),
            _ => {}
        }
        match symbol.visibility {
            0 => {}
            1 => self.line(format_args!("\t.internal\t{name}")),
            2 => self.line(format_args!("\t.hidden\t{name}")),
            _ => self.line(format_args!("\t.protected\t{name}")),
        }
        match symbol.kind {
            STT_FUNC => self.line(format_args!("\t.type\t{name},@function")),
            STT_OBJECT => self.line(format_args!("\t.type\t{name},@object")),
            0 => {}
            kind => {
                return Err(format!(
                    "its symbol `{}` is of kind {kind}, which text cannot express",
                    symbol.name
                ));
            }
        }
        Ok(())
    }

    fn section(&mut self, index: usize, section: &Part) -> Result<(), String> {
        let letters: String =
            FLAGS.iter().filter(|(_, flag)| section.flags & flag != 0).map(|(c, _)| *c).collect();
        let known = FLAGS.iter().fold(0, |known, (_, flag)| known | flag);
        if section.flags & !known != 0 {
            return Err(format!(
                "its section `{}` has flags {:#x}, which text cannot express",
                section.name, section.flags
            ));
        }
        let limit = if section.nobits { NOBITS_LIMIT } else { LIMIT };
        if section.size > limit || section.align > ALIGN_LIMIT {
            return Err(format!("its section `{}` is too large", section.name));
        }
        let kind = match (section.nobits, section.flags & SHF_MERGE) {
            (true, _) => "@nobits",
            (false, 0) => "@progbits",
            // The entry size of mergeable sections.
            (false, _) => "@progbits,1",
        };
        self.line(format_args!("\n\t.section\t{},\"{letters}\",{kind}", Name(&section.name)));
        if section.align > 1 {
            self.line(format_args!("\t.p2align\t{}", section.align.trailing_zeros()));
        }
        let mut marks = Marks::of(self.object, index, &self.known, self.notes)?;
        if section.is_code() {
            self.code(index, section, &mut marks)?;
        } else {
            self.data(section, &marks)?;
        }
        self.marks(&marks, section.size)?;
        match marks.places().any(|at| *at > section.size) {
            true => Err(format!("a symbol is outside its section `{}`", section.name)),
            false => Ok(()),
        }
    }

    /// The marks before a byte: starts and ends of symbols, and labels.
    fn marks(&mut self, marks: &Marks<'_>, at: u64) -> Result<(), String> {
        let ends = marks.ends.get(&at).into_iter().flatten();
        for (symbol, label) in ends {
            self.line(format_args!("{label}:\n\t.size\t{0}, {label}-{0}", Name(&symbol.name)));
        }
        for label in marks.begins.get(&at).into_iter().flatten() {
            self.line(format_args!("{label}:"));
        }
        for symbol in marks.symbols.get(&at).into_iter().flatten() {
            self.bind(symbol)?;
            self.line(format_args!("{}:", Name(&symbol.name)));
            if symbol.size == 0 && symbol.kind != 0 {
                self.line(format_args!("\t.size\t{}, 0", Name(&symbol.name)));
            }
        }
        for label in marks.labels.get(&at).into_iter().flatten() {
            self.line(format_args!("{label}:"));
        }
        Ok(())
    }

    fn code(&mut self, index: usize, section: &Part, marks: &mut Marks<'_>) -> Result<(), String> {
        let code = decode(&section.bytes);
        let mut slot = 0;
        let boundaries: BTreeSet<usize> = code
            .iter()
            .map(|piece| {
                let at = slot;
                slot += piece.slots();
                at
            })
            .chain([section.bytes.len() / 8])
            .collect();
        let inside =
            |at: &&u64| !at.is_multiple_of(8) || !boundaries.contains(&((**at / 8) as usize));
        if marks.places().any(|at| inside(&at)) {
            return Err(format!(
                "a symbol or record starts inside an instruction of its section `{}`",
                section.name
            ));
        }
        let relocations: HashMap<u64, &Relocation> =
            section.relocations.iter().map(|relocation| (relocation.offset, relocation)).collect();
        if relocations.keys().any(|at| inside(&at))
            || relocations.len() != section.relocations.len()
        {
            return Err(format!(
                "relocations of its section `{}` are not at instructions",
                section.name
            ));
        }
        // Labels for everything that is referred to by distance.
        let mut slot = 0;
        for piece in &code {
            if let Decoded::Insn(insn) = piece
                && !relocations.contains_key(&(slot as u64 * 8))
                && let Some(to) = target(slot, insn).filter(|to| boundaries.contains(to))
                && (is_jump(insn) || self.object.function_at(index, to as u64 * 8).is_none())
            {
                marks.label(to as u64 * 8, &self.known);
            }
            slot += piece.slots();
        }
        let mut lines = self.notes.lines.get(&section.name).into_iter().flatten().peekable();
        let mut wrote = None;
        let mut slot = 0;
        for piece in &code {
            let at = slot as u64 * 8;
            self.marks(marks, at)?;
            while let Some(line) = lines.next_if(|line| line.slot <= slot) {
                let place = (&line.file, line.line);
                if self.style.lines
                    && lines.peek().is_none_or(|next| next.slot > slot)
                    && wrote != Some(place)
                {
                    let (file, text) = (line.file.escape_debug(), line.text.escape_debug());
                    let _ = writeln!(self.text, "\t# {file}:{}: {text}", line.line);
                    wrote = Some(place);
                }
            }
            let mut note = String::new();
            let insn = match (piece, relocations.get(&at)) {
                (Decoded::Insn(insn), Some(relocation)) => {
                    self.relocated(index, insn, relocation)?
                }
                (Decoded::Insn(insn), None) => self.direct(index, slot, insn, marks, &mut note),
                (Decoded::Data(_), Some(_)) => {
                    return Err(format!(
                        "a relocation in its section `{}` is not on an instruction",
                        section.name
                    ));
                }
                (Decoded::Data(data), None) => {
                    let bytes: Vec<String> =
                        data.bytes().iter().map(|byte| format!("{byte:#04x}")).collect();
                    format!(".byte\t{}", bytes.join(", "))
                }
            };
            let _ = write!(self.text, "\t");
            let _ = write!(self.text, "{insn}");
            if self.style.slots {
                let _ = write!(note, " {slot}");
            }
            if self.style.bytes {
                let end = at as usize + piece.slots() * 8;
                let bytes = section
                    .bytes
                    .get(at as usize..end.min(section.bytes.len()))
                    .unwrap_or_default();
                bytes.iter().for_each(|byte| {
                    let _ = write!(note, " {byte:02x}");
                });
            }
            self.line(format_args!("{}{note}", if note.is_empty() { "" } else { "\t#" }));
            slot += piece.slots();
        }
        Ok(())
    }

    /// The name that a relocation refers to, with the addend.
    fn referent(&self, to: Referent, added: i64) -> Result<String, String> {
        let name = match to {
            Referent::Symbol(symbol) => self.object.symbols.get(symbol).map(|symbol| &symbol.name),
            Referent::Section(section) => {
                let function = u64::try_from(added)
                    .ok()
                    .and_then(|added| self.object.function_at(section, added));
                // Local functions are addressed relative to their sections.
                if let Some(function) = function.filter(|function| function.is_local()) {
                    return Ok(Name(&function.name).to_string());
                }
                self.object.sections.get(section).map(|section| &section.name)
            }
        };
        let name = name.ok_or("a relocation has no symbol")?;
        Ok(match added {
            0 => Name(name).to_string(),
            _ => format!("{}{added:+}", Name(name)),
        })
    }

    fn relocated(
        &self,
        index: usize,
        insn: &Insn,
        relocation: &Relocation,
    ) -> Result<String, String> {
        match (insn, relocation.kind) {
            (Insn::Wide(Wide { dst, source: WideSource::Imm(imm) }), R_BPF_64_64)
                if *imm <= u64::from(u32::MAX) =>
            {
                let added = i64::from((*imm as u32).cast_signed());
                Ok(format!("{dst} = {} ll", self.referent(relocation.to, added)?))
            }
            (Insn::Call(Call::Local { offset }), R_BPF_64_32) => {
                Ok(format!("call {}", self.referent(relocation.to, (i64::from(*offset) + 1) * 8)?))
            }
            _ => Err(format!(
                "the relocation of kind {} on `{insn}` in its section `{}` has no text",
                relocation.kind,
                self.object.sections.get(index).map_or("", |section| &section.name)
            )),
        }
    }

    /// An instruction without relocation, with the name of its target.
    fn direct(
        &self,
        index: usize,
        slot: usize,
        insn: &Insn,
        marks: &Marks<'_>,
        note: &mut String,
    ) -> String {
        if let Insn::Call(Call::Helper { id }) = insn
            && *id > 0
        {
            if let Some(name) = helper_name(*id) {
                let _ = write!(note, " {name}");
            }
            return format!("call {id}");
        }
        if let Insn::Atomic(atomic) = insn {
            return in_llvm(atomic).unwrap_or_else(|| insn.to_string());
        }
        let Some(to) = target(slot, insn) else { return insn.to_string() };
        let function =
            || self.object.function_at(index, to as u64 * 8).map(|function| function.name.as_str());
        let label = marks.named.get(&(to as u64 * 8)).map(String::as_str);
        let name = if is_jump(insn) { label } else { function().or(label) };
        match (name.map(Name), insn) {
            (Some(name), Insn::Jump(_)) => format!("goto {name}"),
            (Some(name), Insn::JumpLong(_)) => format!("gotol {name}"),
            (Some(name), Insn::MayGoto(_)) => format!("may_goto {name}"),
            (Some(name), Insn::JumpIf(jump)) => format!("{} goto {name}", jump.condition()),
            (Some(name), Insn::Call(_)) => format!("call {name}"),
            _ => insn.to_string(),
        }
    }

    fn data(&mut self, section: &Part, marks: &Marks<'_>) -> Result<(), String> {
        let relocations: BTreeMap<u64, &Relocation> = match section.is_btf() {
            true => BTreeMap::new(),
            false => section
                .relocations
                .iter()
                .map(|relocation| (relocation.offset, relocation))
                .collect(),
        };
        let offsets = if section.name == ".BTF.ext" { Some(&self.notes.offsets) } else { None };
        let types = if section.name == ".BTF" { self.notes.types.as_slice() } else { &[] };
        let mut types = types.iter().peekable();
        let mut cuts: BTreeSet<u64> =
            marks.places().copied().chain(relocations.keys().copied()).collect();
        cuts.extend(offsets.into_iter().flat_map(|offsets| offsets.keys().copied()));
        if let Some((first, ..)) = types.peek() {
            cuts.insert(*first);
        }
        cuts.insert(section.size);
        let mut at = 0;
        while at < section.size {
            self.marks(marks, at)?;
            let start = at;
            let end = cuts.range(at + 1..).next().copied().unwrap_or(section.size);
            let bytes = section.bytes.get(at as usize..).unwrap_or_default();
            let word = |size: usize| {
                bytes.get(..size).map(|bytes| {
                    let mut word = [0; 8];
                    word[..size].copy_from_slice(bytes);
                    u64::from_le_bytes(word)
                })
            };
            if section.nobits {
                self.line(format_args!("\t.zero\t{}", end - at));
                at = end;
            } else if let Some(relocation) = relocations.get(&at) {
                let (size, directive) = match relocation.kind {
                    R_BPF_64_ABS64 => (8, ".quad"),
                    R_BPF_64_ABS32 => (4, ".long"),
                    kind => {
                        let name = &section.name;
                        return Err(format!(
                            "the relocation of kind {kind} at byte {at} of its section `{name}` \
                            has no text"
                        ));
                    }
                };
                let added = word(size).ok_or("a relocation is outside its section")?;
                let added = if size == 8 {
                    added.cast_signed()
                } else {
                    i64::from((added as u32).cast_signed())
                };
                let name = self.referent(relocation.to, added)?;
                self.line(format_args!("\t{directive}\t{name}"));
                at += size as u64;
            } else if let Some((code, offset)) =
                offsets.and_then(|offsets| offsets.get(&at)).zip(word(4))
                && let Some((label, _)) = ext_label(self.object, code, offset)
            {
                self.line(format_args!("\t.long\t{label}"));
                at += 4;
            } else if let Some((_, size, text)) =
                types.next_if(|(start, size, _)| *start == at && start + size <= section.size)
            {
                let words: Vec<String> = bytes[..*size as usize]
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|word| u32::from_le_bytes(*word).to_string())
                    .collect();
                self.line(format_args!("\t.long\t{}\t# {text}", words.join(", ")));
                at += size;
            } else {
                at = self.bytes(bytes, at, end);
            }
            // Nothing may start inside a unit that is written as one.
            if cuts.range(start + 1..at).next().is_some() {
                return Err(format!("parts of its section `{}` overlap", section.name));
            }
        }
        Ok(())
    }

    /// Bytes up to `end`: as a string, as zeros or as numbers; returns where the next ones start.
    fn bytes(&mut self, bytes: &[u8], at: u64, end: u64) -> u64 {
        let bytes = bytes.get(..(end - at) as usize).unwrap_or(bytes);
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        if zeros >= 8 || zeros == bytes.len() && zeros > 0 {
            self.line(format_args!("\t.zero\t{zeros}"));
            return at + zeros as u64;
        }
        let shown =
            bytes.iter().take_while(|byte| byte.is_ascii_graphic() || **byte == b' ').count();
        if shown >= 3 && bytes.get(shown) == Some(&0) {
            let text =
                String::from_utf8_lossy(&bytes[..shown]).replace('\\', "\\\\").replace('"', "\\\"");
            self.line(format_args!("\t.asciz\t\"{text}\""));
            return at + shown as u64 + 1;
        }
        // Up to the start of one of the others.
        let count = bytes.len().min(if zeros > 0 { zeros } else { 16 });
        let run = (1..count)
            .find(|start| bytes[*start..].iter().take(8).all(|byte| *byte == 0))
            .unwrap_or(count);
        let list: Vec<String> = bytes[..run].iter().map(|byte| format!("{byte:#04x}")).collect();
        self.line(format_args!("\t.byte\t{}", list.join(", ")));
        at + run as u64
    }
}

/// An operation that returns the old content, in LLVM's own syntax.
fn in_llvm(atomic: &Atomic) -> Option<String> {
    let Atomic { width, op, base, offset, src } = atomic;
    let (size, bits, letter, src) = match width {
        Width::W32 => ("u32", "32_32", 'w', src.number()),
        Width::W64 => ("u64", "_64", 'r', src.number()),
    };
    let fetch = |name: &str| {
        format!("{letter}{src} = atomic_fetch_{name}(({size} *)({base} {offset:+}), {letter}{src})")
    };
    Some(match op {
        AtomicOp::FetchAdd => fetch("add"),
        AtomicOp::FetchOr => fetch("or"),
        AtomicOp::FetchAnd => fetch("and"),
        AtomicOp::FetchXor => fetch("xor"),
        AtomicOp::Exchange => {
            format!("{letter}{src} = xchg{bits}({base} {offset:+}, {letter}{src})")
        }
        AtomicOp::CompareExchange => {
            format!("{letter}0 = cmpxchg{bits}({base} {offset:+}, {letter}0, {letter}{src})")
        }
        _ => return None,
    })
}

/// The label of an instruction that `.BTF.ext` refers to. A label for the start of a function stays
/// there, whatever is inserted before its first instruction; a label for a CO-RE relocation stays
/// with the instruction.
fn ext_label(object: &Relocatable, known: &Known, offset: u64) -> Option<(String, bool)> {
    let index =
        object.sections.iter().position(|part| part.name == *known.section && part.is_code())?;
    let code = &object.sections[index];
    let begins = !known.relocated && object.function_at(index, offset).is_some();
    let letter = if begins { 'f' } else { 'i' };
    (offset.is_multiple_of(8) && offset <= code.size)
        .then(|| (format!(".L{letter}{index}_{}", offset / 8), begins))
}

fn like_a_label(symbol: &str) -> String {
    format!("its symbol `{symbol}` has the name of a local label")
}

/// The marks of a section, by byte.
struct Marks<'a> {
    index: usize,
    symbols: BTreeMap<u64, Vec<&'a Symbol>>,
    /// The ends of symbols, with labels for them.
    ends: BTreeMap<u64, Vec<(&'a Symbol, String)>>,
    /// Labels of function starts.
    begins: BTreeMap<u64, BTreeSet<String>>,
    /// Other labels, as they are written.
    labels: BTreeMap<u64, Vec<String>>,
    /// Jump targets, by name.
    named: BTreeMap<u64, String>,
}

impl<'a> Marks<'a> {
    fn of(
        object: &'a Relocatable,
        index: usize,
        known: &HashSet<&str>,
        notes: &Notes,
    ) -> Result<Self, String> {
        let free = |label: String| match known.contains(label.as_str()) {
            true => Err(like_a_label(&label)),
            false => Ok(label),
        };
        let mut marks = Marks {
            index,
            symbols: BTreeMap::new(),
            ends: BTreeMap::new(),
            begins: BTreeMap::new(),
            labels: BTreeMap::new(),
            named: BTreeMap::new(),
        };
        for (number, symbol) in
            object.symbols.iter().enumerate().filter(|(_, symbol)| symbol.section == Some(index))
        {
            marks.symbols.entry(symbol.value).or_default().push(symbol);
            if symbol.size > 0 {
                let label = free(format!(".Lend{number}"))?;
                marks
                    .ends
                    .entry(symbol.value.saturating_add(symbol.size))
                    .or_default()
                    .push((symbol, label));
            }
        }
        let section = &object.sections[index];
        let ext = object.sections.iter().find(|part| part.name == ".BTF.ext");
        if section.is_code()
            && let Some(ext) = ext
        {
            for (at, known) in
                notes.offsets.iter().filter(|(_, known)| *known.section == section.name)
            {
                let word = ext.bytes.get(*at as usize..).and_then(|bytes| bytes.first_chunk());
                let Some(offset) = word.map(|word| u64::from(u32::from_le_bytes(*word))) else {
                    continue;
                };
                match ext_label(object, known, offset) {
                    Some((label, true)) => {
                        marks.begins.entry(offset).or_default().insert(free(label)?);
                    }
                    Some((label, false)) => {
                        let labels = marks.labels.entry(offset).or_default();
                        let label = free(label)?;
                        if !labels.contains(&label) {
                            labels.push(label);
                        }
                    }
                    None => {}
                }
            }
        }
        Ok(marks)
    }

    /// All marked positions.
    fn places(&self) -> impl Iterator<Item = &u64> {
        self.symbols
            .keys()
            .chain(self.ends.keys())
            .chain(self.begins.keys())
            .chain(self.labels.keys())
    }

    /// Creates a label for a jump target.
    fn label(&mut self, at: u64, known: &HashSet<&str>) {
        if self.named.contains_key(&at) {
            return;
        }
        let mut name = format!("LBB{}_{}", self.index, at / 8);
        while known.contains(name.as_str()) {
            name.push('_');
        }
        self.labels.entry(at).or_default().push(name.clone());
        self.named.insert(at, name);
    }
}
