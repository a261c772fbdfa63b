//! Map declarations in BTF: a variable of a structure of pointers. A member's number is the length
//! of the array that it points to, a member's type what it points to (libbpf `parse_btf_map_def`).

use super::WriteError;
use crate::btf::{Blob, BtfError, KnownType, Types};
use crate::record::Type;
use crate::text::Map;
use crate::uapi::BPF_F_RDONLY_PROG;

/// `BPF_MAP_TYPE_ARRAY`
pub(super) const ARRAY: u32 = 2;

/// The kinds of maps whose key and value types the kernel accepts: hash, array, per CPU and LRU,
/// longest prefix match, and the storage of sockets, inodes, tasks and cgroups. For others only
/// sizes are declared.
const TYPED: [u32; 11] = [1, ARRAY, 5, 6, 9, 10, 11, 24, 28, 29, 32];

/// Whether libbpf creates such a map from a section of variables, if its value is of a possible
/// size.
pub(super) fn is_value(map: &Map) -> bool {
    (map.kind, map.key_size, map.max_entries) == (ARRAY, 4, 1)
        && matches!(map.flags, 0 | BPF_F_RDONLY_PROG)
        && map.numa_node.is_none()
        && map.extra == 0
        && map.pinning == 0
        && map.inner.is_none()
}

const U8: Type = Type::Int { name: "u8", size: 1, signed: false };

/// The type of a map's variable, and its size in bytes.
pub(super) fn declare(blob: &mut Blob, map: &Map) -> Result<(u32, u32), WriteError> {
    let mut members = Vec::new();
    let extra = u32::try_from(map.extra)
        .map_err(|_| WriteError::Extra { map: map.name.clone(), given: map.extra })?;
    // One-byte elements: the size of an array is limited as its length is, and only the length
    // counts.
    let number = |blob: &mut Blob, number: u32| {
        let byte = blob.type_id(&U8);
        let array = blob.array(byte, number);
        blob.pointer(array)
    };
    members.push(("type", number(blob, map.kind)));
    for (part, size, ty) in [("key", map.key_size, map.key), ("value", map.value_size, map.value)] {
        if size == 0 {
            continue;
        }
        if TYPED.contains(&map.kind) {
            let ty = part_type(blob, map, part, size, ty)?;
            members.push((part, blob.pointer(ty)));
        } else {
            let name = if part == "key" { "key_size" } else { "value_size" };
            members.push((name, number(blob, size)));
        }
    }
    let numbers = [
        ("max_entries", Some(map.max_entries).filter(|entries| *entries != 0)),
        ("map_flags", Some(map.flags).filter(|flags| *flags != 0)),
        ("numa_node", map.numa_node),
        ("map_extra", Some(extra).filter(|extra| *extra != 0)),
        ("pinning", Some(map.pinning).filter(|pinning| *pinning != 0)),
    ];
    for (name, given) in numbers {
        if let Some(given) = given {
            members.push((name, number(blob, given)));
        }
    }
    let size = members.len() as u32 * 8;
    // The template is the last member: what an array without elements would point to.
    if let Some(inner) = &map.inner {
        if inner.inner.is_some() || inner.pinning != 0 || !inner.content.is_empty() {
            return Err(WriteError::Inner { map: map.name.clone() });
        }
        let (inner, _) = declare(blob, inner)?;
        let pointer = blob.pointer(inner);
        members.push(("values", blob.array(pointer, 0)));
    }
    Ok((blob.pointers(&members), size))
}

/// The type of a key or value: the known one, or bytes.
pub(super) fn part_type(
    blob: &mut Blob,
    map: &Map,
    part: &'static str,
    size: u32,
    ty: Option<Type>,
) -> Result<u32, WriteError> {
    let int = |name, size| Type::Int { name, size, signed: false };
    match (ty, size) {
        (Some(ty), _) if ty.size() != size as usize => {
            Err(WriteError::Size { map: map.name.clone(), part, given: ty.size(), wanted: size })
        }
        (Some(ty), _) => Ok(blob.type_id(&ty)),
        (None, 2) => Ok(blob.type_id(&int("u16", 2))),
        (None, 4) => Ok(blob.type_id(&int("u32", 4))),
        (None, 8) => Ok(blob.type_id(&int("u64", 8))),
        (None, _) => {
            let byte = blob.type_id(&U8);
            Ok(blob.array(byte, size))
        }
    }
}

/// The map that a variable declares.
pub(super) fn declared(types: &Types<'_>, name: &str, ty: KnownType<'_>) -> Result<Map, BtfError> {
    at_depth(types, name, ty, 0)
}

fn at_depth(
    types: &Types<'_>,
    name: &str,
    ty: KnownType<'_>,
    depth: usize,
) -> Result<Map, BtfError> {
    let mut map = Map { name: name.to_owned(), ..Map::default() };
    for (member, target) in types.pointers(ty)? {
        let Some(target) = target else { continue };
        if member == "values" {
            // Templates have no templates: a cycle of types ends here.
            if depth == 0 {
                map.inner = Some(Box::new(at_depth(types, "", target, 1)?));
            }
            continue;
        }
        let number = types.len(target).unwrap_or_default();
        match member {
            "type" => map.kind = number,
            "key" => map.key_size = types.size(target)?,
            "value" => map.value_size = types.size(target)?,
            "key_size" => map.key_size = number,
            "value_size" => map.value_size = number,
            "max_entries" => map.max_entries = number,
            "map_flags" => map.flags = number,
            "numa_node" => map.numa_node = Some(number),
            "map_extra" => map.extra = u64::from(number),
            "pinning" => map.pinning = number,
            _ => {}
        }
    }
    Ok(map)
}

/// A map's declaration in readable form.
pub(super) fn in_words(map: &Map) -> String {
    let kind =
        crate::text::map_kind_name(map.kind).map_or_else(|| map.kind.to_string(), str::to_owned);
    let Map { name, key_size, value_size, max_entries, flags, .. } = map;
    format!(
        "map {name:?}: {kind} key={key_size} value={value_size} entries={max_entries} \
        flags={flags:#x}{}",
        crate::text::more(map)
    )
}
