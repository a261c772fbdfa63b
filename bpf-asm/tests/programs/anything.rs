//! Whatever is asked of a builder, it answers with a program or with errors; and a program it gives out reads nothing that
//! a call has destroyed.

use std::collections::HashMap;

use bpf_asm::insn::{Call as CallInsn, Insn, Register};
use bpf_asm::{Arg, AtomicOp, Builder, Call, Condition, KernelField, Label, Operand, ProgramType, Ptr, Reg, Slot};
use proptest::prelude::*;

bpf_asm::record! {
    struct Pair { a: u64, b: u32, c: u16, d: [u8; 2] }
}

#[derive(Debug, Clone)]
enum Step {
    Context,
    Value(i64),
    Copy(usize),
    Keep(usize),
    Drop(usize),
    Alu(u8, usize, usize, i64),
    Call(Vec<usize>),
    CallLocal(i64),
    Load(usize, i64),
    Store(usize, i64),
    Member(usize, u32, u8, Option<(u8, u8)>),
    Atomic(usize, usize, i64),
    CompareExchange(usize, usize, i64),
    Slot,
    DropSlot(usize),
    SlotUse(usize, usize, usize),
    Label,
    Place(usize),
    Jump(usize),
    JumpIf(u8, usize, i64, usize),
    When(u8, usize, i64, Vec<Step>),
    WhenElse(usize, usize, Vec<Step>, Vec<Step>),
    Function(Vec<Step>),
    Return(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0usize..12;
    let number = || prop_oneof![any::<i64>(), -3i64..100];
    let leaf = prop_oneof![
        Just(Step::Context),
        number().prop_map(Step::Value),
        n().prop_map(Step::Copy),
        n().prop_map(Step::Keep),
        n().prop_map(Step::Drop),
        (any::<u8>(), n(), n(), number()).prop_map(|(op, a, b, c)| Step::Alu(op, a, b, c)),
        proptest::collection::vec(n(), 0..7).prop_map(Step::Call),
        number().prop_map(Step::CallLocal),
        (n(), number()).prop_map(|(a, b)| Step::Load(a, b)),
        (n(), number()).prop_map(|(a, b)| Step::Store(a, b)),
        (n(), any::<u32>(), any::<u8>(), any::<Option<(u8, u8)>>()).prop_map(|(a, b, c, d)| Step::Member(a, b, c, d)),
        (n(), n(), number()).prop_map(|(a, b, c)| Step::Atomic(a, b, c)),
        (n(), n(), number()).prop_map(|(a, b, c)| Step::CompareExchange(a, b, c)),
        Just(Step::Slot),
        n().prop_map(Step::DropSlot),
        (n(), n(), n()).prop_map(|(a, b, c)| Step::SlotUse(a, b, c)),
        Just(Step::Label),
        n().prop_map(Step::Place),
        n().prop_map(Step::Jump),
        (any::<u8>(), n(), number(), n()).prop_map(|(a, b, c, d)| Step::JumpIf(a, b, c, d)),
        n().prop_map(Step::Return),
    ];
    leaf.prop_recursive(3, 40, 8, move |inner| {
        let steps = || proptest::collection::vec(inner.clone(), 0..8);
        prop_oneof![
            (any::<u8>(), n(), number(), steps()).prop_map(|(a, b, c, d)| Step::When(a, b, c, d)),
            (n(), n(), steps(), steps()).prop_map(|(a, b, c, d)| Step::WhenElse(a, b, c, d)),
            steps().prop_map(Step::Function),
        ]
    })
}

#[derive(Default)]
struct Held {
    values: Vec<Reg>,
    slots: Vec<Slot<Pair>>,
    labels: Vec<Label>,
    functions: Vec<bpf_asm::Function<1>>,
}

fn pick<T>(list: &[T], n: usize) -> Option<&T> {
    (!list.is_empty()).then(|| &list[n % list.len()])
}

fn take<T>(list: &mut Vec<T>, n: usize) -> Option<T> {
    (!list.is_empty()).then(|| list.swap_remove(n % list.len()))
}

fn condition(kind: u8, value: &Reg, number: i64) -> Condition {
    match kind % 6 {
        0 => value.eq(number),
        1 => value.has32(number),
        2 => value.has(number).or(value.slt(value)),
        3 => value.gt(number).and(value.has(3)),
        4 => value.le32(number).and(value.ne(0).or(value.eq(number))),
        _ => value.sge(value),
    }
}

fn write(b: &Builder, held: &mut Held, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Context => held.values.push(b.context::<Pair>().into_reg()),
            Step::Value(number) => held.values.push(b.value(number)),
            Step::Copy(n) => {
                let copy = pick(&held.values, n).map(|value| b.value(value));
                held.values.extend(copy);
            }
            Step::Keep(n) => {
                let kept = take(&mut held.values, n).map(|value| b.keep(value));
                held.values.extend(kept);
            }
            Step::Drop(n) => drop(take(&mut held.values, n)),
            Step::Alu(op, n, m, number) => {
                let (Some(left), Some(right)) = (pick(&held.values, n), pick(&held.values, m)) else { continue };
                let right = if op & 0x80 == 0 { Operand::from(right) } else { Operand::from(number) };
                match op % 8 {
                    0 => left.add(right),
                    1 => left.sub32(right),
                    2 => left.div(right),
                    3 => left.lsh(right),
                    4 => left.arsh32(right),
                    5 => left.set(right),
                    6 => left.set32(right),
                    _ => left.neg(),
                }
            }
            Step::Call(args) => {
                let args = args.iter().map(|&n| pick(&held.values, n).map_or(Arg::from(n as i64), Arg::from));
                let args: Vec<Arg> = args.collect();
                held.values.push(b.call(Call::raw(7, args)));
            }
            Step::CallLocal(number) => {
                let Some(function) = held.functions.last() else { continue };
                held.values.push(b.call_local(function, [number.into()]));
            }
            Step::Load(n, offset) => {
                let Some(base) = take(&mut held.values, n) else { continue };
                let base: Ptr<Pair> = base.cast();
                held.values.push(b.load(base.offset::<i16>(offset)));
                held.values.push(base.into_reg());
            }
            Step::Store(n, number) => {
                let Some(base) = take(&mut held.values, n) else { continue };
                let base: Ptr<Pair> = base.cast();
                b.store(base.at(Pair::c), number);
                b.store(base.at(Pair::a), number);
                b.copy(base.offset::<Pair>(number), base.at_all());
                held.values.push(base.into_reg());
            }
            Step::Member(n, offset, size, bitfield) => {
                let Some(base) = take(&mut held.values, n) else { continue };
                let base: Ptr<Pair> = base.cast();
                let field = KernelField { offset, size, signed: size & 1 == 1, bitfield };
                held.values.push(b.load(base.member(field)));
                held.values.push(base.into_reg());
            }
            Step::Atomic(n, m, offset) => {
                let (Some(base), Some(value)) = (take(&mut held.values, n), take(&mut held.values, m)) else {
                    continue;
                };
                let base: Ptr<Pair> = base.cast();
                held.values.push(b.fetch(AtomicOp::Add, base.offset::<u64>(offset), value));
            }
            Step::CompareExchange(n, m, offset) => {
                let (Some(base), Some(value)) = (take(&mut held.values, n), take(&mut held.values, m)) else {
                    continue;
                };
                let base: Ptr<Pair> = base.cast();
                held.values.push(b.compare_exchange(base.offset::<u32>(offset), 1, &value));
                held.values.push(value);
            }
            Step::Slot => held.slots.push(b.slot()),
            Step::DropSlot(n) => drop(take(&mut held.slots, n)),
            Step::SlotUse(n, m, index) => {
                let Some(slot) = pick(&held.slots, n) else { continue };
                b.zero(slot.place());
                b.store(slot.at(Pair::d).index(index), 1);
                if let Some(value) = pick(&held.values, m) {
                    b.store(slot.at(Pair::a), value);
                }
                held.values.push(b.load(slot.at(Pair::a)));
                held.values.push(b.address_of(slot.place()).into_reg());
            }
            Step::Label => held.labels.push(b.label()),
            Step::Place(n) => drop(pick(&held.labels, n).map(|label| b.place(label))),
            Step::Jump(n) => drop(pick(&held.labels, n).map(|label| b.jump(label))),
            Step::JumpIf(kind, n, number, label) => {
                let (Some(value), Some(label)) = (pick(&held.values, n), pick(&held.labels, label)) else { continue };
                b.jump_if(condition(kind, value, number), label);
            }
            Step::When(kind, n, number, then) => {
                let Some(value) = pick(&held.values, n) else { continue };
                b.when(condition(kind, value, number), || write(b, held, then));
            }
            Step::WhenElse(n, m, then, otherwise) => {
                let (Some(a), Some(c)) = (pick(&held.values, n), pick(&held.values, m)) else { continue };
                let condition = a.lt(c);
                let held = std::cell::RefCell::new(&mut *held);
                b.when_else(
                    condition,
                    || write(b, &mut held.borrow_mut(), then),
                    || write(b, &mut held.borrow_mut(), otherwise),
                );
            }
            Step::Function(body) => {
                let function = b.function("local", |[argument]: [Reg; 1]| {
                    held.values.push(argument);
                    write(b, held, body);
                    b.ret(0);
                });
                held.functions.push(function);
            }
            Step::Return(n) => match pick(&held.values, n) {
                Some(value) => b.ret(value),
                None => b.ret(n as i64),
            },
        }
    }
}

