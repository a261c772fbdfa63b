//! What can be wrong with BTF.

/// BTF, or `.BTF.ext`, that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// Too short for its header, or made for a machine of the other byte order.
    #[error(
        "it has {len} bytes, of which the first are not those of little-endian BTF of version 1"
    )]
    Header {
        /// Bytes given.
        len: usize,
    },
    /// A part that does not lie inside, or whose records do not.
    #[error("its {part} do not lie inside it, or are torn")]
    Part {
        /// The part's name.
        part: &'static str,
    },
    /// A kind that nobody knew when this was written.
    #[error("type {id} is of kind {kind}, which is unknown, so that no type after it can be found")]
    Kind {
        /// The type's number.
        id: u32,
        /// Its kind (`BTF_KIND_*`).
        kind: u32,
    },
    /// A number that no type has.
    #[error("it has no type {id}")]
    Type {
        /// The number.
        id: u32,
    },
    /// Text that is none.
    #[error("there is no string at {offset}")]
    String {
        /// Bytes from the start of the strings.
        offset: u32,
    },
    /// Types that never end, or that have no size.
    #[error("type {id} has no size")]
    Size {
        /// The type's number.
        id: u32,
    },
}
