//! Errors of reading and writing objects.

use std::fmt;

use crate::text::Section;

/// Programs that cannot be in one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Two programs define a map differently.
    #[error("the programs define the map `{map}` differently; use one definition, or another name")]
    Maps {
        /// The map's name.
        map: String,
    },
    /// The program's context type is unknown.
    #[error("`{program}` does not take its context, whose type determines the section name")]
    Iterator {
        /// The program's name.
        program: String,
    },
    /// libbpf has no section name for the program's type.
    #[error("`{program}` is of type {number}, for which libbpf has no section name")]
    Type {
        /// The program's name.
        program: String,
        /// The number of its type.
        number: u32,
    },
}

/// The instruction that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The name of its section.
    pub section: String,
    /// Its slot there.
    pub slot: usize,
    /// The file and line that wrote it, if known.
    pub line: Option<(String, u32)>,
}

impl At {
    pub(super) fn new(section: &Section, slot: usize) -> Self {
        let line = section.lines.iter().rev().find(|line| line.slot <= slot);
        let line = line.map(|line| (line.file.clone(), line.line));
        At { section: section.name.clone(), slot, line }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.line {
            Some((file, line)) => write!(f, "{file}:{line}"),
            None => write!(f, "instruction {} of section `{}`", self.slot, self.section),
        }
    }
}

