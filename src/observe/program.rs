//! Disassembly of a program in the kernel, with all names that the kernel keeps.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use bpf_asm::insn::{decode, helper_id, helper_name};
use bpf_asm::text::{Function, Line, Map as MapName, Reference, Section, Target, Unit};
use syscalls::{Btf, BtfObject, Map, Prog};

/// The instructions of a program as rewritten by the verifier: context accesses are loads from
/// kernel structures, and helpers are kernel functions, shown by name.
///
/// # Errors
/// If the kernel does not return the instructions, which needs CAP_BPF.
pub fn program(prog: &Prog) -> Result<Unit> {
    let mut code = prog.xlated()?;
    if code.is_empty() {
        bail!(
            "the kernel does not return the instructions of '{}': that needs CAP_BPF, and \
             CAP_SYSLOG if its constants are blinded",
            prog.name()
        );
    }
    let found = Some(code.clone());
    let mut names = Names { maps: Vec::new(), symbols: None };
    let references = names
        .extract_references(&mut code)
        .with_context(|| format!("cannot decode '{}'", prog.name()))?;
    let mut section = Section { code: decode(&code), references, found, ..Section::default() };
    describe(prog, &mut section)?;
    Ok(Unit {
        maps: names.maps.into_iter().map(|(_, map)| map).collect(),
        sections: vec![section],
        ..Unit::default()
    })
}

/// Adds the names of functions and lines, if the program has BTF.
fn describe(prog: &Prog, section: &mut Section) -> Result<()> {
    let btf = match prog.info()?.btf_id {
        0 => None,
        // Opening by id needs CAP_SYS_ADMIN: without it there are no names.
        id => BtfObject::open_id(id).ok(),
    };
    let Some(btf) = btf.map(|btf| anyhow::Ok(Btf::parse(btf.data()?)?)).transpose()? else {
        section.functions.push(Function { name: prog.name().to_owned(), slot: 0, context: None });
        return Ok(());
    };
    for function in prog.func_info()? {
        let (_, name) = btf.describe(function.type_id)?;
        section.functions.push(Function {
            name: name.to_owned(),
            slot: function.insn as usize,
            context: None,
        });
    }
    for line in prog.line_info()? {
        section.lines.push(Line {
            slot: line.insn as usize,
            file: btf.string(line.file_name)?.to_owned(),
            line: line.line,
            column: line.column,
            text: btf.string(line.text)?.trim().to_owned(),
        });
    }
    Ok(())
}

/// Resolves numbers in instructions to names.
struct Names {
    /// Names of maps by id.
    maps: Vec<(u32, MapName)>,
    /// Kernel functions by their offset from `__bpf_call_base`, read on first use.
    symbols: Option<HashMap<i32, String>>,
}

impl Names {
    /// Replaces values that are specific to this kernel by references to names
    /// (`bpf_insn_prepare_dump`, kernel/bpf/syscall.c).
    fn extract_references(&mut self, code: &mut [u8]) -> Result<Vec<Reference>> {
        const WIDE: u8 = 0x18;
        const CALL: u8 = 0x85;
        let mut references = Vec::new();
        let (slots, rest) = code.as_chunks_mut::<8>();
        ensure!(rest.is_empty(), "the instructions are truncated");
        let mut slot = 0;
        while let Some([first, following @ ..]) = slots.get_mut(slot..) {
            let imm = i32::from_le_bytes([first[4], first[5], first[6], first[7]]);
            let (opcode, pseudo) = (first[0], first[1] >> 4);
            let target = match (opcode, pseudo) {
                // A map by id.
                (WIDE, 1 | 2) => {
                    first[4..].fill(0);
                    Some(Target::Map(self.map(imm.cast_unsigned())))
                }
                // A function of the program, by offset; the second slot holds its index, which is
                // dropped.
                (WIDE, 4) => {
                    following.iter_mut().take(1).for_each(|second| second[4..].fill(0));
                    None
                }
                // Also a function, with the offset in the field of jumps.
                (CALL, 1) => {
                    let distance = i32::from(i16::from_le_bytes([first[2], first[3]]));
                    first[2..4].fill(0);
                    first[4..].copy_from_slice(&distance.to_le_bytes());
                    None
                }
                (CALL, 0 | 2) if pseudo == 2 || helper_name(imm).is_none() => {
                    let name = self.symbol(imm)?.map(str::to_owned);
                    match name.as_deref().map(helper_id) {
                        // A helper that the verifier has not inlined or replaced for this map.
                        Some(Some(id)) => {
                            first[4..].copy_from_slice(&id.to_le_bytes());
                            None
                        }
                        Some(None) => {
                            first[1] = 2 << 4;
                            first[2..].fill(0);
                            name.map(Target::Kernel)
                        }
                        None => None,
                    }
                }
                _ => None,
            };
            references.extend(target.map(|to| Reference { slot, to }));
            slot += if opcode == WIDE { 2 } else { 1 };
        }
        Ok(references)
    }

    /// The name of a map, with its id appended if another map of the program has the same name.
    fn map(&mut self, id: u32) -> String {
        if let Some((_, map)) = self.maps.iter().find(|(known, _)| *known == id) {
            return map.name.clone();
        }
        // Opening by id needs CAP_SYS_ADMIN: without it the id is the name.
        let info = Map::open_id(id).and_then(|map| map.info()).ok();
        let own = info.as_ref().map_or("", |info| &info.name);
        let taken = own.is_empty() || self.maps.iter().any(|(_, map)| map.name == own);
        let name = if taken { format!("{own}_{id}") } else { own.to_owned() };
        self.maps.push((
            id,
            MapName {
                name: name.clone(),
                kind: info.as_ref().map_or(0, |info| info.kind.raw()),
                key_size: info.as_ref().map_or(0, |info| info.key_size),
                value_size: info.as_ref().map_or(0, |info| info.value_size),
                max_entries: info.as_ref().map_or(0, |info| info.max_entries),
                flags: info.as_ref().map_or(0, |info| info.flags),
                ..MapName::default()
            },
        ));
        name
    }

    /// The kernel function at an offset from `__bpf_call_base`; `None` where addresses are hidden.
    fn symbol(&mut self, distance: i32) -> Result<Option<&str>> {
        let symbols = match &mut self.symbols {
            Some(symbols) => symbols,
            none => none.insert(symbols().context("cannot read /proc/kallsyms")?),
        };
        Ok(symbols.get(&distance).map(String::as_str))
    }
}

/// Functions in /proc/kallsyms by their offset from `__bpf_call_base`. Without CAP_SYSLOG all
/// addresses there are 0.
fn symbols() -> std::io::Result<HashMap<i32, String>> {
    let text = fs::read_to_string("/proc/kallsyms")?;
    let parsed = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next()?;
        matches!(kind, "T" | "t").then_some((address, words.next()?))
    });
    let functions: Vec<(u64, &str)> = parsed.filter(|(address, _)| *address != 0).collect();
    let Some(base) =
        functions.iter().find(|(_, name)| *name == "__bpf_call_base").map(|(address, _)| *address)
    else {
        return Ok(HashMap::new());
    };
    // Aliases share an address; the last one is used.
    let near = functions.into_iter().filter_map(|(address, name)| {
        let distance = i32::try_from(address.wrapping_sub(base).cast_signed()).ok()?;
        Some((distance, name.to_owned()))
    });
    Ok(near.collect())
}
