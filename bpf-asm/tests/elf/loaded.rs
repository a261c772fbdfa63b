//! libbpf loads what is written, and it runs as specified.

use bpf_asm::text;
use bpf_asm::{
    __sk_buff, Builder, Call, MapKind, MapRef, Program, ProgramType, Ptr, Reg, bpf_sock_addr,
    bpf_sock_ops, bpf_sockopt, elf, helper, sk_msg_md, xdp_md,
};

use bpftool::{json, run};

bpf_asm::record! {
    /// Counters.
    pub struct Traffic {
        /// Number of runs.
        pub packets: u64,
        /// Bytes of all packets.
        pub bytes: u32,
        /// Bytes of the last two packets.
        pub last: [u16; 2],
    }
}

const TRAFFIC: MapRef<u32, Traffic> = MapRef::new("traffic", MapKind::Hash, 16);
const TOTAL: MapRef<u32, Traffic> = MapRef::new("total", MapKind::Array, 1);

fn object(programs: &[&Program]) -> Vec<u8> {
    let unit = elf::unit("GPL", programs).unwrap_or_else(|error| panic!("{error}"));
    elf::write(&unit).unwrap_or_else(|error| panic!("{error}"))
}

fn finish(b: Builder, kind: ProgramType) -> Program {
    b.finish(kind).unwrap_or_else(|error| panic!("{error}"))
}

/// Counts in a map under key 7, with a function; returns the number of packets so far. Also returns
/// the function's first line.
fn count() -> (Program, u32) {
    let b = Builder::new("count");
    let packet = b.context::<__sk_buff>();
    let line = line!() + 2;
    let double = b.function("double", |[number]: [bpf_asm::Reg; 1]| {
        number.lsh(1);
        b.ret(&number);
    });
    let length = b.load(packet.at(__sk_buff::len));
    let (key, new) = (b.slot::<u32>(), b.slot::<Traffic>());
    b.store(key.place(), 7);
    b.zero(new.place());
    b.call(helper::map_update_elem(&TRAFFIC, &key, &new, 1));
    let found = b.call(helper::map_lookup_elem(&TRAFFIC, &key));
    b.when(found.eq(0), || b.ret(0));
    let packets = b.load(found.at(Traffic::packets));
    packets.add(1);
    b.store(found.at(Traffic::packets), &packets);
    b.store(found.at(Traffic::bytes), &length);
    drop(packets);
    let doubled = b.call_local(&double, [(&length).into()]);
    b.store(found.at(Traffic::last.index::<1>()), &doubled);
    drop(doubled);
    b.ret(b.load(found.at(Traffic::packets)));
    (finish(b, ProgramType::SocketFilter), line)
}

#[test]
fn a_program_with_a_map_and_a_function_runs_and_names_its_lines_and_fields() {
    let (program, line) = count();
    let run_once = "bpftool -j prog run pinned progs/count data_in ../packet repeat 1";
    let dump = "bpftool prog dump xlated pinned progs/count linum";
    let said = run(
        &object(&[&program]),
        &[run_once, run_once, run_once, dump, "bpftool map dump pinned maps/traffic"],
    );
    let answers: Vec<_> = said[..3].iter().map(|answer| json(answer)["retval"].clone()).collect();
    assert_eq!(answers, [1, 2, 3]);
    let (dump, map) = (&said[3], json(&said[4]));
    assert!(dump.contains("int count(struct __sk_buff * context):"), "{dump}");
    assert!(dump.contains("int double(") || dump.contains("double:"), "{dump}");
    for line in [line, line + 1] {
        assert!(
            dump.contains(&format!("[file:{} line_num:{line} line_col:", file!())),
            "no line {line} in {dump}"
        );
    }
    assert!(dump.contains("; r1 = map[name:traffic] [file:"), "{dump}");
    // A socket filter sees a packet without its 14 bytes of Ethernet.
    let expected =
        serde_json::json!([{"key": 7, "value": {"packets": 3, "bytes": 50, "last": [0, 100]}}]);
    assert_eq!(map, expected);
}

