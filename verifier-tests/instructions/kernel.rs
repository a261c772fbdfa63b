//! The cases in the kernel.

use std::os::fd::{AsFd, AsRawFd};

use bpf_asm::insn::{Insn, Kernel, Register, Wide, WideSource, encode};
use bpf_asm::text::{Function, assemble};
use syscalls::btf::Kind;
use syscalls::{Btf, BtfObject, Map, MapKind, MapSpec, Prog, ProgBtf, ProgKind, ProgSpec, Update};

use super::case;
use crate::verifier::LICENSE;

/// The running release.
pub fn running() -> Kernel {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the kernel's release");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Kernel::new(major, minor),
        _ => panic!("`{release}` is not a release of Linux"),
    }
}

/// An experimental EtherType: for known protocols, the kernel requires the headers.
const PACKET: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0xb5, 0x81, 0x92, 0xa3, 0xb4, 18, 19, 20, 21, 22,
    23, 24, 25, 26, 27, 28, 29, 30, 31,
];

/// Instructions that stable releases have backported.
const ADOPTED: &[(&str, Kernel)] = &[("gotol", Kernel::new(6, 1))];

#[test]
fn every_form_computes_in_the_kernel_what_it_computes_in_rust() {
    let (mut ran, mut refused, mut results) = (0, 0, 0);
    for case in case::all() {
        let memory = case.memory();
        let spec = MapSpec::new(MapKind::ARRAY, "numbers", 4, memory.len() as u32, 1);
        let map = Map::create(&spec).expect("create a map");
        map.update(&0u32.to_ne_bytes(), &memory, Update::ANY).expect("fill it");
        let source = WideSource::MapValue { fd: map.as_fd().as_raw_fd(), offset: 0 };
        let insns = case.program(Insn::Wide(Wide { dst: Register::R6, source }));
        let spec = ProgSpec::new(ProgKind::SOCKET_FILTER, "form", LICENSE, &insns);
        let loaded = Prog::load(&spec);
        let too_new = case.since().kernel.is_none_or(|needed| needed > running());
        if too_new
            && !ADOPTED.iter().any(|(text, line)| case.name.starts_with(text) && *line == running())
        {
            assert!(
                loaded.is_err(),
                "{} should need {}, but is accepted here",
                case.name,
                case.since()
            );
            refused += 1;
            continue;
        }
        let program = loaded.unwrap_or_else(|error| {
            panic!("{} should only need {}:\n{error}", case.name, case.since())
        });
        program.test_run(&PACKET, 1).expect("run it");
        let memory = map
            .lookup(&0u32.to_ne_bytes())
            .expect("read the map")
            .expect("an array has its values");
        let wrong = case.wrong(&memory);
        assert!(
            wrong.is_empty(),
            "{} of {}: {:#?}",
            wrong.len(),
            case.name,
            &wrong[..wrong.len().min(10)]
        );
        ran += 1;
        results += case.pairs.len();
    }
    println!("{ran} forms with {results} results; {refused} are rejected as too new");
    assert!(ran > 100);
}

/// A form that needs a kernel: the program, and its return value.
struct Special {
    what: &'static str,
    kind: ProgKind,
    text: &'static str,
    returns: u32,
    /// What else it requires of the kernel: a helper, a map, a function.
    needs: Kernel,
}

const FILTER: ProgKind = ProgKind::SOCKET_FILTER;
/// `BPF_PROG_TYPE_SCHED_CLS`
const CLASSIFIER: ProgKind = ProgKind::from_raw(3);
const ANY: Kernel = Kernel::new(3, 18);
/// `BPF_MAP_TYPE_ARENA`, and `BPF_F_MMAPABLE`, which it requires.
const ARENA: (MapKind, u32, Kernel) = (MapKind::from_raw(33), 1 << 10, Kernel::new(6, 9));

/// A per-CPU variable.
const VARIABLE: &str = "bpf_prog_active";

