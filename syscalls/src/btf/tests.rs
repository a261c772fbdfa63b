use super::blob::Blob;
use super::*;
use proptest::prelude::*;
use std::sync::OnceLock;

const INT: u32 = 1 << 24;
const PTR: u32 = 2 << 24;
const ARRAY: u32 = 3 << 24;
const STRUCT: u32 = 4 << 24;
const UNION: u32 = 5 << 24;
const ENUM: u32 = 6 << 24;
const TYPEDEF: u32 = 8 << 24;
const CONST: u32 = 10 << 24;
const ENUM64: u32 = 19 << 24;
const FLAG: u32 = 1 << 31;

fn vmlinux() -> &'static Btf {
    static BTF: OnceLock<Arc<Btf>> = OnceLock::new();
    BTF.get_or_init(|| Btf::vmlinux().expect("these tests read vmlinux BTF"))
}

/// ```c
/// typedef unsigned int u32;
/// struct inner { u32 a; u32 b[3][2]; };
/// enum { MINUS = -1, PLUS = 1 };
/// struct outer {
///     u32 first;
///     union { const struct inner in; struct { u32 lo; u32 hi; }; };
///     u32 low:3, high:5;
///     struct inner *pointer;
///     struct inner tail[];
/// };
/// ```
fn sample() -> Vec<u8> {
    let mut b = Blob::new();
    let int = b.int("unsigned int", 4);
    let u32_ = b.add("u32", TYPEDEF, int, &[]);
    let row = b.add("", ARRAY, 0, &[u32_, int, 2]);
    let rows = b.add("", ARRAY, 0, &[row, int, 3]);
    let (a, bb) = (b.string("a"), b.string("b"));
    let inner = b.add("inner", STRUCT | 2, 28, &[a, u32_, 0, bb, rows, 32]);
    let const_inner = b.add("", CONST, inner, &[]);
    let (lo, hi) = (b.string("lo"), b.string("hi"));
    let halves = b.add("", STRUCT | 2, 8, &[lo, u32_, 0, hi, u32_, 32]);
    let in_ = b.string("in");
    let either = b.add("", UNION | 2, 28, &[in_, const_inner, 0, 0, halves, 0]);
    let pointer_type = b.add("", PTR, inner, &[]);
    let flexible = b.add("", ARRAY, 0, &[inner, int, 0]);
    let (first, low, high) = (b.string("first"), b.string("low"), b.string("high"));
    let (pointer, tail) = (b.string("pointer"), b.string("tail"));
    b.add(
        "outer",
        FLAG | STRUCT | 6,
        48,
        &[
            first,
            u32_,
            0,
            0,
            either,
            32,
            low,
            u32_,
            3 << 24 | 256,
            high,
            u32_,
            5 << 24 | 259,
            pointer,
            pointer_type,
            320,
            tail,
            flexible,
            384,
        ],
    );
    let (minus, plus) = (b.string("MINUS"), b.string("PLUS"));
    b.add("", FLAG | ENUM | 2, 4, &[minus, u32::MAX, plus, 1]);
    let wide = b.string("WIDE");
    b.add("wide", ENUM64 | 1, 8, &[wide, 1, 2]);
    b.bytes()
}

#[test]
fn a_member_is_found_through_anonymous_members_typedefs_qualifiers_and_arrays() {
    let btf = Btf::parse(sample()).unwrap();
    for (path, bit_offset, size, width) in [
        ("first", 0, 4, None),
        ("in", 32, 28, None),
        ("in.a", 32, 4, None),
        ("in.b", 64, 24, None),
        ("in.b[2]", 64 + 2 * 64, 8, None),
        ("in.b[2][1]", 64 + 2 * 64 + 32, 4, None),
        ("lo", 32, 4, None),
        ("hi", 64, 4, None),
        ("low", 256, 4, Some(3)),
        ("high", 259, 4, Some(5)),
        ("pointer", 320, 8, None),
        ("tail", 384, 0, None),
        ("tail[3].a", 384 + 3 * 28 * 8, 4, None),
    ] {
        let member = btf.member("outer", path).unwrap();
        let found = (member.bit_offset, member.size, member.bitfield_width);
        assert_eq!(found, (bit_offset, size, width), "{path}");
        assert_eq!(member.offset, bit_offset / 8, "{path}");
    }
}

#[test]
fn an_invalid_path_is_an_error_that_names_the_step() {
    let btf = Btf::parse(sample()).unwrap();
    for (path, message) in [
        ("none", "no member `none` in struct `outer`"),
        ("in.none", "no member `none` in struct `inner`"),
        ("first.x", "`x` is in a int"),
        ("pointer.a", "a pointer must be dereferenced first"),
        ("first[0]", "not an array"),
        ("in.b[3]", "index 3 is outside an array of 3"),
        ("in.b[x]", "`b[x]` is not `name` or `name[index]`"),
        ("in..a", "`` is not"),
        ("in.b[", "`b[` is not"),
        ("in.b[1]x", "`b[1]x` is not"),
        ("", "`` is not"),
    ] {
        let error = btf.member("outer", path).unwrap_err().to_string();
        assert!(error.contains(message), "{path}: {error}");
    }
    let missing = btf.member("nowhere", "a").unwrap_err().to_string();
    assert!(missing.contains("no struct, union or typedef `nowhere`"), "{missing}");
}

