//! Optimised programs compute the same as unoptimised ones: random programs in rbpf and in the
//! running kernel, and a table of single optimisations.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd};

use bpf_asm::insn::{Alu, AluOp, Insn, Load, Register, Size, Source, Width};
use bpf_asm::{
    __sk_buff, Builder, Condition, Fetch, Function, MapKind, MapRef, Modify, Operand, Program,
    ProgramType, Ptr, Reg, Slot, helper, record,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use syscalls::{Map, MapSpec, Prog, ProgKind, ProgSpec, Update};

use crate::choices::Choices;

record! {
    struct Memory { words: [u64; 4], halves: [u32; 4], signed: [i32; 2], bytes: [u8; 8] }
}

const SIZE: usize = size_of::<Memory>();
const MEMORY: MapRef<u32, Memory> = MapRef::new("memory", MapKind::Array, 1);

/// A random program under construction. Its variables are in slots and preserved registers, so that
/// the builder accepts every program.
struct Writer<'a> {
    b: &'a Builder,
    choices: RefCell<Choices>,
    memory: Ptr<Memory>,
    kept: [Reg; 2],
    slots: [Slot<u64>; 3],
    local: Function<2>,
    /// Whether it may call helpers that write.
    packet: Option<Ptr<__sk_buff>>,
    /// The nesting depth of branches and loops.
    depth: Cell<usize>,
}

