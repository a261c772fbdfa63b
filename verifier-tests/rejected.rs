//! Mistakes that the builder accepts. The verifier rejects each at its Rust line, and the agent's
//! error shows that line and the whole log.

use bpf_asm::{
    Builder, MapKind, MapRef, Modify, NULL, Program, ProgramType, Ptr, bpf_sock_ops, helper,
    sk_msg_md,
};
use syscalls::load::LoadError;
use syscalls::{Errno, Error};
use tcp_shunt::kernel::load::{self, Maps, Rejected};

use crate::complaint::Complaint;

/// A mistake, and the verifier's expected error.
struct Mistake {
    what: &'static str,
    kind: ProgramType,
    /// Writes a program with the mistake; returns the line of the last instruction that the
    /// verifier follows.
    write: fn(&Builder) -> u32,
    errno: Errno,
    /// A word in the verifier's message on all kernels so far.
    word: &'static str,
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        what: "the result of a lookup is not compared with null",
        kind: ProgramType::SocketFilter,
        write: unchecked_null,
        errno: Errno::ACCES,
        word: "map_value_or_null",
    },
    Mistake {
        what: "a load is outside a map's value",
        kind: ProgramType::SocketFilter,
        write: outside_a_value,
        errno: Errno::ACCES,
        word: "value_size=8",
    },
    Mistake {
        what: "an index into a map's value is not bounded by its size",
        kind: ProgramType::SocketFilter,
        write: unbounded_index,
        errno: Errno::ACCES,
        word: "value_size=8",
    },
    Mistake {
        what: "a helper is not available to this program type",
        kind: ProgramType::SocketFilter,
        write: foreign_helper,
        errno: Errno::INVAL,
        word: "bpf_setsockopt#49",
    },
    Mistake {
        what: "a helper gets a pointer of the wrong kind",
        kind: ProgramType::SockOps,
        write: wrong_pointer,
        errno: Errno::ACCES,
        word: "expected=ctx",
    },
    Mistake {
        what: "a helper gets a map of the wrong kind",
        kind: ProgramType::SkMsg,
        write: wrong_map,
        errno: Errno::INVAL,
        word: "cannot pass map_type",
    },
    Mistake {
        what: "a helper writes past its buffer",
        kind: ProgramType::SocketFilter,
        write: short_buffer,
        errno: Errno::ACCES,
        word: "value_size=8",
    },
    Mistake {
        what: "a reserved record is neither submitted nor discarded",
        kind: ProgramType::SocketFilter,
        write: unreleased,
        errno: Errno::INVAL,
        word: "reference",
    },
    Mistake {
        what: "a read-only field of the context is written",
        kind: ProgramType::SockOps,
        write: read_only_field,
        errno: Errno::ACCES,
        word: "context access",
    },
    Mistake {
        what: "a load is outside the context",
        kind: ProgramType::SkMsg,
        write: outside_the_context,
        errno: Errno::ACCES,
        word: "context access",
    },
    Mistake {
        what: "the context is changed atomically",
        kind: ProgramType::SockOps,
        write: atomic_context,
        errno: Errno::ACCES,
        word: "stores into",
    },
    Mistake {
        what: "a number is used as a pointer",
        kind: ProgramType::SocketFilter,
        write: number_as_pointer,
        errno: Errno::ACCES,
        word: "invalid mem access",
    },
    Mistake {
        what: "a store into the stack is not aligned",
        kind: ProgramType::SocketFilter,
        write: misaligned,
        errno: Errno::ACCES,
        word: "misaligned",
    },
    Mistake {
        what: "a loop has no bound",
        kind: ProgramType::SocketFilter,
        write: endless_loop,
        errno: Errno::INVAL,
        word: "infinite loop",
    },
    Mistake {
        what: "the return value is invalid for the hook",
        kind: ProgramType::SockOps,
        write: unknown_answer,
        errno: Errno::INVAL,
        word: "should have been in",
    },
];

const NUMBERS: MapRef<u32, u64> = MapRef::new("numbers", MapKind::Hash, 1);
const NUMBER: MapRef<u32, u64> = MapRef::new("number", MapKind::Array, 1);

fn unchecked_null(b: &Builder) -> u32 {
    let key = b.slot::<u32>();
    b.store(key.place(), 0);
    let found = b.call(helper::map_lookup_elem(&NUMBERS, &key));
    let (line, _) = (line!(), b.load(found.at_all()));
    b.ret(0);
    line
}

fn outside_a_value(b: &Builder) -> u32 {
    let number: Ptr<u64> = b.map_value(&NUMBER);
    let (line, _) = (line!(), b.load(number.offset::<u64>(8)));
    b.ret(0);
    line
}

fn unbounded_index(b: &Builder) -> u32 {
    let index = b.call(helper::get_prandom_u32());
    index.and(0xff);
    let number: Ptr<u64> = b.map_value(&NUMBER);
    number.advance(&index);
    let (line, _) = (line!(), b.load(number.at_all()));
    b.ret(0);
    line
}

fn foreign_helper(b: &Builder) -> u32 {
    let context = b.context::<sk_msg_md>();
    let value = b.slot::<u32>();
    b.store(value.place(), 0);
    let (line, _) = (line!(), b.call(helper::setsockopt(&context, 1, 9, &value, 4)));
    b.ret(0);
    line
}