/// Whether no line reads a register that some path leaves without content: not written yet, or lost in a call.
fn reads_only_what_is_there(insns: &[(usize, Insn)]) -> Result<(), String> {
    let lines: HashMap<i64, usize> = insns.iter().enumerate().map(|(line, (slot, _))| (*slot as i64, line)).collect();
    // What every path brings along, a bit for each register; at first r1 and r10.
    let mut known: Vec<Option<u16>> = vec![None; insns.len()];
    let mut waiting = vec![(0i64, 0b100_0000_0010u16)];
    while let Some((slot, brought)) = waiting.pop() {
        let Some(&line) = lines.get(&slot) else { return Err(format!("runs to {slot}, where nothing is")) };
        let agreed = known[line].map_or(brought, |known| known & brought);
        if known[line] == Some(agreed) {
            continue;
        }
        known[line] = Some(agreed);
        let insn = insns[line].1;
        let (reads, writes) = registers(&insn);
        if let Some(missing) = reads.iter().find(|register| agreed >> register.number() & 1 == 0) {
            return Err(format!("{slot}: {insn} reads {missing}"));
        }
        let lost = if matches!(insn, Insn::Call(_)) { 0b11_1111 } else { 0 };
        let after = writes.iter().fold(agreed & !lost, |known, register| known | 1 << register.number());
        let next = slot + insn.slots() as i64;
        match insn {
            Insn::Exit => {}
            Insn::Jump(jump) => waiting.push((next + i64::from(jump.offset), after)),
            Insn::JumpIf(jump) => waiting.extend([(next, after), (next + i64::from(jump.offset), after)]),
            _ => waiting.push((next, after)),
        }
    }
    Ok(())
}