impl Writer<'_> {
    fn of(&self, count: usize) -> usize {
        self.choices.borrow_mut().of(count)
    }

    /// Edge cases, none of them negative: rbpf compares those differently.
    fn number(&self) -> i64 {
        [0, 1, 2, 7, 8, 31, 255, 0x8000_0000, 0xffff_ffff, 0x1234_5678_9abc][self.of(10)]
    }

    /// A variable, a field of memory or a number.
    fn read(&self) -> Reg {
        let Writer { b, memory, .. } = self;
        match self.of(9) {
            0 | 1 => b.value(&self.kept[self.of(2)]),
            2..=4 => b.load(self.slots[self.of(3)].place()),
            5 => b.load(memory.at(Memory::words).index(self.of(4))),
            6 => b.load(memory.at(Memory::signed).index(self.of(2))),
            7 => b.load(memory.at(Memory::bytes).index(self.of(8))),
            _ => b.value(self.number()),
        }
    }

    fn write(&self, value: Reg) {
        let Writer { b, memory, .. } = self;
        match self.of(8) {
            0 | 1 => self.kept[self.of(2)].set(&value),
            2..=4 => b.store(self.slots[self.of(3)].place(), &value),
            5 => b.store(memory.at(Memory::words).index(self.of(4)), &value),
            6 => b.store(memory.at(Memory::halves).index(self.of(4)), &value),
            // An unused result.
            _ => {}
        }
    }

    fn compute(&self, value: &Reg) {
        let other = (self.of(2) == 0).then(|| self.read());
        let right = |most: i64| match &other {
            Some(other) => Operand::from(other),
            None => Operand::from(self.number().clamp(0, most)),
        };
        let (any, most32) = (i64::MAX, 0xffff_ffff);
        match self.of(22) {
            0 | 1 => value.add(right(any)),
            2 => value.sub(right(any)),
            3 => value.mul(right(any)),
            4 => value.div(self.number().max(1)),
            5 => value.rem(self.number().max(1)),
            6 => value.or(right(any)),
            7 => value.and(right(any)),
            8 => value.xor(right(any)),
            9 => value.lsh(self.of(64) as i64),
            10 => value.rsh(self.of(64) as i64),
            11 => value.arsh(self.of(64) as i64),
            12 => value.add32(right(most32)),
            13 => value.sub32(right(most32)),
            14 => value.mul32(right(most32)),
            15 => value.div32(self.number().clamp(1, 8)),
            16 => value.and32(right(most32)),
            17 => value.lsh32(self.of(32) as i64),
            18 => value.arsh32(self.of(32) as i64),
            19 => value.neg(),
            20 => value.set32(right(most32)),
            _ => value.set(right(any)),
        }
    }

    fn condition(&self) -> Condition {
        let (left, right) = (self.read(), self.number().min(255));
        match self.of(8) {
            0 => left.eq(right),
            1 => left.ne(&self.kept[0]),
            2 => left.gt(right),
            3 => left.has(right),
            4 => left.slt(right),
            5 => left.le32(right),
            6 => left.ge(right).and(self.read().ne(3)),
            _ => left.lt(right).or(self.read().eq(&self.kept[1])),
        }
    }

    fn lines(&self) {
        for _ in 0..1 + self.of(if self.depth.get() == 0 { 14 } else { 4 }) {
            self.line();
        }
    }

    fn inside(&self) {
        self.depth.set(self.depth.get() + 1);
        self.lines();
        self.depth.set(self.depth.get() - 1);
    }

    fn line(&self) {
        let Writer { b, memory, .. } = self;
        match self.of(16) {
            0..=4 => {
                let value = self.read();
                for _ in 0..self.of(3) {
                    self.compute(&value);
                }
                self.write(value);
            }
            5 if self.depth.get() < 3 => b.when(self.condition(), || self.inside()),
            6 if self.depth.get() < 3 => {
                b.when_else(self.condition(), || self.inside(), || self.inside())
            }
            7 if self.depth.get() == 0 => {
                let rounds = b.slot::<u64>();
                b.store(rounds.place(), 3);
                let again = b.label();
                b.place(&again);
                self.inside();
                let left = b.load(rounds.place());
                left.sub(1);
                b.store(rounds.place(), &left);
                b.jump_if(left.ne(0), &again);
            }
            8 => {
                let early = b.label();
                b.jump_if(self.condition(), &early);
                self.write(self.read());
                b.place(&early);
            }
            9 => {
                let result = b.call_local(
                    &self.local,
                    [(&self.slots[self.of(3)]).into(), self.number().into()],
                );
                self.write(result);
            }
            10 => {
                let pointer = b.address_of(self.slots[self.of(3)].place());
                b.store(pointer.offset::<u16>(2), self.number().min(255));
                self.write(b.load(pointer.offset::<u32>(4)));
            }
            11 => {
                let copy = b.slot::<[u64; 2]>();
                b.copy(copy.place(), memory.offset::<[u64; 2]>(8));
                b.store(copy.place().index(self.of(2)), self.number().min(255));
                b.copy(memory.offset::<u64>(16), copy.place().index(self.of(2)));
            }
            12 => {
                let key = b.slot::<u32>();
                b.store(key.place(), self.of(2));
                let found = b.call(helper::map_lookup_elem(&MEMORY, &key));
                b.when(found.ne(0), || b.store(found.at(Memory::halves).index(1), 77));
            }
            13 => {
                let into = b.slot::<u64>();
                b.store(into.place(), 0);
                if let Some(packet) = &self.packet {
                    b.call(helper::skb_load_bytes(packet, self.of(80), &into, 1 + self.of(8)));
                }
                self.write(b.load(into.place()));
            }
            14 => b.zero(self.slots[self.of(3)].place()),
            _ if self.packet.is_some() => {
                let value = self.read();
                b.atomic(Modify::Add, memory.at(Memory::words).index(3), &value);
                self.write(b.fetch(Fetch::Xor, memory.at(Memory::words).index(2), value));
            }
            _ => {}
        }
    }

    /// All state of a program, combined into one number.
    fn end(&self) {
        let b = self.b;
        self.kept[0].add(b.call_local(&self.local, [(&self.slots[0]).into(), 1.into()]));
        let sum = b.value(&self.kept[0]);
        sum.mul(31);
        sum.add(&self.kept[1]);
        for slot in &self.slots {
            sum.mul(31);
            sum.add(b.load(slot.place()));
        }
        b.store(self.memory.at(Memory::words).index(0), &sum);
        b.ret(&sum);
    }
}

/// A program, unoptimised and optimised. `packet`: it reads a packet and uses atomic operations.
fn program(choices: Vec<u32>, packet: bool) -> [Program; 2] {
    let b = Builder::new("random");
    let local = b.function("local", |[slot, number]: [Reg; 2]| {
        let slot: Ptr<u64> = slot.cast();
        let held = b.load(slot.at_all());
        held.add(&number);
        b.store(slot.at_all(), &held);
        number.mul(4);
        b.ret(&number);
    });
    let packet = packet.then(|| b.context::<__sk_buff>());
    let memory = b.map_value(&MEMORY);
    let kept = [1, 2].map(|number| b.value(number));
    let slots = [3, 4, 5].map(|number| {
        let slot = b.slot();
        b.store(slot.place(), number);
        slot
    });
    let choices = RefCell::new(Choices::new(choices));
    let writer = Writer { b: &b, choices, memory, kept, slots, local, packet, depth: Cell::new(0) };
    writer.lines();
    writer.end();
    drop(writer);
    let finished = [
        b.clone().finish_as_written(ProgramType::SocketFilter),
        b.finish(ProgramType::SocketFilter),
    ];
    finished.map(|program| program.unwrap_or_else(|errors| panic!("{errors}")))
}

fn memory() -> Vec<u8> {
    (0..SIZE).map(|byte| (byte * 37 + 200) as u8).collect()
}

