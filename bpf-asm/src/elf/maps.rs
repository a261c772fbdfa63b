//! Map declarations in BTF: a variable of a structure of pointers. A member's number is the length
//! of the array that it points to, a member's type what it points to (libbpf `parse_btf_map_def`).

use super::WriteError;
use crate::btf::{Blob, BtfError, KnownType, Types};
use crate::record::Type;
use crate::text::Map;

/// `BPF_MAP_TYPE_ARRAY`
pub(super) const ARRAY: u32 = 2;

/// The kinds of maps whose key and value types the kernel accepts: hash, array, per CPU and LRU,
/// longest prefix match, and the storage of sockets, inodes, tasks and cgroups. For others only
/// sizes are declared.
const TYPED: [u32; 11] = [1, ARRAY, 5, 6, 9, 10, 11, 24, 28, 29, 32];

const U8: Type = Type::Int { name: "u8", size: 1, signed: false };

/// The type of a map's variable, and its size in bytes.
pub(super) fn declare(blob: &mut Blob, map: &Map) -> Result<(u32, u32), WriteError> {
    let mut members = Vec::new();
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
    for (name, given) in [("max_entries", map.max_entries), ("map_flags", map.flags)] {
        if given != 0 {
            members.push((name, number(blob, given)));
        }
    }
    Ok((blob.pointers(&members), members.len() as u32 * 8))
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
    let mut map = Map {
        name: name.to_owned(),
        kind: 0,
        key_size: 0,
        value_size: 0,
        max_entries: 0,
        flags: 0,
        key: None,
        value: None,
    };
    for (member, target) in types.pointers(ty)? {
        let Some(target) = target else { continue };
        let number = types.len(target).unwrap_or_default();
        match member {
            "type" => map.kind = number,
            "key" => map.key_size = types.size(target)?,
            "value" => map.value_size = types.size(target)?,
            "key_size" => map.key_size = number,
            "value_size" => map.value_size = number,
            "max_entries" => map.max_entries = number,
            "map_flags" => map.flags = number,
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
        flags={flags:#x}"
    )
}
