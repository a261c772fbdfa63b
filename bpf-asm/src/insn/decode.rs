//! Bytes to instructions.

use super::slot::{class, mode};
use super::{
    AddressSpaceCast, Alu, Atomic, Call, Endian, Insn, Jump, JumpIf, JumpLong, JumpRegister, Load,
    LoadAcquire, LoadSigned, MayGoto, Packet, SignExtend, Slot, Store, StoreRelease, Wide, jump,
    wide,
};

/// A piece of a program's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// An instruction.
    Insn(Insn),
    /// Bytes that are none.
    Data(Data),
}

/// Up to eight bytes that are no instruction: an unknown opcode, something in a field that has to
/// be zero, a register behind r10, or what is left at the end when the length is no multiple of
/// eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    bytes: [u8; 8],
    len: usize,
}

impl Data {
    /// The first eight of these bytes, or as many as there are.
    pub fn new(from: &[u8]) -> Self {
        let mut bytes = [0; 8];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
            len += 1;
        }
        Data { bytes, len }
    }

    /// The bytes, at most eight.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// What the kernel says of it, if it is something that kernels put into programs that they have
    /// loaded, and that no program may bring along.
    pub fn meaning(&self) -> Option<String> {
        let slot = Slot::from_bytes(self.bytes().try_into().ok()?);
        match slot {
            Slot { opcode: NOSPEC, dst: 0, src: 0, offset: 0, imm: 0 } => Some("nospec".to_owned()),
            Slot { opcode: MOVE, offset: PER_CPU, imm: 0, .. } => {
                Some(format!("{} = &(void __percpu *)({})", slot.dst()?, slot.src()?))
            }
            _ => None,
        }
    }
}

/// A barrier against speculation (kernel: `BPF_NOSPEC`).
const NOSPEC: u8 = mode::ATOMIC | class::ST;
const MOVE: u8 = 0xb8 | class::ALU64;
/// The offset of a move that makes the address of a per-CPU variable this CPU's (kernel:
/// `BPF_ADDR_PERCPU`).
const PER_CPU: i16 = -1;

impl Decoded {
    /// Instruction slots taken; the last few bytes count as one.
    pub fn slots(&self) -> usize {
        match self {
            Decoded::Insn(insn) => insn.slots(),
            Decoded::Data(_) => 1,
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Decoded::Insn(insn) => insn.encode(bytes),
            Decoded::Data(data) => bytes.extend(data.bytes()),
        }
    }
}

impl From<Insn> for Decoded {
    fn from(insn: Insn) -> Self {
        Decoded::Insn(insn)
    }
}

/// Takes any bytes apart, from the first slot to the last. [`encode`] gives the same bytes back.
pub fn decode(bytes: &[u8]) -> Vec<Decoded> {
    let mut code = Vec::with_capacity(bytes.len() / 8);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, length) = match Insn::decode(rest) {
            Some(insn) => (Decoded::Insn(insn), insn.slots() * 8),
            None => {
                let data = Data::new(rest);
                (Decoded::Data(data), data.bytes().len())
            }
        };
        code.push(piece);
        rest = rest.get(length..).unwrap_or_default();
    }
    code
}

/// The bytes of a piece of program.
pub fn encode(code: &[Decoded]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(code.len() * 8);
    for piece in code {
        piece.encode(&mut bytes);
    }
    bytes
}

impl Insn {
    /// The instruction that these bytes begin with, if they do. What it does not look at has to be
    /// zero, as verifiers demand.
    pub fn decode(bytes: &[u8]) -> Option<Insn> {
        let (slots, _) = bytes.as_chunks();
        let first = Slot::from_bytes(*slots.first()?);
        // The forms pick their fields out; that nothing else is set shows when they are put
        // together again.
        if first.opcode == wide::WIDE {
            let second = Slot::from_bytes(*slots.get(1)?);
            let insn = Wide::decode(first, second)?;
            return (insn.encode() == [first, second]).then_some(Insn::Wide(insn));
        }
        narrow(first).filter(|insn| insn.first_slot() == first)
    }
}

fn narrow(slot: Slot) -> Option<Insn> {
    match (slot.class(), slot.mode()) {
        (class::LD, mode::ABS | mode::IND) => Packet::decode(slot).map(Insn::Packet),
        (class::LDX, mode::MEM) => Load::decode(slot).map(Insn::Load),
        (class::LDX, mode::MEMSX) => LoadSigned::decode(slot).map(Insn::LoadSigned),
        (class::ST | class::STX, mode::MEM) => Store::decode(slot).map(Insn::Store),
        (class::STX, mode::ATOMIC) => atomic(slot),
        (class::ALU | class::ALU64, _) => arithmetic(slot),
        (class::JMP | class::JMP32, _) => jump(slot),
        _ => None,
    }
}

fn atomic(slot: Slot) -> Option<Insn> {
    let forms = [
        Atomic::decode(slot).map(Insn::Atomic),
        LoadAcquire::decode(slot).map(Insn::LoadAcquire),
        StoreRelease::decode(slot).map(Insn::StoreRelease),
    ];
    same(slot, forms)
}

fn arithmetic(slot: Slot) -> Option<Insn> {
    let forms = [
        Alu::decode(slot).map(Insn::Alu),
        Endian::decode(slot).map(Insn::Endian),
        SignExtend::decode(slot).map(Insn::SignExtend),
        AddressSpaceCast::decode(slot).map(Insn::AddressSpaceCast),
    ];
    same(slot, forms)
}

fn jump(slot: Slot) -> Option<Insn> {
    match slot.opcode {
        jump::GOTO => Some(Insn::Jump(Jump { offset: slot.offset })),
        jump::GOTO_LONG => Some(Insn::JumpLong(JumpLong { offset: slot.imm })),
        jump::GOTO_REGISTER => Some(Insn::JumpRegister(JumpRegister { target: slot.dst()? })),
        jump::MAY_GOTO => Some(Insn::MayGoto(MayGoto { offset: slot.offset })),
        jump::EXIT => Some(Insn::Exit),
        _ => {
            same(slot, [Call::decode(slot).map(Insn::Call), JumpIf::decode(slot).map(Insn::JumpIf)])
        }
    }
}

/// The form that is made of nothing but this slot.
fn same<const N: usize>(slot: Slot, forms: [Option<Insn>; N]) -> Option<Insn> {
    forms.into_iter().flatten().find(|insn| insn.first_slot() == slot)
}
