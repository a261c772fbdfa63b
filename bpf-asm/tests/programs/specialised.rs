//! Code for settings that are off is not part of the program.

use bpf_asm::{
    __sk_buff, Builder, KernelField, MapKind, MapRef, Program, ProgramType, helper, record,
};

record! {
    struct Counters { short: u64, long: u64 }
}

const COUNTERS: MapRef<u32, Counters> = MapRef::new("counters", MapKind::Hash, 1);

/// The settings that a program is assembled for.
#[derive(Clone, Copy)]
struct Settings {
    /// Count long packets.
    count: bool,
    /// The size from which packets are long.
    long: u32,
    /// The offset of something in this kernel, if known.
    member: Option<KernelField>,
}

const NOTHING: Settings = Settings { count: false, long: 64, member: None };

fn finish(b: Builder) -> Program {
    b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A program that depends on all settings.
fn program(settings: Settings) -> Program {
    let b = Builder::new("special");
    let packet = b.context::<__sk_buff>();
    let len = b.load(packet.at(__sk_buff::len));
    if settings.count {
        b.when(len.gt(settings.long), || {
            let key = b.slot::<u32>();
            b.store(key.place(), 0);
            let counters = b.call(helper::map_lookup_elem(&COUNTERS, &key));
            b.when(counters.ne(0), || b.store(counters.at(Counters::long), 1));
            b.ret(0);
        });
    }
    if let Some(member) = settings.member {
        len.add(b.load(packet.member(member)));
    }
    b.ret(&len);
    finish(b)
}

fn texts(program: &Program) -> Vec<String> {
    program.insns().map(|(_, insn, _)| insn.to_string()).collect()
}

#[test]
fn a_branch_of_rust_that_is_not_taken_emits_nothing() {
    // The program written without settings.
    let b = Builder::new("special");
    let packet = b.context::<__sk_buff>();
    b.ret(b.load(packet.at(__sk_buff::len)));
    assert_eq!(texts(&program(NOTHING)), texts(&finish(b)));
    assert!(program(NOTHING).maps().is_empty());

    let counting = program(Settings { count: true, ..NOTHING });
    assert!(
        counting.slots() > program(NOTHING).slots() && counting.maps() == [*COUNTERS.def()],
        "{counting}"
    );
    let member = KernelField { structure: 0, offset: 4, size: 4, signed: false, bitfield: None };
    assert_eq!(
        program(Settings { member: Some(member), ..NOTHING }).slots(),
        program(NOTHING).slots() + 2
    );
}

#[test]
fn a_setting_becomes_an_immediate() {
    for long in [64, 1500] {
        let program = program(Settings { count: true, long, ..NOTHING });
        assert!(
            texts(&program).iter().any(|text| text.contains(&format!(" <= {long:#x} goto"))),
            "{program}"
        );
    }
}

/// A setting that passes through a value, arithmetic and a condition is still constant.
#[test]
fn a_condition_on_settings_alone_costs_nothing() {
    let with = |setting: u32| {
        let b = Builder::new("folded");
        let packet = b.context::<__sk_buff>();
        let limit = b.value(setting);
        limit.mul(100);
        limit.add(1);
        b.when_else(
            limit.gt(1000),
            || b.ret(b.load(packet.at(__sk_buff::len))),
            || b.ret(b.load(packet.at(__sk_buff::mark))),
        );
        texts(&finish(b))
    };
    assert_eq!(with(10), ["r0 = *(u32 *)(r1 +0)", "exit"]);
    assert_eq!(with(9), ["r0 = *(u32 *)(r1 +8)", "exit"]);
}

/// A map that only a disabled branch uses need not be created.
#[test]
fn unused_maps_are_not_required() {
    let b = Builder::new("unused");
    let setting = b.value(0);
    b.when(setting.ne(0), || {
        let key = b.slot::<u32>();
        b.store(key.place(), 0);
        b.call(helper::map_delete_elem(&COUNTERS, &key));
    });
    b.ret(0);
    let program = finish(b);
    assert_eq!(texts(&program), ["r0 = 0", "exit"]);
    assert!(program.maps().is_empty());
}