#[test]
fn enumerators_are_found_in_anonymous_signed_and_64_bit_enums() {
    let btf = Btf::parse(sample()).unwrap();
    assert_eq!(btf.enumerator("MINUS"), Ok(-1));
    assert_eq!(btf.enumerator("PLUS"), Ok(1));
    assert_eq!(btf.enumerator("WIDE"), Ok((2 << 32) + 1));
    assert!(btf.enumerator("PLU").is_err());
}

#[test]
fn bit_fields_without_kind_flag_are_defined_by_their_integer() {
    let mut b = Blob::new();
    let three_bits = b.add("bits", INT, 4, &[2 << 16 | 3]);
    let field = b.string("field");
    b.add("s", STRUCT | 1, 4, &[field, three_bits, 8]);
    let member = Btf::parse(b.bytes()).unwrap().member("s", "field").unwrap();
    assert_eq!((member.bit_offset, member.bitfield_width), (10, Some(3)));
}

#[test]
fn types_that_refer_to_themselves_are_rejected() {
    let mut b = Blob::new();
    b.add("self", TYPEDEF, 1, &[]);
    b.add("ping", TYPEDEF, 3, &[]);
    b.add("pong", CONST, 2, &[]);
    b.add("array", ARRAY, 0, &[4, 4, 2]);
    b.add("holder", STRUCT | 1, 4, &[0, 5, 0]);
    let btf = Btf::parse(b.bytes()).unwrap();
    for name in ["self", "ping"] {
        assert!(matches!(btf.size_of(name), Err(BtfError::TooDeep { .. })), "{name}");
    }
    assert!(matches!(btf.size_of_id(4), Err(BtfError::TooDeep { .. } | BtfError::TooLarge { .. })));
    assert!(matches!(btf.member("holder", "x"), Err(BtfError::TooDeep { .. })));
}

#[test]
fn the_search_in_deeply_nested_structures_gives_up() {
    let mut b = Blob::new();
    // 24 levels of 100 anonymous members each: 100²⁴ members.
    for level in 0..24 {
        let members: Vec<u32> = (0..100).flat_map(|_| [0, level + 2, 0]).collect();
        b.add(if level == 0 { "root" } else { "" }, STRUCT | 100, 4, &members);
    }
    b.add("", STRUCT, 4, &[]);
    let started = std::time::Instant::now();
    let answer = Btf::parse(b.bytes()).unwrap().member("root", "x");
    assert!(matches!(answer, Err(BtfError::TooWide { .. })), "{answer:?}");
    assert!(started.elapsed().as_secs() < 2);
}

#[test]
fn sizes_and_offsets_that_overflow_are_rejected() {
    let mut b = Blob::new();
    let int = b.int("int", 4);
    let row = b.add("", ARRAY, 0, &[int, int, u32::MAX]);
    let rows = b.add("", ARRAY, 0, &[row, int, u32::MAX]);
    let (x, y) = (b.string("x"), b.string("y"));
    let inner = b.add("", STRUCT | 1, 4, &[x, int, u32::MAX]);
    b.add("far", STRUCT | 2, 4, &[0, inner, 64, y, rows, 0]);
    let btf = Btf::parse(b.bytes()).unwrap();
    assert!(matches!(btf.size_of_id(rows), Err(BtfError::TooLarge { .. })));
    for path in ["x", "y", "y[1]"] {
        let answer = btf.member("far", path);
        assert!(matches!(answer, Err(BtfError::TooLarge { .. })), "{path}: {answer:?}");
    }
}

#[test]
fn truncated_btf_is_rejected_at_every_length() {
    let whole = sample();
    Btf::parse(whole.clone()).unwrap();
    for len in 0..whole.len() {
        assert!(Btf::parse(whole[..len].to_vec()).is_err(), "{len} bytes");
    }
}

#[test]
fn each_malformed_header_has_its_own_error() {
    let whole = sample();
    let with = |at: usize, bytes: &[u8]| {
        let mut data = whole.clone();
        data[at..at + bytes.len()].copy_from_slice(bytes);
        Btf::parse(data).unwrap_err()
    };
    assert_eq!(with(0, &0xeb9f_u16.swap_bytes().to_ne_bytes()), BtfError::OtherByteOrder);
    assert!(matches!(with(0, b"\x7fE"), BtfError::NotBtf { .. }));
    assert!(matches!(with(2, &[2]), BtfError::NotBtf { version: 2, .. }));
    assert_eq!(with(4, &23u32.to_ne_bytes()), BtfError::HeaderLength { len: 23 });
    for (field, name) in [(8, "type"), (12, "type"), (16, "string"), (20, "string")] {
        assert_eq!(with(field, &u32::MAX.to_ne_bytes()), BtfError::Section { name });
    }
}

