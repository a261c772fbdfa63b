//! One ELF file: the parts that matter for splice, read in bounded pieces.
//!
//! Files belong to others, who may have crafted them to exhaust memory: sizes in headers are
//! trusted only up to a budget, and code is read in chunks. How much is read in all is bounded by
//! [`budget`](super::budget).

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::LittleEndian;
use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela, SectionHeader, Sym};
use object::read::{ReadCache, ReadCacheOps, ReadRef};

/// Why a file cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A script, an archive or a device.
    #[error("not an ELF file")]
    NotElf,
    /// A malformed header or table.
    #[error("malformed ELF file: {0}")]
    Malformed(&'static str),
    /// Unsupported class, byte order or machine.
    #[error("not a 64-bit little-endian file for x86-64 or arm64")]
    Machine,
    /// No section headers: a packer or stripper has removed them.
    #[error("no section headers, as in packed executables")]
    NoSections,
    /// Exceeds the budget.
    #[error("code or tables are too large to read")]
    TooLarge,
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Source of the bytes of a file.
pub trait ReadAt {
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills the buffer from an offset.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(buffer.len()));
        let bytes = start.zip(end).and_then(|(start, end)| self.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Supported instruction sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// arm64.
    Aarch64,
}

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Load address.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Size in the file.
    pub size: u64,
    /// Whether it is executable.
    pub executable: bool,
}

/// How an object imports a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    /// Must be resolved by the dynamic linker.
    Strong,
    /// May remain unresolved.
    Weak,
}

/// The findings in an ELF file.
#[expect(missing_debug_implementations, reason = "files that are read at have none")]
pub struct Image<'a> {
    content: &'a dyn ReadAt,
    /// The instruction set.
    pub machine: Machine,
    /// All loadable segments.
    pub segments: Vec<Segment>,
    /// Linked by Go: it has a section of Go's linker.
    pub go: bool,
    /// It needs no shared library: it has its own libc, or none.
    pub no_libraries: bool,
    /// It is libc: defines `splice` and the program entry.
    pub libc: bool,
    /// It defines Python's entry points.
    pub python: bool,
    /// How it imports `splice`.
    pub splice: Option<Import>,
    /// Addresses of pointers to libc's `syscall`, which the dynamic linker fills in.
    pub syscall: Vec<u64>,
    /// Addresses of pointers to `dlsym` and `dlvsym`.
    pub dlsym: Vec<u64>,
}

/// Budget for headers and tables. Symbols, names and relocations of LLVM's library take 30 MB.
const TABLES: u64 = 128 << 20;
/// Budget for code.
const CODE: u64 = 1 << 30;
/// Limit of loadable segments. Linkers make four to eight, and each is passed for every call that
/// is followed.
const MAX_SEGMENTS: usize = 64;

/// Limit of addresses kept of one kind.
const MAX_ADDRESSES: usize = 64;
/// Length of the longest name compared: `__libc_start_main`.
const MAX_NAME: usize = 17;

type Header = elf::FileHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

impl<'a> Image<'a> {
    /// Reads the headers and the dynamic symbols.
    pub fn read(content: &'a dyn ReadAt) -> Result<Self, Error> {
        let size = content.size()?;
        let mut identification = [0; 20];
        if size < 64 {
            return Err(Error::NotElf);
        }
        content.read_exact_at(&mut identification, 0)?;
        let machine = match identification {
            [0x7f, b'E', b'L', b'F', 2, 1, .., 62, 0] => Machine::X86_64,
            [0x7f, b'E', b'L', b'F', 2, 1, .., 183, 0] => Machine::Aarch64,
            [0x7f, b'E', b'L', b'F', ..] => return Err(Error::Machine),
            _ => return Err(Error::NotElf),
        };
        let failure = Cell::new(None);
        let cache = ReadCache::new(Positioned { content, size, at: 0, failure: &failure });
        let left = Cell::new(TABLES);
        let data = Bounded { cache: &cache, left: &left };
        let read = Self::parse(content, machine, data);
        match (failure.take(), left.get()) {
            // An I/O error is not the file's fault.
            (Some(failure), _) => Err(Error::Io(failure)),
            (None, 0) => Err(Error::TooLarge),
            (None, _) => read,
        }
    }

