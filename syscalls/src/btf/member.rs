//! Offsets of structure members.

use super::error::{BtfError, PathProblem};
use super::layout::{Kind, Type};
use super::{Btf, BtfResult, MAX_DEPTH};

/// The maximum number of members searched for one step of a path. The kernel's largest structures
/// have some hundreds; nested anonymous structures could otherwise have 2³².
const MAX_VISITS: u32 = 1 << 16;

/// The layout of a structure member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The structure that the offset is relative to.
    pub structure: u32,
    /// Offset in bits.
    pub bit_offset: u32,
    /// Offset in bytes; for a bit-field, of the byte with its first bit.
    pub offset: u32,
    /// Size of the member's type in bytes; for a bit-field, of its declared type.
    pub size: u32,
    /// Width of a bit-field in bits; none for other members.
    pub bitfield_width: Option<u8>,
    /// The BTF id of the member's declared type.
    pub type_id: u32,
}

/// A position along a path.
#[derive(Clone, Copy)]
struct Place {
    type_id: u32,
    bit_offset: u32,
    bitfield_width: Option<u8>,
}

impl Btf {
    /// The member at `path` in the structure, union or typedef `root`: `member("tcp_sock",
    /// "inet_conn.icsk_inet.sk.__sk_common.skc_cookie")`.
    ///
    /// Steps are separated by dots. Members of anonymous structures and unions belong to the
    /// enclosing one. `name[2]` and `name[1][2]` are array elements; an array without a length
    /// accepts any index.
    ///
    /// # Errors
    /// [`BtfError::NoType`] for `root`, [`BtfError::Path`] for `path`; others for malformed BTF.
    pub fn member(&self, root: &str, path: &str) -> BtfResult<Member> {
        let at_path = |problem| BtfError::Path { root: root.into(), path: path.into(), problem };
        let structure = self.root(root)?;
        let mut place = Place { type_id: structure, bit_offset: 0, bitfield_width: None };
        for step in path.split('.') {
            let (name, indices) = parse_step(step).map_err(at_path)?;
            let parent = self.resolve_aliases(place.type_id)?;
            let ty = self.known(parent)?;
            let kind = match ty.kind() {
                Some(kind @ (Kind::Struct | Kind::Union)) => kind,
                other => {
                    let kind = other.map_or("void", Kind::name);
                    return Err(at_path(PathProblem::NotAStruct { step: step.into(), kind }));
                }
            };
            let mut visits = MAX_VISITS;
            let found = self.find_member(&ty, name, 0, &mut visits)?;
            let inner = found.ok_or_else(|| {
                at_path(PathProblem::NoMember {
                    member: name.into(),
                    parent: format!("{} `{}`", kind.name(), self.string(ty.name).unwrap_or("?")),
                })
            })?;
            place = inner.moved(place.bit_offset)?;
            for index in indices {
                place = self.element(place, index, step).map_err(|error| match error {
                    Step::Path(problem) => at_path(problem),
                    Step::Btf(error) => error,
                })?;
            }
        }
        let id = place.type_id;
        let size = self.size_of_id(id)?;
        Ok(Member {
            structure,
            bit_offset: place.bit_offset,
            offset: place.bit_offset / 8,
            size,
            bitfield_width: place.bitfield_width,
            type_id: id,
        })
    }

    /// The type with this id; `void` has no members.
    fn known(&self, id: u32) -> BtfResult<Type> {
        self.ty(id)
    }

    /// `name` in a structure or union, or in its anonymous members.
    fn find_member(
        &self,
        parent: &Type,
        name: &str,
        depth: usize,
        visits: &mut u32,
    ) -> BtfResult<Option<Place>> {
        for [member_name, type_id, position] in self.records::<3>(parent, parent.count()) {
            *visits =
                visits.checked_sub(1).ok_or_else(|| BtfError::TooWide { member: name.into() })?;
            let place = self.member_place(parent, type_id, position)?;
            if self.string_is(member_name, name) {
                return Ok(Some(place));
            }
            if !self.string_is(member_name, "") {
                continue;
            }
            let inner = self.resolve_aliases(type_id)?;
            if inner == 0 {
                continue;
            }
            let inner_type = self.ty(inner)?;
            if !matches!(inner_type.kind(), Some(Kind::Struct | Kind::Union)) {
                continue;
            }
            if depth == MAX_DEPTH {
                return Err(BtfError::TooDeep { id: inner });
            }
            if let Some(found) = self.find_member(&inner_type, name, depth + 1, visits)? {
                return found.moved(place.bit_offset).map(Some);
            }
        }
        Ok(None)
    }