thread_local! {
    static VALUE: Cell<u64> = const { Cell::new(0) };
}

fn lookup(_map: u64, _key: u64, _: u64, _: u64, _: u64) -> u64 {
    VALUE.get()
}

/// Runs a program in rbpf; returns its result and the final memory.
fn in_user_space(program: &Program) -> (u64, Vec<u8>) {
    let mut memory = memory();
    let range = memory.as_mut_ptr_range();
    VALUE.set(range.start as u64);
    let code = program.for_rbpf(|_| range.start as u64);
    let mut machine =
        rbpf::EbpfVmRaw::new(Some(&code)).unwrap_or_else(|error| panic!("{error}\n{program}"));
    machine.register_helper(1, lookup).unwrap();
    machine.register_allowed_memory(range.start as u64..range.end as u64);
    let result =
        machine.execute_program(&mut []).unwrap_or_else(|error| panic!("{error}\n{program}"));
    (result, memory)
}

/// Runs a program in the kernel.
fn in_the_kernel(program: &Program, map: &Map) -> (u64, Vec<u8>) {
    let key = 0u32.to_ne_bytes();
    map.update(&key, &memory(), Update::ANY).unwrap();
    let image = program.relocate(|_| map.as_fd().as_raw_fd());
    let spec = ProgSpec::new(ProgKind::SOCKET_FILTER, "random", c"GPL", &image.insns);
    let loaded = Prog::load(&spec).unwrap_or_else(|error| panic!("{error}\n{program}"));
    let packet: Vec<u8> = (0..64).collect();
    let run = loaded.test_run(&packet, 1).unwrap();
    (u64::from(run.retval), map.lookup(&key).unwrap().unwrap())
}

/// Compares random programs; returns the total number of slots, unoptimised and optimised.
fn compare(cases: u32, packet: bool, run: impl Fn(&Program) -> (u64, Vec<u8>)) -> [usize; 2] {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let slots = Cell::new([0, 0]);
    let result =
        TestRunner::new(config).run(&proptest::collection::vec(any::<u32>(), 20..300), |choices| {
            let [written, optimised] = program(choices, packet);
            prop_assert_eq!(run(&optimised), run(&written), "{}\n{}", written, optimised);
            prop_assert!(optimised.slots() <= written.slots());
            slots.set([slots.get()[0] + written.slots(), slots.get()[1] + optimised.slots()]);
            Ok(())
        });
    assert_eq!(result, Ok(()));
    slots.get()
}

#[test]
fn random_programs_compute_the_same_in_user_space() {
    let [written, optimised] = compare(1000, false, in_user_space);
    println!("{written} slots as written, {optimised} optimised");
    assert!(
        optimised * 10 < written * 9,
        "too little was optimised: {written} slots became {optimised}"
    );
}

#[test]
fn random_programs_compute_the_same_in_the_kernel() {
    let spec = MapSpec::new(syscalls::MapKind::ARRAY, "memory", 4, SIZE as u32, 1);
    let map = Map::create(&spec).expect("this test loads programs: run it as root");
    let [written, optimised] = compare(300, true, |program| in_the_kernel(program, &map));
    assert!(
        optimised * 10 < written * 9,
        "too little was optimised: {written} slots became {optimised}"
    );
}

/// The text of a finished program without lines and slots.
fn text(write: impl FnOnce(&Builder)) -> Vec<String> {
    let b = Builder::new("text");
    write(&b);
    let program = b.finish(ProgramType::SocketFilter).unwrap_or_else(|errors| panic!("{errors}"));
    program.insns().map(|(_, insn, _)| insn.to_string()).collect()
}

