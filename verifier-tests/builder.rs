//! What the builder can write besides shunt's programs: the verifier accepts it, and it computes
//! the right result.

use std::sync::{Arc, LazyLock};

use bpf_asm::insn::{Alu, AluOp, Extension, Insn, PacketSize, Register, Source, Width};
use bpf_asm::uapi::{self, BPF_F_NO_PREALLOC};
use bpf_asm::{
    __sk_buff, Arg, Builder, Call, EndianBits, Fetch, MapDef, MapKind, MapRef, Modify, Program,
    ProgramType, Ptr, Raw, Reg, bpf_raw_tracepoint_args, bpf_sk_lookup, bpf_sock, bpf_sock_addr,
    bpf_sockopt, bpf_user_pt_regs_t, helper, record,
};
use syscalls::load::{self, Maps};
use syscalls::{Btf, Prog};

use crate::instructions::running;

/// An experimental EtherType: for known protocols, the kernel requires the headers.
const PACKET: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0xb5, 0x81, 0x92, 0xa3, 0xb4, 18, 19, 20, 21, 22,
    23, 24, 25, 26, 27, 28, 29, 30, 31,
];

/// Loads a program with its maps.
fn loaded(program: &Program) -> Prog {
    let name = program.name();
    let maps = Maps::create([program]).unwrap_or_else(|error| panic!("{name}: {error}\n{program}"));
    load::program(program, &maps).unwrap_or_else(|error| panic!("{name}: {error}\n{program}"))
}

/// The return value of a program of this type for [`PACKET`], optimised and not.
fn returned(kind: ProgramType, write: impl Fn(&Builder)) -> u32 {
    let finished = |finish: fn(Builder, ProgramType) -> Result<Program, bpf_asm::BuildErrors>| {
        let b = Builder::new("written");
        write(&b);
        let program = finish(b, kind).unwrap_or_else(|errors| panic!("{errors}"));
        loaded(&program)
            .test_run(&PACKET, 1)
            .unwrap_or_else(|error| panic!("{error}\n{program}"))
            .retval
    };
    let (optimised, written) = (finished(Builder::finish), finished(Builder::finish_as_written));
    assert_eq!(optimised, written, "the optimiser changes the result");
    optimised
}

#[test]
fn a_slot_is_not_reused_while_its_address_may_be_used() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let slot = b.slot::<u64>();
        b.store(slot.place(), 1);
        let address = b.address_of(slot.place());
        drop(slot);
        let other = b.slot::<u64>();
        b.store(other.place(), 2);
        b.ret(b.load(address.at_all()));
    });
    assert_eq!(result, 1);
}

record! {
    struct Numbers { byte: i8, flag: u8, half: i16, word: i32, double: u64 }
}

const NUMBERS: MapRef<u32, Numbers> = MapRef::new("numbers", MapKind::Array, 1);

/// Each step subtracts its expected result, so that 0 remains.
#[test]
fn forms_of_version_4_compute_the_right_results() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let numbers = b.map_value(&NUMBERS);
        let sum = b.value(0);
        // What the verifier does not know, the optimiser does not know either.
        b.store(numbers.at(Numbers::byte), -7);
        b.store(numbers.at(Numbers::half), -700);
        b.store(numbers.at(Numbers::word), -70_000);
        b.store(numbers.at(Numbers::double), 0x0102_0304_0506_0708u64);
        for (loaded, expected) in [
            (b.load_signed(numbers.at(Numbers::byte)), -7),
            (b.load_signed(numbers.at(Numbers::half)), -700),
            (b.load_signed(numbers.at(Numbers::word)), -70_000),
        ] {
            loaded.sub(expected);
            sum.or(&loaded);
        }
        let divided = b.load_signed(numbers.at(Numbers::word));
        divided.sdiv(-300);
        divided.sub(233);
        sum.or(&divided);
        let rest = b.load_signed(numbers.at(Numbers::word));
        rest.srem(300);
        rest.add(100);
        sum.or(&rest);
        let swapped = b.load(numbers.at(Numbers::double));
        swapped.swap_bytes(EndianBits::B64);
        swapped.sub(0x0807_0605_0403_0201i64);
        sum.or(&swapped);
        let low = b.load(numbers.at(Numbers::double));
        low.or(0x80);
        low.extend(Extension::ByteTo64);
        low.add(0x78);
        sum.or(&low);
        b.ret(&sum);
    });
    assert_eq!(result, 0);
}

