//! What the builder can write beside shunt's own programs: the kernel takes it, and it computes what it says.

use bpf_asm::insn::{Alu, AluOp, Extension, Insn, PacketSize, Register, Source, Width};
use bpf_asm::{__sk_buff, Builder, EndianBits, Fetch, MapKind, MapRef, Modify, Program, ProgramType, record};
use syscalls::{LogLevel, Prog};
use tcp_shunt::agent::load;

use crate::verifier;

/// The type is one for experiments: of a known protocol, the kernel wants the headers.
const PACKET: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0xb5, 0x81, 0x92, 0xa3, 0xb4, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    28, 29, 30, 31,
];

/// Loads a program with maps of its own.
fn loaded(program: &Program) -> Prog {
    let maps: Vec<_> = program.maps().iter().collect();
    let maps = load::maps(&maps).expect("make the maps, as root");
    let (loaded, _) = verifier::load(program, &maps, LogLevel::BASIC)
        .unwrap_or_else(|error| panic!("{}: {error}\n{program}", program.name()));
    loaded
}

/// What a program of this type returns for [`PACKET`], optimised or not.
fn returned(kind: ProgramType, write: impl Fn(&Builder)) -> u32 {
    let finished = |finish: fn(Builder, ProgramType) -> Result<Program, bpf_asm::BuildErrors>| {
        let b = Builder::new("written");
        write(&b);
        let program = finish(b, kind).unwrap_or_else(|errors| panic!("{errors}"));
        loaded(&program).test_run(&PACKET, 1).unwrap_or_else(|error| panic!("{error}\n{program}")).retval
    };
    let (optimised, written) = (finished(Builder::finish), finished(Builder::finish_as_written));
    assert_eq!(optimised, written, "the optimiser changes what it computes");
    optimised
}

#[test]
fn a_slot_keeps_its_bytes_while_its_address_may_be_known() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let slot = b.slot::<u64>();
        b.store(slot.place(), 1);
        let address = b.keep(b.address_of(slot.place()));
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

/// Each step subtracts what it should compute, so that 0 is left of all.
#[test]
fn forms_of_version_4_compute_what_they_are_named_for() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let numbers = b.keep(b.map_value(&NUMBERS));
        let sum = b.keep(b.value(0));
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
fn memory_is_loaded_and_stored_in_order_and_changed_in_one_step() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let numbers = b.keep(b.map_value(&NUMBERS));
        b.store_release(numbers.at(Numbers::half), &b.value(-3));
        b.store_release(numbers.at(Numbers::double), &b.value(40));
        b.atomic(Modify::Add, numbers.at(Numbers::double), &b.value(5));
        let old = b.keep(b.fetch(Fetch::Exchange, numbers.at(Numbers::double), b.value(7)));
        old.add(&b.load_acquire(numbers.at(Numbers::double)));
        old.add(&b.load_acquire(numbers.at(Numbers::half)));
        b.ret(&old);
    });
    assert_eq!(result, 45 + 7 - 3);
}

#[test]
fn bytes_of_a_packet_are_loaded_the_old_way() {
    // A filter sees what is behind the Ethernet header.
    let loads: [(fn(&Builder, &bpf_asm::Ptr<__sk_buff>) -> bpf_asm::Reg, u32); 3] = [
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
fn an_instruction_by_itself_stands_between_others() {
    let result = returned(ProgramType::SocketFilter, |b| {
        let packet = b.context::<__sk_buff>();
        let length = b.load(packet.at(__sk_buff::len));
        let src = Source::Imm(3);
        b.emit(Insn::Alu(Alu { width: Width::W32, op: AluOp::Mul, dst: length.register(), src }));
        let frame = Alu { width: Width::W64, op: AluOp::Mov, dst: Register::R3, src: Source::Reg(Register::R10) };
        let frame = b.emit_value(Insn::Alu(frame)).cast::<u64>();
        b.store(frame.offset::<u64>(-8), &length);
        b.ret(b.load(frame.offset::<u64>(-8)));
    });
    assert_eq!(result, (PACKET.len() as u32 - 14) * 3);
}

/// A jump back over more than 16 bits of instructions, with a condition and without.
#[test]
fn far_jumps_arrive() {
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