fn registers(insn: &Insn) -> (Vec<Register>, Vec<Register>) {
    use bpf_asm::insn::{AluOp, Source};
    let of = |source: &Source| match source {
        Source::Reg(register) => vec![*register],
        Source::Imm(_) => vec![],
    };
    match insn {
        Insn::Alu(alu) => {
            let mut reads = of(&alu.src);
            if alu.op != AluOp::Mov {
                reads.push(alu.dst);
            }
            (reads, vec![alu.dst])
        }
        Insn::Endian(endian) => (vec![endian.dst], vec![endian.dst]),
        Insn::Load(load) => (vec![load.base], vec![load.dst]),
        Insn::Store(store) => ([vec![store.base], of(&store.src)].concat(), vec![]),
        Insn::Atomic(atomic) => (vec![atomic.base, atomic.src], vec![]),
        Insn::Wide(wide) => (vec![], vec![wide.dst]),
        Insn::JumpIf(jump) => ([vec![jump.dst], of(&jump.src)].concat(), vec![]),
        Insn::Call(CallInsn::Local { .. }) => (vec![Register::R1], vec![Register::R0]),
        Insn::Call(_) => (vec![], vec![Register::R0]),
        Insn::Exit => (vec![Register::R0], vec![]),
        Insn::Jump(_) => (vec![], vec![]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_builder_never_panics_and_its_programs_read_only_what_is_there(steps in proptest::collection::vec(step(), 0..30)) {
        let b = Builder::new("anything");
        let mut held = Held::default();
        write(&b, &mut held, steps);
        match b.finish(ProgramType::SocketFilter) {
            Err(errors) => prop_assert!(!errors.errors().is_empty() && !errors.to_string().is_empty()),
            Ok(program) => {
                let insns: Vec<(usize, Insn)> = program.insns().map(|(slot, insn, _)| (slot, insn)).collect();
                prop_assert_eq!(reads_only_what_is_there(&insns), Ok(()), "{}", program);
            }
        }
    }

    /// The same, from steps that are seldom refused, so that programs are what is mostly seen.
    #[test]
    fn straight_steps_mostly_give_programs(steps in proptest::collection::vec(plain_step(), 0..20)) {
        let b = Builder::new("plain");
        let mut held = Held::default();
        write(&b, &mut held, steps);
        b.ret(0);
        if let Ok(program) = b.finish(ProgramType::SocketFilter) {
            let insns: Vec<(usize, Insn)> = program.insns().map(|(slot, insn, _)| (slot, insn)).collect();
            prop_assert_eq!(reads_only_what_is_there(&insns), Ok(()), "{}", program);
        }
    }
}

fn plain_step() -> impl Strategy<Value = Step> {
    let n = || 0usize..4;
    let leaf = prop_oneof![
        4 => (0i64..9).prop_map(Step::Value),
        2 => n().prop_map(Step::Keep),
        4 => n().prop_map(Step::Drop),
        3 => (n(), n()).prop_map(|(a, b)| Step::Alu(0, a, b, 0)),
        1 => proptest::collection::vec(n(), 0..3).prop_map(Step::Call),
        1 => (n(), 0i64..9).prop_map(|(a, b)| Step::Load(a, b)),
        1 => (n(), n(), Just(0)).prop_map(|(a, b, c)| Step::CompareExchange(a, b, c)),
    ];
    leaf.prop_recursive(2, 12, 4, move |inner| {
        let steps = || proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            (any::<u8>(), n(), 0i64..9, steps()).prop_map(|(a, b, c, d)| Step::When(a, b, c, d)),
            (n(), n(), steps(), steps()).prop_map(|(a, b, c, d)| Step::WhenElse(a, b, c, d)),
        ]
    })
}
