//! What can be wrong with a program, each with the Rust line that wrote it.

use std::fmt;

use crate::insn::{Insn, Minimum, Register, Since};
use crate::map::MapKind;

/// The Rust file, line and column that wrote an instruction or made a value.
pub type Location = &'static std::panic::Location<'static>;

/// One thing that is wrong with a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct BuildError {
    /// The line to change.
    pub at: Location,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong, what was given and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value is read after a call destroyed its register.
    #[error(
        "reads the value made at {value} from {register}, which {call} at {by} has overwritten; keep() the value before the call, or make it again after"
    )]
    Clobbered {
        /// Where the value was made.
        value: Location,
        /// The register that held it.
        register: Register,
        /// The call that destroyed it.
        call: &'static str,
        /// Where that call is.
        by: Location,
    },
    /// A value is read after something else was written into its register.
    #[error(
        "reads the value made at {value} from {register}, into which {by} has written another value"
    )]
    Overwritten {
        /// Where the value was made.
        value: Location,
        /// The register that held it.
        register: Register,
        /// Where the other value was made.
        by: Location,
    },
    /// A value is read where some path leads that never made it.
    #[error(
        "reads the value made at {value} from {register}, but not every path that reaches {join} has made it"
    )]
    NotOnEveryPath {
        /// Where the value was made.
        value: Location,
        /// The register that holds it on some paths.
        register: Register,
        /// The line at which the paths join.
        join: Location,
    },
    /// A value is read in a function that did not make it.
    #[error(
        "reads the value made at {value}, which belongs to another function; pass it as an argument"
    )]
    OtherFunction {
        /// Where the value was made.
        value: Location,
    },
    /// A slot is used in a function that did not make it.
    #[error("uses a stack slot of another function; pass its address as an argument")]
    OtherFrame,
    /// A value or label of one builder is used with another.
    #[error("uses a value, slot or label of another builder; a program can only use its own")]
    OtherBuilder,
    /// More values are alive than there are registers.
    #[error("no {class} register is free; they hold the values made at {}; drop one, or put it into a slot", Locations(.holders))]
    OutOfRegisters {
        /// `temporary` (r0 to r5) or `kept` (r6 to r9).
        class: &'static str,
        /// Where the values that hold them were made.
        holders: Vec<Location>,
    },
    /// More stack is asked for than a frame has.
    #[error("a slot of {size} bytes does not fit into the 512 bytes of the stack frame; live slots were made at {}", Locations(.holders))]
    OutOfStack {
        /// Bytes asked for.
        size: usize,
        /// Where the live slots were made.
        holders: Vec<Location>,
    },
    /// Bytes of a slot are read that may never have been written.
    #[error("reads {} of the slot made at {slot}, which not every path here has written; store to all of it, or zero() it first", Bytes(*.first, *.last))]
    UnwrittenStack {
        /// Where the slot was made.
        slot: Location,
        /// The first such byte, counted from the slot's start.
        first: usize,
        /// The last.
        last: usize,
    },
    /// The frames of functions that call each other are too large together.
    #[error("the functions that call each other from here need {} bytes of stack: {}; all frames that are alive at once share 512 bytes, and each counts in steps of 32", .frames.iter().map(|(_, bytes)| bytes).sum::<usize>(), Frames(.frames))]
    OutOfStackInCalls {
        /// The functions, outermost first, and the bytes that each takes.
        frames: Vec<(String, usize)>,
    },
    /// Functions call each other too deeply.
    #[error(
        "calls from here nest {given} functions deep, the program included; the kernel allows 8"
    )]
    TooManyFrames {
        /// How deep.
        given: usize,
    },
    /// A helper is told of more memory than there is.
    #[error(
        "{helper} is told that {given} bytes are there, but the place that it is given has {size}"
    )]
    SizeOfMemory {
        /// The helper.
        helper: &'static str,
        /// Bytes that it is told of.
        given: i64,
        /// Bytes of the place.
        size: usize,
    },
    /// A memory offset outside the 16 bits of an instruction.
    #[error(
        "the offset {offset} does not fit: memory is reached from -32768 to 32767 bytes around a pointer"
    )]
    OffsetRange {
        /// The offset in bytes.
        offset: i64,
    },
    /// An immediate the instruction cannot carry.
    #[error("the immediate {given} does not fit {what}: allowed is {min} to {max}")]
    ImmediateRange {
        /// What the immediate is for.
        what: &'static str,
        /// The immediate.
        given: i64,
        /// The least allowed.
        min: i64,
        /// The greatest allowed.
        max: i64,
    },
    /// An index behind the end of an array.
    #[error("index {index} is outside an array of {len} elements")]
    IndexRange {
        /// The index.
        index: usize,
        /// The number of elements.
        len: usize,
    },
    /// A jump longer than an instruction can express.
    #[error(
        "the jump goes {distance} instructions far, allowed is -32768 to 32767 below Linux 6.6 (v4); put shared code nearer or into a function, or raise the minimum"
    )]
    JumpRange {
        /// The distance in instruction slots.
        distance: i64,
    },
    /// A jump to a label that is nowhere.
    #[error("jumps to the label made at {label}, which is never placed")]
    LabelNotPlaced {
        /// Where the label was made.
        label: Location,
    },
    /// A label in two places.
    #[error("places a label that {first} has placed already; a label has one place")]
    LabelPlacedTwice {
        /// Where it was placed first.
        first: Location,
    },
    /// A label placed in one function and jumped to in another.
    #[error("uses a label of another function; a jump stays in its function")]
    LabelOfOtherFunction,
    /// Code behind a return or jump that nothing leads to.
    #[error(
        "this can never run: the code before it has returned or jumped away, and no label leads here"
    )]
    Unreachable,
    /// A function that ends without returning.
    #[error(
        "here the function `{function}` can run past its last instruction; end every path with ret() or with a jump back"
    )]
    FallsOff {
        /// The function's name.
        function: String,
    },
    /// A function that nothing calls, which the kernel refuses.
    #[error(
        "the function `{function}` is never called, and the kernel refuses unreachable code; leave it out"
    )]
    NeverCalled {
        /// The function's name.
        function: String,
    },
    /// The context was asked for when r1 no longer held it.
    #[error(
        "the context is no longer in r1; take it once, as the program's first step, and keep it"
    )]
    ContextGone,
    /// The context is not where loads from the packet look for it.
    #[error(
        "loads from the packet want the context in r6, and it is in {register}; take it before any value is kept"
    )]
    ContextElsewhere {
        /// The register that holds it.
        register: Register,
    },
    /// An instruction by itself that reads a register without content.
    #[error("`{insn}` reads {register}, {}", Emptied(*.lost))]
    EmptyRegister {
        /// The instruction.
        insn: Insn,
        /// The register.
        register: Register,
        /// The call that has destroyed its content, and where that is; `None` if it never had one.
        lost: Option<(&'static str, Location)>,
    },
    /// An instruction by itself that counts instructions.
    #[error(
        "`{insn}` counts instructions, and how many there will be is known only at the end; use a label or a function"
    )]
    Distance {
        /// The instruction.
        insn: Insn,
    },
    /// An instruction by itself that leaves nothing in a register.
    #[error("`{insn}` changes no register, so there is no value; write it with emit()")]
    NoResult {
        /// The instruction.
        insn: Insn,
    },
    /// A register is asked for that a value has.
    #[error(
        "{register} holds the value made at {value}; drop that value, or use emit() to give it a new content"
    )]
    RegisterTaken {
        /// The register.
        register: Register,
        /// Where the value was made.
        value: Location,
    },
    /// A width that the operation does not have.
    #[error("{what} works on {allowed} bytes, not on {given}")]
    Width {
        /// The operation.
        what: &'static str,
        /// The width asked for.
        given: usize,
        /// The widths that exist.
        allowed: &'static str,
    },
    /// A bit-field that does not lie in its storage.
    #[error("a bit-field of {width} bits at bit {shift} does not lie in {size} bytes")]
    BitfieldRange {
        /// Bits to the right of it.
        shift: u8,
        /// Its bits.
        width: u8,
        /// Bytes of its storage.
        size: u8,
    },
    /// A store into a bit-field.
    #[error("stores into a bit-field; load its storage, change the bits, and store the whole")]
    BitfieldStore,
    /// Two different maps under one name.
    #[error("the map `{map}` is declared twice in this program, in different ways")]
    MapConflict {
        /// The map's name.
        map: &'static str,
    },
    /// The value of a map that has no address.
    #[error(
        "the map `{map}` is of kind {kind:?}, and only values of an Array have an address; look the value up"
    )]
    MapValue {
        /// The map's name.
        map: &'static str,
        /// Its kind.
        kind: MapKind,
    },
    /// More read-only data than a map's value can have.
    #[error("the read-only data has {given} bytes with this, and a map's value has {most} at most")]
    ReadOnlyData {
        /// Bytes of all.
        given: usize,
        /// Bytes that there can be.
        most: usize,
    },
    /// More arguments than a call can carry.
    #[error("a call carries at most 5 arguments, not {given}")]
    TooManyArguments {
        /// The number given.
        given: usize,
    },
    /// More instructions than the kernel takes.
    #[error("the program has {given} instructions; the kernel takes at most 1000000")]
    TooLong {
        /// The number of instruction slots.
        given: usize,
    },
    /// An instruction that the stated minimum does not have.
    #[error(
        "`{insn}` needs {needs}, and the stated minimum is {minimum}; write it with older instructions, or raise the minimum"
    )]
    AboveMinimum {
        /// The instruction.
        insn: Insn,
        /// What has it.
        needs: Since,
        /// What was stated.
        minimum: Minimum,
    },
    /// A name that BTF cannot carry.
    #[error(
        "`{name}` is no name for the kernel: use 1 to 127 letters, digits and underscores, not starting with a digit"
    )]
    Name {
        /// The name given.
        name: String,
    },
}

