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

/// The fields of a blob that hold instruction offsets.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The byte of the field, and the section's name.
    pub(crate) offsets: Vec<(u64, u32)>,
    /// How many of them belong to CO-RE relocations.
    pub(crate) relocations: usize,
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
        let (header, rest) = header(bytes)?;
        let mut ext = Ext::default();
        let part = |at: usize, name| {
            let malformed = BtfError::Part { part: name };
            let [start, size] =
                header.get(at..).and_then(|words| words.first_chunk()).ok_or(malformed.clone())?;
            let end = (*start as usize).checked_add(*size as usize).ok_or(malformed.clone())?;
            rest.get(*start as usize..end).ok_or(malformed)
        };
        read_records(part(0, "functions")?, "functions", |name, record| {
            ext.section(name).functions.push(record)
        })?;
        read_records(part(2, "lines")?, "lines", |name, record| {
            ext.section(name).lines.push(record)
        })?;
        Ok(ext)
    }

    /// The positions of all instruction offsets in the blob, each with its section's name: in
    /// function info, line info and CO-RE relocations.
    pub(crate) fn places(bytes: &[u8]) -> Result<Places, BtfError> {
        let malformed = |part| BtfError::Part { part };
        let word = |at: usize| {
            let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u32::from_le_bytes(*bytes) as usize)
        };
        let mut places = Places::default();
        let header = word(4).ok_or(malformed("header"))?;
        for (at, part) in [(8, "functions"), (16, "lines"), (24, "relocations")] {
            // Older BTF has no CO-RE relocations.
            let (Some(start), Some(size)) = (word(at), word(at + 4)) else { continue };
            if at + 8 > header || size == 0 {
                continue;
            }
            let start = header.checked_add(start).ok_or(malformed(part))?;
            let end =
                start.checked_add(size).filter(|end| *end <= bytes.len()).ok_or(malformed(part))?;
            let record = word(start).filter(|record| *record >= 4).ok_or(malformed(part))?;
            let mut next = start + 4;
            while next < end {
                let (Some(name), Some(count)) = (word(next), word(next + 4)) else {
                    return Err(malformed(part));
                };
                next += 8;
                let after = count.checked_mul(record).and_then(|size| next.checked_add(size));
                let after = after.filter(|after| *after <= end).ok_or(malformed(part))?;
                places
                    .offsets
                    .extend((next..after).step_by(record).map(|at| (at as u64, name as u32)));
                if part == "relocations" {
                    places.relocations += count;
                }
                next = after;
            }
        }
        Ok(places)
    }

    /// The CO-RE relocations (`struct bpf_core_relo`): section, offset, type, access string and
    /// kind.
    pub(crate) fn relocations(bytes: &[u8]) -> Result<Vec<[u32; 5]>, BtfError> {
        let places = Ext::places(bytes)?;
        let core =
            places.offsets.get(places.offsets.len() - places.relocations..).unwrap_or_default();
        let read = |(at, section): &(u64, u32)| {
            let mut words = Words::new(bytes.get(*at as usize..).unwrap_or_default());
            let [offset, ty, access, kind] =
                words.take().ok_or(BtfError::Part { part: "relocations" })?;
            Ok([*section, offset, ty, access, kind])
        };
        core.iter().map(read).collect()
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

/// Calls the closure for each record of `N` words, with its section's name.
fn read_records<const N: usize>(
    bytes: &[u8],
    part: &'static str,
    mut record: impl FnMut(u32, [u32; N]),
) -> Result<(), BtfError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let malformed = || BtfError::Part { part };
    let mut words = Words::new(bytes);
    let [size] = words.take().ok_or_else(malformed)?;
    let beyond = (size as usize).checked_sub(N * 4).ok_or_else(malformed)?;
    while !words.is_empty() {
        let [name, count] = words.take().ok_or_else(malformed)?;
        for _ in 0..count {
            record(name, words.take().ok_or_else(malformed)?);
            words.skip(beyond).ok_or_else(malformed)?;
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