    /// `struct btf_member`: with `kind_flag`, the position is `width:8 bit_offset:24`; without, it
    /// is the offset, and the integer type defines a bit-field.
    fn member_place(&self, parent: &Type, type_id: u32, position: u32) -> BtfResult<Place> {
        if parent.flag() {
            let width = (position >> 24) as u8;
            return Ok(Place {
                type_id,
                bit_offset: position & 0xff_ffff,
                bitfield_width: (width != 0).then_some(width),
            });
        }
        let (shift, bitfield_width) = self.int_bits(type_id)?;
        let bit_offset = position.checked_add(shift).ok_or(BtfError::TooLarge { id: type_id })?;
        Ok(Place { type_id, bit_offset, bitfield_width })
    }

    /// `BTF_INT_OFFSET`, and `BTF_INT_BITS` if less than the type's size.
    fn int_bits(&self, type_id: u32) -> BtfResult<(u32, Option<u8>)> {
        let id = self.resolve_aliases(type_id)?;
        if id == 0 {
            return Ok((0, None));
        }
        let ty = self.ty(id)?;
        if ty.kind() != Some(Kind::Int) {
            return Ok((0, None));
        }
        let [encoding] = self.records::<1>(&ty, 1).next().unwrap_or_default();
        let bits = encoding as u8;
        let partial = u64::from(bits) < u64::from(ty.size_or_type) * 8;
        Ok((encoding >> 16 & 0xff, partial.then_some(bits)))
    }

    fn element(&self, array: Place, index: u32, step: &str) -> Result<Place, Step> {
        let id = self.resolve_aliases(array.type_id)?;
        let not_an_array = || PathProblem::NotAnArray { step: step.into() };
        if id == 0 {
            return Err(not_an_array().into());
        }
        let ty = self.ty(id)?;
        if ty.kind() != Some(Kind::Array) {
            return Err(not_an_array().into());
        }
        let layout = self.array(&ty);
        // A flexible array has length 0.
        if layout.len != 0 && index >= layout.len {
            return Err(PathProblem::Index { index, len: layout.len }.into());
        }
        let size = u64::from(self.size_of_id(layout.element)?);
        let bits = u32::try_from(size * u64::from(index))
            .ok()
            .and_then(|bytes| bytes.checked_mul(8))
            .ok_or(BtfError::TooLarge { id })?;
        let element = Place { type_id: layout.element, bit_offset: bits, bitfield_width: None };
        Ok(element.moved(array.bit_offset)?)
    }
}

impl Place {
    /// The same position relative to an outer structure, `bits` further.
    fn moved(self, bits: u32) -> BtfResult<Self> {
        let bit_offset =
            self.bit_offset.checked_add(bits).ok_or(BtfError::TooLarge { id: self.type_id })?;
        Ok(Self { bit_offset, ..self })
    }
}

/// An error in a step: of the path or the BTF.
enum Step {
    Path(PathProblem),
    Btf(BtfError),
}

impl From<PathProblem> for Step {
    fn from(problem: PathProblem) -> Self {
        Self::Path(problem)
    }
}

impl From<BtfError> for Step {
    fn from(error: BtfError) -> Self {
        Self::Btf(error)
    }
}

/// `name[1][2]` → `name` and 1, 2.
fn parse_step(step: &str) -> Result<(&str, Vec<u32>), PathProblem> {
    let syntax = || PathProblem::Syntax { step: step.into() };
    let (name, rest) = match step.find('[') {
        Some(bracket) => step.split_at(bracket),
        None => (step, ""),
    };
    if name.is_empty() {
        return Err(syntax());
    }
    let indices = rest
        .split_inclusive(']')
        .map(|part| {
            let digits = part.strip_prefix('[')?.strip_suffix(']')?;
            digits.parse().ok()
        })
        .collect::<Option<Vec<u32>>>();
    Ok((name, indices.ok_or_else(syntax)?))
}
