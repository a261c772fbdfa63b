//! Programs as rbpf's interpreter can run them.
//!
//! The bytes are rewritten on the way, for six reasons:
//!
//! * rbpf knows no atomic additions: each becomes a load, an addition and a store;
//! * it compares 64 bits with a negative immediate as if that were unsigned: the immediate goes
//!   through a register;
//! * helpers of the kernel destroy r1 to r5, those of rbpf leave them alone: they are overwritten
//!   after each call;
//! * it knows no functions of the kernel by BTF id: they are helpers of that number;
//! * it knows no `may_goto`, which is left out: no loop goes on for so long;
//! * both ways of every conditional jump leave a mark, so that a test can say which were never
//!   taken.
//!
//! The context and the stack frame lie in the simulation's memory, where every access is checked.

use std::ops::Range;

/// Bytes of a frame, and above it two words for what the rewriting needs to put aside.
pub const FRAME: usize = 512;
pub const FRAME_AND_ASIDE: usize = FRAME + 16;
const ASIDE: i16 = 0;
const ASIDE_OF_MARKS: i16 = 8;

/// Where a run finds its memory.
#[derive(Clone, Copy)]
pub struct Addresses {
    pub context: u64,
    pub frame: u64,
    /// Two bytes for each instruction slot: a conditional jump there was not taken, was taken.
    pub marks: u64,
}

/// Rewrites a program for runs that find their memory at these addresses.
pub fn prepare(program: &[u8], at: Addresses) -> Vec<u8> {
    Rewriter::rewrite(program, at)
}

/// Runs a prepared program to its end and gives its result.
///
/// # Panics
/// If it leaves its memory.
pub fn run(prepared: &[u8], memory: Range<u64>, helpers: &[(u32, rbpf::ebpf::Helper)]) -> u64 {
    let mut machine = rbpf::EbpfVmRaw::new(None).unwrap();
    // rbpf would refuse a frame of our own. The builder and the kernel's verifier have their own
    // tests.
    machine.set_verifier(|_| Ok(())).unwrap();
    machine.set_program(prepared).unwrap();
    machine.register_allowed_memory(memory);
    for &(id, helper) in helpers {
        machine.register_helper(id, helper).unwrap();
    }
    machine.execute_program(&mut []).unwrap()
}

/// Which slots hold a conditional jump.
pub fn conditional_jumps(program: &[u8]) -> impl Iterator<Item = usize> {
    let mut wide = false;
    program.chunks_exact(8).map(Insn::decode).enumerate().filter_map(move |(slot, insn)| {
        let second_half = std::mem::replace(&mut wide, insn.op == Insn::WIDE);
        (!second_half && insn.is_conditional()).then_some(slot)
    })
}

/// An instruction slot (RFC 9669 section 3).
#[derive(Clone, Copy)]
struct Insn {
    op: u8,
    dst: u8,
    src: u8,
    off: i16,
    imm: i32,
}

impl Insn {
    const WIDE: u8 = 0x18;
    const LOAD: u8 = 0x79;
    const STORE: u8 = 0x7b;
    const STORE_BYTE: u8 = 0x72;
    const ADD: u8 = 0x0f;
    const MOVE_NUMBER: u8 = 0xb7;
    const JUMP: u8 = 0x05;
    const CALL: u8 = 0x85;
    /// In a call: a function of the kernel by BTF id.
    const KERNEL: u8 = 2;
    const EXIT: u8 = 0x95;
    const MAY_GOTO: u8 = 0xe5;
    const ATOMIC_ADD: u8 = 0xdb;
    /// In a conditional jump: compares with a register.
    const WITH_REGISTER: u8 = 0x08;

