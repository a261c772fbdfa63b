//! Errors in BTF.

/// Malformed BTF or `.BTF.ext`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// Too short for its header, or of the other byte order.
    #[error("it has {len} bytes and no header of little-endian BTF version 1")]
    Header {
        /// The size in bytes.
        len: usize,
    },
    /// A part that is out of bounds, or has truncated records.
    #[error("its {part} are out of bounds or truncated")]
    Part {
        /// The part's name.
        part: &'static str,
    },
    /// A part that takes more memory than the limit, as records that name one long string do.
    #[error("its {part} would take more than 64 MiB")]
    TooLarge {
        /// The part's name.
        part: &'static str,
    },
    /// A kind that is newer than this crate.
    #[error("type {id} is of unknown kind {kind}, so the types after it cannot be read")]
    Kind {
        /// The type's number.
        id: u32,
        /// Its kind (`BTF_KIND_*`).
        kind: u32,
    },
    /// A type id that does not exist.
    #[error("it has no type {id}")]
    Type {
        /// The number.
        id: u32,
    },
    /// A string offset that is out of bounds, or not UTF-8.
    #[error("there is no string at {offset}")]
    String {
        /// Bytes from the start of the strings.
        offset: u32,
    },
    /// A type that refers to itself, or has no size.
    #[error("type {id} has no size")]
    Size {
        /// The type's number.
        id: u32,
    },
}
