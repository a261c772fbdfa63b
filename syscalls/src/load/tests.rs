//! Programs of the builder in the running kernel.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;

use bpf_asm::{
    Arg, Builder, Call, MapDef, MapKind, MapRef, Modify, Program, ProgramType, Reg, record,
    sock_recv_length,
};

use super::{LoadError, Maps, Target, attach, map, program, program_with_log};
use crate::fixture::{Cgroup, in_own_bpffs, in_own_network};
use crate::{Errno, LogLevel, MapSpec, Update};

const SEEN: MapRef<u32, u64> = MapRef::new("seen", MapKind::Array, 1);
const LOOPBACK: u32 = 1;

/// A program that counts its runs and returns `retval`.
fn counting(kind: ProgramType, retval: i32) -> Program {
    let b = Builder::new("counting");
    b.atomic(Modify::Add, b.map_value(&SEEN).at_all(), &b.value(1));
    b.ret(retval);
    b.finish(kind).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A program that only refers to a map.
fn using(def: MapDef) -> Program {
    const KTIME_GET_NS: i32 = 5;
    let b = Builder::new("using");
    let map: MapRef<(), ()> = MapRef::described(def);
    b.call(Call::<Reg>::raw(KTIME_GET_NS, vec![Arg::from(&map)]));
    b.ret(0);
    b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"))
}

fn seen(maps: &Maps) -> u64 {
    maps.typed(&SEEN).unwrap().lookup(&0).unwrap().unwrap()
}

/// Attaches a counting program there. `hit` makes it run, while it is attached and after; how often
/// it ran, at least, is 1 and then 0.
fn runs_while_attached(kind: ProgramType, retval: i32, target: Target<'_>, hit: impl Fn()) {
    let written = counting(kind, retval);
    let maps = Maps::create([&written]).unwrap();
    let loaded = program(&written, &maps).unwrap();
    let link = attach(&written, &loaded, target).unwrap_or_else(|error| panic!("{error}"));
    hit();
    let while_attached = seen(&maps);
    assert!(while_attached > 0, "{target:?}: it did not run");
    drop(link);
    // Some are released on a work queue.
    for _ in 0..100 {
        let before = seen(&maps);
        hit();
        if seen(&maps) == before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{target:?}: it still runs");
}

fn send_a_datagram() {
    let (receiver, sender) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    sender.send_to(b"x", receiver.local_addr().unwrap()).unwrap();
    receiver.recv(&mut [0]).unwrap();
}

#[test]
fn a_map_has_every_attribute_of_its_definition() {
    const INNER: MapRef<u32, u64> = MapRef::new("inner", MapKind::Array, 2);
    let defs = [
        *MapRef::<u32, u64>::new("flags", MapKind::Hash, 8).flags(MapSpec::NO_PREALLOC).def(),
        *MapRef::<u32, u64>::new("numa", MapKind::Array, 3).numa_node(0).def(),
        *MapRef::<(), u64>::keyless("bloom", MapKind::BloomFilter, 4).extra(3).def(),
        *MapRef::array_of_maps("outer", INNER.def(), 2).def(),
        *MapRef::ring_buffer("ring", 4096).def(),
    ];
    for def in defs {
        let program = using(def);
        let maps = Maps::create([&program]).unwrap_or_else(|error| panic!("{}: {error}", def.name));
        let info = maps.get(def.name).unwrap().info().unwrap();
        let found = (info.kind.raw(), info.key_size, info.value_size, info.max_entries, info.flags);
        let wanted = (def.kind.number(), def.key_size, def.value_size, def.max_entries, def.flags);
        assert_eq!(found, wanted, "{}", def.name);
        assert_eq!(info.map_extra, def.extra, "{}", def.name);
        assert_eq!(info.btf_id != 0, def.kind.has_btf(), "{}", def.name);
        super::program(&program, &maps).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_map_of_maps_takes_maps_like_its_template() {
    const INNER: MapRef<u32, u64> = MapRef::new("inner", MapKind::Array, 2);
    const OUTER: MapRef<u32, u32> = MapRef::array_of_maps("outer", INNER.def(), 1);
    let maps = Maps::create([&using(*OUTER.def())]).unwrap();
    let inner = map(INNER.def()).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&inner.as_fd()).to_ne_bytes();
    maps.get("outer").unwrap().update(&[0; 4], &fd, Update::ANY).unwrap();
    let id = maps.typed(&OUTER).unwrap().lookup(&0).unwrap();
    assert_eq!(id, Some(inner.info().unwrap().id));
}

#[test]
fn programs_share_the_maps_of_one_name_and_cannot_define_it_twice() {
    let (first, second) =
        (counting(ProgramType::SocketFilter, 0), counting(ProgramType::Classifier, 0));
    let maps = Maps::create([&first, &second]).unwrap();
    assert_eq!(maps.iter().count(), 1);
    for written in [&first, &second] {
        program(written, &maps).unwrap().test_run(&[0; 64], 1).unwrap();
    }
    assert_eq!(seen(&maps), 2);

    let other = using(*MapRef::<u32, u64>::new("seen", MapKind::Array, 2).def());
    let error = Maps::create([&first, &other]).unwrap_err();
    assert!(matches!(error, LoadError::Ambiguous { .. }), "{error}");
    let error = program(&first, &Maps::default()).unwrap_err();
    assert!(matches!(error, LoadError::NoMap { .. }), "{error}");
}

#[test]
fn pinned_maps_are_found_again_and_must_be_as_defined() {
    in_own_bpffs(|folder| {
        let written = counting(ProgramType::SocketFilter, 0);
        let run = || {
            let maps = Maps::create_pinned([&written], folder).unwrap();
            program(&written, &maps).unwrap().test_run(&[0; 64], 1).unwrap();
            seen(&maps)
        };
        assert_eq!((run(), run()), (1, 2));
        let other = using(*MapRef::<u32, u64>::new("seen", MapKind::Array, 2).def());
        let error = Maps::create_pinned([&other], folder).unwrap_err();
        let LoadError::Differs { attribute, found, wanted, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((attribute, found, wanted), ("number of entries", 1, 2));
    });
}

#[test]
fn a_rejected_program_shows_the_verifiers_log_under_its_rust_line() {
    let b = Builder::new("reader");
    let number = b.value(64).cast::<u64>();
    let (line, ()) = (line!(), b.ret(b.load(number.at_all())));
    let written = b.finish(ProgramType::SocketFilter).unwrap();
    let error = program(&written, &Maps::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("program `reader`") && text.contains("invalid mem access"), "{text}");
    assert!(text.contains(&format!("tests.rs:{line}")), "{text}");
    assert_eq!(error.errno(), Some(Errno::ACCES));
}

#[test]
fn an_accepted_program_has_a_log_and_its_own_read_only_data() {
    let b = Builder::new("constant");
    b.ret(b.load(b.bytes(&7u32.to_ne_bytes()).cast::<u32>().at_all()));
    let written = b.finish(ProgramType::SocketFilter).unwrap();
    let maps = Maps::create([&written]).unwrap();
    assert_eq!(maps.iter().count(), 0);
    let (loaded, log) = program_with_log(&written, &maps, LogLevel::BASIC).unwrap();
    assert!(log.contains("processed"), "{log}");
    assert_eq!(loaded.test_run(&[0; 64], 1).unwrap().retval, 7);
}

#[test]
fn programs_of_a_network_device_run_while_they_are_attached() {
    in_own_network(|| {
        const XDP_PASS: i32 = 2;
        const TCX_NEXT: i32 = -1;
        for (kind, retval, target) in [
            (ProgramType::Xdp, XDP_PASS, Target::Device(LOOPBACK)),
            (ProgramType::Classifier, TCX_NEXT, Target::Ingress(LOOPBACK)),
            (ProgramType::Classifier, TCX_NEXT, Target::Egress(LOOPBACK)),
        ] {
            runs_while_attached(kind, retval, target, send_a_datagram);
        }
    });
}

#[test]
fn a_program_of_a_cgroup_runs_while_it_is_attached() {
    let cgroup = Cgroup::new();
    let folder = cgroup.open();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for kind in [ProgramType::Connect4, ProgramType::SockCreate, ProgramType::CgroupEgress] {
        let target = Target::Cgroup(folder.as_fd());
        runs_while_attached(kind, 1, target, || cgroup.connect(port));
    }
}

record! {
    /// The arguments of the LSM hook, whose name is the record's.
    struct socket_create { family: u64, kind: u64, protocol: u64, kern: u64 }
}

record! {
    /// The arguments of a function of the kernel.
    struct __sock_create { net: u64, family: u64 }
}

#[test]
fn tracing_programs_run_while_they_are_attached() {
    runs_while_attached(
        ProgramType::RawTracepoint,
        0,
        Target::RawTracepoint("sys_enter"),
        send_a_datagram,
    );
    // By BTF: the context's type says which.
    let b = Builder::new("received");
    let arguments = b.context::<sock_recv_length>();
    b.when(b.load(arguments.at(sock_recv_length::ret)).eq(1), || {
        b.atomic(Modify::Add, b.map_value(&SEEN).at_all(), &b.value(1));
    });
    b.ret(0);
    let written = b.finish(ProgramType::Tracepoint).unwrap();
    let maps = Maps::create([&written]).unwrap();
    let loaded = program(&written, &maps).unwrap();
    let _link = attach(&written, &loaded, Target::AsLoaded).unwrap();
    send_a_datagram();
    assert!(seen(&maps) >= 1);
}

/// Attaches a program that is loaded for a function of the kernel, and sees it run. A kernel whose
/// security policy refuses such programs even to root says so, and before it verifies them.
fn runs_or_is_refused_by_policy(kind: ProgramType, write: impl Fn(&Builder), hit: impl Fn()) {
    let b = Builder::new("traced");
    write(&b);
    let written = b.finish(kind).unwrap_or_else(|errors| panic!("{errors}"));
    let maps = Maps::create([&written]).unwrap();
    match program(&written, &maps) {
        Ok(loaded) => {
            let _link = attach(&written, &loaded, Target::AsLoaded).unwrap();
            hit();
            // A hook that is attached to is called only where the module is active.
            let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
            let is_called = modules.split(',').any(|module| module.trim() == "bpf");
            let runs = seen(&maps) > 0;
            assert!(runs || kind == ProgramType::Lsm && !is_called, "{kind:?}: it did not run");
        }
        Err(LoadError::Rejected { rejected, .. }) => {
            assert_eq!(rejected.errno, Errno::PERM, "{rejected}");
            assert_eq!(rejected.cause.log(), Some(""), "{rejected}");
            eprintln!("{kind:?}: refused by this kernel's security policy: {rejected}");
        }
        Err(other) => panic!("{kind:?}: {other}"),
    }
}

#[test]
fn programs_of_a_function_and_of_an_lsm_hook_run_where_the_kernel_lets_root_load_them() {
    let count = |b: &Builder| {
        b.atomic(Modify::Add, b.map_value(&SEEN).at_all(), &b.value(1));
        b.ret(0);
    };
    let entry = |b: &Builder| {
        b.context::<__sock_create>();
        count(b);
    };
    runs_or_is_refused_by_policy(ProgramType::Entry, entry, send_a_datagram);
    let hook = |b: &Builder| {
        b.context::<socket_create>();
        count(b);
    };
    runs_or_is_refused_by_policy(ProgramType::Lsm, hook, send_a_datagram);
}

/// What the uprobe below is at.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn bpf_syscalls_probed(number: u64) -> u64 {
    std::hint::black_box(number + 1)
}

#[test]
fn a_kprobe_program_runs_at_code_of_a_process() {
    let (file, offset) = place_of(bpf_syscalls_probed as *const () as usize);
    let hit = || _ = std::hint::black_box(bpf_syscalls_probed(1));
    runs_while_attached(ProgramType::Kprobe, 0, Target::UserCode(Path::new(&file), offset), hit);
}

/// The file that is mapped at an address of this process, and the offset in it.
fn place_of(address: usize) -> (String, u64) {
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (from, to) = words[0].split_once('-').unwrap();
        let [from, to, offset] =
            [from, to, words[2]].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        if (from..to).contains(&address) {
            return (words[5].to_owned(), (address - from + offset) as u64);
        }
    }
    panic!("{address:#x} is not mapped");
}

#[test]
fn a_kernel_without_kprobes_says_so_and_one_with_them_runs_the_program() {
    let target = Target::KernelFunction("__sys_socket");
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        runs_while_attached(ProgramType::Kprobe, 0, target, send_a_datagram);
        let target = Target::KernelReturn("__sys_socket");
        return runs_while_attached(ProgramType::Kprobe, 0, target, send_a_datagram);
    }
    let written = counting(ProgramType::Kprobe, 0);
    let maps = Maps::create([&written]).unwrap();
    let loaded = program(&written, &maps).unwrap();
    let error = attach(&written, &loaded, target).unwrap_err().to_string();
    assert!(error.contains("CONFIG_KPROBE_EVENTS"), "{error}");
}

#[test]
fn a_program_does_not_attach_where_its_type_does_not() {
    let written = counting(ProgramType::SocketFilter, 0);
    let maps = Maps::create([&written]).unwrap();
    let loaded = program(&written, &maps).unwrap();
    let error = attach(&written, &loaded, Target::Device(LOOPBACK)).unwrap_err();
    assert!(matches!(error, LoadError::WrongTarget { .. }), "{error}");
    assert!(error.to_string().contains("SocketFilter"), "{error}");
}
