//! Disassembles code.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use super::name::Name;
use super::unit::{Map, Section, Target, Unit, map_kind_name};
use crate::insn::{Call, Decoded, Insn, Minimum, Wide, WideSource};

/// What to print with the instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Each instruction's slot.
    pub slots: bool,
    /// Each instruction's bytes.
    pub bytes: bool,
    /// The source lines, as comments.
    pub lines: bool,
}

/// Disassembles a unit in the notation that [the module](super) describes. Assembling it again
/// gives the same bytes, functions and maps. Declared references without a number are written by
/// name.
pub fn disassemble(unit: &Unit, style: &Style) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_unit(&mut text, unit, style);
    text
}

fn write_unit(text: &mut String, unit: &Unit, style: &Style) -> std::fmt::Result {
    if let Some(license) = &unit.license {
        writeln!(text, ".license \"{}\"", license.escape_debug())?;
    }
    if let Some(reason) = &unit.incomplete {
        writeln!(text, ".incomplete \"{}\"", reason.escape_debug())?;
    }
    if unit.minimum != Minimum::default() {
        write!(text, ".minimum")?;
        if let Some(isa) = unit.minimum.isa {
            write!(text, " {isa}")?;
        }
        if let Some(kernel) = unit.minimum.kernel {
            write!(text, " {}.{}", kernel.major, kernel.minor)?;
        }
        writeln!(text)?;
    }
    for map in &unit.maps {
        let kind = map_kind_name(map.kind).map_or_else(|| map.kind.to_string(), str::to_owned);
        write!(
            text,
            ".map {} {kind} key={} value={}",
            Name(&map.name),
            map.key_size,
            map.value_size
        )?;
        writeln!(text, " entries={} flags={:#x}{}", map.max_entries, map.flags, more(map))?;
        write_content(text, map)?;
    }
    let names = Names::of(unit);
    for of in &unit.externs {
        writeln!(text, ".extern {of}")?;
    }
    let declared: HashSet<&str> = unit.externs.iter().map(|of| of.name.as_str()).collect();
    for name in names.kernel.iter().filter(|name| !declared.contains(**name)) {
        writeln!(text, ".extern {}", Name(name))?;
    }
    for (index, section) in unit.sections.iter().enumerate() {
        if !text.is_empty() {
            writeln!(text)?;
        }
        if index > 0 || !section.name.is_empty() {
            writeln!(text, ".section \"{}\"", section.name.escape_debug())?;
        }
        write_section(text, section, &names, style)?;
    }
    Ok(())
}

/// The attributes that few maps have.
pub(crate) fn more(map: &Map) -> String {
    let mut text = String::new();
    if let Some(node) = map.numa_node {
        text += &format!(" numa_node={node}");
    }
    if map.extra != 0 {
        text += &format!(" extra={:#x}", map.extra);
    }
    if map.pinning != 0 {
        text += &format!(" pinning={}", map.pinning);
    }
    if let Some(inner) = &map.inner {
        let kind = map_kind_name(inner.kind).map_or_else(|| inner.kind.to_string(), str::to_owned);
        text += &format!(
            " inner=({kind} key={} value={} entries={} flags={:#x}{})",
            inner.key_size,
            inner.value_size,
            inner.max_entries,
            inner.flags,
            more(inner)
        );
    }
    text
}

/// Writes the first value of a map: as text if it is, else as numbers.
fn write_content(text: &mut String, map: &Map) -> std::fmt::Result {
    let readable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t' | 0) && *byte != b'\\';
    let readable = map.content.iter().filter(|byte| **byte != 0).count() * 2 >= map.content.len()
        && map.content.iter().all(readable);
    for part in map.content.chunks(if readable { 64 } else { 16 }) {
        if readable {
            let part: String = part.iter().map(|byte| char::from(*byte)).collect();
            writeln!(text, ".value {} \"{}\"", Name(&map.name), part.escape_debug())?;
        } else {
            let part: Vec<String> = part.iter().map(|byte| format!("{byte:#04x}")).collect();
            writeln!(text, ".value {} {}", Name(&map.name), part.join(", "))?;
        }
    }
    Ok(())
}

