//! The instructions of each builder method, and raw instructions.

use bpf_asm::insn::{
    self, Alu, AluOp, Extension, Insn, Isa, Load, PacketSize, Register, Size, Source, Width,
};
use bpf_asm::{
    __sk_buff, AttachesTo, Builder, Call, EndianBits, ErrorKind, KernelFunction, MapKind, MapRef,
    ProgramType, Ptr, READ_ONLY, Raw, Reg, helper, record, text,
};

use crate::machine::{finish, run};

record! {
    struct Numbers { byte: i8, flag: u8, half: i16, word: i32, double: u64 }
}

fn refused(b: Builder) -> Vec<ErrorKind> {
    let errors = b.finish(ProgramType::SocketFilter).expect_err("the program should be rejected");
    errors.errors().iter().map(|error| error.kind.clone()).collect()
}

#[test]
fn forms_of_version_4_are_written_as_they_are_named() {
    type Write = fn(&Builder, &Ptr<Numbers>, &Reg);
    let forms: [(Write, &str); 16] = [
        (|_, _, value| value.sdiv(-3), "r1 s/= -3"),
        (|_, _, value| value.sdiv32(3), "w1 s/= 3"),
        (|_, _, value| value.srem(3), "r1 s%= 3"),
        (|_, _, value| value.srem32(value), "w1 s%= w1"),
        (|_, _, value| value.extend(Extension::ByteTo32), "w1 = (s8)w1"),
        (|_, _, value| value.extend(Extension::WordTo64), "r1 = (s32)r1"),
        (|_, _, value| value.swap_bytes(EndianBits::B16), "r1 = bswap16 r1"),
        (|_, _, value| value.swap_bytes(EndianBits::B64), "r1 = bswap64 r1"),
        (|b, numbers, _| drop(b.load_signed(numbers.at(Numbers::byte))), "r1 = *(s8 *)(r1 +0)"),
        (|b, numbers, _| drop(b.load_signed(numbers.at(Numbers::half))), "r1 = *(s16 *)(r1 +2)"),
        (|b, numbers, _| drop(b.load_signed(numbers.at(Numbers::word))), "r1 = *(s32 *)(r1 +4)"),
        (
            |b, numbers, _| drop(b.load_acquire(numbers.at(Numbers::flag))),
            "r1 = load_acquire((u8 *)(r1 +1))",
        ),
        (
            |b, numbers, _| drop(b.load_acquire(numbers.at(Numbers::double))),
            "r1 = load_acquire((u64 *)(r1 +8))",
        ),
        (
            |b, numbers, value| b.store_release(numbers.at(Numbers::half), value),
            "store_release((u16 *)(r1 +2), r2)",
        ),
        (
            |b, numbers, value| b.store_release(numbers.at(Numbers::word), value),
            "store_release((u32 *)(r1 +4), r2)",
        ),
        (|b, numbers, _| drop(b.load_packet(numbers, PacketSize::B, 14)), "r0 = *(u8 *)skb[14]"),
    ];
    for (write, text) in forms {
        let written = |minimum: Option<Isa>| {
            let b = Builder::new("form");
            minimum.into_iter().for_each(|minimum| b.minimum(minimum));
            let numbers = b.context::<Numbers>();
            let value = b.value(7);
            write(&b, &numbers, &value);
            b.ret(0);
            b.finish_as_written(ProgramType::SocketFilter)
        };
        let program = written(None).unwrap_or_else(|errors| panic!("{errors}"));
        let insns: Vec<String> = program.insns().map(|(_, insn, _)| insn.to_string()).collect();
        assert!(insns.iter().any(|insn| insn == text), "{text}: {program}");
        let new = program.requires().isa > Isa::V3;
        assert_eq!(written(Some(Isa::V3)).is_err(), new, "{program}");
        assert_eq!(new, !text.contains("skb["), "{program}");
    }
}

