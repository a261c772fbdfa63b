//! The layouts of records and contexts agree in Rust, the maps' BTF and vmlinux BTF.

use bpf_asm::{
    __sk_buff, FieldInfo, Record, Type, bpf_sk_lookup, bpf_sock, bpf_sock_addr, bpf_sock_ops,
    bpf_sockopt, bpf_user_pt_regs_t, sk_msg_md, xdp_md,
};
use syscalls::btf::Kind;
use syscalls::{Btf, BtfObject};
use tcp_shunt::kernel::{self, load};

use crate::{contexts, variant};

/// A field of a record, with those of nested records and arrays: path, offset and size.
fn places(fields: &[FieldInfo], path: &str, start: usize) -> Vec<(String, usize, usize)> {
    fields
        .iter()
        .flat_map(|field| of_type(&field.ty, format!("{path}{}", field.name), start + field.offset))
        .collect()
}

fn of_type(ty: &Type, path: String, offset: usize) -> Vec<(String, usize, usize)> {
    let mut found = vec![(path.clone(), offset, ty.size())];
    match ty {
        Type::Int { .. } => {}
        Type::Array { element, len } => {
            let elements =
                |n: usize| of_type(element, format!("{path}[{n}]"), offset + n * element.size());
            found.extend((0..*len).flat_map(elements));
        }
        Type::Record { fields, .. } => found.extend(places(fields, &format!("{path}."), offset)),
    }
    found
}

/// Compares a type of a map with Rust's; returns the number of fields compared.
fn same(map: &str, btf: &Btf, id: u32, rust: &Type) -> usize {
    assert_eq!(btf.size_of_id(id), Ok(rust.size() as u32), "{map}");
    let (kind, name) = btf.describe(id).expect("the map's type");
    match rust {
        Type::Record { name: rust_name, fields, .. } => {
            assert_eq!((kind, name), (Kind::Struct, *rust_name), "{map}");
            let places = places(fields, "", 0);
            for (path, offset, size) in &places {
                let member =
                    btf.member(name, path).unwrap_or_else(|error| panic!("{map}: {error}"));
                let found = (member.offset as usize, member.size as usize, member.bitfield_width);
                assert_eq!(found, (*offset, *size, None), "{map}: {name}.{path}");
            }
            places.len()
        }
        Type::Int { name: rust_name, .. } => {
            assert_eq!((kind, name), (Kind::Int, *rust_name), "{map}");
            1
        }
        Type::Array { .. } => panic!("{map}: a bare array has no name to look up"),
    }
}

#[test]
fn keys_and_values_of_maps_have_the_layout_of_rust() {
    let datapath = variant::usual();
    let maps = load::maps(&datapath.maps.all()).expect("make the maps, as root");
    let mut records = std::collections::BTreeMap::new();
    for (def, (name, map)) in datapath.maps.all().into_iter().zip(&maps) {
        let info = map.info().expect("read the map's info");
        assert_eq!((info.key_size, info.value_size), (def.key_size, def.value_size), "{name}");
        if !def.kind.has_btf() {
            assert_eq!(info.btf_id, 0, "{name}");
            continue;
        }
        let btf = BtfObject::open_id(info.btf_id)
            .unwrap_or_else(|error| panic!("{name} has no BTF: {error}"));
        let btf = Btf::parse(btf.data().expect("read the map's BTF")).expect("parse");
        for (id, ty) in [(info.btf_key_type_id, def.key), (info.btf_value_type_id, def.value)] {
            let ty = ty.expect("maps with BTF have keys and values");
            let fields = same(name, &btf, id, &ty);
            if let Type::Record { name, .. } = ty {
                records.insert(name, fields);
            }
        }
    }
    let expected = [
        "About",
        "Adoption",
        "Candidate",
        "Comm",
        "Control",
        "Endings",
        "Isns",
        "Lane",
        "Pass",
        "Ports",
        "Prefix",
        "Process",
        "Refusal",
        "Tracer",
    ];
    assert_eq!(records.keys().copied().collect::<Vec<_>>(), expected, "records in maps");
    assert!(records["Lane"] > 20, "only {} fields of Lane were compared", records["Lane"]);
}

/// vmlinux BTF has the contexts as the kernel's headers declare them.
#[test]
fn contexts_have_the_layout_of_the_kernel() {
    let btf = kernel::btf().expect("read the kernel's BTF");
    for (name, fields) in [
        (bpf_sock_ops::NAME, bpf_sock_ops::FIELDS),
        (sk_msg_md::NAME, sk_msg_md::FIELDS),
        (__sk_buff::NAME, __sk_buff::FIELDS),
        (bpf_sk_lookup::NAME, bpf_sk_lookup::FIELDS),
        (bpf_sock::NAME, bpf_sock::FIELDS),
        (bpf_sock_addr::NAME, bpf_sock_addr::FIELDS),
        (bpf_sockopt::NAME, bpf_sockopt::FIELDS),
        (xdp_md::NAME, xdp_md::FIELDS),
        (bpf_user_pt_regs_t::NAME, bpf_user_pt_regs_t::FIELDS),
    ]
    .into_iter()
    .chain(contexts::iterators().map(|iterator| (iterator.name, iterator.fields)))
    {
        let size = btf.size_of(name).unwrap_or_else(|error| panic!("{error}")) as usize;
        let mut present = 0;
        for (path, offset, width) in places(fields, "", 0) {
            // Padding has no name in the kernel.
            if path.starts_with("padding") {
                continue;
            }
            // In a union with their word since Linux 6.9.
            let halves = name == "pt_regs" && ["cs", "ss"].contains(&path.as_str());
            let path = if path == "socket_type" { "type".to_owned() } else { path };
            match btf.member(name, &path) {
                Ok(member) if halves => assert_eq!(member.offset as usize, offset, "{name}.{path}"),
                Ok(member) => {
                    assert_eq!(
                        (member.offset as usize, member.size as usize),
                        (offset, width),
                        "{name}.{path}"
                    );
                    present += 1;
                }
                // Contexts grow at their end: a field that this kernel lacks is after those that it
                // has.
                Err(error) => {
                    assert!(offset >= size, "{name} of this kernel has {size} bytes: {error}")
                }
            }
        }
        assert!(present >= fields.len() / 2, "only {present} fields of {name} were found");
    }
}
