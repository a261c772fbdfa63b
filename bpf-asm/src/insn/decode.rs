//! Decodes instructions.

use super::slot::{class, mode};
use super::{
    AddressSpaceCast, Alu, Atomic, Call, Endian, Insn, Jump, JumpIf, JumpLong, JumpRegister, Load,
    LoadAcquire, LoadSigned, MayGoto, Packet, SignExtend, Slot, Store, StoreRelease, Wide, jump,
    wide,
};

/// A part of a program's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// An instruction.
    Insn(Insn),
    /// Bytes that do not decode.
    Data(Data),
}

/// Up to eight bytes that are not an instruction: an unknown opcode, a nonzero unused field, a
/// register above r10, or the rest of a length that is not a multiple of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    bytes: [u8; 8],
    len: usize,
}

impl Data {
    /// The first eight of these bytes, or fewer.
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

    /// The kernel's notation for them, if they are an instruction that only the kernel itself puts
    /// into loaded programs.
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

/// A speculation barrier (kernel: `BPF_NOSPEC`).
const NOSPEC: u8 = mode::ATOMIC | class::ST;
const MOVE: u8 = 0xb8 | class::ALU64;
/// The offset of a move that turns the address of a per-CPU variable into that of the current CPU
/// (kernel: `BPF_ADDR_PERCPU`).
const PER_CPU: i16 = -1;

impl Decoded {
    /// Number of instruction slots; a partial slot counts as one.
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

/// Decodes any bytes. [`encode`] is the inverse.
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

/// Encodes instructions and data.
pub fn encode(code: &[Decoded]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(code.len() * 8);
    for piece in code {
        piece.encode(&mut bytes);
    }
    bytes
}

impl Insn {
    /// The instruction at the start of these bytes, if there is one. Unused fields have to be zero,
    /// as verifiers require.
    pub fn decode(bytes: &[u8]) -> Option<Insn> {
        let (slots, _) = bytes.as_chunks();
        let first = Slot::from_bytes(*slots.first()?);
        // Decoding ignores unused fields; encoding again shows whether they are zero.
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

/// The form that encodes to exactly this slot.
fn same<const N: usize>(slot: Slot, forms: [Option<Insn>; N]) -> Option<Insn> {
    forms.into_iter().flatten().find(|insn| insn.first_slot() == slot)
}