/// The sign is extended afterwards: no instruction does both.
#[test]
fn a_load_acquire_extends_the_sign_of_its_field() {
    let b = Builder::new("ordered");
    let numbers = b.context::<Numbers>();
    b.ret(b.load_acquire(numbers.at(Numbers::half)));
    let insns: Vec<String> = finish(b).insns().map(|(_, insn, _)| insn.to_string()).collect();
    assert_eq!(insns[..3], ["r0 = load_acquire((u16 *)(r1 +2))", "r0 <<= 48", "r0 s>>= 48"]);
}

#[test]
fn signed_divisions_of_constants_are_computed_as_the_instruction_set_specifies() {
    let cases: [(i64, i64, i64, i64); 5] = [
        (-13, 3, -4, -1),
        (-13, -3, 4, -1),
        (13, -3, -4, 1),
        (i64::from(i32::MIN), -1, -i64::from(i32::MIN), 0),
        (-13, 0, 0, -13),
    ];
    for (left, right, quotient, remainder) in cases {
        for (expected, divide) in [(quotient, Reg::sdiv as fn(&Reg, Reg)), (remainder, Reg::srem)] {
            let b = Builder::new("divide");
            let value = b.value(left);
            divide(&value, b.value(right));
            b.ret(&value);
            let program =
                b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(!program.to_string().contains(" s"), "{program}");
            assert_eq!(run(&program, &mut []), expected as u64, "{left} and {right}");
        }
    }
    let b = Builder::new("halves");
    let (value, zero) = (b.value(i64::from(i32::MIN)), b.value(-1));
    value.sdiv32(&zero);
    b.ret(&value);
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(run(&program, &mut []), 0x8000_0000, "{program}");
}

/// Whatever else is in registers then: the context has to be in r6, and r0 to r5 are lost.
#[test]
fn a_load_from_the_packet_finds_the_context_wherever_it_is() {
    let b = Builder::new("packet");
    let before = [b.value(1), b.value(2)];
    let context = b.value(1).cast::<__sk_buff>();
    b.call(helper::jiffies64());
    let loaded = b.load_packet(&context, PacketSize::W, &before[0]);
    before.iter().for_each(|value| loaded.add(value));
    loaded.add(b.load_packet(&context, PacketSize::B, 0));
    b.ret(&loaded);
    let insns: Vec<Insn> = b
        .finish_as_written(ProgramType::SocketFilter)
        .unwrap()
        .insns()
        .map(|line| line.1)
        .collect();
    let in_r6 = |insn: &Insn| matches!(insn, Insn::Alu(Alu { dst: Register::R6, .. }));
    let first = insns.iter().position(|insn| matches!(insn, Insn::Packet(_))).unwrap();
    assert!(insns[..first].iter().any(in_r6) && !insns[first..].iter().any(in_r6), "{insns:?}");
}

fn halved(dst: Register) -> Insn {
    Insn::Alu(Alu { width: Width::W64, op: AluOp::Rsh, dst, src: Source::Imm(1) })
}

#[test]
fn a_raw_instruction_can_set_a_value() {
    let b = Builder::new("raw");
    let value = b.value(20);
    b.emit(Raw::new(halved(Register::R0)).dst(&value));
    let copy = b.emit_value(Raw::new(halved(Register::R0)).dst(&value));
    copy.lsh(8);
    copy.add(&value);
    b.ret(&copy);
    assert_eq!(run(&finish(b), &mut []), 5 << 8 | 5);

    let b = Builder::new("raw");
    let context = b.context::<Numbers>();
    let load = Load { size: Size::DW, dst: Register::R3, base: Register::R0, offset: 8 };
    let loaded = b.emit_value(Raw::new(Insn::Load(load)).src(&context));
    loaded.add(1);
    b.ret(&loaded);
    assert_eq!(run(&finish(b), &mut [[0; 8], 41u64.to_le_bytes()].concat()), 42);
}