const SPECIAL: &[Special] = &[
    Special { what: "exit", kind: FILTER, text: "r0 = 7\nexit", returns: 7, needs: ANY },
    Special {
        what: "a helper's call",
        kind: FILTER,
        text: "call bpf_get_smp_processor_id\nif r0 > 4096 goto bad\nr0 = 1\nexit\nbad: r0 = 2\nexit",
        returns: 1,
        needs: ANY,
    },
    Special {
        what: "local calls, forward and back",
        kind: FILTER,
        text: "r1 = 3\ncall twice\nr1 = r0\ncall twice\nexit\ntwice: r0 = r1\nr0 += r0\nexit",
        returns: 12,
        needs: ANY,
    },
    Special {
        what: "the address of a function",
        kind: FILTER,
        text: ".function main\n*(u64 *)(r10 -8) = 0\nr1 = 5\nr2 = subprog[each]\nr3 = r10\nr3 += -8\nr4 = 0\ncall bpf_loop\nr0 = *(u64 *)(r10 -8)\nexit\n\
               .function each\nr3 = *(u64 *)(r2 +0)\nr3 += r1\n*(u64 *)(r2 +0) = r3\nr0 = 0\nexit",
        returns: 10,
        needs: Kernel::new(5, 17),
    },
    Special {
        what: "a map",
        kind: FILTER,
        text: "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[fd:MAP]\ncall bpf_map_lookup_elem\nif r0 == 0 goto none\n\
               r0 = *(u32 *)(r0 +4)\nexit\nnone: r0 = 0\nexit",
        returns: 0x2222,
        needs: ANY,
    },
    Special {
        what: "an address in a map's value",
        kind: FILTER,
        text: "r1 = map[fd:MAP][0]+4\nr0 = *(u32 *)(r1 +0)\nexit",
        returns: 0x2222,
        needs: ANY,
    },
    Special {
        what: "a map by index",
        kind: FILTER,
        text: "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[idx:0]\ncall bpf_map_lookup_elem\nif r0 == 0 goto none\n\
               r0 = *(u32 *)(r0 +0)\nexit\nnone: r0 = 0\nexit",
        returns: 0x1111,
        needs: ANY,
    },
    Special {
        what: "an address in the value of a map by index",
        kind: FILTER,
        text: "r1 = map[idx:0][0]+4\nr0 = *(u32 *)(r1 +0)\nexit",
        returns: 0x2222,
        needs: ANY,
    },
    Special {
        what: "a kernel variable",
        kind: CLASSIFIER,
        // The number of running programs on the first CPU, which may be any number.
        text: "r1 = btf[id:VARIABLE]\nr2 = 0\ncall bpf_per_cpu_ptr\nif r0 == 0 goto none\nr0 = *(u32 *)(r0 +0)\nr0 = 3\nexit\n\
               none: r0 = 4\nexit",
        returns: 3,
        needs: ANY,
    },
    Special {
        what: "a kfunc",
        kind: CLASSIFIER,
        text: "call kernel-function#LOCK\ncall kernel-function#UNLOCK\nr0 = 5\nexit",
        returns: 5,
        needs: Kernel::new(6, 2),
    },
    Special {
        what: "a cast between address spaces",
        kind: FILTER,
        // An unmapped page of an arena reads as zero.
        text: "r1 = map[fd:ARENA]\nr2 = 4096\nr2 = addr_space_cast(r2, 0, 1)\nr0 = *(u64 *)(r2 +0)\nr0 += 6\nexit",
        returns: 6,
        needs: ARENA.2,
    },
    Special {
        what: "a byte of the packet",
        kind: FILTER,
        text: "r6 = r1\nr0 = *(u8 *)skb[0]\nexit",
        returns: 0x81,
        needs: ANY,
    },
    Special {
        what: "two bytes of the packet, in network order",
        kind: FILTER,
        text: "r6 = r1\nr0 = *(u16 *)skb[1]\nexit",
        returns: 0x92a3,
        needs: ANY,
    },
    Special {
        what: "four bytes of the packet, by a register and a number",
        kind: FILTER,
        text: "r6 = r1\nr7 = 2\nr0 = *(u32 *)skb[r7 + -2]\nexit",
        returns: 0x8192_a3b4,
        needs: ANY,
    },
    Special {
        what: "a load past the packet's end",
        kind: FILTER,
        text: "r6 = r1\nr0 = *(u8 *)skb[18]\nr0 = 9\nexit",
        returns: 0,
        needs: ANY,
    },
    Special {
        what: "an indirect jump",
        kind: FILTER,
        // No kernel accepts one without an instruction array, and older ones do not support it.
        text: "r1 = 0\ngotox r1\nr0 = 0\nexit",
        returns: 0,
        needs: Kernel::new(999, 0),
    },
    Special {
        what: "an indirect call",
        kind: FILTER,
        text: "r1 = 0\ncallx r1\nexit",
        returns: 0,
        needs: ANY,
    },
];

/// BTF of functions without arguments that return an `int`, all but the first static, and their
/// func info.
fn described(functions: &[Function]) -> (Vec<u8>, Vec<u8>) {
    const INT: [u32; 4] = [1, 1 << 24, 4, 1 << 24 | 32];
    const PROTOTYPE: [u32; 3] = [0, 13 << 24, 1];
    let mut strings = b"\0int\0".to_vec();
    let mut types = [&INT[..], &PROTOTYPE].concat();
    let mut places: Vec<u32> = Vec::new();
    for (index, function) in functions.iter().enumerate() {
        let linkage = u32::from(index == 0);
        types.extend([strings.len() as u32, 12 << 24 | linkage, 2]);
        places.extend([function.slot as u32, index as u32 + 3]);
        strings.extend(function.name.as_bytes());
        strings.push(0);
    }
    let length = types.len() as u32 * 4;
    let header = [0x0001_eb9f, 24, 0, length, length, strings.len() as u32];
    let words = header.iter().chain(&types).flat_map(|word| word.to_ne_bytes());
    (words.chain(strings).collect(), places.iter().flat_map(|word| word.to_ne_bytes()).collect())
}

