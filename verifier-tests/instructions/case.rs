//! Forms that compute a result from two numbers, in a program that runs them on all pairs.

use bpf_asm::insn::{
    Alu, AluOp, Atomic, AtomicOp, ByteOrder, Compare, Endian, EndianBits, Extension, Insn, Jump,
    JumpIf, JumpLong, Load, LoadAcquire, LoadSigned, MayGoto, Register, SignExtend, SignedSize,
    Since, Size, Source, Store, StoreRelease, Wide, WideSource, Width,
};

use super::evaluation::{alu, atomic, byte_order, compare, extend, lower, signed, stored};

use Register::{R0, R1, R2, R3, R6, R10};

/// The limits of 8, 16, 32 and 64 bits, numbers around shifts by a whole width, and some in
/// between.
pub const NUMBERS: [u64; 29] = [
    0,
    1,
    2,
    7,
    31,
    32,
    33,
    63,
    64,
    65,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_0000_0000,
    0x0123_4567_89ab_cdef,
    0xfedc_ba98_7654_3210,
    u64::MAX,
];

/// Numbers that fit in an immediate.
const IMMEDIATES: [i32; 14] =
    [0, 1, 2, 7, 31, 32, 63, 64, 0x7fff, 0x8000, i32::MAX, i32::MIN, -2, -1];

/// A form with all of its pairs.
pub struct Case {
    /// Its name: the text for one pair.
    pub name: String,
    /// The initial contents of r1 and r2.
    pub pairs: Vec<(u64, u64)>,
    /// The instructions for each pair, which leave the result in r1.
    pub body: Vec<Vec<Insn>>,
    /// The expected results.
    pub expected: Vec<u64>,
}

impl Case {
    fn new(
        pairs: Vec<(u64, u64)>,
        body: impl Fn(u64) -> Vec<Insn>,
        expect: impl Fn(u64, u64) -> u64,
        shown: impl Fn(&[Insn]) -> String,
    ) -> Self {
        let body: Vec<Vec<Insn>> = pairs.iter().map(|(_, b)| body(*b)).collect();
        let expected = pairs.iter().map(|(a, b)| expect(*a, *b)).collect();
        Case { name: shown(&body[0]), pairs, body, expected }
    }

    /// The same with each instruction once.
    pub fn brief(mut self) -> Case {
        let mut seen = Vec::new();
        let keep: Vec<bool> = self
            .body
            .iter()
            .map(|body| {
                !seen.contains(body) && {
                    seen.push(body.clone());
                    true
                }
            })
            .collect();
        let kept = |index: usize| keep.get(index).copied().unwrap_or(false);
        self.pairs = self
            .pairs
            .into_iter()
            .enumerate()
            .filter(|(at, _)| kept(*at))
            .map(|(_, pair)| pair)
            .collect();
        self.body = self
            .body
            .into_iter()
            .enumerate()
            .filter(|(at, _)| kept(*at))
            .map(|(_, body)| body)
            .collect();
        self.expected = self
            .expected
            .into_iter()
            .enumerate()
            .filter(|(at, _)| kept(*at))
            .map(|(_, it)| it)
            .collect();
        self
    }

    /// The whole program: r6, which `entry` sets, points to the numbers of all pairs, followed by
    /// space for the results.
    pub fn program(&self, entry: Insn) -> Vec<u8> {
        let mut code = vec![entry];
        for (index, (body, _)) in self.body.iter().zip(&self.pairs).enumerate() {
            let at =
                |slot: usize| i16::try_from(slot * 8).expect("a case has less than 1366 pairs");
            let load =
                |dst, slot| Insn::Load(Load { size: Size::DW, dst, base: R6, offset: at(slot) });
            code.extend([load(R1, index * 3), load(R2, index * 3 + 1)]);
            code.extend(body);
            let src = Source::Reg(R1);
            code.push(Insn::Store(Store {
                size: Size::DW,
                base: R6,
                offset: at(index * 3 + 2),
                src,
            }));
        }
        code.extend([mov(R0, Source::Imm(0)), Insn::Exit]);
        let mut bytes = Vec::new();
        code.iter().for_each(|insn| insn.encode(&mut bytes));
        bytes
    }

    /// The pairs in memory, with space for the results.
    pub fn memory(&self) -> Vec<u8> {
        // Not zero, so that a missing result is detected.
        self.pairs
            .iter()
            .flat_map(|(a, b)| [*a, *b, 0x5a5a_5a5a_5a5a_5a5a])
            .flat_map(u64::to_ne_bytes)
            .collect()
    }

