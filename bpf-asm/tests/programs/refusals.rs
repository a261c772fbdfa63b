use bpf_asm::insn::{Isa, Minimum};
use bpf_asm::{
    Arg, Builder, Call, ErrorKind, KernelField, Label, MapKind, MapRef, ProgramType, Reg, helper,
    record,
};

record! {
    struct Pair { a: u64, b: u32, c: u32 }
}

/// The errors of a program, each as its line and its kind.
fn refused(b: Builder) -> Vec<(u32, ErrorKind)> {
    let errors =
        b.finish_as_written(ProgramType::SocketFilter).expect_err("the program should be rejected");
    let text = errors.to_string();
    for error in errors.errors() {
        // The source is at hand.
        let excerpt = format!("\n    {} | ", error.at.line());
        assert!(text.contains(error.at.file()) && text.contains(&excerpt), "{text}");
    }
    errors.errors().iter().map(|error| (error.at.line(), error.kind.clone())).collect()
}

fn only(b: Builder) -> (u32, ErrorKind) {
    let errors = refused(b);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].clone()
}

/// A clone writes the same program, so it finishes no better, and with the same words.
#[test]
fn a_clone_of_a_rejected_program_is_rejected() {
    let b = Builder::new("clone");
    let slot = b.slot::<[u64; 65]>();
    b.store(slot.place().index(0), 0);
    let _never_called = b.function("never", |[]: [Reg; 0]| b.ret(0));
    b.ret(0);
    let clone = b.clone();
    let errors = b.finish(ProgramType::SocketFilter).expect_err("the slot is too large");
    assert!(matches!(errors.errors()[0].kind, ErrorKind::OutOfStack { .. }), "{errors}");
    assert_eq!(
        clone.finish(ProgramType::SocketFilter).expect_err("the slot is still too large"),
        errors
    );
}

#[test]
fn a_value_made_on_one_path_cannot_be_read_after_the_paths_join() {
    let b = Builder::new("joined");
    let asked = b.value(1);
    let value = b.value(1);
    let end = b.label();
    b.jump_if(asked.eq(1), &end);
    let late = b.value(2);
    value.set(2);
    b.place(&end);
    value.add(1);
    let join = line!() - 1;
    late.add(&value);
    let read = line!() - 1;
    b.ret(&value);
    let (line, kind) = only(b);
    let ErrorKind::NotOnEveryPath { join: found, .. } = kind else { panic!("{kind:?}") };
    assert_eq!((line, found.line()), (read, join));
}

/// Values that find no register are in the frame beside the slots.
#[test]
fn values_that_fit_neither_registers_nor_the_frame_are_refused() {
    let held = |count: i64, slot: bool| {
        let b = Builder::new("full");
        let slot = slot.then(|| b.slot::<[u64; 60]>());
        slot.iter().for_each(|slot| b.zero(slot.place()));
        let context = b.context::<Pair>();
        let values: Vec<Reg> = (0..count).map(|_| b.load(context.at(Pair::a))).collect();
        b.call(helper::jiffies64());
        slot.iter().for_each(|slot| values[0].add(b.load(slot.place().index(7))));
        values.iter().for_each(|value| values[0].add(value));
        b.ret(&values[0]);
        b
    };
    assert!(held(40, false).finish(ProgramType::SocketFilter).is_ok());
    let errors = refused(held(80, false));
    assert!(matches!(errors[..], [(_, ErrorKind::OutOfStack { size: 8, .. })]), "{errors:?}");
}

#[test]
fn the_holders_of_a_full_stack_are_named() {
    let b = Builder::new("full");
    let _large = b.slot::<[u64; 63]>();
    let held = line!() - 1;
    let _fits = b.slot::<u8>();
    let _more = b.slot::<u64>();
    let read = line!() - 1;
    b.ret(0);
    let (line, kind) = only(b);
    let ErrorKind::OutOfStack { size: 8, holders } = kind else { panic!("{kind:?}") };
    assert_eq!((line, holders[0].line(), holders.len()), (read, held, 2));
}

