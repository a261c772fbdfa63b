//! What can be wrong with an object, or with what is to become one.

/// Programs that cannot be in one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Two programs have different maps under one name.
    #[error("the programs use different maps under the name `{map}`; give them the same, or another name")]
    Maps {
        /// The map's name.
        map: String,
    },
    /// What a program attaches to cannot be seen.
    #[error("`{program}` does not take its context, from which libbpf could be told what it goes over or attaches to")]
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
    #[error("`{program}` has {what}, which this crate does not write to objects; load it by Program::relocate")]
    Missing {
        /// The program's name.
        program: String,
        /// What it has.
        what: &'static str,
    },
}

/// A unit that cannot become an object that libbpf loads.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Code in a section without a name.
    #[error(
        "the code of `{function}` is in no section; libbpf takes a program's type from the section's name: write `.section \"socket\"`, for instance, before it"
    )]
    NoSection {
        /// The first function in it, or an instruction's slot.
        function: String,
    },
    /// Code before a section's first function.
    #[error("the first instruction of section `{section}` is in no function; write `.function NAME` before it")]
    OutsideFunction {
        /// The section's name.
        section: String,
    },
    /// A function without code.
    #[error("the function `{function}` has no instructions")]
    Empty {
        /// The function's name.
        function: String,
    },
    /// Every function of a section is called by another.
    #[error(
        "every function of section `{section}` is called by another, so that none is left to be a program; put functions that are only called into `.text`"
    )]
    NoProgram {
        /// The section's name.
        section: String,
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
    #[error("instruction {slot} of section `{section}` names `{name}`, and there is no such map or function here")]
    Unknown {
        /// The section's name.
        section: String,
        /// The instruction's slot.
        slot: usize,
        /// The name.
        name: String,
    },
    /// A call to where no function begins.
    #[error(
        "instruction {slot} of section `{section}` calls slot {target}, where no function begins; write `.function NAME` there"
    )]
    Call {
        /// The section's name.
        section: String,
        /// The instruction's slot.
        slot: usize,
        /// Where the call leads.
        target: i64,
    },
    /// A reference on an instruction that cannot name anything.
    #[error("instruction {slot} of section `{section}` names `{name}` but is neither a load nor a call of it")]
    Reference {
        /// The section's name.
        section: String,
        /// The instruction's slot.
        slot: usize,
        /// The name.
        name: String,
    },
    /// A call of a function of the kernel.
    #[error(
        "instruction {slot} of section `{section}` calls the kernel's function `{name}`, for which libbpf wants its types, which are not known here; call it by its BTF id instead"
    )]
    Kernel {
        /// The section's name.
        section: String,
        /// The instruction's slot.
        slot: usize,
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
    #[error("section `{section}` ends inside an instruction slot of 8 bytes")]
    Torn {
        /// The section's name.
        section: String,
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
}