/// A unit that cannot be written as an object for libbpf.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A unit that lacks parts of the object that it was read from.
    #[error("this lacks parts of the object that it was read from: {reason}")]
    Incomplete {
        /// The missing part.
        reason: String,
    },
    /// Code outside any section.
    #[error(
        "{at}: this code is outside any section; libbpf takes a program's type from the section's \
        name: write `.section \"socket\"`, for example, before it"
    )]
    NoSection {
        /// Its first instruction.
        at: At,
    },
    /// Code before a section's first function.
    #[error("{at}: the first instruction of section `{}` is outside any function; write `.function \
        NAME` before it", at.section)]
    OutsideFunction {
        /// The instruction.
        at: At,
    },
    /// A function without code.
    #[error("{at}: the function `{function}` has no instructions")]
    Empty {
        /// Where it would start.
        at: At,
        /// The function's name.
        function: String,
    },
    /// A function that can run past its end.
    #[error(
        "{at}: function `{function}` can run past this, its last instruction; end with `exit` or a \
        jump"
    )]
    FallsOff {
        /// Its last instruction.
        at: At,
        /// The function's name.
        function: String,
    },
    /// A section without a program: all of its functions are called.
    #[error(
        "{at}: section `{}` has no program, since others call all of its functions; put functions \
        that are only called into `.text`", at.section
    )]
    NoProgram {
        /// Its first instruction.
        at: At,
    },
    /// A duplicate name.
    #[error("duplicate name `{name}`; maps and functions of an object share one namespace")]
    Twice {
        /// The name.
        name: String,
    },
    /// An invalid name.
    #[error(
        "invalid name `{name}`: use 1 to 127 letters, digits and underscores, not starting with a \
        digit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A section name that is reserved or invalid.
    #[error("section `{section}` cannot contain code")]
    Section {
        /// The section's name.
        section: String,
    },
    /// An undefined name.
    #[error("{at}: undefined map or function `{name}`")]
    Unknown {
        /// The instruction.
        at: At,
        /// The name.
        name: String,
    },
    /// A call to a slot that is not the start of a function.
    #[error("{at}: this calls slot {target} of section `{}`, where no function starts; write \
        `.function NAME` there", at.section)]
    Call {
        /// The instruction.
        at: At,
        /// The target of the call.
        target: i64,
    },
    /// A reference on an instruction that cannot have one.
    #[error("{at}: this refers to `{name}` but neither loads nor calls it")]
    Reference {
        /// The instruction.
        at: At,
        /// The name.
        name: String,
    },
    /// A kfunc, or a variable of the kernel, without its types in
    /// [`Unit::externs`](crate::text::Unit::externs).
    #[error(
        "{at}: this uses `{name}` of the kernel, whose types libbpf requires; declare them as C \
        does, as in `.extern void {name}(void)`"
    )]
    Kernel {
        /// The instruction.
        at: At,
        /// The function's name.
        name: String,
    },
    /// An addressed map value that libbpf does not support.
    #[error(
        "a program addresses the value of map `{map}`, which libbpf supports only for an array \
        with one entry, a 4-byte key and no flags but BPF_F_RDONLY_PROG, that no instruction uses as a map, up to 16 MiB \
        here; look the value up instead"
    )]
    Value {
        /// The map's name.
        map: String,
    },
    /// A map with a value that libbpf could not set.
    #[error(
        "the map `{map}` has a first value, which libbpf sets only where programs address it, and \
        which is no longer than the map's values"
    )]
    Content {
        /// The map's name.
        map: String,
    },
    /// A `map_extra` that older libbpf does not read.
    #[error(
        "`map_extra` of map `{map}` is {given:#x}, and libbpf before 1.5 reads 32 bits of it; load \
        the program by Program::relocate"
    )]
    Extra {
        /// The map's name.
        map: String,
        /// Its `map_extra`.
        given: u64,
    },
    /// A template that libbpf does not create.
    #[error("the template of map `{map}` cannot itself have a template, a value or a pin")]
    Inner {
        /// The map's name.
        map: String,
    },
    /// Code that ends with a partial slot.
    #[error("{at}: the length of section `{}` is not a multiple of 8", at.section)]
    Torn {
        /// The last slot.
        at: At,
    },
    /// A type whose size differs from the map's.
    #[error("the {part} type of map `{map}` has {given} bytes, the map {wanted}")]
    Size {
        /// The map's name.
        map: String,
        /// `key` or `value`.
        part: &'static str,
        /// The size of the type in bytes.
        given: usize,
        /// The size in the map in bytes.
        wanted: u32,
    },
    /// More than the 16 bits of BTF can count.
    #[error("BTF cannot describe {given} {what}, but only 65535")]
    TooMany {
        /// Of what there are too many.
        what: &'static str,
        /// How many there are.
        given: usize,
    },
    /// An object that is too large.
    #[error("the object would be larger than 4 GiB")]
    TooLarge,
    /// An error of the ELF writer.
    #[error("cannot write the object: {0}")]
    Elf(#[from] object::write::Error),
}

impl WriteError {
    /// The instruction that the error is about, if any.
    pub fn at(&self) -> Option<&At> {
        match self {
            WriteError::NoSection { at }
            | WriteError::OutsideFunction { at }
            | WriteError::Empty { at, .. }
            | WriteError::FallsOff { at, .. }
            | WriteError::NoProgram { at }
            | WriteError::Unknown { at, .. }
            | WriteError::Call { at, .. }
            | WriteError::Reference { at, .. }
            | WriteError::Kernel { at, .. }
            | WriteError::Torn { at } => Some(at),
            _ => None,
        }
    }

    /// The map, function or section that the error is about.
    pub(super) fn named(&self) -> Option<&str> {
        match self {
            WriteError::Twice { name } | WriteError::Name { name } => Some(name),
            WriteError::Section { section } => Some(section),
            WriteError::Value { map } | WriteError::Size { map, .. } => Some(map),
            _ => None,
        }
    }
}

/// Bytes that cannot be read as an object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not ELF, or malformed.
    #[error("not a readable ELF object: {0}")]
    Elf(#[from] object::read::Error),
    /// ELF for another machine.
    #[error("not an ELF object for little-endian BPF")]
    Machine,
    /// A section whose name is not UTF-8.
    #[error("the name of section {index} is not UTF-8")]
    SectionName {
        /// The section's index.
        index: usize,
    },
    /// A symbol at an invalid position.
    #[error("symbol `{name}` is not at the start of an instruction slot in a section")]
    Symbol {
        /// The symbol's name.
        name: String,
    },
    /// An invalid relocation.
    #[error("the relocation at byte {offset} of section `{section}` {problem}")]
    Relocation {
        /// The section's name.
        section: String,
        /// Bytes from the section's start.
        offset: u64,
        /// The problem.
        problem: &'static str,
    },
    /// Malformed BTF.
    #[error("{section}: {error}")]
    Btf {
        /// The section's name.
        section: &'static str,
        /// The problem.
        error: crate::btf::BtfError,
    },
    /// A map without a valid declaration in BTF.
    #[error("the declaration of map `{map}` in BTF {problem}")]
    Map {
        /// The map's name.
        map: String,
        /// The problem.
        problem: &'static str,
    },
    /// An object that text cannot express.
    #[error("this object has no text form: {reason}")]
    NoText {
        /// The reason.
        reason: String,
    },
}
