//! `.BTF.ext`: function and line info of the code in an object's sections (kernel
//! `Documentation/bpf/btf.rst`, section 4.2).

use super::words::{Words, header};
use super::{BtfError, FUNC_INFO_SIZE, LINE_INFO_SIZE, MAGIC, VERSION, put};

const HEADER: usize = 24;

/// The function and line info of all sections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ext {
    pub(crate) sections: Vec<ExtSection>,
}

/// The field of a record that holds an instruction's offset.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its byte in the blob.
    pub(crate) at: u64,
    /// The section's name.
    pub(crate) section: u32,
    /// Whether the record is a CO-RE relocation.
    pub(crate) relocated: bool,
}

/// A part of a blob, all of whose records begin with an instruction's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `struct bpf_func_info`
    Functions,
    /// `struct bpf_line_info`
    Lines,
    /// `struct bpf_core_relo`
    Relocations,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Functions => "functions",
            Part::Lines => "lines",
            Part::Relocations => "relocations",
        }
    }

    /// Bytes of a record, at least.
    fn record(self) -> usize {
        match self {
            Part::Functions => FUNC_INFO_SIZE as usize,
            Part::Lines => LINE_INFO_SIZE as usize,
            Part::Relocations => 16,
        }
    }
}

/// The function and line info of one section. Strings and types are offsets and ids in its BTF.
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
    /// Records may be longer than the known structure; the rest is skipped.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BtfError> {
        let mut ext = Ext::default();
        walk(bytes, |part, name, _, mut record| {
            match part {
                Part::Functions => ext.section(name).functions.extend(record.take()),
                Part::Lines => ext.section(name).lines.extend(record.take()),
                Part::Relocations => {}
            };
        })?;
        Ok(ext)
    }

    /// The positions of all instruction offsets in the blob.
    pub(crate) fn places(bytes: &[u8]) -> Result<Vec<Place>, BtfError> {
        let mut places = Vec::new();
        walk(bytes, |part, section, at, _| {
            places.push(Place { at, section, relocated: part == Part::Relocations });
        })?;
        Ok(places)
    }

    /// The CO-RE relocations (`struct bpf_core_relo`): section, offset, type, access string and
    /// kind.
    pub(crate) fn relocations(bytes: &[u8]) -> Result<Vec<[u32; 5]>, BtfError> {
        let mut found = Vec::new();
        walk(bytes, |part, section, _, mut record| {
            if let (Part::Relocations, Some([offset, ty, access, kind])) = (part, record.take()) {
                found.push([section, offset, ty, access, kind]);
            }
        })?;
        Ok(found)
    }

    fn section(&mut self, name: u32) -> &mut ExtSection {
        let at =
            self.sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
                self.sections.push(ExtSection { name, ..ExtSection::default() });
                self.sections.len() - 1
            });
        &mut self.sections[at]
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let functions = records(
            FUNC_INFO_SIZE,
            self.sections.iter().map(|at| (at.name, at.functions.as_flattened())),
        );
        let lines = records(
            LINE_INFO_SIZE,
            self.sections.iter().map(|at| (at.name, at.lines.as_flattened())),
        );
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

/// Writes the record size, then each section's name, number of records, and records.
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

/// Calls the closure for each record: with its part, its section's name, its byte in the blob, and
/// its words.
fn walk<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(Part, u32, u64, Words<'a>),
) -> Result<(), BtfError> {
    let ([functions, functions_size, lines, lines_size], rest) = header(bytes)?;
    let header = bytes.len() - rest.len();
    // Older blobs have no CO-RE relocations.
    let mut more = Words::new(bytes.get(HEADER..header).unwrap_or_default());
    let [relocations, relocations_size] = more.take().unwrap_or_default();
    for (part, start, size) in [
        (Part::Functions, functions, functions_size),
        (Part::Lines, lines, lines_size),
        (Part::Relocations, relocations, relocations_size),
    ] {
        let malformed = || BtfError::Part { part: part.name() };
        let start = start as usize;
        let end = start.checked_add(size as usize).ok_or_else(malformed)?;
        let mut words = Words::new(rest.get(start..end).ok_or_else(malformed)?);
        if words.is_empty() {
            continue;
        }
        let [record] = words.take().ok_or_else(malformed)?;
        let record = record as usize;
        if record < part.record() {
            return Err(malformed());
        }
        while !words.is_empty() {
            let [name, count] = words.take().ok_or_else(malformed)?;
            for _ in 0..count {
                let at = header + end - words.len();
                let record = words.skip(record).ok_or_else(malformed)?;
                each(part, name, at as u64, Words::new(record));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ext() -> Ext {
        Ext {
            sections: vec![
                ExtSection {
                    name: 1,
                    functions: vec![[0, 5], [24, 6]],
                    lines: vec![[0, 1, 2, 3 << 10]],
                },
                ExtSection { name: 9, functions: vec![[0, 7]], lines: Vec::new() },
            ],
        }
    }

    #[test]
    fn info_reads_back_as_written() {
        assert_eq!(Ext::read(&ext().write()), Ok(ext()));
        assert_eq!(Ext::read(&Ext::default().write()), Ok(Ext::default()));
    }

    #[test]
    fn unknown_fields_at_the_end_of_records_are_skipped() {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([VERSION, 0]);
        // A header of 32 bytes; one section with two records of 12 bytes.
        put(&mut bytes, &[32, 0, 36, 36, 0, 0, 0]);
        put(&mut bytes, &[12, 4, 2, 0, 5, 0xdead, 24, 6, 0xbeef]);
        let section = ExtSection { name: 4, functions: vec![[0, 5], [24, 6]], lines: Vec::new() };
        assert_eq!(Ext::read(&bytes), Ok(Ext { sections: vec![section] }));
    }

    #[test]
    fn records_that_are_truncated_too_small_or_out_of_bounds_are_errors() {
        let whole = ext().write();
        // A byte of the header, its new value, and the expected error.
        let header = || Err(BtfError::Header { len: whole.len() });
        let functions = || Err(BtfError::Part { part: "functions" });
        let table = [
            (0, 0, header()),
            (2, 2, header()),
            (4, 23, header()),
            (8, 0xf0, functions()),
            (12, 1, functions()),
            (24, 7, functions()),
            (20, 1, Err(BtfError::Part { part: "lines" })),
            (32, 200, functions()),
        ];
        for (at, byte, expected) in table {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert_eq!(Ext::read(&bytes), expected, "byte {at} is {byte}");
        }
    }
}