#[test]
fn all_errors_are_reported_at_once_with_their_lines() {
    let b = Builder::new("many");
    let value = b.value(1);
    let pointer = b.value(0).cast::<Pair>();
    let word = KernelField { structure: 0, offset: 0, size: 4, signed: false, bitfield: None };
    let first = line!() + 1;
    value.lsh(64);
    value.lsh32(32);
    value.div(0);
    value.add32(1i64 << 32);
    b.store(pointer.at(Pair::b), 1i64 << 32);
    b.store(pointer.at(Pair::b), -(1i64 << 31) - 1);
    let _ = b.load(pointer.offset::<u64>(32768));
    let _ = b.load(pointer.offset::<u64>(-32769));
    let _ = b.load(pointer.member(KernelField { size: 3, ..word }));
    let _ = b.load(pointer.member(KernelField { bitfield: Some((30, 3)), ..word }));
    b.store(pointer.member(KernelField { bitfield: Some((0, 3)), ..word }), 1);
    b.atomic(bpf_asm::Modify::Add, pointer.offset::<u16>(0), &value);
    let _ = pointer.offset::<[u8; 4]>(0).index(4);
    b.ret(&value);
    let errors = refused(b);
    let lines: Vec<u32> = errors.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, (first..first + 13).collect::<Vec<u32>>(), "{errors:?}");
    let kinds: Vec<ErrorKind> = errors.into_iter().map(|(_, kind)| kind).collect();
    use ErrorKind::*;
    assert!(
        matches!(
            kinds[..],
            [
                ImmediateRange { given: 64, max: 63, .. },
                ImmediateRange { given: 32, max: 31, .. },
                ImmediateRange { given: 0, min: 1, .. },
                ImmediateRange { .. },
                ImmediateRange { max: 4294967295, .. },
                ImmediateRange { min: -2147483648, .. },
                OffsetRange { offset: 32768 },
                OffsetRange { offset: -32769 },
                Width { given: 3, .. },
                BitfieldRange { shift: 30, width: 3, size: 4 },
                BitfieldStore,
                Width { given: 2, .. },
                IndexRange { index: 4, len: 4 },
            ]
        ),
        "{kinds:?}"
    );
}

#[test]
fn a_program_must_return() {
    let b = Builder::new("open");
    let value = b.value(1);
    b.when(value.eq(1), || b.ret(0));
    assert!(matches!(only(b), (_, ErrorKind::FallsOff { function }) if function == "open"));
    assert!(matches!(only(Builder::new("empty")), (_, ErrorKind::FallsOff { .. })));
}

#[test]
fn a_label_is_placed_once() {
    let b = Builder::new("labels");
    let (nowhere, twice) = (b.label(), b.label());
    let made = line!() - 1;
    b.place(&twice);
    let value = b.value(1);
    b.jump_if(value.eq(1), &nowhere);
    let jumped = line!() - 1;
    b.place(&twice);
    let placed = line!() - 1;
    b.ret(0);
    let errors = refused(b);
    assert_eq!(errors.len(), 2);
    assert!(
        matches!(&errors[0], (line, ErrorKind::LabelNotPlaced { label }) if *line == jumped && label.line() == made)
    );
    assert!(
        matches!(&errors[1], (line, ErrorKind::LabelPlacedTwice { first }) if *line == placed && first.line() == made + 2)
    );
}

#[test]
fn unreachable_code_is_reported_once_for_each_sequence() {
    let b = Builder::new("dead");
    let asked = b.value(1);
    b.when(asked.eq(1), || {
        b.ret(0);
        b.ret(1);
        b.ret(2);
    });
    let first = line!() - 3;
    b.ret(0);
    let _ = b.value(3);
    let second = line!() - 1;
    let errors = refused(b);
    assert_eq!(errors, [(first, ErrorKind::Unreachable), (second, ErrorKind::Unreachable)]);
}

#[test]
fn unreachable_code_of_a_function_is_reported_beside_that_of_its_caller() {
    let b = Builder::new("dead");
    let asked = b.value(1);
    b.when(asked.eq(1), || {
        b.ret(0);
        b.ret(1);
        let never = b.function("never", |[]: [Reg; 0]| {
            b.ret(0);
            b.ret(1);
        });
        b.call_local(&never, []);
    });
    let (first, second) = (line!() - 7, line!() - 4);
    b.ret(0);
    let errors = refused(b);
    assert_eq!(errors, [(first, ErrorKind::Unreachable), (second, ErrorKind::Unreachable)]);
}