/// Everything that is wrong with a program, in the order it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildErrors {
    program: String,
    errors: Vec<BuildError>,
}

impl BuildErrors {
    pub(crate) fn new(program: String, errors: Vec<BuildError>) -> Self {
        Self { program, errors }
    }

    /// The errors, at least one.
    pub fn errors(&self) -> &[BuildError] {
        &self.errors
    }
}

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program `{}` cannot be assembled:", self.program)?;
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildErrors {}

/// A list of lines for a message.
struct Locations<'a>(&'a [Location]);

impl fmt::Display for Locations<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(none)");
        }
        for (n, location) in self.0.iter().enumerate() {
            write!(f, "{}{location}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Why there is nothing in a register, for a message.
struct Emptied(Option<(&'static str, Location)>);

impl fmt::Display for Emptied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((call, by)) => {
                write!(f, "which {call} at {by} has overwritten; keep() the value before the call")
            }
            None => f.write_str("into which nothing has been written"),
        }
    }
}

/// Bytes of a slot for a message.
struct Bytes(usize, usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Bytes(first, last) if first == last => write!(f, "byte {first}"),
            Bytes(first, last) => write!(f, "bytes {first} to {last}"),
        }
    }
}

/// A chain of functions for a message.
struct Frames<'a>(&'a [(String, usize)]);

impl fmt::Display for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (function, bytes)) in self.0.iter().enumerate() {
            write!(f, "{}`{function}` {bytes}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