/// The names that the unit declares.
struct Names<'a> {
    maps: HashSet<&'a str>,
    functions: HashSet<&'a str>,
    kernel: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(unit: &'a Unit) -> Self {
        let functions = unit.sections.iter().flat_map(|section| &section.functions);
        let functions: HashSet<&str> = functions.map(|function| function.name.as_str()).collect();
        let references = unit.sections.iter().flat_map(|section| &section.references);
        let kernel = references.filter_map(|reference| match &reference.to {
            Target::Kernel(name) if !functions.contains(name.as_str()) => Some(name.as_str()),
            _ => None,
        });
        Names {
            maps: unit.maps.iter().map(|map| map.name.as_str()).collect(),
            kernel: kernel.chain(unit.externs.iter().map(|of| of.name.as_str())).collect(),
            functions,
        }
    }
}

fn write_section(
    text: &mut String,
    section: &Section,
    names: &Names<'_>,
    style: &Style,
) -> std::fmt::Result {
    let places = Places::of(section, names);
    let mut functions = places.starts.iter().zip(&section.functions).peekable();
    let mut lines = section.lines.iter().peekable();
    let mut wrote = None;
    for (slot, piece) in section.pieces() {
        while let Some((_, function)) = functions.next_if(|(start, _)| **start <= slot) {
            writeln!(text, ".function {}", Name(&function.name))?;
            wrote = None;
        }
        while let Some(line) = lines.next_if(|line| line.slot <= slot) {
            let place = (line.file.as_str(), line.line);
            if style.lines
                && lines.peek().is_none_or(|next| next.slot > slot)
                && wrote != Some(place)
            {
                write!(text, "    ; {}:{}", line.file.escape_debug(), line.line)?;
                let own = |insn: &Insn| {
                    [insn.to_string(), places.instruction(section, slot, insn, names)]
                        .contains(&line.text)
                };
                // The text of built and of assembled lines is the instruction itself.
                if !matches!(piece, Decoded::Insn(insn) if own(insn)) {
                    write!(text, ": {}", line.text.escape_debug())?;
                }
                writeln!(text)?;
                wrote = Some(place);
            }
        }
        if let Some(label) = places.labels.get(&slot) {
            writeln!(text, "{label}:")?;
        }
        write!(text, "    ")?;
        if style.slots {
            write!(text, "{slot:4}: ")?;
        }
        match piece {
            Decoded::Insn(insn) => {
                if style.bytes {
                    let mut bytes = Vec::with_capacity(16);
                    let found = section.found.as_ref();
                    match found.and_then(|found| found.get(slot * 8..(slot + insn.slots()) * 8)) {
                        Some(found) => bytes.extend(found),
                        None => insn.encode(&mut bytes),
                    }
                    let bytes: Vec<String> =
                        bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    write!(text, "{}  ", bytes.join(" "))?;
                }
                writeln!(text, "{}", places.instruction(section, slot, insn, names))?;
            }
            Decoded::Data(data) => {
                let bytes: Vec<String> =
                    data.bytes().iter().map(|byte| format!("{byte:#04x}")).collect();
                write!(text, ".byte {}", bytes.join(", "))?;
                if let Some(meaning) = data.meaning() {
                    write!(text, "    ; {meaning}")?;
                }
                writeln!(text)?;
            }
        }
    }
    for (_, function) in functions {
        writeln!(text, ".function {}", Name(&function.name))?;
    }
    if let Some(label) = places.labels.get(&section.slots()) {
        writeln!(text, "{label}:")?;
    }
    Ok(())
}