    fn decode(bytes: &[u8]) -> Insn {
        Insn {
            op: bytes[0],
            dst: bytes[1] & 15,
            src: bytes[1] >> 4,
            off: i16::from_le_bytes([bytes[2], bytes[3]]),
            imm: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }

    fn is_conditional(self) -> bool {
        matches!(self.op & 7, 5 | 6)
            && !matches!(self.op, Insn::JUMP | Insn::CALL | Insn::EXIT | Insn::MAY_GOTO)
    }

    /// What rbpf compares wrongly: equality and unsigned order of 64 bits with a negative number.
    fn is_compared_wrongly(self) -> bool {
        const JSET_AND_SIGNED: [u8; 5] = [0x40, 0x60, 0x70, 0xc0, 0xd0];
        self.op & 7 == 5
            && self.op & Insn::WITH_REGISTER == 0
            && self.imm < 0
            && !JSET_AND_SIGNED.contains(&(self.op & 0xf0))
    }

    /// A register that the instruction does not use.
    fn other(self) -> u8 {
        (0..10).find(|&register| register != self.dst && register != self.src).unwrap_or(0)
    }
}

struct Rewriter {
    out: Vec<u8>,
    /// Jumps in `out`, by slot, and the slot of the program that they go to.
    jumps: Vec<(usize, usize)>,
    at: Addresses,
}

impl Rewriter {
    fn rewrite(program: &[u8], at: Addresses) -> Vec<u8> {
        let mut this = Rewriter { out: Vec::new(), jumps: Vec::new(), at };
        this.wide(10, at.frame + FRAME as u64);
        this.wide(1, at.context);
        let mut begins = Vec::new();
        let mut slots = program.chunks_exact(8).map(Insn::decode).enumerate();
        while let Some((slot, insn)) = slots.next() {
            begins.push(this.slots());
            let target = slot.wrapping_add_signed(isize::from(insn.off) + 1);
            match insn.op {
                Insn::WIDE => {
                    this.emit(insn);
                    begins.push(this.slots());
                    this.emit(slots.next().expect("a second half").1);
                }
                Insn::CALL => {
                    this.emit(Insn {
                        src: if insn.src == Insn::KERNEL { 0 } else { insn.src },
                        ..insn
                    });
                    for register in 1..=5 {
                        this.emit(Insn {
                            op: Insn::MOVE_NUMBER,
                            dst: register,
                            src: 0,
                            off: 0,
                            imm: -0x5a5a,
                        });
                    }
                }
                Insn::JUMP => this.jump(target),
                Insn::MAY_GOTO => {}
                Insn::ATOMIC_ADD if insn.imm == 0 => this.add(insn),
                _ if insn.is_conditional() => this.branch(slot, insn, target),
                _ => this.emit(insn),
            }
        }
        for (from, to) in std::mem::take(&mut this.jumps) {
            let distance = begins[to] as i64 - from as i64 - 1;
            let offset = i16::try_from(distance).expect("a distance within reach");
            this.out[from * 8 + 2..from * 8 + 4].copy_from_slice(&offset.to_le_bytes());
        }
        this.out
    }

    fn slots(&self) -> usize {
        self.out.len() / 8
    }

    fn emit(&mut self, Insn { op, dst, src, off, imm }: Insn) {
        self.out.extend([op, src << 4 | dst]);
        self.out.extend(off.to_le_bytes());
        self.out.extend(imm.to_le_bytes());
    }

    fn jump(&mut self, target: usize) {
        self.jumps.push((self.slots(), target));
        self.emit(Insn { op: Insn::JUMP, dst: 0, src: 0, off: 0, imm: 0 });
    }

    fn wide(&mut self, dst: u8, number: u64) {
        self.emit(Insn { op: Insn::WIDE, dst, src: 0, off: 0, imm: number as i32 });
        self.emit(Insn { op: 0, dst: 0, src: 0, off: 0, imm: (number >> 32) as i32 });
    }

    fn put_aside(&mut self, register: u8, off: i16) {
        self.emit(Insn { op: Insn::STORE, dst: 10, src: register, off, imm: 0 });
    }

    fn take_back(&mut self, register: u8, off: i16) {
        self.emit(Insn { op: Insn::LOAD, dst: register, src: 10, off, imm: 0 });
    }

    fn add(&mut self, insn: Insn) {
        let sum = insn.other();
        self.put_aside(sum, ASIDE);
        self.emit(Insn { op: Insn::LOAD, dst: sum, src: insn.dst, off: insn.off, imm: 0 });
        self.emit(Insn { op: Insn::ADD, dst: sum, src: insn.src, off: 0, imm: 0 });
        self.emit(Insn { op: Insn::STORE, dst: insn.dst, src: sum, off: insn.off, imm: 0 });
        self.take_back(sum, ASIDE);
    }

    /// ```text
    /// if condition goto taken;  mark;  goto next;  taken: mark;  goto target;  next:
    /// ```
    fn branch(&mut self, slot: usize, insn: Insn, target: usize) {
        let number = insn.is_compared_wrongly().then(|| insn.other());
        let condition = match number {
            Some(register) => {
                self.put_aside(register, ASIDE);
                self.emit(Insn {
                    op: Insn::MOVE_NUMBER,
                    dst: register,
                    src: 0,
                    off: 0,
                    imm: insn.imm,
                });
                Insn { op: insn.op | Insn::WITH_REGISTER, src: register, imm: 0, ..insn }
            }
            None => insn,
        };
        let condition_at = self.slots();
        self.emit(condition);
        for (way, goes_to) in [slot + 1, target].into_iter().enumerate() {
            if way == 1 {
                let distance = (self.slots() - condition_at - 1) as i16;
                self.out[condition_at * 8 + 2..condition_at * 8 + 4]
                    .copy_from_slice(&distance.to_le_bytes());
            }
            if let Some(register) = number {
                self.take_back(register, ASIDE);
            }
            self.mark(slot * 2 + way);
            self.jump(goes_to);
        }
    }

    fn mark(&mut self, index: usize) {
        self.put_aside(0, ASIDE_OF_MARKS);
        self.wide(0, self.at.marks + index as u64);
        self.emit(Insn { op: Insn::STORE_BYTE, dst: 0, src: 0, off: 0, imm: 1 });
        self.take_back(0, ASIDE_OF_MARKS);
    }
}
