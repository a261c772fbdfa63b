//! What can be wrong with an object, or with what is to become one.

use std::fmt;

use crate::text::Section;

/// Programs that cannot be in one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Two programs have different maps under one name.
    #[error(
        "the programs use different maps under the name `{map}`; give them the same, or another name"
    )]
    Maps {
        /// The map's name.
        map: String,
    },
    /// What a program attaches to cannot be seen.
    #[error(
        "`{program}` does not take its context, from which libbpf could be told what it goes over or attaches to"
    )]
    Iterator {
        /// The program's name.
        program: String,
    },
    /// No section's name stands for the program's type.
    #[error("`{program}` is of type {number}, for which libbpf knows no section")]
    Type {
        /// The program's name.
        program: String,
        /// The number of its type.
        number: u32,
    },
    /// The program has something that is not written to objects.
    #[error(
        "`{program}` has {what}, which this crate does not write to objects; load it by Program::relocate"
    )]
    Missing {
        /// The program's name.
        program: String,
        /// What it has.
        what: &'static str,
    },
}

/// An instruction that something is wrong with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The name of its section.
    pub section: String,
    /// Its slot there.
    pub slot: usize,
    /// The file and line that it comes from, if that is known.
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

/// A unit that cannot become an object that libbpf loads.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A unit that does not hold all of the object that it was read from.
    #[error("this is not all of the object that it was read from: {reason}")]
    Incomplete {
        /// What is missing.
        reason: String,
    },
    /// Code in a section without a name.
    #[error(
        "{at}: this code is in no section; libbpf takes a program's type from the section's name: write `.section \"socket\"`, for instance, before it"
    )]
    NoSection {
        /// Its first instruction.
        at: At,
    },
    /// Code before a section's first function.
    #[error("{at}: the first instruction of section `{}` is in no function; write `.function NAME` before it", at.section)]
    OutsideFunction {
        /// The instruction.
        at: At,
    },
    /// A function without code.
    #[error("{at}: the function `{function}` has no instructions")]
    Empty {
        /// Where it would begin.
        at: At,
        /// The function's name.
        function: String,
    },
    /// A function whose last instruction is one that others follow.
    #[error(
        "{at}: this is the last instruction of function `{function}`, and what runs on behind it is not defined; end with `exit`, or with a jump"
    )]
    FallsOff {
        /// Its last instruction.
        at: At,
        /// The function's name.
        function: String,
    },
    /// Every function of a section is called by another.
    #[error(
        "{at}: every function of section `{}` is called by another, so that none is left to be a program; put functions that are only called into `.text`", at.section
    )]
    NoProgram {
        /// Its first instruction.
        at: At,
    },
    /// One name twice.
    #[error("`{name}` is there twice; maps and functions share their names in an object")]
    Twice {
        /// The name.
        name: String,
    },
    /// A name that BTF cannot carry.
    #[error(
        "`{name}` is no name for libbpf and the kernel: use 1 to 127 letters, digits and underscores, not starting with a digit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A section whose name the object needs for itself, or that no section can have.
    #[error("code cannot be in a section `{section}`")]
    Section {
        /// The section's name.
        section: String,
    },
    /// A reference to something that the unit does not have.
    #[error("{at}: this names `{name}`, and there is no such map or function here")]
    Unknown {
        /// The instruction.
        at: At,
        /// The name.
        name: String,
    },
    /// A call to where no function begins.
    #[error("{at}: this calls slot {target} of section `{}`, where no function begins; write `.function NAME` there", at.section)]
    Call {
        /// The instruction.
        at: At,
        /// Where the call leads.
        target: i64,
    },
    /// A reference on an instruction that cannot name anything.
    #[error("{at}: this names `{name}` but is neither a load nor a call of it")]
    Reference {
        /// The instruction.
        at: At,
        /// The name.
        name: String,
    },
    /// A call of a function of the kernel.
    #[error(
        "{at}: this calls the kernel's function `{name}`, for which libbpf wants its types, which are not known here; call it by its BTF id, as in `call kernel-function#1234`, which `bpftool btf dump file /sys/kernel/btf/vmlinux` shows"
    )]
    Kernel {
        /// The instruction.
        at: At,
        /// The function's name.
        name: String,
    },
    /// A value that libbpf cannot address.
    #[error(
        "a program addresses the value of map `{map}`, which libbpf offers only for an array of one entry without flags, with a key of 4 bytes, that no instruction uses as a map, and here for up to 16 MiB; look the value up instead"
    )]
    Value {
        /// The map's name.
        map: String,
    },
    /// Code that is not made of whole slots.
    #[error("{at}: section `{}` ends inside an instruction slot of 8 bytes", at.section)]
    Torn {
        /// The last slot.
        at: At,
    },
    /// A type whose size is not the one that the map has.
    #[error("the type of a {part} of map `{map}` has {given} bytes, the map says {wanted}")]
    Size {
        /// The map's name.
        map: String,
        /// `key` or `value`.
        part: &'static str,
        /// Bytes of the type.
        given: usize,
        /// Bytes that the map has.
        wanted: u32,
    },
    /// More than an object can hold.
    #[error("the object would be larger than 4 GiB")]
    TooLarge,
    /// What the ELF writer refused.
    #[error("cannot write the object: {0}")]
    Elf(#[from] object::write::Error),
}

impl WriteError {
    /// The instruction that is wrong, where it is one.
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

    /// The map, function or section that is wrong by its name.
    pub(super) fn named(&self) -> Option<&str> {
        match self {
            WriteError::Twice { name } | WriteError::Name { name } => Some(name),
            WriteError::Section { section } => Some(section),
            WriteError::Value { map } | WriteError::Size { map, .. } => Some(map),
            _ => None,
        }
    }
}

/// Bytes that are no object that can be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not ELF, or broken as such.
    #[error("this is no ELF object that can be read: {0}")]
    Elf(#[from] object::read::Error),
    /// ELF for another machine.
    #[error("this ELF object is for another machine than BPF, or for big-endian BPF")]
    Machine,
    /// A section whose name is not UTF-8.
    #[error("the name of section {index} is not UTF-8")]
    SectionName {
        /// The section's index.
        index: usize,
    },
    /// A symbol that is not where it says.
    #[error("symbol `{name}` does not lie in a section, at the start of an instruction slot")]
    Symbol {
        /// The symbol's name.
        name: String,
    },
    /// A relocation that cannot be followed.
    #[error("the relocation at byte {offset} of section `{section}` {problem}")]
    Relocation {
        /// The section's name.
        section: String,
        /// Bytes from the section's start.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// BTF that does not hold together.
    #[error("{section}: {error}")]
    Btf {
        /// The section's name.
        section: &'static str,
        /// What is wrong with it.
        error: crate::btf::BtfError,
    },
    /// A map whose BTF does not say what it is.
    #[error("the declaration of map `{map}` in BTF {problem}")]
    Map {
        /// The map's name.
        map: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something that no text can carry.
    #[error("no text gives this object again: {reason}")]
    NoText {
        /// What it has.
        reason: String,
    },
}