/// No value is in a register while an instruction by itself uses that by its number.
#[test]
fn registers_that_are_named_hold_no_values() {
    let b = Builder::new("raw");
    let values: Vec<Reg> = (1..=8).map(|n| b.value(n)).collect();
    for number in 1..=5 {
        let dst = Register::from_number(number).unwrap();
        let src = Source::Imm(100 * i32::from(number));
        b.emit(Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src }));
    }
    let sum = b.emit_value(Insn::Alu(Alu {
        width: Width::W64,
        op: AluOp::Add,
        dst: Register::R1,
        src: Source::Reg(Register::R5),
    }));
    values.iter().for_each(|value| sum.add(value));
    b.ret(&sum);
    assert_eq!(run(&finish(b), &mut []), 600 + 36);

    let b = Builder::new("raw");
    let value = b.value(1);
    for number in 0..10 {
        let dst = Register::from_number(number).unwrap();
        b.emit(Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src: Source::Imm(0) }));
    }
    value.add(&value);
    let sum = b.value(0);
    for number in 0..10 {
        let src = Source::Reg(Register::from_number(number).unwrap());
        let add = Alu { width: Width::W64, op: AluOp::Add, dst: Register::R0, src };
        b.emit(Raw::new(Insn::Alu(add)).dst(&sum));
    }
    b.ret(&value);
    assert!(matches!(refused(b)[..], [ErrorKind::OutOfRegisters { .. }, ..]));
}

#[test]
fn a_raw_instruction_reads_only_initialised_registers() {
    let b = Builder::new("raw");
    b.emit(Insn::Alu(Alu {
        width: Width::W64,
        op: AluOp::Mov,
        dst: Register::R1,
        src: Source::Imm(1),
    }));
    b.call(helper::jiffies64());
    b.ret(b.emit_value(halved(Register::R1)));
    let errors = refused(b);
    let lost = Some("bpf_jiffies64");
    assert!(
        matches!(errors[0], ErrorKind::EmptyRegister { register: Register::R1, lost: by, .. } if by.map(|by| by.0) == lost)
    );

    let b = Builder::new("raw");
    b.ret(b.emit_value(halved(Register::R4)));
    assert!(matches!(
        refused(b)[..],
        [ErrorKind::EmptyRegister { register: Register::R4, lost: None, .. }]
    ));

    let b = Builder::new("raw");
    let (asked, skip) = (b.value(20), b.label());
    b.jump_if(asked.eq(1), &skip);
    let value = b.value(20);
    b.place(&skip);
    b.emit(Raw::new(halved(Register::R0)).dst(&value));
    b.ret(&value);
    assert!(matches!(refused(b)[..], [ErrorKind::NotOnEveryPath { .. }]));
}

/// The builder does not know how it accesses the frame.
#[test]
fn a_raw_instruction_that_reads_r10_may_access_every_slot() {
    let b = Builder::new("raw");
    let slot = b.slot::<u64>();
    b.store(slot.place(), 42);
    let value = b.value(0);
    let load = Load { size: Size::DW, dst: Register::R0, base: Register::R10, offset: -8 };
    b.emit(Raw::new(Insn::Load(load)).dst(&value));
    drop(slot);
    let other = b.slot::<u64>();
    b.store(other.place(), 7);
    b.emit(Raw::new(Insn::Load(load)).dst(&value));
    b.ret(&value);
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(run(&program, &mut []), 42, "{program}");
}

#[test]
fn an_instruction_by_itself_counts_no_instructions_and_has_the_registers_that_it_names() {
    let counting = [
        Insn::Jump(insn::Jump { offset: 1 }),
        Insn::JumpLong(insn::JumpLong { offset: 1 }),
        Insn::MayGoto(insn::MayGoto { offset: 1 }),
        Insn::Call(insn::Call::Local { offset: 1 }),
    ];
    for counts in counting {
        let b = Builder::new("raw");
        b.emit(counts);
        b.ret(0);
        assert_eq!(refused(b), [ErrorKind::Distance { insn: counts }]);
    }
    let b = Builder::new("raw");
    let value = b.value(1);
    let insn = halved(Register::R0);
    b.emit(Raw::new(insn).src(&value));
    b.ret(&value);
    assert_eq!(refused(b), [ErrorKind::NoField { insn, field: "source" }]);
    let b = Builder::new("raw");
    let _nothing = b.emit_value(Insn::Exit);
    assert!(refused(b).contains(&ErrorKind::NoResult { insn: Insn::Exit }));
}