#[test]
fn a_jump_that_is_too_far_is_rejected_if_the_minimum_has_no_long_jump() {
    let jump_over = |lines: i64, minimum: Minimum| {
        let b = Builder::new("far");
        b.minimum(minimum);
        let (value, far) = (b.value(1), b.label());
        b.jump_if(value.eq(1), &far);
        for _ in 0..lines {
            value.add(1);
        }
        b.place(&far);
        b.ret(0);
        b
    };
    assert!(jump_over(32767, Isa::V3.into()).finish_as_written(ProgramType::SocketFilter).is_ok());
    assert!(matches!(
        only(jump_over(32768, Isa::V3.into())),
        (_, ErrorKind::JumpRange { distance: 32768 })
    ));
    assert!(
        jump_over(32768, Minimum::default()).finish_as_written(ProgramType::SocketFilter).is_ok()
    );

    let jump_back = |lines: i64, minimum: Minimum| {
        let b = Builder::new("far");
        b.minimum(minimum);
        let (value, far) = (b.value(1), b.label());
        b.place(&far);
        for _ in 0..lines {
            value.add(1);
        }
        b.jump_if(value.ne(1), &far);
        b.ret(0);
        b
    };
    assert!(jump_back(32767, Isa::V3.into()).finish_as_written(ProgramType::SocketFilter).is_ok());
    assert!(matches!(
        only(jump_back(32768, Isa::V3.into())),
        (_, ErrorKind::JumpRange { distance: -32769 })
    ));
    assert!(
        jump_back(32768, Minimum::default()).finish_as_written(ProgramType::SocketFilter).is_ok()
    );
}

#[test]
fn functions_share_no_values_slots_or_labels() {
    let b = Builder::new("main");
    let (value, slot, label) = (b.value(1), b.slot::<u64>(), b.label());
    let first = line!() + 2;
    let leaky = b.function("leaky", |[_a]: [Reg; 1]| {
        b.store(slot.place(), 1);
        let here = b.value(&value);
        b.jump_if(here.eq(1), &label);
        b.ret(0);
    });
    b.place(&label);
    let result = b.call_local(&leaky, [1.into()]);
    b.ret(result);
    let errors = refused(b);
    assert!(matches!(errors[0], (line, ErrorKind::OtherFrame) if line == first), "{errors:?}");
    assert!(
        matches!(errors[1], (line, ErrorKind::OtherFunction { .. }) if line == first + 1),
        "{errors:?}"
    );
    assert!(
        matches!(errors[2], (line, ErrorKind::LabelOfOtherFunction) if line == first + 2),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 3);
}

#[test]
fn a_jump_into_a_longer_function_is_refused_where_values_are_spilled() {
    let b = Builder::new("main");
    let label = b.label();
    let line = line!() + 3;
    let leaky = b.function("leaky", |[a]: [Reg; 1]| {
        let values: Vec<Reg> = (0..20).map(|_| b.value(&a)).collect();
        b.jump_if(a.eq(1), &label);
        values.iter().for_each(|value| a.add(value));
        b.ret(&a);
    });
    let value = b.value(1);
    (0..1_000).for_each(|_| value.add(1));
    b.place(&label);
    let result = b.call_local(&leaky, [1.into()]);
    b.ret(result);
    assert!(matches!(only(b), (at, ErrorKind::LabelOfOtherFunction) if at == line));
}

#[test]
fn a_function_must_be_called_and_return() {
    let b = Builder::new("main");
    let _open = b.function("open", |[a]: [Reg; 1]| a.add(1));
    b.ret(0);
    let errors = refused(b);
    assert!(errors.iter().any(
        |(_, kind)| matches!(kind, ErrorKind::NeverCalled { function } if function == "open")
    ));
    assert!(
        errors.iter().any(
            |(_, kind)| matches!(kind, ErrorKind::FallsOff { function } if function == "open")
        )
    );
}

#[test]
fn builders_share_nothing() {
    let (a, b) = (Builder::new("a"), Builder::new("b"));
    let (value, label, slot) = (a.value(1), a.label(), a.slot::<u64>());
    let own = b.value(1);
    let first = line!() + 1;
    own.add(&value);
    b.jump(&label);
    b.place(&label);
    let errors = refused(b);
    assert_eq!(errors[0], (first, ErrorKind::OtherBuilder));
    assert!(errors.iter().any(|error| *error == (first + 1, ErrorKind::OtherBuilder)));

    let c = Builder::new("c");
    c.store(slot.place(), 1);
    c.ret(0);
    assert!(matches!(only(c), (_, ErrorKind::OtherBuilder)));
}