/// Two programs with strings of their own, which share the section of read-only data.
#[test]
fn read_only_data_of_several_programs_is_loaded_and_frozen() {
    let asks = |name: &'static str, text: &str, other: &str| {
        let b = Builder::new(name);
        let found = b.slot::<[u8; 8]>();
        b.zero(found.place());
        for (index, byte) in text.bytes().enumerate() {
            b.store(found.place().index(index), i32::from(byte));
        }
        let same = b.call(helper::strncmp(&found, 8, b.string(text)));
        let differs = b.call(helper::strncmp(&found, 8, b.string(other)));
        same.lsh(1);
        b.when(differs.ne(0), || {
            same.add(1);
        });
        b.ret(&same);
        finish(b, ProgramType::SocketFilter)
    };
    let programs = [asks("first", "one", "two"), asks("second", "three", "one")];
    let object = object(&[&programs[0], &programs[1]]);
    let said = run(
        &object,
        &[
            "bpftool -j prog run pinned progs/first data_in ../packet repeat 1",
            "bpftool -j prog run pinned progs/second data_in ../packet repeat 1",
            "bpftool -j map show pinned maps/*_rodata",
        ],
    );
    assert_eq!([&json(&said[0])["retval"], &json(&said[1])["retval"]], [1, 1]);
    assert_eq!(json(&said[2])["frozen"], 1, "{}", said[2]);
    // As text, they are the same.
    let text = elf::disassemble(&object, &text::Style::default()).expect("a text");
    assert!(text.contains(".value \".rodata\" \"one\\0"), "{text}");
    let again = elf::assemble("again.s", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let run_second = "bpftool -j prog run pinned progs/second data_in ../packet repeat 1";
    assert_eq!(json(&run(&again.object, &[run_second])[0])["retval"], 1);
}

#[test]
fn maps_are_created_with_the_attributes_of_the_program() {
    const INNER: MapRef<u32, Traffic> = MapRef::new("inner", MapKind::Array, 3);
    const OUTER: MapRef<u32, u32> = MapRef::array_of_maps("outer", INNER.def(), 2);
    const SEEN: MapRef<(), u64> =
        MapRef::keyless("seen", MapKind::BloomFilter, 8).extra(3).numa_node(0);
    let b = Builder::new("names");
    b.call(Call::<Reg>::raw(5, vec![(&OUTER).into(), (&SEEN).into()]));
    b.ret(0);
    let program = finish(b, ProgramType::SocketFilter);
    let object = object(&[&program]);
    let said = run(
        &object,
        &["bpftool -j map show pinned maps/seen", "bpftool -j map show pinned maps/outer"],
    );
    let (seen, outer) = (json(&said[0]), json(&said[1]));
    assert_eq!((&seen["type"], &seen["flags"]), (&"bloom_filter".into(), &4.into()));
    assert_eq!((&outer["type"], &outer["max_entries"]), (&"array_of_maps".into(), &2.into()));
    let text = elf::disassemble(&object, &text::Style::default()).expect("a text");
    assert!(text.contains("flags=0x4 numa_node=0 extra=0x3"), "{text}");
    assert!(text.contains("inner=(array key=4 value=16 entries=3 flags=0x0)"), "{text}");
}

