//! Resolves what was not known in its line: labels, symbols, differences.

use std::ops::Range;

use super::{Assembler, Expression, Open, Place, Unresolved, little};
use crate::insn::{Call, Insn, Wide, WideSource};
use crate::text::error::{Fault, TextError, similar};
use crate::text::gas::{
    Part, R_BPF_64_32, R_BPF_64_64, R_BPF_64_ABS32, R_BPF_64_ABS64, Referent, Relocatable,
    Relocation, STB_GLOBAL, STB_LOCAL, STT_FUNC, STT_NOTYPE, Symbol,
};
use crate::text::instruction::{NameKind, Named};

impl Assembler<'_> {
    pub(super) fn finish(mut self) -> Result<(Relocatable, Vec<TextError>), Vec<TextError>> {
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
    pub(super) fn functions_without_end(&mut self) {
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

    pub(super) fn difference(&self, a: &str, b: &str) -> Option<i128> {
        let place = |name: &str| self.labels.get(name).map(|(place, _)| *place);
        let (a, b) = (place(a)?, place(b)?);
        (a.section == b.section).then(|| i128::from(a.offset) - i128::from(b.offset))
    }

    pub(super) fn put(&mut self, at: Place, bytes: &[u8]) {
        let section = self
            .sections
            .get_mut(at.section)
            .and_then(|section| section.bytes.get_mut(at.offset as usize..));
        if let Some(place) = section.and_then(|section| section.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    /// Puts a number where one was left open.
    fn put_number(&mut self, open: &Open, value: i128, size: usize) -> Result<(), Fault> {
        let wrong = || Fault::new(open.span.clone(), format!("{value} does not fit"));
        self.put(open.at, &little(value, size).ok_or_else(wrong)?);
        Ok(())
    }

    pub(super) fn put_insn(&mut self, at: Place, insn: Insn) {
        let mut bytes = Vec::new();
        insn.encode(&mut bytes);
        self.put(at, &bytes);
    }

    pub(super) fn relocate(&mut self, at: Place, kind: u32, to: Referent) {
        if let Some(section) = self.sections.get_mut(at.section) {
            section.relocations.push(Relocation { offset: at.offset, kind, to });
        }
    }

    /// What a name refers to in a relocation, and the addend: a symbol, or the section of a local
    /// symbol.
    pub(super) fn referent(
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
                    None => {
                        let added = added.checked_add(place.offset as i64);
                        let added = added.ok_or_else(|| too_far(span))?;
                        (Referent::Section(place.section), added)
                    }
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

    pub(super) fn suggest(&mut self, fault: Fault, name: &str) -> Fault {
        self.suggested += 1;
        if self.suggested > crate::text::assemble::SUGGESTIONS {
            return fault;
        }
        match similar(name, self.labels.keys().map(String::as_str)) {
            Some(_) => fault.similar(name, self.labels.keys().map(String::as_str)),
            None => fault,
        }
    }

    pub(super) fn resolve(&mut self, open: &Open) -> Result<(), Fault> {
        match &open.what {
            Unresolved::Data(size, Expression::Difference(a, b)) => {
                let message = "not two labels of one section";
                let value =
                    self.difference(a, b).ok_or_else(|| Fault::new(open.span.clone(), message))?;
                self.put_number(open, value, *size)
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
                    let value = i128::from(offset) + i128::from(*added);
                    return self.put_number(open, value, *size);
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
                self.put_number(open, added.into(), *size)?;
                self.relocate(open.at, kind, to);
                Ok(())
            }
            Unresolved::Data(_, Expression::Number(_)) => Ok(()),
            Unresolved::Insn(insn, named) => self.insn(open, *insn, named),
        }
    }

    pub(super) fn insn(&mut self, open: &Open, insn: Insn, named: &Named) -> Result<(), Fault> {
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
                let here_too = place.filter(|place| place.section == open.at.section && local);
                let (from, to, target) = match here_too {
                    Some(place) => {
                        let target = named.added.checked_add(place.offset as i64);
                        (here, None, target.ok_or_else(|| too_far(&named.span))?)
                    }
                    None => {
                        let (to, added) =
                            self.referent(name, named.added, open.number, &named.span)?;
                        (0, Some(to), added)
                    }
                };
                if target % 8 != 0 {
                    let message = "a call goes to the start of an instruction";
                    return Err(Fault::new(named.span.clone(), message));
                }
                let offset = target / 8 - from - 1;
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
                let added = named.added.checked_add(inside).ok_or_else(|| too_far(&named.span))?;
                let (to, added) = self.referent(name, added, open.number, &named.span)?;
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

fn too_far(span: &Range<usize>) -> Fault {
    Fault::new(span.clone(), "the offset does not fit")
}
