//! Three programs in Rust and in C, side by side: no more lines, no more instructions, and the same
//! results for the same packets and calls. The table in README.md is what is found here.
//!
//! *Lines* are those with code: neither blank nor comment. Of Rust it is the whole file. Of C it is
//! the file, and what it takes from the kernel's headers and the Rust file has to define itself:
//! structures of packets, and a line for each constant. Contexts and locks are in bpf-asm, too.
//!
//! *Instructions* are slots of the program, by clang 22 with `-O2 -mcpu=v3`.

mod bucket;
mod policy;
mod protocols;
mod subject;

use std::fs;
use std::path::{Path, PathBuf};

use subject::Subject;
use syscalls::{PerCpuMap, RingBuf, TypedMap, Update};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/comparison")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines with code of a text.
fn code(text: &str) -> usize {
    let (mut lines, mut comment) = (0, false);
    for line in text.lines().map(str::trim) {
        let begins = comment || line.starts_with("/*");
        comment = begins && !line.contains("*/");
        lines += usize::from(!begins && !line.is_empty() && !line.starts_with("//"));
    }
    lines
}

/// The lines with code of a structure in one of the kernel's headers.
fn structure(header: &str, name: &str) -> usize {
    let text = text(&Path::new("/usr/include/linux").join(header));
    let start = text.find(&format!("struct {name} {{")).expect("the structure");
    let end = start + text[start..].find("\n}").expect("its end") + 2;
    code(&text[start..end])
}

/// A program as a row of the table.
fn row(subject: &str, headers: &[(&str, &str)], constants: &[(&str, &str)]) -> [usize; 4] {
    let lines = |file: &str| code(&text(&folder().join(file)));
    let headers: usize = headers.iter().map(|(header, name)| structure(header, name)).sum();
    for (constant, in_rust) in constants {
        assert!(text(&folder().join(format!("{subject}.c"))).contains(constant), "{constant}");
        let defined = format!("const {in_rust}: ");
        assert!(text(&folder().join(format!("{subject}.rs"))).contains(&defined), "{defined}");
    }
    let headers = headers + constants.len();
    let [ours, theirs] = subject::both(subject).map(|program| program.instructions);
    [lines(&format!("{subject}.rs")), lines(&format!("{subject}.c")) + headers, ours, theirs]
}

#[test]
fn rust_takes_no_more_lines_and_no_more_instructions_than_c_and_the_readme_says_how_many() {
    let readme = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let mut missing = Vec::new();
    for (subject, name, headers, constants) in [
        (
            "protocols",
            "XDP: packets by protocol, a ring buffer",
            &[("if_ether.h", "ethhdr"), ("ip.h", "iphdr")][..],
            &[("XDP_PASS", "XDP_PASS")][..],
        ),
        ("policy", "`connect`: policy by LPM trie", &[], &[("BPF_F_NO_PREALLOC", "NO_PREALLOC")]),
        (
            "bucket",
            "tc: token bucket, a spin lock",
            &[],
            &[("TC_ACT_OK", "TC_ACT_OK"), ("TC_ACT_SHOT", "TC_ACT_SHOT")],
        ),
    ] {
        let [lines, in_c, instructions, by_clang] = row(subject, headers, constants);
        let shown = format!("| {name} | {lines} | {in_c} | {instructions} | {by_clang} |");
        assert!(lines <= in_c && instructions <= by_clang, "{shown}");
        if !readme.contains(&shown) {
            missing.push(shown);
        }
    }
    assert!(missing.is_empty(), "README.md does not have these rows:\n{}", missing.join("\n"));
}

#[test]
fn comments_and_blank_lines_are_no_code() {
    assert_eq!(code("// a\n/* b\n c */\n\nint d; /* e */\n  // f\n/* g */\nint h;"), 2);
}

/// A packet with this ethertype and IP protocol.
fn packet(ethertype: u16, protocol: u8, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[12..14].copy_from_slice(&ethertype.to_be_bytes());
    packet[14] = 0x45;
    packet[23] = protocol;
    packet
}

#[test]
fn packets_are_counted_by_protocol_and_new_protocols_are_told_as_in_c() {
    let packets = [
        packet(0x0800, 17, 60),
        packet(0x0800, 6, 200),
        packet(0x0800, 17, 1000),
        packet(0x86dd, 17, 100),
        packet(0x0800, 255, 34),
        packet(0x0800, 6, 33),
    ];
    let results = subject::both("protocols").map(|program| {
        let Subject { prog, maps, .. } = &program;
        let map = |name: &str| maps[name].try_clone().expect("another descriptor");
        let returned: Vec<u32> =
            packets.iter().map(|packet| prog.test_run(packet, 1).expect("run it").retval).collect();
        let counts = PerCpuMap::<u32, [u64; 2]>::new(map("protocols")).expect("counters");
        let counted: Vec<(u32, u64, u64)> = (0..256)
            .map(|protocol| {
                let all = counts.lookup(&protocol).expect("read").expect("an array has it");
                let sum = |field: usize| all.iter().map(|values| values[field]).sum();
                (protocol, sum(0), sum(1))
            })
            .filter(|counted| counted.1 != 0)
            .collect();
        let mut told = Vec::new();
        let mut ring = RingBuf::new(map("first")).expect("a ring buffer");
        ring.drain(|record| told.push(record[..8].to_vec())).expect("read it");
        // Each of the processors that a test run may be on tells of a protocol once.
        told.sort();
        told.dedup_by_key(|record| record[..4].to_vec());
        (returned, counted, told)
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0].1, [(6, 1, 200), (17, 2, 1060), (255, 1, 34)]);
    assert_eq!(results[0].2.len(), 3);
}

#[test]
fn connections_are_allowed_and_refused_by_longest_prefix_as_in_c() {
    let rules = [([127, 0, 0, 0], 8, 0), ([127, 0, 1, 0], 24, 1), ([127, 0, 1, 9], 32, 0)];
    let asked = ["127.0.0.1", "127.0.1.1", "127.0.1.9", "127.1.1.1", "0.0.0.0"];
    let results = subject::both("policy").map(|program| {
        for (address, bits, allowed) in rules {
            let (bits, allowed): (u32, u32) = (bits, allowed);
            let key = [bits.to_ne_bytes(), address].concat();
            let rules = &program.maps["rules"];
            rules.update(&key, &allowed.to_ne_bytes(), Update::ANY).expect("add a rule");
        }
        subject::connected(&program.prog, &asked)
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], [false, true, false, false, true]);
}

#[test]
fn a_bucket_passes_what_it_has_tokens_for_as_in_c() {
    let results = subject::both("bucket").map(|program| {
        let lengths = [100, 150, 100, 50, 60];
        let verdicts = lengths
            .map(|length| program.prog.test_run(&vec![0; length], 1).expect("run it").retval);
        let map = program.maps["buckets"].try_clone().expect("another descriptor");
        let bucket = TypedMap::<u32, [u32; 4]>::new(map).expect("a bucket").lookup(&0);
        (verdicts, bucket.expect("read it").expect("an array has it")[1])
    });
    assert_eq!(results[0].0, results[1].0);
    assert_eq!(results[0].0, [0, 0, 2, 0, 2]);
    // A token comes in per second.
    assert!(results.iter().all(|(_, tokens)| *tokens < 5), "{results:?}");
}
