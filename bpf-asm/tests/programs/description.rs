use bpf_asm::{
    Builder, MapKind, MapRef, ProgramType, Ptr, Reg, bpf_sock_ops, bpf_sockopt, btf, helper,
    record, sk_msg_md,
};

use crate::machine::finish;

record! {
    struct Key { client: u32, server: u32 }
    struct Lane { peer: Key, sent: [u64; 2], signed: i32, mode: u32 }
}

const LANES: MapRef<Key, Lane> = MapRef::new("lanes", MapKind::Hash, 10);
const STATE: MapRef<u32, Lane> = MapRef::new("state", MapKind::Array, 1);
const SOCKS: MapRef<u64, u32> = MapRef::new("socks", MapKind::SockHash, 10);

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// A type: name, info, size or type, what follows.
type Described = (String, u32, u32, Vec<u32>);

/// Parses the types and strings of a blob.
fn parse(blob: &[u8]) -> (Vec<Described>, Vec<u8>) {
    assert_eq!(blob[..8], [0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
    let header = words(&blob[8..24]);
    let [type_offset, type_len, string_offset, string_len] = header[..] else {
        panic!("{header:?}")
    };
    assert_eq!((type_offset, string_offset), (0, type_len));
    let types = words(&blob[24..24 + type_len as usize]);
    let strings = blob[24 + string_offset as usize..].to_vec();
    assert_eq!(strings.len(), string_len as usize);
    let (mut parsed, mut at) = (vec![("void".to_owned(), 0, 0, vec![])], 0);
    while at < types.len() {
        let info = types[at + 1];
        let more = match info >> 24 {
            1 => 1,
            3 => 3,
            4 => 3 * (info & 0xffff),
            13 => 2 * (info & 0xffff),
            2 | 12 => 0,
            kind => panic!("kind {kind}"),
        } as usize;
        let rest = types[at + 3..at + 3 + more].to_vec();
        parsed.push((string(&strings, types[at]), info, types[at + 2], rest));
        at += 3 + more;
    }
    (parsed, strings)
}

fn string(strings: &[u8], offset: u32) -> String {
    let text = &strings[offset as usize..];
    String::from_utf8(text[..text.iter().position(|&byte| byte == 0).unwrap()].to_vec()).unwrap()
}

#[test]
fn each_instruction_names_the_rust_line_that_wrote_it() {
    let b = Builder::new("send");
    let (first, f) = (
        line!() + 1,
        b.function("double", |[a]: [Reg; 1]| {
            a.add(&a);
            b.ret(&a);
        }),
    );
    let message = b.context::<sk_msg_md>();
    let size = b.load(message.at(sk_msg_md::size));
    let large = b.value(1i64 << 40);
    size.add(&large);
    let result = b.call_local(&f, [(&size).into()]);
    b.ret(&result);
    let last = line!() - 1;
    let program = finish(b);
    let image = program.btf();
    let (types, strings) = parse(&image.blob);

    let functions = words(&image.func_info);
    assert_eq!(functions.iter().step_by(2).copied().collect::<Vec<_>>(), [0, 6], "{program}");
    let (name, info, prototype, _) = &types[functions[1] as usize];
    assert_eq!((name.as_str(), *info), ("send", 12 << 24 | 1));
    let (_, _, result, parameters) = &types[*prototype as usize];
    assert_eq!(types[*result as usize].0, "int");
    let pointer = &types[parameters[1] as usize];
    assert_eq!((pointer.1 >> 24, types[pointer.2 as usize].0.as_str()), (2, "sk_msg_md"));
    assert_eq!(types[functions[3] as usize].0, "double");

    let lines: Vec<(u32, String, String, u32)> = words(&image.line_info)
        .chunks_exact(4)
        .map(|line| (line[0], string(&strings, line[1]), string(&strings, line[2]), line[3] >> 10))
        .collect();
    assert_eq!(lines.len(), program.insns().count());
    assert!(lines.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(lines.iter().all(|line| line.1.ends_with("description.rs")));
    let positions: Vec<u32> = lines.iter().map(|line| line.0).collect();
    // Slot 2 is the second half of the 64-bit load in slot 1.
    assert_eq!(positions, [0, 1, 3, 4, 5, 6, 7, 8]);
    assert_eq!(lines[0].2, "r1 = *(u32 *)(r1 +68)");
    assert_eq!(lines[1].2, "r2 = 0x10000000000 ll");
    assert_eq!(lines[4].3, last);
    assert_eq!(lines[5].3, first + 1);
}

#[test]
fn maps_are_described_by_their_records() {
    let described = btf::maps(&[LANES.def(), SOCKS.def()]);
    let (types, strings) = parse(&described.blob);
    let lanes = described.types[0].unwrap();
    assert_eq!(described.types[1], None);
    let (name, info, size, members) = &types[lanes.value as usize];
    assert_eq!((name.as_str(), *info, *size), ("Lane", 4 << 24 | 4, 32));
    let members: Vec<(String, &str, u32)> = members
        .chunks_exact(3)
        .map(|member| {
            (string(&strings, member[0]), types[member[1] as usize].0.as_str(), member[2])
        })
        .collect();
    let expected =
        [("peer", "Key", 0), ("sent", "", 64), ("signed", "i32", 192), ("mode", "u32", 224)];
    assert_eq!(members, expected.map(|(name, ty, offset)| (name.to_owned(), ty, offset)));
    assert_eq!(types[lanes.key as usize].0, "Key");
    assert_eq!(types.iter().filter(|ty| ty.0 == "Key").count(), 1);
}

#[test]
fn maps_are_names_until_they_are_relocated() {
    let b = Builder::new("maps");
    let key = b.slot::<Key>();
    b.zero(key.place());
    let lane = b.call(helper::map_lookup_elem(&LANES, &key));
    b.when(lane.eq(0), || b.ret(0));
    let _value: Ptr<u64> = b.map_value_at(&STATE, Lane::sent.index::<1>());
    let _again = b.call(helper::map_delete_elem(&LANES, &key));
    b.ret(0);
    let program = finish(b);
    assert_eq!(program.maps(), [*LANES.def(), *STATE.def()]);
    let text = program.to_string();
    assert!(
        text.contains("r1 = map[name:lanes]\n") && text.contains("= map[name:state][0]+16\n"),
        "{text}"
    );
    assert!(
        text.contains("call bpf_map_lookup_elem#1\n") && text.contains("*(u64 *)(r10 -8) = 0\n"),
        "{text}"
    );
    assert!(text.contains(concat!("; ", file!(), ":")), "{text}");

    let image = program.relocate(|_| 0x1234);
    let loads: Vec<&[u8]> = image.insns.chunks_exact(8).filter(|slot| slot[0] == 0x18).collect();
    assert_eq!(loads.len(), 3);
    assert_eq!(loads[0], [0x18, 0x11, 0, 0, 0x34, 0x12, 0, 0]);
    assert_eq!(loads[1], [0x18, 0x21, 0, 0, 0x34, 0x12, 0, 0]);
    let second = image.insns.chunks_exact(8).skip_while(|slot| *slot != loads[1]).nth(1).unwrap();
    assert_eq!(second, [0, 0, 0, 0, 16, 0, 0, 0]);

    let bytes = program.for_rbpf(|_| 0x1_0000_0002);
    let loads: Vec<&[u8]> = bytes.chunks_exact(8).filter(|slot| slot[0] == 0x18).collect();
    assert_eq!(loads[0], [0x18, 0x01, 0, 0, 2, 0, 0, 0]);
    assert_eq!(loads[1], [0x18, 0x01, 0, 0, 18, 0, 0, 0]);
}

#[test]
fn program_types_have_the_numbers_of_the_uapi() {
    let numbers = |kind: ProgramType| (kind.number(), kind.attach_type());
    assert_eq!(numbers(ProgramType::SocketFilter), (1, 0));
    assert_eq!(numbers(ProgramType::SockOps), (13, 3));
    assert_eq!(numbers(ProgramType::SkMsg), (16, 7));
    assert_eq!(numbers(ProgramType::SkSkbVerdict), (14, 38));
    assert_eq!(numbers(ProgramType::Iterator), (26, 28));
    assert_eq!(numbers(ProgramType::Tracepoint), (26, 23));
    assert_eq!(numbers(ProgramType::Xdp), (6, 37));
    assert_eq!(numbers(ProgramType::Connect4), (18, 10));
    assert_eq!(numbers(ProgramType::SetSockOpt), (25, 22));
}

/// The offsets in UAPI `linux/bpf.h`, written independently of the records.
#[test]
fn contexts_have_the_layout_of_the_uapi() {
    macro_rules! offsets {
        ($record:ident: $($field:ident $offset:literal),*) => {
            $(assert_eq!($record::$field.offset(), $offset, stringify!($record::$field));)*
        };
    }
    offsets!(sk_msg_md: data 0, data_end 8, family 16, remote_ip4 20, local_ip4 24, remote_ip6 28, local_ip6 44,
        remote_port 60, local_port 64, size 68, sk 72);
    offsets!(bpf_sock_ops: op 0, args 4, reply 4, family 20, remote_ip4 24, local_ip4 28, remote_ip6 32, local_ip6 48,
        remote_port 64, local_port 68, is_fullsock 72, snd_cwnd 76, srtt_us 80, bpf_sock_ops_cb_flags 84, state 88,
        rtt_min 92, snd_ssthresh 96, rcv_nxt 100, snd_nxt 104, snd_una 108, mss_cache 112, ecn_flags 116,
        rate_delivered 120, rate_interval_us 124, packets_out 128, retrans_out 132, total_retrans 136, segs_in 140,
        data_segs_in 144, segs_out 148, data_segs_out 152, lost_out 156, sacked_out 160, sk_txhash 164,
        bytes_received 168, bytes_acked 176, sk 184, skb_data 192, skb_data_end 200, skb_len 208, skb_tcp_flags 212,
        skb_hwtstamp 216);
    offsets!(bpf_sockopt: sk 0, optval 8, optval_end 16, level 24, optname 28, optlen 32, retval 36);
}
