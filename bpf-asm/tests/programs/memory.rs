use bpf_asm::{Builder, Call, Fetch, KernelField, Modify, helper, record};

use crate::machine::{DIGITS, finish, run};

record! {
    struct Mixed { byte: u8, signed_byte: i8, half: u16, word: u32, double: u64, signed_word: i32, tail: [u8; 4] }
    struct Small { a: u32, b: u16, c: [u8; 2] }
    struct Large { first: u64, small: Small, rest: [u32; 3], last: u32 }
}

fn memory() -> Vec<u8> {
    (0..24).map(|n| 0xf0 | n).collect()
}

#[test]
fn a_load_is_as_wide_as_its_field_and_extends_its_sign() {
    type Load = fn(&Builder) -> bpf_asm::Reg;
    let cases: [(Load, u64); 6] = [
        (|b| b.load(b.context::<Mixed>().at(Mixed::byte)), 0xf0),
        (|b| b.load(b.context::<Mixed>().at(Mixed::signed_byte)), 0xffff_ffff_ffff_fff1),
        (|b| b.load(b.context::<Mixed>().at(Mixed::half)), 0xf3f2),
        (|b| b.load(b.context::<Mixed>().at(Mixed::word)), 0xf7f6_f5f4),
        (|b| b.load(b.context::<Mixed>().at(Mixed::double)), 0xfffe_fdfc_fbfa_f9f8),
        (|b| b.load(b.context::<Mixed>().at(Mixed::tail).index(3)), 0xf7),
    ];
    for (load, expected) in cases {
        let b = Builder::new("load");
        let value = load(&b);
        b.ret(&value);
        assert_eq!(run(&finish(b), &mut memory()), expected);
    }
}

#[test]
fn a_store_changes_its_field_only() {
    let b = Builder::new("store");
    let mixed = b.context::<Mixed>();
    b.store(mixed.at(Mixed::byte), 0xffu8);
    b.store(mixed.at(Mixed::signed_byte), -1);
    b.store(mixed.at(Mixed::half), 0xffff);
    b.store(mixed.at(Mixed::double), 0x0102_0304_0506_0708u64);
    let word = b.value(0x1_0203_0405i64);
    b.store(mixed.at(Mixed::word), &word);
    b.store(mixed.at(Mixed::tail).index(1), 9);
    b.ret(0);
    let mut memory = memory();
    run(&finish(b), &mut memory);
    let expected = [
        255, 255, 255, 255, 5, 4, 3, 2, 8, 7, 6, 5, 4, 3, 2, 1, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 9,
        0xf6, 0xf7,
    ];
    assert_eq!(memory, expected);
}

#[test]
fn records_are_copied_through_slots_and_zeroed_byte_by_byte() {
    let b = Builder::new("copy");
    let large = b.context::<Large>();
    let slot = b.slot::<Large>();
    b.copy(slot.place(), large.at_all());
    b.zero(large.at_all());
    b.copy(large.at(Large::small), slot.at(Large::small));
    b.copy(large.at(Large::rest), slot.at(Large::rest));
    b.ret(0);
    let before: Vec<u8> = (1..=32).collect();
    let mut memory = before.clone();
    run(&finish(b), &mut memory);
    let mut expected = vec![0; 32];
    expected[8..28].copy_from_slice(&before[8..28]);
    assert_eq!(memory, expected);
}

#[test]
fn slots_do_not_overlap_while_they_live_and_are_reused_after() {
    let b = Builder::new("slots");
    let first = b.slot::<u64>();
    b.store(first.place(), 1);
    for n in 0..200 {
        let other = b.slot::<[u64; 32]>();
        b.store(other.place().index(31), n);
    }
    let value = b.load(first.place());
    b.ret(&value);
    assert_eq!(run(&finish(b), &mut []), 1);
}

/// An address reserves its bytes, even after the slot is dropped: another slot would share them.
#[test]
fn a_slot_whose_address_escapes_is_not_reused() {
    let b = Builder::new("address");
    let slot = b.slot::<u64>();
    b.store(slot.place(), 1);
    let address = b.address_of(slot.place());
    drop(slot);
    let other = b.slot::<u64>();
    b.store(other.place(), 2);
    b.ret(b.load(address.at_all()));
    assert_eq!(run(&finish(b), &mut []), 1);
}

