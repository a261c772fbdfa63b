//! BTF of a kernel.

use bpf_asm::{Builder, MapKind, MapRef, ProgramType, helper};
use syscalls::Btf;
use syscalls::btf::{BtfError, Kind};

/// More than a few questions of each type would take the time of other inputs.
const ASKED: u32 = 64;

/// BTF is parsed, and every question about it is answered in bounded time; or it is rejected.
pub(crate) fn parse(bytes: &[u8]) -> bool {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else { return false };
    for id in 0..=btf.type_count().min(ASKED) {
        let _ = btf.size_of_id(id);
        let (kind, name) = match btf.describe(id) {
            Ok(described) => described,
            // `void` has no description. The bounds of all others were checked.
            Err(BtfError::NotUtf8 { .. }) => continue,
            Err(error) => {
                assert_eq!(id, 0, "{error}");
                continue;
            }
        };
        if !name.is_empty() {
            let first = btf.find(kind, name);
            assert!(first.is_ok_and(|first| first <= id), "{name} is not found");
        }
        let _ = btf.size_of(name);
        let _ = btf.enumerator(name);
        for path in ["first", "first.second", "second[3]"] {
            if let Ok(member) = btf.member(name, path) {
                assert!(member.structure <= btf.type_count(), "{name}.{path}: {member:?}");
            }
        }
    }
    let _ = btf.find(Kind::Struct, "");
    true
}

/// Types of maps, functions, and lines.
fn of_program() -> Option<Vec<u8>> {
    bpf_asm::record! {
        /// A structure in a structure.
        pub struct Outer {
            /// A number.
            pub first: u32,
            /// Several.
            pub second: [u16; 6],
        }
    }
    const VALUES: MapRef<u32, Outer> = MapRef::new("values", MapKind::Hash, 16);
    let b = Builder::new("reader");
    let key = b.slot::<u32>();
    b.store(key.place(), 1);
    drop(b.call(helper::map_lookup_elem(&VALUES, &key)));
    b.ret(0);
    let program = b.finish(ProgramType::SocketFilter).ok()?;
    let maps = bpf_asm::btf::maps(&program.maps().iter().collect::<Vec<_>>());
    Some(maps.blob)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    of_program().into_iter().collect()
}