/// Jumps become long where they would not fit; the inserted instructions make other jumps too far
/// in turn.
#[test]
fn a_far_jump_is_a_long_one() {
    for condition in ["eq", "has", "may_goto", "always"] {
        let b = Builder::new("far");
        let (value, far) = (b.value(5), b.label());
        match condition {
            "eq" => b.jump_if(value.eq(5), &far),
            "has" => b.jump_if(value.has(4), &far),
            "may_goto" => b.may_goto(&far),
            _ => b.when(value.eq(5), || b.jump(&far)),
        }
        (0..32770).for_each(|_| value.add(1));
        b.place(&far);
        b.ret(&value);
        let program = finish(b);
        let insns: Vec<String> =
            program.insns().map(|(_, insn, _)| insn.to_string()).take(4).collect();
        let expected: &[&str] = match condition {
            "eq" => &["if r0 != 0x5 goto pc+1", "gotol pc+32770", "r0 += 1"],
            "has" => &["if r0 & 0x4 goto pc+1", "goto pc+1", "gotol pc+32770"],
            "may_goto" => &["may_goto pc+1", "goto pc+1", "gotol pc+32770"],
            _ => &["if r0 != 0x5 goto pc+1", "gotol pc+32770", "r0 += 1"],
        };
        assert_eq!(insns[1..], *expected);
    }
    // The first fits until the second, which it jumps over, becomes long.
    let b = Builder::new("far");
    let (value, near, far) = (b.value(5), b.label(), b.label());
    b.jump_if(value.eq(2), &near);
    b.jump_if(value.eq(1), &far);
    (0..32766).for_each(|_| value.add(1));
    b.place(&near);
    (0..3).for_each(|_| value.add(1));
    b.place(&far);
    b.ret(&value);
    let text: Vec<String> = finish(b).insns().map(|(_, insn, _)| insn.to_string()).collect();
    let expected = [
        "if r0 != 0x2 goto pc+1",
        "gotol pc+32768",
        "if r0 != 0x1 goto pc+1",
        "gotol pc+32769",
        "r0 += 1",
    ];
    assert_eq!(text[1..6], expected);
}

#[test]
fn the_context_determines_what_a_program_attaches_to() {
    record! {
        /// The arguments of the function with this name.
        #[allow(non_camel_case_types)]
        struct file_open { file: u64, result: u64 }
    }
    let function = |name: &str| Some(AttachesTo::Function(name.to_owned()));
    let kinds = [
        (ProgramType::Entry, function("file_open")),
        (ProgramType::Exit, function("file_open")),
        (ProgramType::ModifyReturn, function("file_open")),
        (ProgramType::Lsm, function("bpf_lsm_file_open")),
        (ProgramType::LsmCgroup, function("bpf_lsm_file_open")),
        (ProgramType::Tracepoint, Some(AttachesTo::Typedef("btf_trace_file_open".to_owned()))),
        (ProgramType::Kprobe, None),
        (ProgramType::Other { number: 26, attach_type: 24 }, None),
    ];
    for (kind, target) in kinds {
        let b = Builder::new("attached");
        let arguments = b.context::<file_open>();
        b.ret(b.load(arguments.at(file_open::file)));
        assert_eq!(
            b.finish(kind).unwrap_or_else(|errors| panic!("{errors}")).attaches_to(),
            target,
            "{kind:?}"
        );
    }
}