    fn parse<'d>(
        content: &'a dyn ReadAt,
        machine: Machine,
        data: impl ReadRef<'d>,
    ) -> Result<Self, Error> {
        fn or<E>(what: &'static str) -> impl Fn(E) -> Error {
            move |_| Error::Malformed(what)
        }
        let header = Header::parse(data).map_err(or("header"))?;
        let programs = header.program_headers(LE, data).map_err(or("program headers"))?;
        let sections = header.sections(LE, data).map_err(or("sections"))?;
        if sections.len() <= 1 {
            return Err(Error::NoSections);
        }

        let segments: Vec<_> = programs
            .iter()
            .filter(|program| program.p_type(LE) == elf::PT_LOAD)
            .take(MAX_SEGMENTS + 1)
            .map(|program| Segment {
                address: program.p_vaddr(LE),
                offset: program.p_offset(LE),
                size: program.p_filesz(LE),
                executable: program.p_flags(LE).contains(elf::PF_X),
            })
            .collect();
        if segments.len() > MAX_SEGMENTS {
            return Err(Error::TooLarge);
        }
        let code = segments.iter().filter(|segment| segment.executable);
        match code.fold(0, |sum: u64, segment| sum.saturating_add(segment.size)) {
            0 => return Err(Error::Malformed("no code")),
            1..=CODE => {}
            _ => return Err(Error::TooLarge),
        }

        let mut image = Self {
            content,
            machine,
            segments,
            go: false,
            no_libraries: true,
            libc: false,
            python: false,
            splice: None,
            syscall: Vec::new(),
            dlsym: Vec::new(),
        };
        let (mut syscall, mut dlsym) = (None, [None; 2]);
        let (mut splices, mut starts, mut dynamic_symbols) = (false, false, false);
        for section in sections.iter() {
            let name = sections.section_name(LE, section).map_err(or("section name"))?;
            image.go |= [&b".go."[..], b".note.go.", b".gopclntab", b".data.rel.ro.gopclntab"]
                .iter()
                .any(|of_go| name.starts_with(of_go));
            if section.sh_type(LE) != elf::SHT_DYNSYM {
                continue;
            }
            dynamic_symbols = true;
            let symbols: &[elf::Sym64<LittleEndian>] =
                section.data_as_array(LE, data).map_err(or("dynamic symbols"))?;
            let strings = sections
                .section(section.link(LE))
                .and_then(|strings| strings.data(LE, data))
                .map_err(or("names of dynamic symbols"))?;
            for (index, symbol) in symbols.iter().enumerate() {
                let name = strings.get(symbol.st_name(LE) as usize..).unwrap_or_default();
                // Longer names do not matter and must not cost more.
                let name = &name[..name.len().min(MAX_NAME + 1)];
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let import = (symbol.st_shndx(LE) == elf::SHN_UNDEF).then(|| {
                    let weak = symbol.st_bind() == elf::STB_WEAK;
                    if weak { Import::Weak } else { Import::Strong }
                });
                match (name, import) {
                    (b"splice", Some(import)) => image.splice = Some(import),
                    (b"splice", None) => splices = true,
                    (b"syscall", Some(_)) => syscall = Some(index),
                    (b"dlsym", Some(_)) => dlsym[0] = Some(index),
                    (b"dlvsym", Some(_)) => dlsym[1] = Some(index),
                    (b"__libc_start_main" | b"__libc_init", None) => starts = true,
                    (b"Py_BytesMain" | b"Py_Initialize", None) => image.python = true,
                    _ => {}
                }
            }
        }
        image.libc = splices && starts;

        for program in programs {
            if let Some(entries) = program.dynamic(LE, data).map_err(or("dynamic"))? {
                let needs = |entry: &elf::Dyn64<LittleEndian>| entry.d_tag(LE) == elf::DT_NEEDED;
                image.no_libraries &= !entries.iter().any(needs);
                if !dynamic_symbols {
                    return Err(Error::Malformed("dynamic, but without a section that says so"));
                }
            }
        }
        if syscall.is_some() || dlsym != [None; 2] {
            for section in sections.iter() {
                let relocations = section.rela(LE, data).map_err(or("relocations"))?;
                for relocation in relocations.map_or(&[][..], |(relocations, _)| relocations) {
                    let symbol = Some(relocation.r_sym(LE, false) as usize);
                    let slots = if symbol == syscall {
                        &mut image.syscall
                    } else if dlsym.contains(&symbol) {
                        &mut image.dlsym
                    } else {
                        continue;
                    };
                    // Linkers emit one or two, for calls and for the address.
                    if slots.len() < MAX_ADDRESSES {
                        slots.push(relocation.r_offset(LE));
                    }
                }
            }
        }
        Ok(image)
    }

    /// An image of code only, loaded at 0x1000.
    #[cfg(test)]
    pub(super) fn of_code(machine: Machine, content: &'a Vec<u8>) -> Self {
        let size = content.len() as u64;
        Self {
            content,
            machine,
            segments: vec![Segment { address: 0x1000, offset: 0, size, executable: true }],
            go: false,
            no_libraries: false,
            libc: false,
            python: false,
            splice: None,
            syscall: Vec::new(),
            dlsym: Vec::new(),
        }
    }

    /// Reads up to `size` bytes of code at a load address; fewer at the end of a segment, none
    /// where there is no code.
    pub fn code_at(&self, address: u64, size: usize) -> Vec<u8> {
        let found = self.segments.iter().find_map(|segment| {
            let into = address.checked_sub(segment.address)?;
            let size = segment.size.checked_sub(into)?.min(size as u64) as usize;
            (segment.executable && size > 0).then_some((segment.offset.checked_add(into)?, size))
        });
        let Some((offset, size)) = found else { return Vec::new() };
        let mut bytes = vec![0; size];
        match self.content.read_exact_at(&mut bytes, offset) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Passes a segment in chunks with their addresses until one matches. Chunks start at multiples
    /// of 16 from the segment's start and overlap by `overlap` bytes, so that no pattern up to that
    /// length is split.
    pub fn any_chunk(
        &self,
        segment: &Segment,
        overlap: usize,
        mut has: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<bool, Error> {
        let mut buffer = vec![0; CHUNK + overlap];
        let mut done = 0;
        while done < segment.size {
            let size = (segment.size - done).min(buffer.len() as u64) as usize;
            let chunk = &mut buffer[..size];
            let (Some(offset), Some(address)) =
                (segment.offset.checked_add(done), segment.address.checked_add(done))
            else {
                return Err(Error::Malformed("a segment that wraps around"));
            };
            self.content.read_exact_at(chunk, offset).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::Malformed("a segment beyond the end"),
                _ => Error::Io(error),
            })?;
            if has(address, chunk) {
                return Ok(true);
            }
            done += CHUNK as u64;
        }
        Ok(false)
    }

    /// The load addresses at which the file contains these bytes, in ascending order.
    pub fn addresses_of(&self, bytes: &[u8]) -> Result<Vec<u64>, Error> {
        let finder = memchr::memmem::Finder::new(bytes);
        let mut addresses = Vec::new();
        for segment in &self.segments {
            self.any_chunk(segment, bytes.len(), |address, chunk| {
                addresses.extend(finder.find_iter(chunk).map(|at| address.wrapping_add(at as u64)));
                addresses.dedup();
                addresses.truncate(MAX_ADDRESSES);
                addresses.len() == MAX_ADDRESSES
            })?;
        }
        addresses.sort_unstable();
        Ok(addresses)
    }

    /// Whether a whole range is executable.
    pub fn is_code(&self, range: Range<u64>) -> bool {
        self.segments.iter().filter(|segment| segment.executable).any(|segment| {
            let end = segment.address.saturating_add(segment.size);
            segment.address <= range.start && range.end <= end
        })
    }
}