#[test]
fn ordered_and_atomic_memory_accesses_compute_the_right_results() {
    let write = |b: &Builder| {
        let numbers = b.map_value(&NUMBERS);
        b.store_release(numbers.at(Numbers::half), &b.value(-3));
        b.store_release(numbers.at(Numbers::double), &b.value(40));
        b.atomic(Modify::Add, numbers.at(Numbers::double), &b.value(5));
        let old = b.fetch(Fetch::Exchange, numbers.at(Numbers::double), b.value(7));
        old.add(b.load_acquire(numbers.at(Numbers::double)));
        old.add(b.load_acquire(numbers.at(Numbers::half)));
        b.ret(&old);
    };
    let b = Builder::new("ordered");
    write(&b);
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    if program.requires().kernel > Some(running()) {
        let maps = Maps::create([&program]).expect("make the maps, as root");
        assert!(
            load::program(&program, &maps).is_err(),
            "this kernel accepts instructions that should be newer:\n{program}"
        );
        return;
    }
    assert_eq!(returned(ProgramType::SocketFilter, write), 45 + 7 - 3);
}

#[test]
fn legacy_packet_loads_read_the_bytes() {
    // A filter sees the packet after the Ethernet header.
    type Load = fn(&Builder, &Ptr<__sk_buff>) -> Reg;
    let loads: [(Load, u32); 3] = [
        (|b, packet| b.load_packet(packet, PacketSize::H, 1), 0x92a3),
        (|b, packet| b.load_packet(packet, PacketSize::W, b.value(0)), 0x8192_a3b4),
        (|b, packet| b.load_packet(packet, PacketSize::B, 100), 0),
    ];
    for (load, expected) in loads {
        let result = returned(ProgramType::SocketFilter, |b| {
            let packet = b.context::<__sk_buff>();
            b.ret(load(b, &packet));
        });
        assert_eq!(result, expected);
    }
}

#[test]
fn raw_instructions_work_between_others() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let packet = b.context::<__sk_buff>();
        let length = b.load(packet.at(__sk_buff::len));
        let src = Source::Imm(3);
        let three = Insn::Alu(Alu { width: Width::W32, op: AluOp::Mul, dst: Register::R0, src });
        b.emit(Raw::new(three).dst(&length));
        let frame = Alu {
            width: Width::W64,
            op: AluOp::Mov,
            dst: Register::R3,
            src: Source::Reg(Register::R10),
        };
        let frame = b.emit_value(Insn::Alu(frame)).cast::<u64>();
        b.store(frame.offset::<u64>(-8), &length);
        b.ret(b.load(frame.offset::<u64>(-8)));
    });
    assert_eq!(result, (PACKET.len() as u32 - 14) * 3);
}

/// Backward jumps over more than 16 bits of slots, conditional and not.
#[test]
fn long_jumps_reach_their_targets() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let packet = b.context::<__sk_buff>();
        let (length, far) = (b.load(packet.at(__sk_buff::len)), b.label());
        b.jump_if(length.eq(18), &far);
        (0..33_000).for_each(|_| length.xor(5));
        b.when(length.eq(77), || b.jump(&far));
        length.add(1);
        b.place(&far);
        b.ret(&length);
    });
    assert_eq!(result, 18);
}