/// The address skips other functions, and a function that is only referred to by address is placed.
#[test]
fn the_address_of_a_function_is_a_distance_in_slots() {
    let b = Builder::new("callbacks");
    let each = b.function("each", |[_index, _context]: [Reg; 2]| b.ret(0));
    let other = b.function("other", |[]: [Reg; 0]| b.ret(1));
    drop(b.call(helper::bpf_loop(3, &each, 0, 0)));
    b.ret(b.call_local(&other, []));
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    let loads = program.insns().filter_map(|(slot, insn, _)| match insn {
        Insn::Wide(insn::Wide { source: insn::WideSource::Function { offset }, .. }) => {
            Some((slot as i64 + 1 + i64::from(offset)) as usize)
        }
        _ => None,
    });
    let (text, target) = (program.to_string(), loads.collect::<Vec<_>>());
    let lines: Vec<&str> = text.lines().collect();
    let each = lines.iter().position(|line| *line == "each:").expect("the function");
    assert!(lines[each + 2].trim_start().starts_with(&format!("{}: ", target[0])), "{text}");

    let (b, c) = (Builder::new("one"), Builder::new("other"));
    let each = c.function("each", |[_index, _context]: [Reg; 2]| c.ret(0));
    drop(b.call(helper::bpf_loop(3, &each, 0, 0)));
    b.ret(0);
    assert_eq!(refused(b), [ErrorKind::OtherBuilder]);
}

#[test]
fn equal_read_only_data_is_stored_once_in_a_map_of_its_own() {
    let b = Builder::new("data");
    let written = b.string("one");
    written.advance(b.string("a second").into_reg());
    written.advance(b.string("one").into_reg());
    b.ret(written);
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(program.read_only(), Some(&b"one\0\0\0\0\0a second\0"[..]));
    let [map] = program.maps() else { panic!("{:?}", program.maps()) };
    let what = (map.name, map.kind, map.key_size, map.value_size, map.max_entries, map.flags);
    assert_eq!(what, (READ_ONLY, MapKind::Array, 4, 17, 1, 1 << 7));
    assert_eq!(program.to_string().matches("map[name:.rodata][0]+0").count(), 2, "{program}");
    assert_eq!(program.to_string().matches("map[name:.rodata][0]+8").count(), 1, "{program}");

    let b = Builder::new("empty");
    b.ret(b.bytes(&[]).into_reg());
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((program.read_only(), program.maps()[0].value_size), (Some(&[0][..]), 1));

    // Unused data is removed.
    let b = Builder::new("unread");
    drop(b.string("one"));
    b.ret(0);
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((program.read_only(), program.maps().len()), (None, 0));

    let b = Builder::new("large");
    drop(b.bytes(&vec![1; 4 << 20]));
    drop(b.bytes(&[2]));
    b.ret(0);
    assert!(matches!(refused(b)[..], [ErrorKind::ReadOnlyData { given: 4_194_305, .. }]));
}

#[test]
fn each_kfunc_is_resolved_once_by_name() {
    let b = Builder::new("named");
    (0..2).for_each(|_| drop(b.call(Call::<Reg>::named("first", vec![]))));
    drop(b.call(Call::<Reg>::named("second", vec![1.into()])));
    b.ret(0);
    let mut program =
        b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(program.to_string().contains("call first#0\n"), "{program}");
    assert_eq!(
        program.clone().resolve(|name| Err::<KernelFunction, _>(name.to_owned())),
        Err("first".to_owned())
    );
    let unit = text::disassemble(&text::Unit::from(&program), &text::Style::default());
    assert!(unit.contains("call first\n") && unit.contains("call second\n"), "{unit}");
    let mut asked = Vec::new();
    let find = |name: &str| {
        asked.push(name.to_owned());
        Ok::<_, ()>(KernelFunction { id: 100 + asked.len() as u32, btf: asked.len() as i16 - 1 })
    };
    program.resolve(find).expect("all are found");
    assert_eq!(asked, ["first", "second"]);
    let call = Insn::Call(insn::Call::Kernel { id: 102, btf: 1 });
    assert!(program.insns().any(|(_, insn, _)| insn == call));
    let text = program.to_string();
    assert_eq!(text.matches("call first#101\n").count(), 2, "{text}");
    assert!(text.contains("call second#102\n"), "{text}");
}

#[test]
fn only_an_array_has_values_with_addresses() {
    const HASH: MapRef<u32, u64> = MapRef::new("hash", MapKind::Hash, 1);
    let b = Builder::new("address");
    drop(b.map_value(&HASH));
    b.ret(0);
    assert_eq!(refused(b), [ErrorKind::MapValue { map: "hash", kind: MapKind::Hash }]);
}