/// Chunk size; fits in a processor cache.
const CHUNK: usize = 1 << 18;

/// A cursor in the content, for [`ReadCache`].
struct Positioned<'a> {
    content: &'a dyn ReadAt,
    size: u64,
    at: u64,
    failure: &'a Cell<Option<io::Error>>,
}

impl ReadCacheOps for Positioned<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.size)
    }

    fn seek(&mut self, to: u64) -> Result<u64, ()> {
        self.at = to;
        Ok(to)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let size = self.size.saturating_sub(self.at).min(buffer.len() as u64) as usize;
        self.read_exact(&mut buffer[..size])?;
        Ok(size)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.content.read_exact_at(buffer, self.at).map_err(|error| {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                self.failure.set(Some(error));
            }
        })?;
        self.at = self.at.saturating_add(buffer.len() as u64);
        Ok(())
    }
}

/// Reads limited by a budget.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    cache: &'a ReadCache<Positioned<'a>>,
    left: &'a Cell<u64>,
}

impl Bounded<'_> {
    /// Deducts from the budget; exhausts it when it is not enough.
    fn spend(&self, size: u64) -> Result<(), ()> {
        let left = self.left.get().checked_sub(size).filter(|left| *left > 0);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(())
    }
}

impl<'a> ReadRef<'a> for Bounded<'a> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        // Reads past the end of the file cost nothing and mean malformed, not too large.
        if offset.checked_add(size).is_none_or(|end| end > self.cache.len().unwrap_or(0)) {
            return Err(());
        }
        self.spend(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.spend(range.end.saturating_sub(range.start).min(4096))?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}