#[test]
fn the_context_is_taken_once_and_first() {
    let b = Builder::new("late");
    let _value = b.value(1);
    let _context = b.context::<Pair>();
    b.ret(0);
    assert!(matches!(only(b), (_, ErrorKind::ContextGone)));

    let b = Builder::new("twice");
    let _context = b.context::<Pair>();
    let _again = b.context::<Pair>();
    b.ret(0);
    assert!(matches!(only(b), (_, ErrorKind::ContextGone)));
}

#[test]
fn a_map_has_one_definition_and_a_call_five_arguments() {
    let b = Builder::new("maps");
    let small: MapRef<u32, u64> = MapRef::new("map", MapKind::Array, 1);
    let large: MapRef<u32, u64> = MapRef::new("map", MapKind::Array, 2);
    let _first: bpf_asm::Ptr<u64> = b.map_value(&small);
    let _second: bpf_asm::Ptr<u64> = b.map_value(&large);
    let _ = b.call(Call::<Reg>::raw(1, vec![Arg::from(0); 6]));
    b.ret(0);
    let errors = refused(b);
    assert_eq!(errors[0].1, ErrorKind::MapConflict { map: "map" });
    assert_eq!(errors[1].1, ErrorKind::TooManyArguments { given: 6 });
}

#[test]
fn names_must_be_valid_in_btf() {
    for (name, good) in
        [("a", true), ("a_1", true), ("", false), ("1a", false), ("a-b", false), ("ä", false)]
    {
        let b = Builder::new(name);
        b.ret(0);
        assert_eq!(b.finish(ProgramType::SocketFilter).is_ok(), good, "{name:?}");
    }
}

#[test]
fn an_unused_label_is_no_error() {
    let b = Builder::new("label");
    let _label: Label = b.label();
    b.ret(0);
    assert!(b.finish(ProgramType::SocketFilter).is_ok());
}

/// The only error of a program as displayed, with `LINE` for every location in this file.
fn told(b: Builder) -> String {
    let errors = b.finish(ProgramType::SocketFilter).expect_err("the program should be rejected");
    assert_eq!(errors.errors().len(), 1, "{errors}");
    let text = errors.errors()[0].to_string();
    let mut parts = text.split(file!());
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let numbers = part.split(':').take(3).skip(1);
        let column = numbers.clone().nth(1).unwrap_or_default();
        let digits = column.chars().take_while(char::is_ascii_digit).count();
        let place = 1 + numbers.map(str::len).next().unwrap_or(0) + 1 + digits;
        told += "LINE";
        told += &part[place..];
    }
    told
}

const NUMBERS: MapRef<u32, u64> = MapRef::new("numbers", MapKind::Hash, 1);

#[test]
fn a_slot_cannot_be_read_before_it_is_written() {
    let b = Builder::new("unwritten");
    let pair = b.slot::<Pair>();
    b.store(pair.at(Pair::b), 1);
    let value = b.load(pair.at(Pair::a));
    b.ret(&value);
    assert_eq!(
        told(b),
        "LINE: reads bytes 0 to 7 of the slot made at LINE, which some path here has not written; \
         store to all of it, or zero() it first"
    );
}

#[test]
fn copying_a_partly_written_record_reports_the_unwritten_bytes() {
    let b = Builder::new("partly");
    let (from, to) = (b.slot::<Pair>(), b.slot::<Pair>());
    let made = line!() - 1;
    b.store(from.at(Pair::b), 1);
    b.copy(to.place(), from.place());
    let read = line!() - 1;
    b.ret(0);
    let (line, kind) = only(b);
    let ErrorKind::UnwrittenStack { slot, first, last } = kind else { panic!("{kind:?}") };
    assert_eq!((line, slot.line(), first, last), (read, made, 0, 15));
}