#[test]
fn each_optimisation_is_done() {
    type Write = fn(&Builder);
    let table: [(&str, Write, &[&str]); 20] = [
        (
            "a constant",
            |b| {
                let value = b.value(6);
                value.mul(7);
                b.ret(&value);
            },
            &["r0 = 42", "exit"],
        ),
        (
            "a 32-bit constant",
            |b| {
                let value = b.value(0);
                value.sub32(1);
                b.ret(&value);
            },
            &["w0 = -1", "exit"],
        ),
        (
            "a branch on a constant",
            |b| {
                let setting = b.value(0);
                b.when(setting.ne(0), || drop(b.call(helper::jiffies64())));
                b.ret(1);
            },
            &["r0 = 1", "exit"],
        ),
        (
            "unused results",
            |b| {
                let packet = b.context::<__sk_buff>();
                let len = b.load(packet.at(__sk_buff::len));
                len.add(1);
                b.ret(2);
            },
            &["r0 = 2", "exit"],
        ),
        (
            "a move whose source is not used afterwards",
            |b| {
                let packet = b.context::<__sk_buff>();
                let len = b.load(packet.at(__sk_buff::len));
                len.xor(5);
                b.ret(b.value(&len));
            },
            &["r0 = *(u32 *)(r1 +0)", "r0 ^= 5", "exit"],
        ),
        (
            "a multiplication, a division and a remainder by powers of two",
            |b| {
                let len = b.load(b.context::<__sk_buff>().at(__sk_buff::len));
                len.mul(8);
                len.div32(4);
                len.rem(16);
                b.ret(&len);
            },
            &["r0 = *(u32 *)(r1 +0)", "r0 <<= 3", "w0 >>= 2", "r0 &= 15", "exit"],
        ),
        (
            "operations without effect",
            |b| {
                let len = b.load(b.context::<__sk_buff>().at(__sk_buff::len));
                len.add(0);
                len.mul(1);
                len.or(0);
                len.rsh(0);
                len.and(-1);
                b.ret(&len);
            },
            &["r0 = *(u32 *)(r1 +0)", "exit"],
        ),
        // They clear the upper half.
        (
            "32-bit operations that only clear the upper half",
            |b| {
                let value = b.load(b.context::<Memory>().at(Memory::words).index(0));
                value.add32(0);
                b.ret(&value);
            },
            &["r0 = *(u64 *)(r1 +0)", "w0 += 0", "exit"],
        ),
        (
            "two additions",
            |b| {
                let len = b.load(b.context::<__sk_buff>().at(__sk_buff::len));
                len.add(1);
                len.add(2);
                b.ret(&len);
            },
            &["r0 = *(u32 *)(r1 +0)", "r0 += 3", "exit"],
        ),
        (
            "a constant stored to a slot",
            |b| {
                let slot = b.slot::<[u32; 2]>();
                b.store(slot.place().index(0), b.value(7));
                b.store(slot.place().index(1), b.load(slot.place().index(0)));
                let value = b.load(slot.place().index(1));
                b.ret(&value);
            },
            &[
                "*(u32 *)(r10 -8) = 7",
                "r1 = *(u32 *)(r10 -8)",
                "*(u32 *)(r10 -4) = r1",
                "r0 = *(u32 *)(r10 -4)",
                "exit",
            ],
        ),
        (
            "an 8-byte constant, which older verifiers track only from a register",
            |b| {
                let slot = b.slot::<u64>();
                b.store(slot.place(), b.value(7));
                b.ret(b.load(slot.place()));
            },
            &["r1 = 7", "*(u64 *)(r10 -8) = r1", "r0 = *(u64 *)(r10 -8)", "exit"],
        ),
        (
            "a constant stored outside the stack",
            |b| {
                let packet = b.context::<__sk_buff>();
                b.store(packet.at(__sk_buff::mark), b.value(7));
                b.ret(0);
            },
            &["r2 = 7", "*(u32 *)(r1 +8) = r2", "r0 = 0", "exit"],
        ),
        (
            "an unused slot",
            |b| {
                let slot = b.slot::<u64>();
                b.store(slot.place(), 1);
                b.ret(0);
            },
            &["r0 = 0", "exit"],
        ),
        (
            "a slot that is accessed through its address",
            |b| {
                let slot = b.slot::<[u64; 2]>();
                let pointer = b.address_of(slot.place());
                b.store(slot.place().index(1), 1);
                b.ret(b.load(pointer.offset::<u64>(8)));
            },
            &["*(u64 *)(r10 -8) = 1", "r0 = *(u64 *)(r10 -8)", "exit"],
        ),
        (
            "a jump to a jump",
            |b| {
                let (packet, first, second) = (b.context::<__sk_buff>(), b.label(), b.label());
                let len = b.load(packet.at(__sk_buff::len));
                b.jump_if(len.eq(1), &first);
                b.jump_if(len.eq(2), &second);
                b.ret(0);
                b.place(&first);
                b.jump(&second);
                b.place(&second);
                b.ret(1);
            },
            &[
                "r1 = *(u32 *)(r1 +0)",
                "if r1 == 0x1 goto pc+3",
                "if r1 == 0x2 goto pc+2",
                "r0 = 0",
                "exit",
                "r0 = 1",
                "exit",
            ],
        ),
        (
            "a jump over a jump",
            |b| {
                let (packet, end) = (b.context::<__sk_buff>(), b.label());
                let len = b.load(packet.at(__sk_buff::len));
                b.when(len.eq(1), || b.jump(&end));
                len.add(2);
                b.ret(&len);
                b.place(&end);
                b.ret(0);
            },
            &[
                "r0 = *(u32 *)(r1 +0)",
                "if r0 == 0x1 goto pc+2",
                "r0 += 2",
                "exit",
                "r0 = 0",
                "exit",
            ],
        ),
        (
            "a jump over a jump that is a jump target",
            |b| {
                let (packet, again) = (b.context::<__sk_buff>(), b.label());
                let len = b.load(packet.at(__sk_buff::len));
                b.when(len.eq(1), || {
                    b.place(&again);
                    b.jump(&again);
                });
                b.ret(0);
            },
            &["r1 = *(u32 *)(r1 +0)", "if r1 != 0x1 goto pc+1", "goto pc-1", "r0 = 0", "exit"],
        ),
        (
            "a call that writes to an unused slot",
            |b| {
                let (packet, slot) = (b.context::<__sk_buff>(), b.slot::<u32>());
                b.ret(b.call(helper::skb_load_bytes(&packet, 0, &slot, 4)));
            },
            &["r3 = r10", "r2 = 0", "r3 += -8", "r4 = 4", "call bpf_skb_load_bytes#26", "exit"],
        ),
        (
            "a function that only unreachable code calls",
            |b| {
                let never = b.function("never", |[]: [Reg; 0]| b.ret(5));
                let setting = b.value(0);
                b.when(setting.ne(0), || drop(b.call_local(&never, [])));
                b.ret(1);
            },
            &["r0 = 1", "exit"],
        ),
        (
            "arguments computed in other registers",
            |b| {
                let packet = b.context::<__sk_buff>();
                let offset = b.load(packet.at(__sk_buff::len));
                offset.sub(4);
                let last = b.slot::<u32>();
                b.store(last.place(), 0);
                b.call(helper::skb_load_bytes(&packet, b.value(&offset), &last, 4));
                b.ret(b.load(last.place()));
            },
            &[
                "r2 = *(u32 *)(r1 +0)",
                "r2 -= 4",
                "*(u32 *)(r10 -8) = 0",
                "r3 = r10",
                "r3 += -8",
                "r4 = 4",
                "call bpf_skb_load_bytes#26",
                "r0 = *(u32 *)(r10 -8)",
                "exit",
            ],
        ),
    ];
    for (what, write, expected) in table {
        assert_eq!(text(write), expected, "{what}");
    }
}