/// Calls every query on arbitrary BTF.
fn query_everything(btf: &Btf) {
    for id in (0..btf.type_count().min(2_000)).chain([u32::MAX]) {
        let _ = btf.size_of_id(id);
        let _ = btf.describe(id);
    }
    for path in ["first", "hi", "in.b[2][1]", "tail[9].a", "nowhere"] {
        let _ = btf.member("outer", path);
    }
    let _ = btf.member("sk_msg", "sg.data[1].length");
    let _ = btf.member("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_cookie");
    let _ = btf.enumerator("MINUS");
    let _ = btf.function("tcp_sendmsg");
}

proptest! {
    #[test]
    fn mutated_small_btf_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)
    ) {
        let mut data = sample();
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Ok(btf) = Btf::parse(data) {
            query_everything(&btf);
        }
    }

    #[test]
    fn arbitrary_types_never_panic(words in prop::collection::vec(any_word(), 0..400)) {
        let mut data = 0xeb9f_u16.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        let types = words.len() as u32 * 4;
        for word in [24, 0, types, types, 8].iter().chain(&words) {
            data.extend(word.to_ne_bytes());
        }
        data.extend(b"\0outer\0\0");
        if let Ok(btf) = Btf::parse(data) {
            query_everything(&btf);
        }
    }
}

/// Words that often make valid types.
fn any_word() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0u32..8,
        2 => (1u32..20, 0u32..4, any::<bool>()).prop_map(|(kind, count, flag)| {
            kind << 24 | count | u32::from(flag) << 31
        }),
        1 => any::<u32>(),
    ]
}

/// The first `types` of the kernel's types, with all its strings.
fn vmlinux_slice(types: usize) -> Vec<u8> {
    let btf = vmlinux();
    let (start, end) = (btf.types[0] as usize, btf.types[types] as usize);
    let strings = &btf.data[btf.strings.clone()];
    let mut out = btf.data[..4].to_vec();
    let type_len = (end - start) as u32;
    for word in [24, 0, type_len, type_len, strings.len() as u32] {
        out.extend(word.to_ne_bytes());
    }
    out.extend(&btf.data[start..end]);
    out.extend(strings);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn mutated_kernel_btf_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)
    ) {
        const TYPES: usize = 3_000;
        let mut data = vmlinux_slice(TYPES);
        // Malformed headers are rejected at once, so only what follows them is changed.
        let end = (vmlinux().types[TYPES] - vmlinux().types[0]) as usize;
        for (at, byte) in changes {
            data[24 + at.index(end)] = byte;
        }
        if let Ok(btf) = Btf::parse(data) {
            query_everything(&btf);
        }
    }
}

#[test]
fn an_unchanged_slice_of_kernel_btf_is_read() {
    let btf = Btf::parse(vmlinux_slice(3_000)).unwrap();
    assert_eq!(btf.type_count(), 3_000);
}

#[test]
fn the_kernels_own_btf_has_what_a_datapath_needs() {
    let btf = vmlinux();
    let cookie = btf.member("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_cookie").unwrap();
    assert_eq!((cookie.size, cookie.offset % 8), (8, 0));
    // `sk` is the first member of every socket structure, so both paths name the same member.
    let through_sock = btf.member("sock", "__sk_common.skc_cookie").unwrap();
    assert_eq!(cookie.offset, through_sock.offset);
    assert!(btf.member("tcp_sock", "copied_seq").unwrap().size == 4);
    assert!(btf.size_of("sk_msg").unwrap() > 0);
    assert!(btf.function("tcp_sendmsg").unwrap() > 0);
    assert_eq!(btf.enumerator("TCP_ESTABLISHED"), Ok(1));
    assert_eq!(btf.describe(btf.function("tcp_sendmsg").unwrap()), Ok((Kind::Func, "tcp_sendmsg")));
}

#[test]
fn a_bit_field_of_the_kernel_has_its_bit_and_width() {
    let gpl = vmlinux().member("bpf_prog_info", "gpl_compatible").unwrap();
    assert_eq!((gpl.bit_offset, gpl.bitfield_width), (84 * 8, Some(1)));
}

#[test]
fn a_kernel_type_that_is_missing_is_named() {
    let error = vmlinux().member("no_such_struct", "x").unwrap_err();
    assert!(error.to_string().contains("`no_such_struct`"), "{error}");
}

#[test]
fn a_type_that_exceeds_its_section_is_rejected() {
    let mut b = Blob::new();
    b.add("short", STRUCT | 3, 4, &[0; 6]);
    let result = Btf::parse(b.bytes()).map(|_| ());
    assert_eq!(result, Err(BtfError::TruncatedType { id: 1 }));

    let mut unnamed = sample();
    let first_name = 24;
    unnamed[first_name..first_name + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
    let result = Btf::parse(unnamed).map(|_| ());
    assert_eq!(result, Err(BtfError::StringOffset { offset: u32::MAX }));
}

#[test]
fn the_kernels_btf_is_read_once_for_all_who_have_it() {
    let one = Btf::vmlinux().unwrap();
    assert!(Arc::ptr_eq(&one, &Btf::vmlinux().unwrap()));
}