    /// The wrong results in memory after the program has run.
    pub fn wrong(&self, memory: &[u8]) -> Vec<String> {
        let (words, _) = memory.as_chunks::<8>();
        let results = words.iter().skip(2).step_by(3).map(|word| u64::from_ne_bytes(*word));
        assert_eq!(results.len(), self.pairs.len());
        let wrong = results.zip(&self.expected).zip(self.pairs.iter().zip(&self.body));
        let wrong = wrong.filter(|((result, expected), _)| result != *expected);
        wrong
            .map(|((result, expected), ((a, b), body))| {
                let body: Vec<String> = body.iter().map(Insn::to_string).collect();
                format!(
                    "r1 = {a:#x}, r2 = {b:#x}: `{}` gave {result:#x}, not {expected:#x}",
                    body.join("; ")
                )
            })
            .collect()
    }

    /// The requirements of its instructions.
    pub fn since(&self) -> Since {
        self.body.iter().flatten().map(Insn::since).fold(Since::FIRST, Since::and)
    }
}

fn mov(dst: Register, src: Source) -> Insn {
    Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src })
}

fn pairs() -> Vec<(u64, u64)> {
    NUMBERS.iter().flat_map(|a| NUMBERS.map(|b| (*a, b))).collect()
}

/// Every number with every immediate, sign-extended.
fn with_immediates(allowed: impl Fn(i32) -> bool) -> Vec<(u64, u64)> {
    let immediates = IMMEDIATES
        .into_iter()
        .filter(|imm| allowed(*imm))
        .map(|imm| i64::from(imm).cast_unsigned());
    let immediates: Vec<u64> = immediates.collect();
    NUMBERS.iter().flat_map(|a| immediates.iter().map(|b| (*a, *b))).collect()
}

fn first(body: &[Insn]) -> String {
    body[0].to_string()
}

fn named(number: usize) -> impl Fn(&[Insn]) -> String {
    move |body| body[number].to_string()
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    arithmetic(&mut cases);
    one_operand(&mut cases);
    jumps(&mut cases);
    memory(&mut cases);
    atomics(&mut cases);
    cases
}

fn arithmetic(cases: &mut Vec<Case>) {
    for width in Width::ALL {
        let bits = if width == Width::W64 { 64 } else { 32 };
        for op in AluOp::ALL.into_iter().filter(|op| *op != AluOp::Neg) {
            let insn = |src| Insn::Alu(Alu { width, op, dst: R1, src });
            let expect = move |a, b| alu(width, op, a, b);
            cases.push(Case::new(pairs(), |_| vec![insn(Source::Reg(R2))], expect, first));
            // Verifiers reject divisions by an immediate 0, and shifts by an immediate width.
            let allowed = |imm: i32| match op {
                AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => imm != 0,
                AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => (0..bits).contains(&imm),
                _ => true,
            };
            let body = |b: u64| vec![insn(Source::Imm(b as i32))];
            cases.push(Case::new(with_immediates(allowed), body, expect, first));
        }
    }
}

fn one_operand(cases: &mut Vec<Case>) {
    let numbers = || NUMBERS.map(|a| (a, 0)).to_vec();
    for width in Width::ALL {
        let insn = Insn::Alu(Alu { width, op: AluOp::Neg, dst: R1, src: Source::Imm(0) });
        cases.push(Case::new(
            numbers(),
            |_| vec![insn],
            |a, _| alu(width, AluOp::Neg, a, 0),
            first,
        ));
    }
    for order in ByteOrder::ALL {
        for bits in EndianBits::ALL {
            let insn = Insn::Endian(Endian { order, bits, dst: R1 });
            cases.push(Case::new(
                numbers(),
                |_| vec![insn],
                |a, _| byte_order(order, bits, a),
                first,
            ));
        }
    }
    for extension in Extension::ALL {
        let insn = Insn::SignExtend(SignExtend { extension, dst: R1, src: R1 });
        cases.push(Case::new(numbers(), |_| vec![insn], |a, _| extend(extension, a), first));
        let from_other = Insn::SignExtend(SignExtend { extension, dst: R1, src: R2 });
        cases.push(Case::new(pairs(), |_| vec![from_other], |_, b| extend(extension, b), first));
    }
    let numbers = NUMBERS.map(|b| (0, b)).to_vec();
    let body = |b| vec![Insn::Wide(Wide { dst: R1, source: WideSource::Imm(b) })];
    cases.push(Case::new(numbers, body, |_, b| b, first));
}