#[test]
fn remaining_instructions_keep_their_rust_lines() {
    let b = Builder::new("lines");
    let packet = b.context::<__sk_buff>();
    let (loaded, len) = (line!(), b.load(packet.at(__sk_buff::len)));
    len.add(0);
    len.add(1);
    let added = line!() - 1;
    b.ret(b.value(&len));
    let returned = line!() - 1;
    let program = b.finish(ProgramType::SocketFilter).unwrap();
    let lines: Vec<u32> = program.insns().map(|(_, _, at)| at.line()).collect();
    assert_eq!(lines, [loaded, added, returned], "{program}");
}

/// The pointer is older than the slot.
#[test]
fn a_store_that_a_raw_instruction_may_read_stays() {
    let written = text(|b| {
        let (dst, src) = (Register::R6, Source::Reg(Register::R10));
        b.emit(Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src }));
        let slot = b.slot::<u64>();
        b.store(slot.place(), 5);
        let load = Load { size: Size::DW, dst: Register::R1, base: Register::R6, offset: -8 };
        b.ret(b.emit_value(Insn::Load(load)));
    });
    assert!(written.contains(&"*(u64 *)(r10 -8) = 5".to_owned()), "{written:?}");
}

/// Its size is known only at run time.
#[test]
fn stores_behind_a_place_that_a_helper_reads_on_from_stay() {
    let written = text(|b| {
        let (packet, buffer) = (b.context::<__sk_buff>(), b.slot::<[u8; 4]>());
        for index in 0..4 {
            b.store(buffer.place().index(index), 1);
        }
        let len = b.load(packet.at(__sk_buff::len));
        len.and(3);
        let rest = buffer.place().index(1);
        b.ret(b.call(helper::skb_store_bytes(&packet, 0, rest, &len, 0)));
    });
    let stores = written.iter().filter(|insn| insn.starts_with("*(u8 *)(r10")).count();
    assert_eq!(stores, 3, "{written:?}");
}

/// The verifier goes by it.
#[test]
fn a_may_goto_to_the_next_instruction_stays() {
    let written = text(|b| {
        let next = b.label();
        b.may_goto(&next);
        b.place(&next);
        b.ret(0);
    });
    assert_eq!(written, ["may_goto pc+0", "r0 = 0", "exit"]);
}
