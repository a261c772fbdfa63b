//! What the builder can write beside shunt's own programs: the kernel takes it, and it computes what it says.

use bpf_asm::{Builder, Program, ProgramType};
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