#[test]
fn helpers_call_functions_back() {
    const LOOPED: MapRef<u32, u64> = MapRef::new("looped", MapKind::Array, 4);
    let result = returned(ProgramType::SocketFilter, |b| {
        let add = b.function("add", |[index, sum]: [Reg; 2]| {
            let sum = sum.cast::<u64>();
            let new = b.load(sum.at_all());
            new.add(&index);
            b.store(sum.at_all(), &new);
            b.ret(0);
        });
        let one_more = b.function("one_more", |[_map, _key, value, count]: [Reg; 4]| {
            let (value, count) = (value.cast::<u64>(), count.cast::<u64>());
            b.atomic(Modify::Add, value.at_all(), &b.value(1));
            let new = b.load(count.at_all());
            new.add(100);
            b.store(count.at_all(), &new);
            b.ret(0);
        });
        let sum = b.slot::<u64>();
        b.store(sum.place(), 0);
        b.call(helper::bpf_loop(5, &add, &sum, 0));
        b.call(helper::for_each_map_elem(&LOOPED, &one_more, &sum, 0));
        // By a value that holds the address, as for a helper without a signature in this crate.
        let address = b.address_of_function(&add);
        b.call(Call::<Reg>::raw(181, vec![3.into(), address.into(), (&sum).into(), 0.into()]));
        b.ret(b.load(sum.place()));
    });
    assert_eq!(result, 10 + 400 + 3);
}

record! {
    /// Its name in BTF, by which the kernel recognises it.
    #[allow(non_camel_case_types)]
    struct bpf_timer { opaque: [u64; 2] }
    struct Timed { timer: bpf_timer, count: u64 }
}

#[test]
fn a_timer_calls_back() {
    const TIMED: MapRef<u32, Timed> = MapRef::new("timed", MapKind::Array, 1);
    let b = Builder::new("timer");
    let due = b.function("due", |[_map, _key, value]: [Reg; 3]| {
        b.atomic(Modify::Add, value.cast::<Timed>().at(Timed::count), &b.value(1));
        b.ret(0);
    });
    let key = b.slot::<u32>();
    b.store(key.place(), 0);
    let timed = b.call(helper::map_lookup_elem(&TIMED, &key));
    b.when(timed.eq(0), || b.ret(1));
    b.call(helper::timer_init(timed.at(Timed::timer), &TIMED, 1));
    b.call(helper::timer_set_callback(timed.at(Timed::timer), &due));
    b.ret(b.call(helper::timer_start(timed.at(Timed::timer), 0, 0)));
    let program = b.finish(ProgramType::Classifier).unwrap_or_else(|errors| panic!("{errors}"));
    let maps = Maps::create([&program]).expect("make the maps, as root");
    let prog = load::program(&program, &maps).unwrap_or_else(|error| panic!("{error}\n{program}"));
    assert_eq!(prog.test_run(&PACKET, 1).expect("run it").retval, 0);
    let count = || {
        let timed = maps.get("timed").expect("it has been created");
        timed.lookup(&0u32.to_ne_bytes()).expect("read it").expect("an array has its values")[16]
    };
    let start = std::time::Instant::now();
    while count() == 0 {
        assert!(start.elapsed().as_secs() < 10, "the timer has not expired");
        std::thread::yield_now();
    }
    assert_eq!(count(), 1);
}

#[test]
fn kfuncs_are_called_by_name() {
    let result = returned(ProgramType::Classifier, |b| {
        b.call(Call::<Reg>::named("bpf_rcu_read_lock", vec![]));
        b.call(Call::<Reg>::named("bpf_rcu_read_unlock", vec![]));
        b.ret(5);
    });
    assert_eq!(result, 5);

    let b = Builder::new("unknown");
    b.call(Call::<Reg>::named("bpf_no_such_function", vec![]));
    b.ret(0);
    let program = b.finish(ProgramType::Classifier).unwrap_or_else(|errors| panic!("{errors}"));
    let error = load::program(&program, &Maps::default())
        .expect_err("there is no such function")
        .to_string();
    assert!(error.contains("`bpf_no_such_function`") && error.contains("modules"), "{error}");

    // An unresolved kfunc is rejected.
    let image = program.relocate(|_| -1);
    let spec =
        syscalls::ProgSpec::new(syscalls::ProgKind::from_raw(3), "unknown", c"GPL", &image.insns);
    assert!(Prog::load(&spec).is_err());
}

