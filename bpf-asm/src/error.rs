//! Errors in programs, each with the Rust line that caused it.

use std::fmt;

use crate::excerpt::Excerpt;
use crate::insn::{Insn, Minimum, Register, Since};
use crate::map::MapKind;

/// The Rust file, line and column that wrote an instruction or made a value.
pub type Location = &'static std::panic::Location<'static>;

/// One error in a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct BuildError {
    /// The line to change.
    pub at: Location,
    /// The error.
    pub kind: ErrorKind,
}

/// The kind of an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value is read where some path leads that never made it.
    #[error("reads the value made at {value}, but not every path that reaches {join} has made it")]
    NotOnEveryPath {
        /// Where the value was made.
        value: Location,
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
    /// A value has to be in a register, and instructions by themselves use all of them.
    #[error("no register is free beside those that instructions written by emit() use; others hold the values made at {}", Locations(.holders))]
    OutOfRegisters {
        /// Where the values that hold them were made.
        holders: Vec<Location>,
    },
    /// More stack is asked for than a frame has.
    #[error("{size} bytes do not fit into the 512 bytes of the stack frame; live slots were made at {}", Locations(.holders))]
    OutOfStack {
        /// Bytes asked for.
        size: usize,
        /// Where the live slots were made.
        holders: Vec<Location>,
    },
    /// Bytes of a slot are read that may be uninitialised.
    #[error("reads {} of the slot made at {slot}, which some path here has not written; store to \
        all of it, or zero() it first", Bytes(*.first, *.last))]
    UnwrittenStack {
        /// Where the slot was made.
        slot: Location,
        /// The first such byte, counted from the slot's start.
        first: usize,
        /// The last.
        last: usize,
    },
    /// The stack frames of nested functions are too large together.
    #[error("the functions nested from here need {} bytes of stack: {}; nested frames share 512 \
        bytes, and each is rounded up to 32", .frames.iter().map(|(_, bytes)| bytes).sum::<usize>(), Frames(.frames))]
    OutOfStackInCalls {
        /// The functions, outermost first, with the size of each frame.
        frames: Vec<(String, usize)>,
    },
    /// Calls are nested too deeply.
    #[error(
        "calls from here nest {given} functions deep, the program included; the kernel allows 8"
    )]
    TooManyFrames {
        /// The depth.
        given: usize,
    },
    /// A helper is passed a size larger than the memory.
    #[error("{helper} is passed {given} bytes of memory that has {size}")]
    SizeOfMemory {
        /// The helper.
        helper: &'static str,
        /// The size that is passed.
        given: i64,
        /// The size of the memory.
        size: usize,
    },
    /// A memory offset that does not fit in 16 bits.
    #[error("the offset {offset} does not fit: allowed is -32768 to 32767 bytes")]
    OffsetRange {
        /// The offset in bytes.
        offset: i64,
    },
    /// An immediate that does not fit.
    #[error("the immediate {given} does not fit {what}: allowed is {min} to {max}")]
    ImmediateRange {
        /// What the immediate is for.
        what: &'static str,
        /// The immediate.
        given: i64,
        /// The minimum.
        min: i64,
        /// The maximum.
        max: i64,
    },
    /// An array index out of bounds.
    #[error("index {index} is outside an array of {len} elements")]
    IndexRange {
        /// The index.
        index: usize,
        /// The number of elements.
        len: usize,
    },
    /// A jump that is too far for the instruction.
    #[error(
        "the jump goes {distance} instructions far, allowed is -32768 to 32767 below Linux 6.6 \
        (v4); move the code closer or into a function, or raise the minimum"
    )]
    JumpRange {
        /// The distance in instruction slots.
        distance: i64,
    },
    /// A jump to a label that is never placed.
    #[error("jumps to the label made at {label}, which is never placed")]
    LabelNotPlaced {
        /// Where the label was made.
        label: Location,
    },
    /// A label that is placed twice.
    #[error("places a label that is already placed at {first}")]
    LabelPlacedTwice {
        /// Where it was placed first.
        first: Location,
    },
    /// A label placed in one function and used in another.
    #[error("uses a label of another function; jumps cannot leave a function")]
    LabelOfOtherFunction,
    /// Unreachable code after a return or jump.
    #[error("unreachable code: the code before it returns or jumps away, and no jump leads here")]
    Unreachable,
    /// A function that can run past its end.
    #[error(
        "the function `{function}` can run past its end here; end every path with ret() or with a \
        jump back"
    )]
    FallsOff {
        /// The function's name.
        function: String,
    },
    /// A function that is never called.
    #[error(
        "the function `{function}` is never called, and the verifier rejects unreachable code; \
        remove it"
    )]
    NeverCalled {
        /// The function's name.
        function: String,
    },
    /// The context was asked for when r1 no longer held it.
    #[error("the context is no longer in r1; take it once, as the program's first step")]
    ContextGone,
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
    /// A raw instruction with a distance in instructions.
    #[error(
        "`{insn}` contains a distance, which is known only when the program is finished; use a \
        label or a function"
    )]
    Distance {
        /// The instruction.
        insn: Insn,
    },
    /// A raw instruction that writes no register.
    #[error("`{insn}` writes no register, so there is no value; write it with emit()")]
    NoResult {
        /// The instruction.
        insn: Insn,
    },
    /// A value in the place of a register that an instruction does not name.
    #[error("`{insn}` names no {field} register, so no value can stand in its place")]
    NoField {
        /// The instruction.
        insn: Insn,
        /// `destination` or `source`.
        field: &'static str,
    },
    /// A width that the operation does not support.
    #[error("{what} supports {allowed} bytes, not {given}")]
    Width {
        /// The operation.
        what: &'static str,
        /// The width asked for.
        given: usize,
        /// The supported widths.
        allowed: &'static str,
    },
    /// A bit-field outside its storage.
    #[error("a bit-field of {width} bits at bit {shift} is outside {size} bytes")]
    BitfieldRange {
        /// Bits to the right of it.
        shift: u8,
        /// Its width in bits.
        width: u8,
        /// The size of its storage in bytes.
        size: u8,
    },
    /// A store to a bit-field.
    #[error("stores to a bit-field; load its storage, change the bits, and store all of it")]
    BitfieldStore,
    /// Two different maps of one name.
    #[error("the map `{map}` is declared twice in this program with different definitions")]
    MapConflict {
        /// The map's name.
        map: &'static str,
    },
    /// The address of a value of a map that does not support it.
    #[error(
        "the map `{map}` is of kind {kind:?}, and only values of an Array can be addressed; look \
        the value up"
    )]
    MapValue {
        /// The map's name.
        map: &'static str,
        /// Its kind.
        kind: MapKind,
    },
    /// Read-only data that exceeds the maximum size of a map's value.
    #[error("the read-only data has {given} bytes with this; the maximum is {most}")]
    ReadOnlyData {
        /// The size of all read-only data.
        given: usize,
        /// The maximum.
        most: usize,
    },
    /// More than five arguments.
    #[error("a call takes at most 5 arguments, not {given}")]
    TooManyArguments {
        /// The number given.
        given: usize,
    },
    /// More instructions than the kernel allows.
    #[error("the program has {given} instructions; the kernel allows at most 1000000")]
    TooLong {
        /// The number of instruction slots.
        given: usize,
    },
    /// An instruction newer than the minimum.
    #[error(
        "`{insn}` requires {needs}, but the minimum is {minimum}; use older instructions, or raise \
        the minimum"
    )]
    AboveMinimum {
        /// The instruction.
        insn: Insn,
        /// What it requires.
        needs: Since,
        /// The minimum.
        minimum: Minimum,
    },
    /// An invalid name.
    #[error(
        "invalid name `{name}`: use 1 to 127 letters, digits and underscores, not starting with a \
        digit"
    )]
    Name {
        /// The name given.
        name: String,
    },
}

/// All errors in a program, in the order of its code.
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

/// Each error with its Rust line, also as it is in the source if the file is at hand.
impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program `{}` cannot be assembled:", self.program)?;
        for error in &self.errors {
            write!(f, "\n  {error}{}", Excerpt { at: error.at, indent: 4 })?;
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

/// Why a register is uninitialised, for a message.
struct Emptied(Option<(&'static str, Location)>);

impl fmt::Display for Emptied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((call, by)) => {
                write!(f, "which {call} at {by} has overwritten")
            }
            None => f.write_str("which is uninitialised"),
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