/// The key is read only by the helper.
#[test]
fn a_slot_that_is_passed_as_a_key_must_be_written() {
    let b = Builder::new("key");
    let key = b.slot::<u32>();
    let _ = b.call(helper::map_lookup_elem(&NUMBERS, &key));
    let read = line!() - 1;
    b.ret(0);
    assert!(
        matches!(only(b), (line, ErrorKind::UnwrittenStack { first: 0, last: 3, .. }) if line == read)
    );

    let b = Builder::new("value");
    let (key, value) = (b.slot::<u32>(), b.slot::<u64>());
    b.store(key.place(), 1);
    let _ = b.call(helper::map_update_elem(&NUMBERS, &key, &value, 0));
    b.ret(0);
    assert!(matches!(only(b), (_, ErrorKind::UnwrittenStack { first: 0, last: 7, .. })));
}

#[test]
fn a_slot_written_on_one_path_cannot_be_read_after_the_paths_join() {
    let b = Builder::new("joined");
    let (asked, slot) = (b.value(1), b.slot::<u64>());
    b.when(asked.eq(1), || b.store(slot.place(), 1));
    let value = b.load(slot.place());
    let read = line!() - 1;
    b.ret(&value);
    assert!(matches!(only(b), (line, ErrorKind::UnwrittenStack { .. }) if line == read));
}

/// What another slot has left in the same bytes does not count.
#[test]
fn a_slot_does_not_inherit_the_content_of_an_earlier_one() {
    let b = Builder::new("again");
    let earlier = b.slot::<u64>();
    b.store(earlier.place(), 1);
    drop(earlier);
    let slot = b.slot::<u64>();
    let value = b.load(slot.place());
    b.ret(&value);
    assert!(matches!(only(b), (_, ErrorKind::UnwrittenStack { .. })));
}

/// In its next iteration, the loop would read what the other slot has left.
#[test]
fn a_slot_that_is_dropped_inside_a_loop_cannot_be_read_in_the_next_iteration() {
    let b = Builder::new("loop");
    let (n, again) = (b.value(3), b.label());
    let slot = b.slot::<u64>();
    b.store(slot.place(), 1);
    b.place(&again);
    n.sub(b.load(slot.place()));
    let read = line!() - 1;
    drop(slot);
    let other = b.slot::<u32>();
    b.store(other.place(), 0);
    b.jump_if(n.ne(0), &again);
    b.ret(0);
    let (line, kind) = only(b);
    assert!(matches!(kind, ErrorKind::UnwrittenStack { first: 0, last: 3, .. }), "{kind:?}");
    assert_eq!(line, read);
}

#[test]
fn bytes_count_as_written_if_a_helper_writes_them_and_not_if_it_may() {
    let read = |size: Arg| {
        let b = Builder::new("read");
        let (context, slot) = (b.context::<Pair>(), b.slot::<Pair>());
        let _ = b.call(helper::skb_load_bytes(&context, 0, &slot, size));
        let value = b.load(slot.at(Pair::c));
        b.ret(&value);
        b
    };
    assert!(read(16.into()).finish(ProgramType::SocketFilter).is_ok());
    assert!(matches!(
        only(read(15.into())),
        (_, ErrorKind::UnwrittenStack { first: 15, last: 15, .. })
    ));

    let b = Builder::new("unknown");
    let (context, slot) = (b.context::<Pair>(), b.slot::<u64>());
    let size = b.load(context.at(Pair::b));
    let _ = b.call(helper::skb_load_bytes(&context, 0, &slot, &size));
    let value = b.load(slot.place());
    b.ret(&value);
    assert!(matches!(only(b), (_, ErrorKind::UnwrittenStack { .. })));
}

