//! Errors in BTF.

/// Malformed BTF, or BTF without the requested type or member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BtfError {
    #[error("BTF of {len} bytes: allowed is 24 bytes to 1 GiB")]
    Length { len: usize },
    #[error("BTF of the other byte order")]
    OtherByteOrder,
    #[error("not BTF: magic {magic:#06x} and version {version}, expected 0xeb9f and 1")]
    NotBtf { magic: u16, version: u8 },
    #[error("BTF header of {len} bytes; expected at least 24")]
    HeaderLength { len: usize },
    #[error("BTF {name} section is out of bounds or not aligned to 4 bytes")]
    Section { name: &'static str },
    #[error("BTF string section does not start and end with a NUL byte")]
    Strings,
    #[error("BTF type {id} ends outside the type section")]
    TruncatedType { id: u32 },
    #[error("BTF type {id} is of unknown kind {kind}, so the types after it cannot be read")]
    UnknownKind { id: u32, kind: u8 },
    #[error("BTF string offset {offset} is outside the string section")]
    StringOffset { offset: u32 },
    #[error("BTF string at {offset} is not UTF-8")]
    NotUtf8 { offset: u32 },
    #[error("BTF has no type {id}")]
    TypeId { id: u32 },
    #[error("BTF types are nested more than 32 deep at type {id}")]
    TooDeep { id: u32 },
    #[error("BTF structures have too many nested members: gave up looking for `{member}`")]
    TooWide { member: String },
    #[error("BTF type {id} exceeds 4 GiB, or an offset of 512 MiB in its structure")]
    TooLarge { id: u32 },
    #[error("BTF type {id} has no size: it is a function, a forward declaration or void")]
    NoSize { id: u32 },
    #[error("this kernel's BTF has no {kind} `{name}`")]
    NoType { kind: &'static str, name: String },
    #[error("`{path}` of `{root}`: {problem}")]
    Path { root: String, path: String, problem: PathProblem },
}

/// Why a path does not name a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PathProblem {
    #[error("`{step}` is not `name` or `name[index]`")]
    Syntax { step: String },
    #[error("there is no member `{member}` in {parent}")]
    NoMember { member: String, parent: String },
    #[error("`{step}` is in a {kind}, which has no members; a pointer must be dereferenced first")]
    NotAStruct { step: String, kind: &'static str },
    #[error("`{step}` is not an array")]
    NotAnArray { step: String },
    #[error("index {index} is outside an array of {len}")]
    Index { index: u32, len: u32 },
}