/// The named positions of a section.
struct Places<'a> {
    functions: HashMap<usize, &'a str>,
    labels: BTreeMap<usize, String>,
    /// Where functions are written: at their first slots, or at the next instruction if that is
    /// data.
    starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(section: &'a Section, names: &Names<'_>) -> Self {
        let end = section.slots();
        let mut boundaries: BTreeSet<usize> = section.pieces().map(|(slot, _)| slot).collect();
        boundaries.insert(end);
        let functions =
            section.functions.iter().filter(|function| boundaries.contains(&function.slot));
        let functions: HashMap<usize, &str> =
            functions.map(|function| (function.slot, function.name.as_str())).collect();
        let start = |slot: usize| boundaries.range(slot..).next().copied().unwrap_or(end);
        let starts = section.functions.iter().map(|function| start(function.slot)).collect();
        let mut places = Places { functions, labels: BTreeMap::new(), starts };
        let targets: BTreeSet<usize> = section
            .pieces()
            .filter_map(|(slot, piece)| match piece {
                Decoded::Insn(insn) => Some((slot, insn)),
                Decoded::Data(_) => None,
            })
            .filter_map(|(slot, insn)| {
                let target = target(slot, insn)?;
                let named = !is_jump(insn) && places.functions.contains_key(&target);
                (boundaries.contains(&target) && places.together(slot, target) && !named)
                    .then_some(target)
            })
            .collect();
        let mut free = (1..)
            .map(|n| format!("L{n}"))
            .filter(|label| !names.functions.contains(label.as_str()));
        places.labels = targets.into_iter().zip(&mut free).collect();
        places
    }

    /// Whether two slots are in the same function and can share labels.
    fn together(&self, a: usize, b: usize) -> bool {
        let function = |slot: usize| self.starts.partition_point(|start| *start <= slot);
        function(a) == function(b)
    }

    fn instruction(
        &self,
        section: &Section,
        slot: usize,
        insn: &Insn,
        names: &Names<'_>,
    ) -> String {
        if let Some(named) = section.reference(slot).and_then(|to| reference(insn, to, names)) {
            return named;
        }
        let Some(target) = target(slot, insn) else { return insn.to_string() };
        let label = self.labels.get(&target).filter(|_| self.together(slot, target));
        if is_jump(insn) {
            return match (label, insn) {
                (Some(label), Insn::Jump(_)) => format!("goto {label}"),
                (Some(label), Insn::JumpLong(_)) => format!("gotol {label}"),
                (Some(label), Insn::MayGoto(_)) => format!("may_goto {label}"),
                (Some(label), Insn::JumpIf(jump)) => format!("{} goto {label}", jump.condition()),
                _ => insn.to_string(),
            };
        }
        let function = self.functions.get(&target).copied();
        let named = function.map(callee).or_else(|| label.cloned());
        match (named, insn) {
            (Some(name), Insn::Call(_)) => format!("call {name}"),
            (Some(name), Insn::Wide(Wide { dst, .. })) => format!("{dst} = subprog[{name}]"),
            _ => insn.to_string(),
        }
    }
}

pub(super) fn is_jump(insn: &Insn) -> bool {
    matches!(insn, Insn::Jump(_) | Insn::JumpLong(_) | Insn::JumpIf(_) | Insn::MayGoto(_))
}

/// The slot that an instruction's distance refers to.
pub(super) fn target(slot: usize, insn: &Insn) -> Option<usize> {
    let distance = match insn {
        Insn::Jump(jump) => i64::from(jump.offset),
        Insn::JumpIf(jump) => i64::from(jump.offset),
        Insn::MayGoto(jump) => i64::from(jump.offset),
        Insn::JumpLong(jump) => i64::from(jump.offset),
        Insn::Call(Call::Local { offset }) => i64::from(*offset),
        Insn::Wide(Wide { source: WideSource::Function { offset }, .. }) => i64::from(*offset),
        _ => return None,
    };
    usize::try_from(i64::try_from(slot).ok()?.checked_add(1)?.checked_add(distance)?).ok()
}

/// An instruction with its reference by name, if it has no number that this would lose.
fn reference(insn: &Insn, to: &Target, names: &Names<'_>) -> Option<String> {
    match (insn, to) {
        (Insn::Wide(Wide { dst, source }), Target::Map(name))
            if names.maps.contains(name.as_str()) =>
        {
            match source {
                WideSource::Map { fd: 0 } => Some(format!("{dst} = map[name:{}]", Name(name))),
                WideSource::MapValue { fd: 0, offset } => {
                    Some(format!("{dst} = map[name:{}][0]+{offset}", Name(name)))
                }
                _ => None,
            }
        }
        (Insn::Call(Call::Local { offset: -1 }), Target::Function(name))
            if names.functions.contains(name.as_str()) =>
        {
            Some(format!("call {}", callee(name)))
        }
        (
            Insn::Wide(Wide { dst, source: WideSource::Function { offset: -1 } }),
            Target::Function(name),
        ) if names.functions.contains(name.as_str()) => {
            Some(format!("{dst} = subprog[{}]", Name(name)))
        }
        (Insn::Call(Call::Kernel { id: 0, btf: 0 }), Target::Kernel(name))
            if names.kernel.contains(name.as_str()) =>
        {
            Some(format!("call {}", callee(name)))
        }
        (
            Insn::Wide(Wide { dst, source: WideSource::Variable { id: 0, btf: 0 } }),
            Target::Kernel(name),
        ) if names.kernel.contains(name.as_str()) => {
            Some(format!("{dst} = extern[{}]", Name(name)))
        }
        _ => None,
    }
}

/// The name of a called function; in quotes if a helper has it too.
fn callee(name: &str) -> String {
    match crate::insn::helper_id(name) {
        Some(_) => format!("\"{name}\""),
        None => Name(name).to_string(),
    }
}