/// A function may return the address, and so may a call by number.
#[test]
fn a_slot_whose_address_is_passed_to_a_function_is_not_reused() {
    type Pass = fn(&Builder, &bpf_asm::Slot<u64>) -> bpf_asm::Reg;
    let passes: [Pass; 3] = [
        |b, slot| {
            let same = b.function("same", |[address]: [bpf_asm::Reg; 1]| b.ret(&address));
            b.call_local(&same, [slot.into()])
        },
        |b, slot| b.call(Call::raw(DIGITS, vec![slot.into()])),
        |b, slot| b.call(Call::kernel(7, vec![slot.into()])),
    ];
    for pass in passes {
        let b = Builder::new("address");
        let slot = b.slot::<u64>();
        b.store(slot.place(), 1);
        let address = pass(&b, &slot).cast::<u64>();
        drop(slot);
        let other = b.slot::<u64>();
        b.store(other.place(), 2);
        b.ret(b.load(address.at_all()));
        let text = finish(b).to_string();
        assert!(
            text.contains("*(u64 *)(r10 -8) = 1") && text.contains("*(u64 *)(r10 -16) = 2"),
            "{text}"
        );
    }
}

/// Helpers with known signatures do not return the address of memory passed to them.
#[test]
fn a_slot_that_was_passed_to_a_helper_is_reused() {
    let b = Builder::new("lent");
    let context = b.context::<bpf_asm::bpf_sock_ops>();
    for _ in 0..100 {
        let option = b.slot::<[u8; 16]>();
        b.zero(option.place());
        let _ = b.call(helper::load_hdr_opt(&context, &option, 16, 0));
    }
    b.ret(0);
    assert!(b.finish(bpf_asm::ProgramType::SockOps).is_ok());
}

#[test]
fn members_known_at_run_time_are_loaded_with_shift_mask_and_sign() {
    let word: u64 = 0x8234_5678_9abc_def1;
    for size in [1u8, 2, 4, 8] {
        let bits = size * 8;
        for signed in [false, true] {
            for shift in 0..bits {
                for width in 1..=bits - shift {
                    let field = KernelField {
                        structure: 0,
                        offset: 8,
                        size,
                        signed,
                        bitfield: Some((shift, width)),
                    };
                    let b = Builder::new("member");
                    let value = b.load(b.context::<Large>().member(field));
                    b.ret(&value);
                    let mut memory = vec![0xee; 32];
                    memory[8..16].copy_from_slice(&word.to_le_bytes());
                    let left = word << (64 - shift - width);
                    let expected = if signed {
                        (left as i64 >> (64 - width)) as u64
                    } else {
                        left >> (64 - width)
                    };
                    assert_eq!(run(&finish(b), &mut memory), expected, "{field:?}");
                }
            }
        }
    }
}

#[test]
fn a_compare_exchange_keeps_its_operands_out_of_r0() {
    let b = Builder::new("exchange");
    let memory = b.context::<Large>();
    // Five more are alive, so that one of its operands would be in r0.
    let values: Vec<_> = (0..5).map(|n| b.value(n)).collect();
    let there = b.compare_exchange(memory.at(Large::first), 7, &values[4]);
    values.iter().for_each(|value| there.add(value));
    b.ret(&there);
    let program = b.finish_as_written(bpf_asm::ProgramType::SocketFilter).unwrap();
    let text = program.to_string();
    assert!(text.contains("r0 = atomic64_cmpxchg((u64 *)(r"), "{text}");
    assert!(!text.contains("(u64 *)(r0") && !text.contains("r0, r0)"), "{text}");
}

#[test]
fn atomics_take_the_width_of_their_field() {
    let b = Builder::new("atomic");
    let large = b.context::<Large>();
    let one = b.value(1);
    b.atomic(Modify::Add, large.at(Large::first), &one);
    let one = b.fetch(Fetch::Or, large.at(Large::last), one);
    b.ret(&one);
    let text = finish(b).to_string();
    assert!(text.contains("lock *(u64 *)(r1 +0) += r0"), "{text}");
    assert!(text.contains("r0 = atomic_fetch_or((u32 *)(r1 +28), r0)"), "{text}");
}