/// The address may be used to write: by a call by number, a function, a pointer.
#[test]
fn a_slot_whose_address_has_escaped_counts_as_written() {
    type Give = fn(&Builder, &bpf_asm::Slot<u64>);
    let ways: [Give; 3] = [
        |b, slot| drop(b.call(Call::<Reg>::raw(1, vec![slot.into()]))),
        |b, slot| {
            let callee = b.function("callee", |[a]: [Reg; 1]| {
                b.store(a.cast::<u64>().at_all(), 1);
                b.ret(0);
            });
            b.call_local(&callee, [slot.into()]);
        },
        |b, slot| b.store(b.address_of(slot.place()).at_all(), 1),
    ];
    for give in ways {
        let b = Builder::new("given");
        let slot = b.slot::<u64>();
        give(&b, &slot);
        let value = b.load(slot.place());
        b.ret(&value);
        b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn a_helper_cannot_be_passed_a_size_larger_than_the_memory() {
    let b = Builder::new("size");
    let (context, slot) = (b.context::<Pair>(), b.slot::<u32>());
    let _ = b.call(helper::skb_load_bytes(&context, 0, &slot, 8));
    b.ret(0);
    assert_eq!(told(b), "LINE: bpf_skb_load_bytes is passed 8 bytes of memory that has 4");

    let b = Builder::new("negative");
    let context = b.context::<Pair>();
    let _ = b.call(helper::skb_load_bytes(&context, 0, context.at(Pair::a), -1));
    b.ret(0);
    assert!(matches!(only(b), (_, ErrorKind::SizeOfMemory { given: -1, size: 8, .. })));
}

#[test]
fn frames_of_nested_functions_share_512_bytes() {
    let nested = |inner: usize, outer: usize| {
        let b = Builder::new("main");
        let fill = |bytes: usize| {
            for _ in 0..bytes / 32 {
                std::mem::forget(b.slot::<[u64; 4]>());
            }
            b.ret(0);
        };
        let inner = b.function("inner", |[]: [Reg; 0]| fill(inner));
        let middle = b.function("outer", |[]: [Reg; 0]| {
            b.call_local(&inner, []);
            fill(outer);
        });
        b.call_local(&middle, []);
        let called = line!() - 1;
        b.ret(0);
        (called, b)
    };
    // The program's own frame is empty and counts with the minimum size.
    assert!(nested(256, 224).1.finish(ProgramType::SocketFilter).is_ok());
    let (called, b) = nested(256, 256);
    assert_eq!(
        told(b),
        "LINE: the functions nested from here need 544 bytes of stack: `main` 32, `outer` 256, \
         `inner` 256; nested frames share 512 bytes, and each is rounded up to 32"
    );
    assert!(
        matches!(only(nested(512, 0).1), (line, ErrorKind::OutOfStackInCalls { .. }) if line == called)
    );
}

#[test]
fn calls_nest_at_most_eight_deep() {
    let nested = |depth: usize| {
        let b = Builder::new("main");
        let mut innermost: Option<bpf_asm::Function<0>> = None;
        for _ in 1..depth {
            let callee = innermost.take();
            innermost = Some(b.function("local", |[]: [Reg; 0]| {
                callee.iter().for_each(|callee| drop(b.call_local(callee, [])));
                b.ret(0);
            }));
        }
        innermost.iter().for_each(|callee| drop(b.call_local(callee, [])));
        b.ret(0);
        b
    };
    assert!(nested(8).finish(ProgramType::SocketFilter).is_ok());
    assert_eq!(
        told(nested(9)),
        "LINE: calls from here nest 9 functions deep, the program included; the kernel allows 8"
    );
}

#[test]
fn a_path_that_runs_past_the_end_is_reported_at_its_last_line() {
    let b = Builder::new("open");
    let value = b.value(1);
    b.when(value.eq(1), || b.ret(0));
    let end = line!() - 1;
    let errors = refused(b);
    assert_eq!(errors, [(end, ErrorKind::FallsOff { function: "open".into() })]);

    let b = Builder::new("open");
    drop(b.value(1));
    assert_eq!(
        told(b),
        "LINE: the function `open` can run past its end here; end every path with ret() or with a \
        jump back"
    );
}

/// The messages of errors without a test of their own.
#[test]
fn errors_say_what_happened_why_and_what_to_do() {
    type Mistake = (fn(&Builder), &'static str);
    let write: [Mistake; 3] = [
        (
            |b| {
                let (asked, skip) = (b.value(1), b.label());
                b.jump_if(asked.eq(1), &skip);
                let value = b.value(2);
                b.place(&skip);
                b.ret(&value);
            },
            "LINE: reads the value made at LINE, but not every path that reaches LINE has made it",
        ),
        (
            |b| {
                b.ret(0);
                b.ret(1);
            },
            "LINE: unreachable code: the code before it returns or jumps away, and no jump leads \
            here",
        ),
        (|b| b.jump(&b.label()), "LINE: jumps to the label made at LINE, which is never placed"),
    ];
    for (write, text) in write {
        let b = Builder::new("refused");
        write(&b);
        assert_eq!(told(b), text);
    }
}