#[test]
fn read_only_data_can_be_read_but_not_written() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let name = b.slot::<[u8; 8]>();
        b.zero(name.place());
        b.store(name.place().index(0), b'h');
        b.store(name.place().index(1), b'i');
        let same = b.call(helper::strncmp(&name, 8, b.string("hi")));
        let numbers =
            b.bytes(&[7u32.to_ne_bytes(), 9u32.to_ne_bytes()].concat()).cast::<[u32; 2]>();
        same.lsh(8);
        same.add(b.load(numbers.at_all().index(1)));
        b.ret(&same);
    });
    assert_eq!(result, 9);

    let b = Builder::new("writes");
    b.store(b.string("hi").at_all(), 0);
    b.ret(0);
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    let maps = Maps::create([&program]).expect("make the maps, as root");
    let error =
        load::program(&program, &maps).expect_err("it writes to read-only data").to_string();
    assert!(error.contains("write into map forbidden"), "{error}");
}

record! {
    /// An address with a prefix length.
    struct Prefix { bits: u32, address: u32 }
}

/// Every kind of map that needs no device can be created, and used by a program if there is one
/// that needs no device.
#[test]
fn maps_of_every_kind_are_created_with_their_attributes() {
    const INNER: MapRef<u32, u64> = MapRef::new("inner", MapKind::Array, 1);
    const OUTER: MapRef<u32, u32> = MapRef::array_of_maps("outer", INNER.def(), 2);
    let maps: [(MapDef, &str); 29] = [
        (*MapRef::<u32, u64>::new("hash", MapKind::Hash, 4).def(), "hash"),
        (*MapRef::<u32, u64>::new("array", MapKind::Array, 4).numa_node(0).def(), "array"),
        (*MapRef::<u32, u32>::new("progs", MapKind::ProgArray, 4).def(), "prog_array"),
        (*MapRef::<u32, u32>::new("perf", MapKind::PerfEventArray, 4).def(), "perf_event_array"),
        (*MapRef::<u32, u64>::new("phash", MapKind::PerCpuHash, 4).def(), "percpu_hash"),
        (*MapRef::<u32, u64>::new("parray", MapKind::PerCpuArray, 4).def(), "percpu_array"),
        (*MapRef::<u32, [u64; 16]>::new("stacks", MapKind::StackTrace, 4).def(), "stack_trace"),
        (*MapRef::<u32, u32>::new("cgroups", MapKind::CgroupArray, 4).def(), "cgroup_array"),
        (*MapRef::<u32, u64>::new("lru", MapKind::LruHash, 4).def(), "lru_hash"),
        (*MapRef::<u32, u64>::new("plru", MapKind::LruPerCpuHash, 4).def(), "lru_percpu_hash"),
        (
            *MapRef::<Prefix, u64>::new("lpm", MapKind::LpmTrie, 4).flags(BPF_F_NO_PREALLOC).def(),
            "lpm_trie",
        ),
        (*OUTER.def(), "array_of_maps"),
        (
            *MapRef::<u64, u32>::new("maps", MapKind::HashOfMaps, 4).inner(INNER.def()).def(),
            "hash_of_maps",
        ),
        (*MapRef::<u32, u32>::new("devs", MapKind::DevMap, 4).def(), "devmap"),
        (*MapRef::<u32, u64>::new("socks", MapKind::SockMap, 4).def(), "sockmap"),
        (*MapRef::<u32, u32>::new("cpus", MapKind::CpuMap, 1).def(), "cpumap"),
        (*MapRef::<u32, u32>::new("xsks", MapKind::XskMap, 4).def(), "xskmap"),
        (*MapRef::<u64, u64>::new("sockets", MapKind::SockHash, 4).def(), "sockhash"),
        (
            *MapRef::<u32, u64>::new("reuse", MapKind::ReusePortSockArray, 4).def(),
            "reuseport_sockarray",
        ),
        (*MapRef::<(), u64>::keyless("queue", MapKind::Queue, 4).def(), "queue"),
        (*MapRef::<(), u64>::keyless("stack", MapKind::Stack, 4).def(), "stack"),
        (
            *MapRef::<u32, u64>::new("sk", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC).def(),
            "sk_storage",
        ),
        (*MapRef::<u32, u32>::new("devhash", MapKind::DevMapHash, 4).def(), "devmap_hash"),
        (*MapRef::ring_buffer("ring", 4096).def(), "ringbuf"),
        (
            *MapRef::<u32, u64>::new("tasks", MapKind::TaskStorage, 0)
                .flags(BPF_F_NO_PREALLOC)
                .def(),
            "task_storage",
        ),
        (
            *MapRef::<(), u64>::keyless("bloom", MapKind::BloomFilter, 4).extra(3).def(),
            "bloom_filter",
        ),
        (
            *MapRef::<u32, u64>::new("cgrps", MapKind::CgrpStorage, 0)
                .flags(BPF_F_NO_PREALLOC)
                .def(),
            "cgrp_storage",
        ),
        (*MapRef::arena("arena", 2).extra(1 << 44).def(), "arena"),
        // By number, as for a kind without a name here: an LRU hash.
        (*MapRef::<u32, u64>::new("other", MapKind::Other(9), 4).def(), "lru_hash"),
    ];
    for (def, name) in maps {
        assert_eq!(def.kind.number(), enumerator("BPF_MAP_TYPE_", &name.to_uppercase()), "{name}");
        // A program that only refers to it.
        let b = Builder::new("names");
        let map: MapRef<(), ()> = MapRef::described(def);
        b.call(Call::<Reg>::raw(5, vec![Arg::from(&map)]));
        b.ret(0);
        let program =
            b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
        let made = Maps::create([&program]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let info = made.iter().next().expect("it has one").info().expect("read the map's info");
        // For maps of devices, the kernel adds the flag that programs cannot write to them.
        let sizes = (info.kind.raw(), info.key_size, info.value_size, info.flags & def.flags);
        assert_eq!(sizes, (def.kind.number(), def.key_size, def.value_size, def.flags), "{name}");
        load::program(&program, &made).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn maps_without_keys_and_maps_of_maps_are_used() {
    const INNER: MapRef<u32, u64> = MapRef::new("inner", MapKind::Array, 1);
    const OUTER: MapRef<u32, u32> = MapRef::array_of_maps("outer", INNER.def(), 1);
    const QUEUE: MapRef<(), u64> = MapRef::keyless("queue", MapKind::Queue, 4);
    const SEEN: MapRef<(), u64> = MapRef::keyless("seen", MapKind::BloomFilter, 4);
    const VALUE: MapRef<u32, u64> = MapRef::new("value", MapKind::Array, 1);
    let result = returned(ProgramType::SocketFilter, |b| {
        let value = b.slot::<u64>();
        b.store(value.place(), 40);
        b.call(helper::map_push_elem(&QUEUE, &value, 0));
        b.call(helper::map_push_elem(&SEEN, &value, 0));
        // Not from the stack: Linux 7.3 takes for granted that peeking writes, and forgets what
        // lies there.
        let asked = b.map_value(&VALUE);
        b.store(asked.at_all(), 40);
        let unseen = b.call(helper::map_peek_elem(&SEEN, &asked));
        b.store(value.place(), 0);
        b.call(helper::map_pop_elem(&QUEUE, &value));
        unseen.add(b.load(value.place()));
        let key = b.slot::<u32>();
        b.store(key.place(), 0);
        let inner = b.call(helper::map_lookup_elem(&OUTER, &key));
        // The outer map is empty.
        b.when(inner.ne(0), || {
            let there: Ptr<u64> = b.call(Call::raw(1, vec![inner.into(), (&key).into()]));
            b.when(there.ne(0), || b.ret(b.load(there.at_all())));
            b.ret(1);
        });
        unseen.add(2);
        b.ret(&unseen);
    });
    assert_eq!(result, 42);
}

#[test]
fn program_types_have_the_kernels_numbers() {
    let result = returned(ProgramType::Other { number: 1, attach_type: 0 }, |b| b.ret(3));
    assert_eq!(result, 3);
    for (kind, number, attach_type) in TYPES {
        let loads =
            !["TRACING", "LSM", "STRUCT_OPS", "EXT", "SYSCALL", "NETFILTER"].contains(&number);
        let named = (enumerator("BPF_PROG_TYPE_", number), enumerator("BPF_", attach_type));
        assert_eq!((kind.number(), kind.attach_type()), named, "{kind:?}");
        // Types that need a target, a flag or a hook are loaded elsewhere.
        if loads {
            let b = Builder::new("typed");
            b.ret(i32::from(kind != ProgramType::FlowDissector));
            let info = loaded(&b.finish(kind).unwrap_or_else(|errors| panic!("{errors}")))
                .info()
                .expect("ask");
            assert_eq!(info.kind.raw(), kind.number(), "{kind:?}");
        }
    }
}

/// The number of a name in vmlinux BTF, 0 for an empty name.
fn enumerator(prefix: &str, name: &str) -> u32 {
    static BTF: LazyLock<Arc<Btf>> =
        LazyLock::new(|| Btf::vmlinux().expect("read the kernel's BTF"));
    if name.is_empty() {
        return 0;
    }
    BTF.enumerator(&format!("{prefix}{name}")).unwrap_or_else(|error| panic!("{error}")) as u32
}

/// The numbers of the kernel's headers are those of its BTF.
#[test]
fn numbers_of_the_uapi_are_the_kernels() {
    for (name, number) in uapi::ALL {
        assert_eq!(enumerator("", name), *number as u32, "{name}");
    }
}

/// Program types, with the kernel's names of type and attach type.
const TYPES: [(ProgramType, &str, &str); 45] = [
    (ProgramType::SocketFilter, "SOCKET_FILTER", ""),
    (ProgramType::Kprobe, "KPROBE", ""),
    (ProgramType::Classifier, "SCHED_CLS", ""),
    (ProgramType::PlainTracepoint, "TRACEPOINT", ""),
    (ProgramType::Xdp, "XDP", "XDP"),
    (ProgramType::PerfEvent, "PERF_EVENT", ""),
    (ProgramType::CgroupIngress, "CGROUP_SKB", "CGROUP_INET_INGRESS"),
    (ProgramType::CgroupEgress, "CGROUP_SKB", "CGROUP_INET_EGRESS"),
    (ProgramType::SockCreate, "CGROUP_SOCK", "CGROUP_INET_SOCK_CREATE"),
    (ProgramType::PostBind4, "CGROUP_SOCK", "CGROUP_INET4_POST_BIND"),
    (ProgramType::PostBind6, "CGROUP_SOCK", "CGROUP_INET6_POST_BIND"),
    (ProgramType::SockOps, "SOCK_OPS", "CGROUP_SOCK_OPS"),
    (ProgramType::SkSkbVerdict, "SK_SKB", "SK_SKB_VERDICT"),
    (ProgramType::CgroupDevice, "CGROUP_DEVICE", "CGROUP_DEVICE"),
    (ProgramType::SkMsg, "SK_MSG", "SK_MSG_VERDICT"),
    (ProgramType::RawTracepoint, "RAW_TRACEPOINT", ""),
    (ProgramType::Bind4, "CGROUP_SOCK_ADDR", "CGROUP_INET4_BIND"),
    (ProgramType::Bind6, "CGROUP_SOCK_ADDR", "CGROUP_INET6_BIND"),
    (ProgramType::Connect4, "CGROUP_SOCK_ADDR", "CGROUP_INET4_CONNECT"),
    (ProgramType::Connect6, "CGROUP_SOCK_ADDR", "CGROUP_INET6_CONNECT"),
    (ProgramType::SendMsg4, "CGROUP_SOCK_ADDR", "CGROUP_UDP4_SENDMSG"),
    (ProgramType::SendMsg6, "CGROUP_SOCK_ADDR", "CGROUP_UDP6_SENDMSG"),
    (ProgramType::RecvMsg4, "CGROUP_SOCK_ADDR", "CGROUP_UDP4_RECVMSG"),
    (ProgramType::RecvMsg6, "CGROUP_SOCK_ADDR", "CGROUP_UDP6_RECVMSG"),
    (ProgramType::GetPeerName4, "CGROUP_SOCK_ADDR", "CGROUP_INET4_GETPEERNAME"),
    (ProgramType::GetPeerName6, "CGROUP_SOCK_ADDR", "CGROUP_INET6_GETPEERNAME"),
    (ProgramType::GetSockName4, "CGROUP_SOCK_ADDR", "CGROUP_INET4_GETSOCKNAME"),
    (ProgramType::GetSockName6, "CGROUP_SOCK_ADDR", "CGROUP_INET6_GETSOCKNAME"),
    (ProgramType::SkReuseport, "SK_REUSEPORT", "SK_REUSEPORT_SELECT"),
    (ProgramType::FlowDissector, "FLOW_DISSECTOR", "FLOW_DISSECTOR"),
    (ProgramType::Sysctl, "CGROUP_SYSCTL", "CGROUP_SYSCTL"),
    (ProgramType::GetSockOpt, "CGROUP_SOCKOPT", "CGROUP_GETSOCKOPT"),
    (ProgramType::SetSockOpt, "CGROUP_SOCKOPT", "CGROUP_SETSOCKOPT"),
    (ProgramType::Tracepoint, "TRACING", "TRACE_RAW_TP"),
    (ProgramType::Entry, "TRACING", "TRACE_FENTRY"),
    (ProgramType::Exit, "TRACING", "TRACE_FEXIT"),
    (ProgramType::ModifyReturn, "TRACING", "MODIFY_RETURN"),
    (ProgramType::Iterator, "TRACING", "TRACE_ITER"),
    (ProgramType::StructOps, "STRUCT_OPS", ""),
    (ProgramType::Extension, "EXT", ""),
    (ProgramType::Lsm, "LSM", "LSM_MAC"),
    (ProgramType::LsmCgroup, "LSM", "LSM_CGROUP"),
    (ProgramType::SkLookup, "SK_LOOKUP", "SK_LOOKUP"),
    (ProgramType::Syscall, "SYSCALL", ""),
    (ProgramType::Netfilter, "NETFILTER", "NETFILTER"),
];

/// The readable fields of each context, which the verifier checks by offset and width.
#[test]
fn fields_of_contexts_are_read() {
    let socket = |b: &Builder, sk: Ptr<bpf_sock>| {
        b.when(sk.eq(0), || b.ret(1));
        b.load(sk.at(bpf_sock::socket_type)).add(b.load(sk.at(bpf_sock::protocol)));
        b.load(sk.at(bpf_sock::dst_port)).add(b.load(sk.at(bpf_sock::rx_queue_mapping)));
    };
    type Write<'a> = &'a dyn Fn(&Builder);
    let programs: [(ProgramType, Write<'_>); 8] = [
        (ProgramType::Classifier, &|b| {
            let packet = b.context::<__sk_buff>();
            let sum = b.load(packet.at(__sk_buff::gso_size));
            sum.add(b.load(packet.at(__sk_buff::tstamp_type)));
            sum.add(b.load(packet.at(__sk_buff::hwtstamp)));
            sum.add(b.load(packet.at(__sk_buff::tc_classid)));
            let (start, end) = (
                b.load(packet.at(__sk_buff::data)).cast::<[u8; 14]>(),
                b.load(packet.at(__sk_buff::data_end)),
            );
            let behind = b.value(&start);
            behind.add(14);
            b.when(behind.le(&end), || drop(b.load(start.at_all().index(13))));
            let sk = b.load(packet.at(__sk_buff::sk));
            b.when(sk.eq(0), || b.ret(1));
            socket(b, b.call(helper::sk_fullsock(&sk)));
        }),
        (ProgramType::Connect4, &|b| {
            let call = b.context::<bpf_sock_addr>();
            b.load(call.at(bpf_sock_addr::socket_type))
                .add(b.load(call.at(bpf_sock_addr::protocol)));
            b.store(call.at(bpf_sock_addr::user_port), b.load(call.at(bpf_sock_addr::user_port)));
            socket(b, b.load(call.at(bpf_sock_addr::sk)));
        }),
        (ProgramType::SendMsg6, &|b| {
            let call = b.context::<bpf_sock_addr>();
            let word = b.load(call.at(bpf_sock_addr::msg_src_ip6).index(3));
            b.store(call.at(bpf_sock_addr::msg_src_ip6).index(3), &word);
        }),
        (ProgramType::SockCreate, &|b| {
            let sk = b.context::<bpf_sock>();
            b.store(sk.at(bpf_sock::mark), b.load(sk.at(bpf_sock::priority)));
        }),
        (ProgramType::SkLookup, &|b| {
            let lookup = b.context::<bpf_sk_lookup>();
            let sum = b.load(lookup.at(bpf_sk_lookup::local_port));
            sum.add(b.load(lookup.at(bpf_sk_lookup::remote_port)));
            sum.add(b.load(lookup.at(bpf_sk_lookup::ingress_ifindex)));
            sum.add(b.load(lookup.at(bpf_sk_lookup::remote_ip6).index(1)));
            socket(b, b.load(lookup.at(bpf_sk_lookup::sk)));
        }),
        (ProgramType::SetSockOpt, &|b| {
            let option = b.context::<bpf_sockopt>();
            b.load(option.at(bpf_sockopt::level)).add(b.load(option.at(bpf_sockopt::optname)));
            socket(b, b.load(option.at(bpf_sockopt::sk)));
        }),
        (ProgramType::RawTracepoint, &|b| {
            let arguments = b.context::<bpf_raw_tracepoint_args>();
            let first = b.load(arguments.at(bpf_raw_tracepoint_args::args).index(0));
            first.add(b.load(arguments.at(bpf_raw_tracepoint_args::args).index(11)));
        }),
        (ProgramType::Kprobe, &|b| {
            let registers = b.context::<bpf_user_pt_regs_t>();
            let sum = b.load(registers.at(bpf_user_pt_regs_t::RESULT));
            bpf_user_pt_regs_t::ARGUMENTS
                .into_iter()
                .for_each(|argument| sum.add(b.load(registers.at(argument))));
            sum.add(b.load(registers.at(bpf_user_pt_regs_t::sp)));
        }),
    ];
    for (kind, write) in programs {
        let b = Builder::new("reads");
        write(&b);
        b.ret(1);
        // The results are unused, so the optimiser would remove the loads.
        let program = b.finish_as_written(kind).unwrap_or_else(|errors| panic!("{errors}"));
        loaded(&program);
    }
}
