//! Reads BTF: the layout of the running kernel's structures.
//!
//! ```no_run
//! let btf = syscalls::Btf::vmlinux()?;
//! let cookie = btf.member("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_cookie")?;
//! println!("{} bytes at {}", cookie.size, cookie.offset);
//! # Ok::<(), syscalls::Error>(())
//! ```
//!
//! Any input gives a value or a [`BtfError`], in bounded time and memory. The format is described
//! in Documentation/bpf/btf.rst and include/uapi/linux/btf.h.

mod error;
mod functions;
mod layout;
mod member;
mod prototype;

pub(crate) mod blob;

pub use error::{BtfError, PathProblem};
pub use functions::{KernelFunction, KernelFunctions};
pub use layout::Kind;
pub use member::Member;
pub use prototype::Argument;

use crate::error::{Error, Result};
use layout::{Header, Type};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

type BtfResult<T> = std::result::Result<T, BtfError>;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The maximum nesting of types (typedefs, qualifiers, arrays, structures), as in the kernel
/// (`MAX_RESOLVE_DEPTH`, kernel/bpf/btf.c).
const MAX_DEPTH: usize = 32;

/// Parsed BTF: its bytes and the positions of its types.
#[derive(Clone, Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: Range<usize>,
    /// The position of type `id`, at index `id - 1`; type 0 is `void`.
    types: Vec<u32>,
}