fn jumps(cases: &mut Vec<Case>) {
    let unless = |insn| {
        vec![mov(R3, Source::Imm(1)), insn, mov(R3, Source::Imm(0)), mov(R1, Source::Reg(R3))]
    };
    for width in Width::ALL {
        for compare_by in Compare::ALL {
            let insn =
                |src| Insn::JumpIf(JumpIf { width, compare: compare_by, dst: R1, src, offset: 1 });
            let expect = move |a, b| u64::from(compare(width, compare_by, a, b));
            cases.push(Case::new(pairs(), |_| unless(insn(Source::Reg(R2))), expect, named(1)));
            let body = |b: u64| unless(insn(Source::Imm(b as i32)));
            cases.push(Case::new(with_immediates(|_| true), body, expect, named(1)));
        }
    }
    // Three jumps each, forward, forward and back: 2, if all reach their targets.
    let add = |number| {
        Insn::Alu(Alu { width: Width::W64, op: AluOp::Add, dst: R3, src: Source::Imm(number) })
    };
    type Make = fn(i16) -> Insn;
    let makes: [Make; 2] = [
        |offset| Insn::Jump(Jump { offset }),
        |offset| Insn::JumpLong(JumpLong { offset: i32::from(offset) }),
    ];
    for jump in makes {
        let body = |_| {
            let third = [jump(2), add(2), jump(1), jump(-3), mov(R1, Source::Reg(R3))];
            [vec![mov(R3, Source::Imm(0))], third.to_vec()].concat()
        };
        cases.push(Case::new(vec![(9, 9)], body, |_, _| 2, named(1)));
    }
    // A loop with its own exit, which comes first.
    let body = |_| {
        let five = Insn::JumpIf(JumpIf {
            width: Width::W64,
            compare: Compare::Eq,
            dst: R3,
            src: Source::Imm(5),
            offset: 3,
        });
        let insns =
            [five, Insn::MayGoto(MayGoto { offset: 2 }), add(1), Insn::Jump(Jump { offset: -4 })];
        [vec![mov(R3, Source::Imm(0))], insns.to_vec(), vec![mov(R1, Source::Reg(R3))]].concat()
    };
    cases.push(Case::new(vec![(9, 9)], body, |_, _| 5, named(2)));
}

/// Eight bytes of the stack.
const STACK: i16 = -16;

fn put(src: Register) -> Insn {
    Insn::Store(Store { size: Size::DW, base: R10, offset: STACK, src: Source::Reg(src) })
}

fn get() -> Insn {
    Insn::Load(Load { size: Size::DW, dst: R1, base: R10, offset: STACK })
}

fn memory(cases: &mut Vec<Case>) {
    // The lower bytes of a number come first in memory, or last.
    let at = |size: Size| {
        if cfg!(target_endian = "little") { STACK } else { STACK + 8 - size.bytes() as i16 }
    };
    for size in Size::ALL {
        let load = Insn::Load(Load { size, dst: R1, base: R10, offset: at(size) });
        cases.push(Case::new(pairs(), |_| vec![put(R2), load], |_, b| lower(size, b), named(1)));
        let store = |src| Insn::Store(Store { size, base: R10, offset: STACK, src });
        let expect = move |a, b| stored(size, a, b);
        cases.push(Case::new(
            pairs(),
            |_| vec![put(R1), store(Source::Reg(R2)), get()],
            expect,
            named(1),
        ));
        let body = |b: u64| vec![put(R1), store(Source::Imm(b as i32)), get()];
        cases.push(Case::new(with_immediates(|_| true), body, expect, named(1)));
        let load = Insn::LoadAcquire(LoadAcquire { size, dst: R1, base: R10, offset: at(size) });
        cases.push(Case::new(pairs(), |_| vec![put(R2), load], |_, b| lower(size, b), named(1)));
        let store = Insn::StoreRelease(StoreRelease { size, base: R10, offset: STACK, src: R2 });
        cases.push(Case::new(pairs(), |_| vec![put(R1), store, get()], expect, named(1)));
    }
    for size in SignedSize::ALL {
        let load =
            Insn::LoadSigned(LoadSigned { size, dst: R1, base: R10, offset: at(size.size()) });
        cases.push(Case::new(pairs(), |_| vec![put(R2), load], |_, b| signed(size, b), named(1)));
    }
}

fn atomics(cases: &mut Vec<Case>) {
    for width in Width::ALL {
        for op in AtomicOp::ALL {
            let insn = Insn::Atomic(Atomic { width, op, base: R10, offset: STACK, src: R2 });
            // Every other comparison succeeds or so, in 32 bits.
            const EXPECTED: i32 = 0x7fff;
            let body = |_| vec![put(R1), mov(R0, Source::Imm(EXPECTED)), insn, get()];
            let all = move |a, b| atomic(width, op, a, b, EXPECTED as u64);
            cases.push(Case::new(pairs(), body, move |a, b| all(a, b).0, named(2)));
            let Some(into) = fetched_into(op) else { continue };
            let body =
                |_| vec![put(R1), mov(R0, Source::Imm(EXPECTED)), insn, mov(R1, Source::Reg(into))];
            let shown = |body: &[Insn]| format!("result of {}", body[2]);
            cases.push(Case::new(pairs(), body, move |a, b| all(a, b).1.unwrap_or(0), shown));
        }
    }
}

/// The register that receives the old content of memory.
fn fetched_into(op: AtomicOp) -> Option<Register> {
    match op {
        AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => None,
        AtomicOp::CompareExchange => Some(R0),
        _ => Some(R2),
    }
}