#[test]
fn forms_that_need_a_kernel_run_as_specified() {
    let btf = Btf::vmlinux().expect("the kernel's BTF");
    let symbols = std::fs::read_to_string("/proc/kallsyms").expect("read the kernel's symbols");
    let variable = btf.find(Kind::Var, VARIABLE);
    // The value contains 1 and something else.
    let function = |name| btf.function(name).unwrap_or(1).to_string();
    let map = Map::create(&MapSpec::new(MapKind::ARRAY, "numbers", 4, 8, 1)).expect("create a map");
    let value = [0x1111u32.to_ne_bytes(), 0x2222u32.to_ne_bytes()].concat();
    map.update(&0u32.to_ne_bytes(), &value, Update::ANY).expect("fill it");
    let mut spec = MapSpec::new(ARENA.0, "arena", 0, 0, 2);
    spec.flags = ARENA.1;
    // Its address in user space, which never maps it.
    spec.extra = 1 << 44;
    let arena = Map::create(&spec);
    assert!(arena.is_ok() == (running() >= ARENA.2), "{arena:?}");
    let arena_fd = arena.as_ref().map_or(-1, |arena| arena.as_fd().as_raw_fd());
    let mut ran = 0;
    for special in SPECIAL {
        let text = special
            .text
            .replace("ARENA", &arena_fd.to_string())
            .replace("MAP", &map.as_fd().as_raw_fd().to_string())
            .replace("VARIABLE", &variable.as_ref().map_or(1, |id| *id).to_string())
            .replace("UNLOCK", &function("bpf_rcu_read_unlock"))
            .replace("LOCK", &function("bpf_rcu_read_lock"));
        let unit = assemble(special.what, &text).unwrap_or_else(|errors| panic!("{errors}"));
        let insns = encode(&unit.sections[0].code);
        let maps = [map.as_fd()];
        let mut spec = ProgSpec::new(special.kind, "form", LICENSE, &insns);
        if unit.requires().kernel >= Some(Kernel::new(5, 14)) {
            spec.fd_array = &maps;
        }
        let (types, functions) = described(&unit.sections[0].functions);
        // Only functions with a type have an address.
        let types = (!functions.is_empty())
            .then(|| BtfObject::load(&types).expect("load the functions' types"));
        spec.btf = types.as_ref().map(|types| ProgBtf {
            fd: types.as_fd(),
            func_info: &functions,
            func_info_rec_size: 8,
            line_info: &[],
            line_info_rec_size: 16,
        });
        let loaded = Prog::load(&spec);
        let needed = unit.requires().kernel.map(|needed| needed.max(special.needs));
        if needed.is_none_or(|needed| needed > running()) {
            assert!(
                loaded.is_err(),
                "{} should need {needed:?}, but is accepted here",
                special.what
            );
            continue;
        }
        // A kernel without CONFIG_KALLSYMS_ALL does not know the addresses of its variables, even
        // if its BTF has them.
        if special.text.contains("VARIABLE")
            && (variable.is_err() || !symbols.contains(&format!(" {VARIABLE}\n")))
        {
            let refusal = loaded.expect_err("a variable without address").to_string();
            assert!(variable.is_err() || refusal.contains(VARIABLE), "{refusal}");
            continue;
        }
        let program = loaded.unwrap_or_else(|error| panic!("{}:\n{error}", special.what));
        let run = program.test_run(&PACKET, 1).expect("run it");
        assert_eq!(run.retval, special.returns, "{}", special.what);
        ran += 1;
    }
    println!("{ran} of {} ran", SPECIAL.len());
    assert!(ran >= 9);
}

/// What all verifiers reject, and the cases therefore leave out.
#[test]
fn divisions_by_an_immediate_0_and_shifts_by_an_immediate_width_are_rejected() {
    for text in ["r0 /= 0", "w0 %= 0", "r0 <<= 64", "r0 >>= -1", "w0 s>>= 32", "r10 = 1"] {
        let program = format!("r0 = 1\n{text}\nexit");
        let unit = assemble("refused.s", &program).unwrap_or_else(|errors| panic!("{errors}"));
        let insns = encode(&unit.sections[0].code);
        let spec = ProgSpec::new(FILTER, "refused", LICENSE, &insns);
        assert!(Prog::load(&spec).is_err(), "{text}");
    }
}