/// Kfuncs, variables and the configuration of the kernel have a form in text, from which libbpf
/// finds them.
#[test]
fn what_the_kernel_defines_is_declared_in_text_and_found_by_libbpf() {
    let source = r#"
        .license "GPL"
        .extern unsigned int LINUX_KERNEL_VERSION __kconfig
        .extern int CONFIG_HZ __kconfig
        .extern int CONFIG_NOT_THERE __kconfig __weak
        .extern void bpf_rcu_read_lock(void)
        .extern void bpf_rcu_read_unlock(void) __ksym
        .extern struct nothing *no_kfunc_of_this_name(struct sock *sk, const char *name) __weak
        .extern const void no_variable_of_this_name __weak
        .section "tc"
        .function ask
            call bpf_rcu_read_lock
            call bpf_rcu_read_unlock
            r1 = extern[no_variable_of_this_name]
            if r1 != 0 goto wrong
            r1 = extern[no_kfunc_of_this_name]
            if r1 != 0 goto wrong
            r1 = CONFIG_NOT_THERE ll
            w1 = *(u32 *)(r1 +0)
            if w1 != 0 goto wrong
            r1 = extern[LINUX_KERNEL_VERSION]
            w0 = *(u32 *)(r1 +0)
            w0 >>= 16
            exit
        wrong:
            r0 = 0
            exit
        "#;
    let assembled =
        elf::assemble("ask.s", source).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let style = text::Style::default();
    let text = elf::disassemble(&assembled.object, &style).expect("a text");
    for part in [
        ".extern unsigned int LINUX_KERNEL_VERSION __kconfig\n",
        ".extern void bpf_rcu_read_lock(void)\n",
        ".extern struct nothing *no_kfunc_of_this_name(struct sock *, const char *) __weak\n",
        ".extern const void no_variable_of_this_name __weak\n",
        "    call bpf_rcu_read_lock\n",
        "    r1 = extern[CONFIG_NOT_THERE]\n",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let again = elf::assemble("again.s", &text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(elf::disassemble(&again.object, &style).expect("a text"), text);
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the version");
    let major: u64 = version.split('.').next().and_then(|n| n.parse().ok()).expect("a number");
    let ask = "bpftool -j prog run pinned progs/ask data_in ../packet repeat 1";
    for object in [assembled.object, again.object] {
        assert_eq!(json(&run(&object, &[ask])[0])["retval"], major, "{text}");
    }
}

#[test]
fn a_directly_addressed_value_is_a_section_of_variables() {
    let b = Builder::new("sum");
    let total: Ptr<Traffic> = b.map_value(&TOTAL);
    let last: Ptr<u16> = b.map_value_at(&TOTAL, Traffic::last.index::<1>());
    b.store(last.at_all(), 9);
    drop(last);
    let packets = b.load(total.at(Traffic::packets));
    packets.add(5);
    b.store(total.at(Traffic::packets), &packets);
    b.ret(&packets);
    let program = finish(b, ProgramType::SocketFilter);
    let run_once = "bpftool -j prog run pinned progs/sum data_in ../packet repeat 1";
    let said = run(
        &object(&[&program]),
        &[run_once, run_once, "bpftool map dump pinned maps/_data_total"],
    );
    assert_eq!([&json(&said[0])["retval"], &json(&said[1])["retval"]], [5, 10]);
    let value = &json(&said[2])[0]["value"][".data.total"][0]["total"];
    assert_eq!(*value, serde_json::json!({"packets": 10, "bytes": 0, "last": [0, 9]}));
}

#[test]
fn libbpf_knows_every_program_type_by_its_section() {
    let answer = |name: &str, kind, context: fn(&Builder), answer: i64| {
        let b = Builder::new(name);
        context(&b);
        b.ret(answer);
        finish(b, kind)
    };
    let programs = [
        (
            answer("filter", ProgramType::SocketFilter, |b| drop(b.context::<__sk_buff>()), 0),
            "socket_filter",
        ),
        (
            answer("classifier", ProgramType::Classifier, |b| drop(b.context::<__sk_buff>()), 0),
            "sched_cls",
        ),
        (answer("frames", ProgramType::Xdp, |b| drop(b.context::<xdp_md>()), 2), "xdp"),
        (
            answer("events", ProgramType::SockOps, |b| drop(b.context::<bpf_sock_ops>()), 1),
            "sock_ops",
        ),
        (
            answer("segments", ProgramType::SkSkbVerdict, |b| drop(b.context::<__sk_buff>()), 1),
            "sk_skb",
        ),
        (answer("messages", ProgramType::SkMsg, |b| drop(b.context::<sk_msg_md>()), 1), "sk_msg"),
        (
            answer("options", ProgramType::SetSockOpt, |b| drop(b.context::<bpf_sockopt>()), 1),
            "cgroup_sockopt",
        ),
        (
            answer("dials", ProgramType::Connect4, |b| drop(b.context::<bpf_sock_addr>()), 1),
            "cgroup_sock_addr",
        ),
        (answer("probe", ProgramType::Kprobe, |_| (), 0), "kprobe"),
        (answer("plain", ProgramType::PlainTracepoint, |_| (), 0), "tracepoint"),
        (answer("raw", ProgramType::RawTracepoint, |_| (), 0), "raw_tracepoint"),
        (answer("samples", ProgramType::PerfEvent, |_| (), 0), "perf_event"),
        (answer("ingress", ProgramType::CgroupIngress, |_| (), 1), "cgroup_skb"),
        (answer("egress", ProgramType::CgroupEgress, |_| (), 1), "cgroup_skb"),
        (answer("sockets", ProgramType::SockCreate, |_| (), 1), "cgroup_sock"),
        (answer("bound4", ProgramType::PostBind4, |_| (), 1), "cgroup_sock"),
        (answer("bound6", ProgramType::PostBind6, |_| (), 1), "cgroup_sock"),
        (answer("devices", ProgramType::CgroupDevice, |_| (), 1), "cgroup_device"),
        (answer("bind4", ProgramType::Bind4, |_| (), 1), "cgroup_sock_addr"),
        (answer("bind6", ProgramType::Bind6, |_| (), 1), "cgroup_sock_addr"),
        (answer("connect6", ProgramType::Connect6, |_| (), 1), "cgroup_sock_addr"),
        (answer("sendmsg4", ProgramType::SendMsg4, |_| (), 1), "cgroup_sock_addr"),
        (answer("sendmsg6", ProgramType::SendMsg6, |_| (), 1), "cgroup_sock_addr"),
        (answer("recvmsg4", ProgramType::RecvMsg4, |_| (), 1), "cgroup_sock_addr"),
        (answer("recvmsg6", ProgramType::RecvMsg6, |_| (), 1), "cgroup_sock_addr"),
        (answer("peer4", ProgramType::GetPeerName4, |_| (), 1), "cgroup_sock_addr"),
        (answer("peer6", ProgramType::GetPeerName6, |_| (), 1), "cgroup_sock_addr"),
        (answer("name4", ProgramType::GetSockName4, |_| (), 1), "cgroup_sock_addr"),
        (answer("name6", ProgramType::GetSockName6, |_| (), 1), "cgroup_sock_addr"),
        (answer("reuse", ProgramType::SkReuseport, |_| (), 1), "sk_reuseport"),
        (answer("flows", ProgramType::FlowDissector, |_| (), 0), "flow_dissector"),
        (answer("sysctls", ProgramType::Sysctl, |_| (), 1), "cgroup_sysctl"),
        (answer("asked", ProgramType::GetSockOpt, |_| (), 1), "cgroup_sockopt"),
        (answer("lookups", ProgramType::SkLookup, |_| (), 1), "sk_lookup"),
        (answer("called", ProgramType::Syscall, |_| (), 0), "syscall"),
    ];
    let object = object(&programs.iter().map(|(program, _)| program).collect::<Vec<_>>());
    let shows: Vec<String> = programs
        .iter()
        .map(|(program, _)| format!("bpftool -j prog show pinned progs/{}", program.name()))
        .collect();
    let said = run(&object, &shows.iter().map(String::as_str).collect::<Vec<_>>());
    for ((program, kind), said) in programs.iter().zip(said) {
        let said = json(&said);
        assert_eq!(
            (&said["type"], &said["name"]),
            (&(*kind).into(), &program.name().into()),
            "{said}"
        );
        assert_eq!(said["gpl_compatible"], true, "{said}");
    }
}

#[test]
fn text_becomes_programs_of_any_section_with_maps_of_any_kind_and_callbacks() {
    let maps = [
        ("hash", "key=12 value=20 entries=8"),
        ("array", "key=4 value=8 entries=2"),
        ("prog_array", "key=4 value=4 entries=2"),
        ("perf_event_array", "key=4 value=4 entries=2"),
        ("percpu_hash", "key=4 value=8 entries=2"),
        ("percpu_array", "key=4 value=8 entries=2"),
        ("stack_trace", "key=4 value=1016 entries=2"),
        ("lru_hash", "key=2 value=1 entries=2"),
        ("lru_percpu_hash", "key=3 value=8 entries=2"),
        ("lpm_trie", "key=8 value=8 entries=2 flags=1"),
        ("devmap", "key=4 value=4 entries=2"),
        ("sockmap", "key=4 value=4 entries=2"),
        ("cpumap", "key=4 value=4 entries=1"),
        ("xskmap", "key=4 value=4 entries=2"),
        ("sockhash", "key=16 value=4 entries=2"),
        ("queue", "value=8 entries=2"),
        ("stack", "value=8 entries=2"),
        ("sk_storage", "key=4 value=13 flags=1"),
        ("devmap_hash", "key=4 value=4 entries=2"),
        ("ringbuf", "entries=4096"),
        ("task_storage", "key=4 value=8 flags=1"),
        ("bloom_filter", "value=8 entries=2"),
    ];
    let mut source = String::from(".license \"Dual BSD/GPL\"\n");
    let mut loads = String::new();
    for (kind, attributes) in maps {
        source += &format!(".map my_{kind} {kind} {attributes}\n");
        loads += &format!("    r1 = map[name:my_{kind}]\n");
    }
    source += "
.section \".text\"
.function add               ; called with the round and what the caller gave
    r3 = *(u64 *)(r2 +0)
    r3 += r1
    *(u64 *)(r2 +0) = r3
    r0 = 0
    exit
.section \"xdp\"
.function sum
    *(u64 *)(r10 -8) = 0
";
    source += &loads;
    source += "
    r1 = 5
    r2 = subprog[add]
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_loop
    r6 = *(u64 *)(r10 -8)
    call third
    r0 += r6
    exit
.function third             ; stands behind its caller, and is moved to where libbpf looks for it
    r0 = 100
    exit
.section \"cgroup_skb/egress\"
.function allow
    r0 = 1
    exit
";
    let unit = text::assemble("sum.s", &source).unwrap_or_else(|error| panic!("{error}"));
    let object = elf::write(&unit).unwrap_or_else(|error| panic!("{error}"));
    let said = run(
        &object,
        &[
            "bpftool -j prog run pinned progs/sum data_in ../packet repeat 1",
            "bpftool -j prog show pinned progs/allow",
            "bpftool prog dump xlated pinned progs/sum linum",
            "bpftool -j map show pinned maps/my_hash",
            "bpftool -j map show pinned maps/my_sk_storage",
        ],
    );
    assert_eq!(json(&said[0])["retval"], 110, "1 + 2 + 3 + 4 in five rounds, and 100");
    assert_eq!(json(&said[1])["type"], "cgroup_skb");
    assert!(said[2].contains("; r6 = *(u64 *)(r10 -8) [file:sum.s line_num:"), "{}", said[2]);
    let hash = json(&said[3]);
    assert_eq!(
        (&hash["type"], &hash["bytes_key"], &hash["bytes_value"]),
        (&"hash".into(), &12.into(), &20.into())
    );
    assert!(json(&said[4])["btf_id"].as_u64().is_some_and(|id| id > 0), "{}", said[4]);
}

/// The kernel requires line info for all functions of a program, or none.
#[test]
fn functions_without_line_info_are_loaded_alone_and_with_others_that_have_it() {
    let source = ".section \".text\"\n.function five\nr0 = 5\nexit\n.section \"socket\"\n.function caller\ncall five\nexit\n";
    let mut unit = text::assemble("five.s", source).unwrap_or_else(|error| panic!("{error}"));
    for (without, lines) in [(0, 1), (1, 0)] {
        unit.sections[without].lines.clear();
        let object = elf::write(&unit).unwrap_or_else(|error| panic!("{error}"));
        let commands = [
            "bpftool -j prog run pinned progs/caller data_in ../packet repeat 1",
            "bpftool prog dump xlated pinned progs/caller linum",
        ];
        let said = run(&object, &commands);
        assert_eq!(json(&said[0])["retval"], 5);
        let shown =
            said[1].lines().filter(|line| line.contains("[file:five.s line_num:7 ")).count();
        assert_eq!(shown, lines, "{}", said[1]);
    }
}

#[test]
fn an_object_with_only_maps_is_loaded() {
    let text = ".map counts hash key=4 value=8 entries=16\n.map log ringbuf entries=4096\n";
    let object = elf::assemble("maps.s", text).unwrap_or_else(|errors| panic!("{errors}")).object;
    let said = run(&object, &["ls maps"]);
    assert_eq!(said[0].split_whitespace().collect::<Vec<_>>(), ["counts", "log"]);
}
