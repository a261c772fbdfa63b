//! `.BTF.ext`: which function and which line the instructions of an object's sections belong to (kernel
//! `Documentation/bpf/btf.rst`, section 4.2).

use super::words::{Words, header};
use super::{BtfError, FUNC_INFO_SIZE, LINE_INFO_SIZE, MAGIC, VERSION, put};

const HEADER: usize = 24;

/// What is known of the code of all sections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ext {
    pub(crate) sections: Vec<ExtSection>,
}

/// What is known of the code of one section. Strings and types are numbers in the BTF beside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtSection {
    /// The section's name.
    pub(crate) name: u32,
    /// `struct bpf_func_info` of each function: the byte at which it begins, and its type.
    pub(crate) functions: Vec<[u32; 2]>,
    /// `struct bpf_line_info` of instructions: the byte, file, text, line and column.
    pub(crate) lines: Vec<[u32; 4]>,
}

impl Ext {
    /// Records may be longer than they are known here; what is behind is skipped.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BtfError> {
        let (header, rest) = header(bytes)?;
        let mut ext = Ext::default();
        let part = |at: usize, name| {
            let torn = BtfError::Part { part: name };
            let [start, size] = header.get(at..).and_then(|words| words.first_chunk()).ok_or(torn.clone())?;
            let end = (*start as usize).checked_add(*size as usize).ok_or(torn.clone())?;
            rest.get(*start as usize..end).ok_or(torn)
        };
        read_records(part(0, "functions")?, "functions", |name, record| ext.section(name).functions.push(record))?;
        read_records(part(2, "lines")?, "lines", |name, record| ext.section(name).lines.push(record))?;
        Ok(ext)
    }

    fn section(&mut self, name: u32) -> &mut ExtSection {
        let at = self.sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
            self.sections.push(ExtSection { name, ..ExtSection::default() });
            self.sections.len() - 1
        });
        &mut self.sections[at]
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let functions = records(FUNC_INFO_SIZE, self.sections.iter().map(|at| (at.name, at.functions.as_flattened())));
        let lines = records(LINE_INFO_SIZE, self.sections.iter().map(|at| (at.name, at.lines.as_flattened())));
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([VERSION, 0]);
        let (functions_size, lines_size) = (functions.len() as u32, lines.len() as u32);
        put(&mut bytes, &[HEADER as u32, 0, functions_size, functions_size, lines_size]);
        bytes.extend(functions);
        bytes.extend(lines);
        bytes
    }
}

/// The size of a record, and for each section its name, the number of records, and these.
fn records<'a>(size: u32, sections: impl Iterator<Item = (u32, &'a [u32])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, words) in sections.filter(|(_, words)| !words.is_empty()) {
        if bytes.is_empty() {
            put(&mut bytes, &[size]);
        }
        put(&mut bytes, &[name, words.len() as u32 * 4 / size]);
        put(&mut bytes, words);
    }
    bytes
}

/// Hands each record of `N` words out, with its section's name.
fn read_records<const N: usize>(
    bytes: &[u8],
    part: &'static str,
    mut record: impl FnMut(u32, [u32; N]),
) -> Result<(), BtfError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let torn = || BtfError::Part { part };
    let mut words = Words::new(bytes);
    let [size] = words.take().ok_or_else(torn)?;
    let beyond = (size as usize).checked_sub(N * 4).ok_or_else(torn)?;
    while !words.is_empty() {
        let [name, count] = words.take().ok_or_else(torn)?;
        for _ in 0..count {
            record(name, words.take().ok_or_else(torn)?);
            words.skip(beyond).ok_or_else(torn)?;
        }
    }
    Ok(())
}
