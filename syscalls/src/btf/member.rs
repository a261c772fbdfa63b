//! Where a member is in its structure.

use super::error::{BtfError, PathProblem};
use super::layout::{Kind, Type};
use super::{Btf, BtfResult, MAX_DEPTH};

/// The most members that are looked at for one step of a path. The kernel's largest structures have
/// some hundreds; anonymous structures that hold each other can be made to have 2³² without it.
const MAX_VISITS: u32 = 1 << 16;

/// A member of a structure, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The structure that it is counted from.
    pub structure: u32,
    /// Bits from the start of the structure.
    pub bit_offset: u32,
    /// Bytes from the start of the structure; for a bit-field of the byte that holds its first bit.
    pub offset: u32,
    /// Bytes of the member's type; for a bit-field of its declared type.
    pub size: u32,
    /// Bits of a bit-field, none for other members.
    pub bitfield_width: Option<u8>,
    /// The BTF id of the member's type, as declared.
    pub type_id: u32,
}

/// A place on the way along a path.
#[derive(Clone, Copy)]
struct Place {
    type_id: u32,
    bit_offset: u32,
    bitfield_width: Option<u8>,
}

impl Btf {
    /// The member that `path` leads to from the structure, union or typedef `root`:
    /// `member("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_cookie")`.
    ///
    /// Steps are separated by dots. Members of anonymous structures and unions count as members of
    /// what they are in. `name[2]` and `name[1][2]` are elements of arrays; an array without a
    /// length takes any index.
    ///
    /// # Errors
    /// [`BtfError::NoType`] for `root`, [`BtfError::Path`] for `path`; others for BTF that does not
    /// hold together.
    pub fn member(&self, root: &str, path: &str) -> BtfResult<Member> {
        let at_path = |problem| BtfError::Path { root: root.into(), path: path.into(), problem };
        let structure = self.root(root)?;
        let mut place = Place { type_id: structure, bit_offset: 0, bitfield_width: None };
        for step in path.split('.') {
            let (name, indices) = parse_step(step).map_err(at_path)?;
            let parent = self.peel(place.type_id)?;
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

    /// The type with this id, `void` being none that can be looked into.
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
            let inner = self.peel(type_id)?;
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

    /// `struct btf_member`: with `kind_flag` the position is `width:8 bit_offset:24`; without it
    /// all bits are offset and a bit-field shows in its integer type.
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

    /// `BTF_INT_OFFSET`, and `BTF_INT_BITS` if they are fewer than the type's bytes hold.
    fn int_bits(&self, type_id: u32) -> BtfResult<(u32, Option<u8>)> {
        let id = self.peel(type_id)?;
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
        let id = self.peel(array.type_id)?;
        let not_an_array = || PathProblem::NotAnArray { step: step.into() };
        if id == 0 {
            return Err(not_an_array().into());
        }
        let ty = self.ty(id)?;
        if ty.kind() != Some(Kind::Array) {
            return Err(not_an_array().into());
        }
        let layout = self.array(&ty);
        // A flexible array has length 0 and as many elements as were allocated.
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
    /// The same place seen from `bits` further out.
    fn moved(self, bits: u32) -> BtfResult<Self> {
        let bit_offset =
            self.bit_offset.checked_add(bits).ok_or(BtfError::TooLarge { id: self.type_id })?;
        Ok(Self { bit_offset, ..self })
    }
}

/// What stops a step: the path or the BTF.
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