fn wrong_pointer(b: &Builder) -> u32 {
    let value = b.slot::<u32>();
    b.store(value.place(), 0);
    let (line, _) = (line!(), b.call(helper::setsockopt(&value, 1, 9, &value, 4)));
    b.ret(1);
    line
}

fn wrong_map(b: &Builder) -> u32 {
    let message = b.context::<sk_msg_md>();
    let (line, _) = (line!(), b.call(helper::msg_redirect_map(&message, &NUMBER, 0, 0)));
    b.ret(1);
    line
}

fn short_buffer(b: &Builder) -> u32 {
    let number: Ptr<u64> = b.map_value(&NUMBER);
    let (line, _) = (line!(), b.call(helper::probe_read_kernel(&number, 16, NULL)));
    b.ret(0);
    line
}

fn unreleased(b: &Builder) -> u32 {
    let ring = MapRef::ring_buffer("ring", 4096);
    let room: Ptr<u64> = b.call(helper::ringbuf_reserve(&ring, 8, 0));
    b.when(room.eq(0), || b.ret(0));
    drop(room);
    let (line, ()) = (line!(), b.ret(0));
    line
}

fn read_only_field(b: &Builder) -> u32 {
    let event = b.context::<bpf_sock_ops>();
    // From a register: kernels before 6.4 reject stores of immediates to a context, whatever the
    // field.
    let one = b.value(1);
    let (line, ()) = (line!(), b.store(event.at(bpf_sock_ops::op), &one));
    b.ret(1);
    line
}

fn outside_the_context(b: &Builder) -> u32 {
    let message = b.context::<sk_msg_md>();
    let (line, _) = (line!(), b.load(message.offset::<u32>(4096)));
    b.ret(1);
    line
}

fn atomic_context(b: &Builder) -> u32 {
    let event = b.context::<bpf_sock_ops>();
    let one = b.value(1);
    let (line, ()) = (line!(), b.atomic(Modify::Add, event.at(bpf_sock_ops::reply), &one));
    b.ret(1);
    line
}

fn number_as_pointer(b: &Builder) -> u32 {
    let number = b.value(4096).cast::<u64>();
    let (line, _) = (line!(), b.load(number.at_all()));
    b.ret(0);
    line
}

fn misaligned(b: &Builder) -> u32 {
    let slot = b.slot::<[u64; 2]>();
    let pointer = b.address_of(slot.place());
    let (line, ()) = (line!(), b.store(pointer.offset::<u64>(1), 0));
    b.ret(0);
    line
}

fn endless_loop(b: &Builder) -> u32 {
    let again = b.label();
    b.place(&again);
    let random = b.call(helper::get_prandom_u32());
    let (line, ()) = (line!(), b.jump_if(random.ne(0), &again));
    b.ret(0);
    line
}

fn unknown_answer(b: &Builder) -> u32 {
    let (line, ()) = (line!(), b.ret(2));
    line
}

fn maps(program: &Program) -> Maps {
    load::maps(&program.maps().iter().collect::<Vec<_>>()).expect("make the maps, as root")
}

/// The agent's error as an operator sees it, and the verifier's error.
fn refused(what: &str, program: &Program, maps: &Maps) -> (String, Error) {
    match load::program(program, maps) {
        Ok(_) => panic!("the kernel accepts that {what}:\n{program}"),
        Err(error) => (
            format!("{error:#}"),
            *error.downcast::<Rejected>().expect("rejected by the verifier").cause,
        ),
    }
}

#[test]
fn each_mistake_is_rejected_for_its_reason_at_its_rust_line() {
    for Mistake { what, kind, write, errno, word } in MISTAKES {
        let b = Builder::new("mistake");
        let line = write(&b);
        // Unoptimised: what the optimiser removes cannot be rejected.
        let program = b
            .finish_as_written(*kind)
            .unwrap_or_else(|error| panic!("the builder rejects that {what}: {error}"));
        let (text, error) = refused(what, &program, &maps(&program));
        let complaint = Complaint::of(&error);
        assert_eq!(complaint.errno, *errno, "{what}: {text}");
        assert_eq!(
            complaint.line(&program),
            Some(line),
            "{what}: the verifier stopped elsewhere\n{text}"
        );
        assert!(complaint.log.contains(word), "{what}: no '{word}' in\n{text}");
        let mut shown = text.lines();
        for line in complaint.log.lines() {
            assert!(
                shown.any(|shown| shown.get(2..) == Some(line)),
                "{what}: '{line}' of the log is missing in\n{text}"
            );
        }
        let place = format!("rejected.rs:{line}");
        assert!(
            shown.any(|shown| shown.contains(&place)),
            "{what}: no {place} at the end of\n{text}"
        );
        println!("{what}: {errno}, at {place}\n{text}\n");
    }
}

#[test]
fn a_missing_map_is_named_without_asking_the_kernel() {
    let b = Builder::new("no_map");
    let number: Ptr<u64> = b.map_value(&NUMBER);
    b.ret(b.load(number.at_all()));
    let program = b.finish(ProgramType::SocketFilter).expect("maps come in later");
    let error = load::program(&program, &Maps::new()).expect_err("a map is missing");
    let error = error.downcast::<LoadError>().expect("an error of loading");
    let LoadError::NoMap { map, program } = error else { panic!("{error}") };
    assert_eq!((map.as_str(), program.as_deref()), (NUMBER.def().name, Some("no_map")));
}