impl Btf {
    /// The running kernel's BTF, from `/sys/kernel/btf/vmlinux`.
    ///
    /// It is some megabytes and is shared with those who have it already: who is going to load
    /// several programs keeps one until they are loaded.
    ///
    /// # Errors
    /// [`Error::KernelFile`] if the kernel was built without `CONFIG_DEBUG_INFO_BTF` or sysfs is
    /// not mounted.
    pub fn vmlinux() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Btf>> = Mutex::new(Weak::new());
        // What is behind the lock is whole at any time.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(btf) = shared.upgrade() {
            return Ok(btf);
        }
        let data = std::fs::read(VMLINUX).map_err(|e| Error::KernelFile {
            path: VMLINUX.into(),
            reason: format!(
                "{e}; this needs a kernel with CONFIG_DEBUG_INFO_BTF=y and a mounted sysfs"
            ),
        })?;
        let btf = Arc::new(Self::parse(data)?);
        *shared = Arc::downgrade(&btf);
        Ok(btf)
    }

    /// Parses BTF and checks the bounds of every type and string.
    ///
    /// # Errors
    /// [`BtfError`] for a malformed header, type or name.
    pub fn parse(data: Vec<u8>) -> BtfResult<Self> {
        let Header { types, strings } = Header::read(&data)?;
        let text = &data[strings.clone()];
        if text.first() != Some(&0) || text.last() != Some(&0) {
            return Err(BtfError::Strings);
        }
        let mut starts = Vec::with_capacity(types.len() / Type::LEN / 2);
        let mut at = types.start;
        while at < types.end {
            let ty = Type::read(&data[..types.end], at)
                .ok_or(BtfError::TruncatedType { id: starts.len() as u32 + 1 })?;
            let id = starts.len() as u32 + 1;
            if ty.name as usize >= text.len() {
                return Err(BtfError::StringOffset { offset: ty.name });
            }
            let kind = ty.kind().ok_or(BtfError::UnknownKind { id, kind: ty.raw_kind() })?;
            let end = at + Type::LEN + kind.tail(ty.count());
            if end > types.end {
                return Err(BtfError::TruncatedType { id });
            }
            starts.push(at as u32);
            at = end;
        }
        Ok(Self { data, strings, types: starts })
    }

    /// The number of types without `void`; ids are 1 to this.
    pub fn type_count(&self) -> u32 {
        self.types.len() as u32
    }

    /// The string at an offset in the string section.
    ///
    /// # Errors
    /// [`BtfError::StringOffset`] if it is out of bounds, [`BtfError::NotUtf8`].
    pub fn string(&self, offset: u32) -> BtfResult<&str> {
        let bytes = self.string_bytes(offset).ok_or(BtfError::StringOffset { offset })?;
        std::str::from_utf8(bytes).map_err(|_| BtfError::NotUtf8 { offset })
    }

    fn string_bytes(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.data[self.strings.clone()].get(offset as usize..)?;
        let end = rest.iter().position(|&b| b == 0)?;
        Some(&rest[..end])
    }

    /// Whether the string at `offset` is `name`, without looking for its end.
    fn string_is(&self, offset: u32, name: &str) -> bool {
        self.data[self.strings.clone()]
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The type with this id.
    fn ty(&self, id: u32) -> BtfResult<Type> {
        let unknown = BtfError::TypeId { id };
        let index = (id as usize).checked_sub(1).ok_or(unknown.clone())?;
        let start = *self.types.get(index).ok_or(unknown)?;
        // `parse` has checked it.
        Type::read(&self.data, start as usize).ok_or(BtfError::TruncatedType { id })
    }

    /// What follows the type with this id, as records of `N` words. `parse` has checked the bounds.
    fn records<const N: usize>(&self, ty: &Type, count: usize) -> impl Iterator<Item = [u32; N]> {
        let start = ty.start + Type::LEN;
        let bytes = self.data.get(start..start + count * N * 4).unwrap_or_default();
        bytes.chunks_exact(N * 4).map(|record| {
            let mut words = [0; N];
            for (word, bytes) in words.iter_mut().zip(record.chunks_exact(4)) {
                *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            words
        })
    }

    fn all(&self) -> impl Iterator<Item = (u32, Type)> {
        let read = |(index, &start): (usize, &u32)| {
            Some((index as u32 + 1, Type::read(&self.data, start as usize)?))
        };
        self.types.iter().enumerate().filter_map(read)
    }

    /// The id of the first type of this kind and name.
    ///
    /// # Errors
    /// [`BtfError::NoType`].
    pub fn find(&self, kind: Kind, name: &str) -> BtfResult<u32> {
        self.all()
            .find(|(_, ty)| ty.kind() == Some(kind) && self.string_is(ty.name, name))
            .map(|(id, _)| id)
            .ok_or_else(|| BtfError::NoType { kind: kind.name(), name: name.into() })
    }

    /// The id of the function `name`, for the `attach_btf_id` of a tracing program.
    ///
    /// # Errors
    /// [`BtfError::NoType`]: the kernel does not have it, or the compiler has inlined it.
    pub fn function(&self, name: &str) -> BtfResult<u32> {
        self.find(Kind::Func, name)
    }

    /// The kind and name of a type; anonymous types have an empty name.
    ///
    /// # Errors
    /// [`BtfError::TypeId`] if there is no such type.
    pub fn describe(&self, id: u32) -> BtfResult<(Kind, &str)> {
        let ty = self.ty(id)?;
        let kind = ty.kind().ok_or(BtfError::TypeId { id })?;
        Ok((kind, self.string(ty.name)?))
    }

    /// The value of the enumerator `name` of any `enum`, anonymous or not, such as
    /// `TCP_ESTABLISHED`.
    ///
    /// # Errors
    /// [`BtfError::NoType`].
    pub fn enumerator(&self, name: &str) -> BtfResult<i64> {
        let value = |ty: &Type| match ty.kind() {
            Some(Kind::Enum) => self
                .records::<2>(ty, ty.count())
                .find(|[n, _]| self.string_is(*n, name))
                .map(|[_, value]| match ty.flag() {
                    true => i64::from(value as i32),
                    false => i64::from(value),
                }),
            Some(Kind::Enum64) => self
                .records::<3>(ty, ty.count())
                .find(|[n, ..]| self.string_is(*n, name))
                .map(|[_, low, high]| (u64::from(high) << 32 | u64::from(low)) as i64),
            _ => None,
        };
        self.all()
            .find_map(|(_, ty)| value(&ty))
            .ok_or_else(|| BtfError::NoType { kind: "enumerator", name: name.into() })
    }

    /// Resolves typedefs and qualifiers; 0 is `void`.
    fn resolve_aliases(&self, mut id: u32) -> BtfResult<u32> {
        for _ in 0..MAX_DEPTH {
            if id == 0 {
                return Ok(0);
            }
            let ty = self.ty(id)?;
            match ty.kind() {
                Some(kind) if kind.is_alias() => id = ty.size_or_type,
                _ => return Ok(id),
            }
        }
        Err(BtfError::TooDeep { id })
    }

    /// The size of a structure, union or typedef in bytes.
    ///
    /// # Errors
    /// [`BtfError::NoType`]; others for malformed BTF.
    pub fn size_of(&self, name: &str) -> BtfResult<u32> {
        self.size_of_id(self.root(name)?)
    }

    /// The size of the type with this id in bytes; pointers have 8.
    ///
    /// # Errors
    /// [`BtfError::NoSize`] for functions, forward declarations and `void`.
    pub fn size_of_id(&self, mut id: u32) -> BtfResult<u32> {
        let mut elements: u32 = 1;
        for _ in 0..MAX_DEPTH {
            id = self.resolve_aliases(id)?;
            let no_size = BtfError::NoSize { id };
            if id == 0 {
                return Err(no_size);
            }
            let ty = self.ty(id)?;
            let one = match ty.kind() {
                Some(Kind::Array) => {
                    let array = self.array(&ty);
                    elements = elements.checked_mul(array.len).ok_or(BtfError::TooLarge { id })?;
                    id = array.element;
                    continue;
                }
                Some(Kind::Ptr) => 8,
                Some(kind) if kind.has_size() => ty.size_or_type,
                _ => return Err(no_size),
            };
            return elements.checked_mul(one).ok_or(BtfError::TooLarge { id });
        }
        Err(BtfError::TooDeep { id })
    }

    /// The structure, union or typedef with this name, in this order.
    fn root(&self, name: &str) -> BtfResult<u32> {
        let rank = |ty: &Type| match ty.kind()? {
            Kind::Struct => Some(0),
            Kind::Union => Some(1),
            Kind::Typedef => Some(2),
            _ => None,
        };
        self.all()
            .filter_map(|(id, ty)| Some((rank(&ty)?, id, ty)))
            .filter(|(_, _, ty)| self.string_is(ty.name, name))
            .min_by_key(|&(rank, id, _)| (rank, id))
            .map(|(_, id, _)| id)
            .ok_or_else(|| BtfError::NoType { kind: "struct, union or typedef", name: name.into() })
    }

    /// `struct btf_array`: the element's type and count, checked by `parse`.
    fn array(&self, ty: &Type) -> Array {
        let [element, _index, len] = self.records::<3>(ty, 1).next().unwrap_or_default();
        Array { element, len }
    }
}

/// An array's element type and length.
struct Array {
    element: u32,
    len: u32,
}

#[cfg(test)]
mod tests;
