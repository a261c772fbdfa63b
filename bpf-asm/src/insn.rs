//! Instructions, typed by class: RFC 9669 and the kernel's extensions.
//!
//! Every number has the type of its field in the encoding, so a number that does not fit cannot be
//! constructed; who computes one has to handle overflow.
//!
//! [`Insn::encode`] and [`decode`] convert between instructions and bytes, [`Insn::since`] gives
//! the version of the instruction set and the kernel that first support a form, and `Display`
//! writes the kernel's own notation.

mod address_space;
mod alu;
mod atomic;
mod byte_order;
mod call;
mod decode;
mod helper_names;
mod jump;
mod load;
mod operand;
mod ordered;
mod packet;
mod register;
mod sign_extend;
mod since;
mod slot;
mod store;
mod wide;

pub use address_space::AddressSpaceCast;
pub use alu::{Alu, AluOp};
pub use atomic::{Atomic, AtomicOp};
pub use byte_order::{ByteOrder, Endian, EndianBits};
pub use call::Call;
pub use decode::{Data, Decoded, decode, encode};
pub(crate) use helper_names::helper_names;
pub use helper_names::{helper_id, helper_name};
pub use jump::{Compare, Jump, JumpIf, JumpLong, JumpRegister, MayGoto};
pub use load::{Load, LoadSigned};
pub use operand::{SignedSize, Size, Source, Width};
pub use ordered::{LoadAcquire, StoreRelease};
pub use packet::{Packet, PacketSize};
pub use register::Register;
pub use sign_extend::{Extension, SignExtend};
pub use since::{Isa, Kernel, Minimum, Since};
pub use slot::Slot;
pub use store::Store;
pub use wide::{Wide, WideSource};

use std::fmt;

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insn {
    /// Arithmetic.
    Alu(Alu),
    /// Byte order.
    Endian(Endian),
    /// A move that extends a sign.
    SignExtend(SignExtend),
    /// A cast of a pointer between address spaces.
    AddressSpaceCast(AddressSpaceCast),
    /// Memory to register.
    Load(Load),
    /// Memory to register, with its sign.
    LoadSigned(LoadSigned),
    /// Memory to register, with acquire ordering.
    LoadAcquire(LoadAcquire),
    /// Packet to r0.
    Packet(Packet),
    /// Register or immediate to memory.
    Store(Store),
    /// Register to memory, with release ordering.
    StoreRelease(StoreRelease),
    /// Atomic read-modify-write.
    Atomic(Atomic),
    /// 64-bit immediate, map, map value, variable or function.
    Wide(Wide),
    /// Unconditional jump.
    Jump(Jump),
    /// Unconditional jump with a 32-bit distance.
    JumpLong(JumpLong),
    /// Jump to the address in a register.
    JumpRegister(JumpRegister),
    /// Conditional jump.
    JumpIf(JumpIf),
    /// Jump that limits a loop.
    MayGoto(MayGoto),
    /// Call.
    Call(Call),
    /// Return r0.
    Exit,
}

impl Insn {
    /// Number of instruction slots: 2 for a [`Wide`], else 1.
    pub fn slots(&self) -> usize {
        if matches!(self, Insn::Wide(_)) { 2 } else { 1 }
    }

    /// Appends the instruction's bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first_slot().to_bytes());
        if let Insn::Wide(insn) = self {
            let [_, second] = insn.encode();
            bytes.extend(second.to_bytes());
        }
    }

    fn first_slot(&self) -> Slot {
        match self {
            Insn::Alu(insn) => insn.encode(),
            Insn::Endian(insn) => insn.encode(),
            Insn::SignExtend(insn) => insn.encode(),
            Insn::AddressSpaceCast(insn) => insn.encode(),
            Insn::Load(insn) => insn.encode(),
            Insn::LoadSigned(insn) => insn.encode(),
            Insn::LoadAcquire(insn) => insn.encode(),
            Insn::Packet(insn) => insn.encode(),
            Insn::Store(insn) => insn.encode(),
            Insn::StoreRelease(insn) => insn.encode(),
            Insn::Atomic(insn) => insn.encode(),
            Insn::Wide(insn) => {
                let [first, _] = insn.encode();
                first
            }
            Insn::Jump(insn) => insn.encode(),
            Insn::JumpLong(insn) => insn.encode(),
            Insn::JumpRegister(insn) => insn.encode(),
            Insn::JumpIf(insn) => insn.encode(),
            Insn::MayGoto(insn) => insn.encode(),
            Insn::Call(insn) => insn.encode(),
            Insn::Exit => Slot { opcode: jump::EXIT, dst: 0, src: 0, offset: 0, imm: 0 },
        }
    }

    /// The first version of the instruction set and the first kernel that support it.
    pub fn since(&self) -> Since {
        match self {
            Insn::Alu(insn) => insn.since(),
            Insn::Endian(insn) => insn.since(),
            Insn::SignExtend(insn) => insn.since(),
            Insn::AddressSpaceCast(insn) => insn.since(),
            Insn::LoadSigned(insn) => insn.since(),
            Insn::LoadAcquire(insn) => insn.since(),
            Insn::Packet(insn) => insn.since(),
            Insn::StoreRelease(insn) => insn.since(),
            Insn::Atomic(insn) => insn.since(),
            Insn::Wide(insn) => insn.since(),
            Insn::JumpLong(insn) => insn.since(),
            Insn::JumpRegister(insn) => insn.since(),
            Insn::JumpIf(insn) => insn.since(),
            Insn::MayGoto(insn) => insn.since(),
            Insn::Call(insn) => insn.since(),
            Insn::Load(_) | Insn::Store(_) | Insn::Jump(_) | Insn::Exit => Since::FIRST,
        }
    }
}

/// The kernel's own notation, as in verifier logs and bpftool's output.
///
/// It differs in two places, so that the text is unambiguous: a 64-bit number is followed by `ll`,
/// as compilers write it, and a negative number in a comparison has a sign.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Insn::Alu(insn) => insn.fmt(f),
            Insn::Endian(insn) => insn.fmt(f),
            Insn::SignExtend(insn) => insn.fmt(f),
            Insn::AddressSpaceCast(insn) => insn.fmt(f),
            Insn::Load(insn) => insn.fmt(f),
            Insn::LoadSigned(insn) => insn.fmt(f),
            Insn::LoadAcquire(insn) => insn.fmt(f),
            Insn::Packet(insn) => insn.fmt(f),
            Insn::Store(insn) => insn.fmt(f),
            Insn::StoreRelease(insn) => insn.fmt(f),
            Insn::Atomic(insn) => insn.fmt(f),
            Insn::Wide(insn) => insn.fmt(f),
            Insn::Jump(insn) => insn.fmt(f),
            Insn::JumpLong(insn) => insn.fmt(f),
            Insn::JumpRegister(insn) => insn.fmt(f),
            Insn::JumpIf(insn) => insn.fmt(f),
            Insn::MayGoto(insn) => insn.fmt(f),
            Insn::Call(insn) => insn.fmt(f),
            Insn::Exit => f.write_str("exit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Register::*;

    fn alu(width: Width, op: AluOp, src: Source) -> Insn {
        Insn::Alu(Alu { width, op, dst: R1, src })
    }

    fn jump(width: Width, compare: Compare, src: Source) -> Insn {
        Insn::JumpIf(JumpIf { width, compare, dst: R3, src, offset: -2 })
    }

    fn atomic(width: Width, op: AtomicOp) -> Insn {
        Insn::Atomic(Atomic { width, op, base: R10, offset: -8, src: R2 })
    }

    /// Opcodes are those of RFC 9669, appendix A; the text is what the kernel's disassembler
    /// prints.
    #[test]
    fn every_instruction_has_the_bytes_of_the_rfc_and_the_text_of_the_kernel() {
        use Source::{Imm, Reg};
        use Width::{W32, W64};
        let mut table: Vec<(Insn, u64, &str)> = vec![
            (alu(W64, AluOp::Neg, Imm(0)), 0x8701_0000_0000_0000, "r1 = -r1"),
            (alu(W32, AluOp::Neg, Reg(R2)), 0x8401_0000_0000_0000, "w1 = -w1"),
            (Insn::Jump(Jump { offset: -3 }), 0x0500_fdff_0000_0000, "goto pc-3"),
            (
                Insn::Call(Call::Helper { id: 1 }),
                0x8500_0000_0100_0000,
                "call bpf_map_lookup_elem#1",
            ),
            (Insn::Call(Call::Helper { id: 999 }), 0x8500_0000_e703_0000, "call unknown#999"),
            (Insn::Call(Call::Local { offset: -2 }), 0x8510_0000_feff_ffff, "call pc-2"),
            (Insn::Exit, 0x9500_0000_0000_0000, "exit"),
            (Insn::JumpLong(JumpLong { offset: -70000 }), 0x0600_0000_90ee_feff, "gotol pc-70000"),
            (Insn::MayGoto(MayGoto { offset: 5 }), 0xe500_0500_0000_0000, "may_goto pc+5"),
            (Insn::JumpRegister(JumpRegister { target: R7 }), 0x0d07_0000_0000_0000, "gotox r7"),
            (Insn::Call(Call::Register(R7)), 0x8d07_0000_0000_0000, "callx r7"),
            (
                Insn::Call(Call::Kernel { id: 258, btf: 0 }),
                0x8520_0000_0201_0000,
                "call kernel-function#258",
            ),
            (
                Insn::Call(Call::Kernel { id: 258, btf: 3 }),
                0x8520_0300_0201_0000,
                "call kernel-function#258, btf 3",
            ),
            (
                Insn::AddressSpaceCast(AddressSpaceCast { dst: R1, src: R2, to: 0, from: 1 }),
                0xbf21_0100_0100_0000,
                "r1 = addr_space_cast(r2, 0, 1)",
            ),
            (
                Insn::AddressSpaceCast(AddressSpaceCast { dst: R1, src: R2, to: 1, from: 0 }),
                0xbf21_0100_0000_0100,
                "r1 = addr_space_cast(r2, 1, 0)",
            ),
            (
                Insn::Packet(Packet { size: PacketSize::H, index: None, offset: 12 }),
                0x2800_0000_0c00_0000,
                "r0 = *(u16 *)skb[12]",
            ),
            (
                Insn::Packet(Packet { size: PacketSize::B, index: Some(R7), offset: -1 }),
                0x5070_0000_ffff_ffff,
                "r0 = *(u8 *)skb[r7 + -1]",
            ),
            (jump(W64, Compare::Eq, Imm(-1)), 0x1503_feff_ffff_ffff, "if r3 == -0x1 goto pc-2"),
            (
                jump(W32, Compare::Sgt, Imm(i32::MIN)),
                0x6603_feff_0000_0080,
                "if w3 s> -0x80000000 goto pc-2",
            ),
        ];
        let extensions = [
            (Extension::ByteTo32, 0xbc, 8, "w1 = (s8)w2"),
            (Extension::HalfTo32, 0xbc, 16, "w1 = (s16)w2"),
            (Extension::ByteTo64, 0xbf, 8, "r1 = (s8)r2"),
            (Extension::HalfTo64, 0xbf, 16, "r1 = (s16)r2"),
            (Extension::WordTo64, 0xbf, 32, "r1 = (s32)r2"),
        ];
        for (extension, opcode, offset, text) in extensions {
            let insn = Insn::SignExtend(SignExtend { extension, dst: R1, src: R2 });
            table.push((insn, opcode << 56 | 0x21 << 48 | offset << 40, text));
        }
        let signed = [
            (SignedSize::W, 0x81, "r1 = *(s32 *)(r2 +8)"),
            (SignedSize::H, 0x89, "r1 = *(s16 *)(r2 +8)"),
            (SignedSize::B, 0x91, "r1 = *(s8 *)(r2 +8)"),
        ];
        for (size, opcode, text) in signed {
            let insn = Insn::LoadSigned(LoadSigned { size, dst: R1, base: R2, offset: 8 });
            table.push((insn, opcode << 56 | 0x0021_0800_0000_0000, text));
        }
        let ordered = [
            (
                Size::W,
                0xc3,
                "r1 = load_acquire((u32 *)(r2 +8))",
                "store_release((u32 *)(r1 +8), r2)",
            ),
            (
                Size::H,
                0xcb,
                "r1 = load_acquire((u16 *)(r2 +8))",
                "store_release((u16 *)(r1 +8), r2)",
            ),
            (Size::B, 0xd3, "r1 = load_acquire((u8 *)(r2 +8))", "store_release((u8 *)(r1 +8), r2)"),
            (
                Size::DW,
                0xdb,
                "r1 = load_acquire((u64 *)(r2 +8))",
                "store_release((u64 *)(r1 +8), r2)",
            ),
        ];
        for (size, opcode, load, store) in ordered {
            let insn = Insn::LoadAcquire(LoadAcquire { size, dst: R1, base: R2, offset: 8 });
            table.push((insn, opcode << 56 | 0x0021_0800_0001_0000, load));
            let insn = Insn::StoreRelease(StoreRelease { size, base: R1, offset: 8, src: R2 });
            table.push((insn, opcode << 56 | 0x0021_0800_1001_0000, store));
        }
        let alus = [
            (AluOp::Add, 0x00, "+="),
            (AluOp::Sub, 0x10, "-="),
            (AluOp::Mul, 0x20, "*="),
            (AluOp::Div, 0x30, "/="),
            (AluOp::Or, 0x40, "|="),
            (AluOp::And, 0x50, "&="),
            (AluOp::Lsh, 0x60, "<<="),
            (AluOp::Rsh, 0x70, ">>="),
            (AluOp::Mod, 0x90, "%="),
            (AluOp::Xor, 0xa0, "^="),
            (AluOp::Mov, 0xb0, "="),
            (AluOp::Arsh, 0xc0, "s>>="),
        ];
        let mut texts: Vec<(Insn, u64, String)> = Vec::new();
        for (op, code, symbol) in alus {
            texts.push((
                alu(W64, op, Imm(-2)),
                (code | 0x07) << 56 | 0x0001_0000_feff_ffff,
                format!("r1 {symbol} -2"),
            ));
            texts.push((
                alu(W64, op, Reg(R9)),
                (code | 0x0f) << 56 | 0x0091_0000_0000_0000,
                format!("r1 {symbol} r9"),
            ));
            texts.push((
                alu(W32, op, Imm(-2)),
                (code | 0x04) << 56 | 0x0001_0000_feff_ffff,
                format!("w1 {symbol} -2"),
            ));
            texts.push((
                alu(W32, op, Reg(R9)),
                (code | 0x0c) << 56 | 0x0091_0000_0000_0000,
                format!("w1 {symbol} w9"),
            ));
        }
        for (op, code, symbol) in [(AluOp::Sdiv, 0x30, "s/="), (AluOp::Smod, 0x90, "s%=")] {
            let signed = 1 << 40;
            texts.push((
                alu(W64, op, Imm(-2)),
                (code | 0x07) << 56 | 0x0001_0000_feff_ffff | signed,
                format!("r1 {symbol} -2"),
            ));
            texts.push((
                alu(W32, op, Reg(R9)),
                (code | 0x0c) << 56 | 0x0091_0000_0000_0000 | signed,
                format!("w1 {symbol} w9"),
            ));
        }
        let jumps = [
            (Compare::Eq, 0x10, "=="),
            (Compare::Gt, 0x20, ">"),
            (Compare::Ge, 0x30, ">="),
            (Compare::Set, 0x40, "&"),
            (Compare::Ne, 0x50, "!="),
            (Compare::Sgt, 0x60, "s>"),
            (Compare::Sge, 0x70, "s>="),
            (Compare::Lt, 0xa0, "<"),
            (Compare::Le, 0xb0, "<="),
            (Compare::Slt, 0xc0, "s<"),
            (Compare::Sle, 0xd0, "s<="),
        ];
        for (compare, code, symbol) in jumps {
            for (width, imm, reg, letter) in [(W64, 0x05, 0x0d, 'r'), (W32, 0x06, 0x0e, 'w')] {
                let text = format!("if {letter}3 {symbol} 0x7 goto pc-2");
                texts.push((
                    jump(width, compare, Imm(7)),
                    (code | imm) << 56 | 0x0003_feff_0700_0000,
                    text,
                ));
                let text = format!("if {letter}3 {symbol} {letter}4 goto pc-2");
                texts.push((
                    jump(width, compare, Reg(R4)),
                    (code | reg) << 56 | 0x0043_feff_0000_0000,
                    text,
                ));
            }
        }
        for (size, load, store_imm, store, name) in [
            (Size::W, 0x61, 0x62, 0x63, "u32"),
            (Size::H, 0x69, 0x6a, 0x6b, "u16"),
            (Size::B, 0x71, 0x72, 0x73, "u8"),
            (Size::DW, 0x79, 0x7a, 0x7b, "u64"),
        ] {
            let insn = Insn::Load(Load { size, dst: R1, base: R2, offset: 8 });
            texts.push((
                insn,
                load << 56 | 0x0021_0800_0000_0000,
                format!("r1 = *({name} *)(r2 +8)"),
            ));
            let insn = Insn::Store(Store { size, base: R10, offset: -16, src: Imm(-1) });
            texts.push((
                insn,
                store_imm << 56 | 0x000a_f0ff_ffff_ffff,
                format!("*({name} *)(r10 -16) = -1"),
            ));
            let insn = Insn::Store(Store { size, base: R10, offset: -16, src: Reg(R5) });
            texts.push((
                insn,
                store << 56 | 0x005a_f0ff_0000_0000,
                format!("*({name} *)(r10 -16) = r5"),
            ));
        }
        for (op, code, text32, text64) in [
            (AtomicOp::Add, 0x00, "lock *(u32 *)(r10 -8) += r2", "lock *(u64 *)(r10 -8) += r2"),
            (AtomicOp::Or, 0x40, "lock *(u32 *)(r10 -8) |= r2", "lock *(u64 *)(r10 -8) |= r2"),
            (AtomicOp::And, 0x50, "lock *(u32 *)(r10 -8) &= r2", "lock *(u64 *)(r10 -8) &= r2"),
            (AtomicOp::Xor, 0xa0, "lock *(u32 *)(r10 -8) ^= r2", "lock *(u64 *)(r10 -8) ^= r2"),
            (
                AtomicOp::FetchAdd,
                0x01,
                "r2 = atomic_fetch_add((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_add((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::FetchOr,
                0x41,
                "r2 = atomic_fetch_or((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_or((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::FetchAnd,
                0x51,
                "r2 = atomic_fetch_and((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_and((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::FetchXor,
                0xa1,
                "r2 = atomic_fetch_xor((u32 *)(r10 -8), r2)",
                "r2 = atomic64_fetch_xor((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::Exchange,
                0xe1,
                "r2 = atomic_xchg((u32 *)(r10 -8), r2)",
                "r2 = atomic64_xchg((u64 *)(r10 -8), r2)",
            ),
            (
                AtomicOp::CompareExchange,
                0xf1,
                "r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r2)",
                "r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r2)",
            ),
        ] {
            table.push((atomic(W32, op), 0xc32a_f8ff_0000_0000 | code << 24, text32));
            table.push((atomic(W64, op), 0xdb2a_f8ff_0000_0000 | code << 24, text64));
        }
        let orders = [
            (ByteOrder::Little, 0xd4, "le"),
            (ByteOrder::Big, 0xdc, "be"),
            (ByteOrder::Swapped, 0xd7, "bswap"),
        ];
        for (order, code, name) in orders {
            for bits in [EndianBits::B16, EndianBits::B32, EndianBits::B64] {
                let text = format!("r1 = {name}{} r1", bits as u32);
                texts.push((
                    Insn::Endian(Endian { order, bits, dst: R1 }),
                    code << 56 | 1 << 48 | (bits as u64) << 24,
                    text,
                ));
            }
        }
        texts.extend(table.into_iter().map(|(insn, bytes, text)| (insn, bytes, text.to_owned())));
        assert_eq!(texts.len(), 48 + 4 + 44 + 12 + 20 + 9 + 19 + 5 + 3 + 8);
        for (insn, bytes, text) in texts {
            let mut encoded = Vec::new();
            insn.encode(&mut encoded);
            assert_eq!(encoded, bytes.to_be_bytes(), "{text}");
            assert_eq!(insn.to_string(), text);
            assert_eq!(insn.slots(), 1);
            // Unused fields are not encoded, so they decode as zero.
            let canonical = if text.contains("= -w") { alu(W32, AluOp::Neg, Imm(0)) } else { insn };
            assert_eq!(decode(&encoded), [Decoded::Insn(canonical)], "{text}");
        }
    }

    #[test]
    fn a_wide_load_takes_two_slots() {
        let table = [
            (
                WideSource::Imm(0x1122_3344_5566_7788),
                0x01,
                [0x88, 0x77, 0x66, 0x55],
                [0x44, 0x33, 0x22, 0x11],
                "r1 = 0x1122334455667788 ll",
            ),
            (WideSource::Map { fd: 5 }, 0x11, [5, 0, 0, 0], [0; 4], "r1 = map[fd:5]"),
            (
                WideSource::MapValue { fd: 5, offset: 8 },
                0x21,
                [5, 0, 0, 0],
                [8, 0, 0, 0],
                "r1 = map[fd:5][0]+8",
            ),
            (WideSource::Variable { id: 5, btf: 0 }, 0x31, [5, 0, 0, 0], [0; 4], "r1 = btf[id:5]"),
            (
                WideSource::Variable { id: 5, btf: 8 },
                0x31,
                [5, 0, 0, 0],
                [8, 0, 0, 0],
                "r1 = btf[id:5, fd:8]",
            ),
            (
                WideSource::Function { offset: -2 },
                0x41,
                [0xfe, 255, 255, 255],
                [0; 4],
                "r1 = subprog[-2]",
            ),
            (WideSource::MapIndex { index: 5 }, 0x51, [5, 0, 0, 0], [0; 4], "r1 = map[idx:5]"),
            (
                WideSource::MapIndexValue { index: 5, offset: 8 },
                0x61,
                [5, 0, 0, 0],
                [8, 0, 0, 0],
                "r1 = map[idx:5][0]+8",
            ),
        ];
        for (source, registers, low, high, text) in table {
            let insn = Insn::Wide(Wide { dst: R1, source });
            let mut encoded = Vec::new();
            insn.encode(&mut encoded);
            assert_eq!(encoded, [[0x18, registers, 0, 0], low, [0; 4], high].concat(), "{text}");
            assert_eq!((insn.to_string().as_str(), insn.slots()), (text, 2));
            assert_eq!(decode(&encoded), [Decoded::Insn(insn)]);
        }
    }

    #[test]
    fn each_form_has_a_version_and_a_kernel() {
        use Source::{Imm, Reg};
        use Width::{W32, W64};
        let wide = |source| Insn::Wide(Wide { dst: R1, source });
        let memory =
            |size| (Insn::Load(Load { size, dst: R1, base: R2, offset: 0 }), "Linux 3.18 (v1)");
        let table = [
            memory(Size::B),
            (Insn::Exit, "Linux 3.18 (v1)"),
            (Insn::Jump(Jump { offset: 0 }), "Linux 3.18 (v1)"),
            (
                Insn::Store(Store { size: Size::W, base: R1, offset: 0, src: Imm(0) }),
                "Linux 3.18 (v1)",
            ),
            (alu(W32, AluOp::Add, Imm(0)), "Linux 3.18 (v1)"),
            (alu(W64, AluOp::Arsh, Imm(1)), "Linux 3.18 (v1)"),
            (alu(W32, AluOp::Arsh, Imm(1)), "Linux 5.0 (v1)"),
            (alu(W64, AluOp::Sdiv, Reg(R2)), "Linux 6.6 (v4)"),
            (alu(W32, AluOp::Smod, Imm(2)), "Linux 6.6 (v4)"),
            (
                Insn::Endian(Endian { order: ByteOrder::Big, bits: EndianBits::B16, dst: R1 }),
                "Linux 3.18 (v1)",
            ),
            (
                Insn::Endian(Endian { order: ByteOrder::Swapped, bits: EndianBits::B16, dst: R1 }),
                "Linux 6.6 (v4)",
            ),
            (
                Insn::SignExtend(SignExtend { extension: Extension::ByteTo32, dst: R1, src: R2 }),
                "Linux 6.6 (v4)",
            ),
            (
                Insn::AddressSpaceCast(AddressSpaceCast { dst: R1, src: R2, to: 0, from: 1 }),
                "Linux 6.9 (extension)",
            ),
            (
                Insn::LoadSigned(LoadSigned { size: SignedSize::B, dst: R1, base: R2, offset: 0 }),
                "Linux 6.6 (v4)",
            ),
            (
                Insn::LoadAcquire(LoadAcquire { size: Size::B, dst: R1, base: R2, offset: 0 }),
                "Linux 6.15 (v4)",
            ),
            (
                Insn::StoreRelease(StoreRelease { size: Size::B, base: R1, offset: 0, src: R2 }),
                "Linux 6.15 (v4)",
            ),
            (
                Insn::Packet(Packet { size: PacketSize::B, index: None, offset: 0 }),
                "Linux 3.19 (v1)",
            ),
            (atomic(W64, AtomicOp::Add), "Linux 3.18 (v1)"),
            (atomic(W64, AtomicOp::Or), "Linux 5.12 (v3)"),
            (atomic(W32, AtomicOp::FetchAdd), "Linux 5.12 (v3)"),
            (atomic(W64, AtomicOp::CompareExchange), "Linux 5.12 (v3)"),
            (jump(W64, Compare::Sgt, Imm(0)), "Linux 3.18 (v1)"),
            (jump(W64, Compare::Slt, Imm(0)), "Linux 4.14 (v2)"),
            (jump(W32, Compare::Eq, Imm(0)), "Linux 5.1 (v3)"),
            (Insn::JumpLong(JumpLong { offset: 0 }), "Linux 6.6 (v4)"),
            (Insn::MayGoto(MayGoto { offset: 0 }), "Linux 6.9 (extension)"),
            (Insn::JumpRegister(JumpRegister { target: R1 }), "Linux 6.19 (v4)"),
            (wide(WideSource::Imm(0)), "Linux 3.18 (v1)"),
            (wide(WideSource::Map { fd: 0 }), "Linux 3.18 (v1)"),
            (wide(WideSource::MapValue { fd: 0, offset: 0 }), "Linux 5.2 (v1)"),
            (wide(WideSource::Variable { id: 1, btf: 0 }), "Linux 5.10 (v1)"),
            (wide(WideSource::Variable { id: 1, btf: 1 }), "Linux 5.12 (v1)"),
            (wide(WideSource::Function { offset: 0 }), "Linux 5.13 (v1)"),
            (wide(WideSource::MapIndex { index: 0 }), "Linux 5.14 (v1)"),
            (wide(WideSource::MapIndexValue { index: 0, offset: 0 }), "Linux 5.14 (v1)"),
            (Insn::Call(Call::Helper { id: 1 }), "Linux 3.18 (v1)"),
            (Insn::Call(Call::Local { offset: 1 }), "Linux 4.16 (v1)"),
            (Insn::Call(Call::Kernel { id: 1, btf: 0 }), "Linux 5.13 (v1)"),
            (Insn::Call(Call::Kernel { id: 1, btf: 1 }), "Linux 5.16 (v1)"),
            (Insn::Call(Call::Register(R1)), "a kernel that does not exist yet (extension)"),
        ];
        for (insn, since) in table {
            assert_eq!(insn.since().to_string(), since, "{insn}");
        }
    }

    #[test]
    fn instructions_with_nonzero_unused_fields_are_data() {
        for (bytes, why) in [
            (0x9500_0000_0100_0000u64, "exit with an immediate"),
            (0x9501_0000_0000_0000, "exit with a register"),
            (0x8f01_0000_0000_0000, "negation of a register by a register"),
            (0x8701_0000_0100_0000, "negation with an immediate"),
            (0x0721_0000_0100_0000, "addition of an immediate and a register"),
            (0x0f21_0100_0000_0000, "addition with an offset"),
            (0x3f21_0200_0000_0000, "division with an unknown offset"),
            (0x070b_0000_0100_0000, "r11"),
            (0xdc01_0000_1100_0000, "17 bits in big-endian"),
            (0xdf01_0000_1000_0000, "a swap to big-endian"),
            (0xbc21_2000_0000_0000, "an extension from 32 to 32 bits"),
            (0xb701_0800_0100_0000, "an extension of an immediate"),
            (0x9921_0800_0000_0000, "an extension of eight bytes"),
            (0x6121_0800_0100_0000, "a load with an immediate"),
            (0xcb2a_f8ff_0000_0000, "an atomic operation on two bytes"),
            (0xdb2a_f8ff_0200_0000, "an unknown atomic operation"),
            (0x3800_0000_0000_0000, "eight bytes of a packet"),
            (0x3001_0000_0000_0000, "a packet into r1"),
            (0x0500_0000_0100_0000, "a jump with an immediate"),
            (0x0600_0100_0000_0000, "a long jump with an offset"),
            (0xe510_0000_0000_0000, "another condition than may_goto"),
            (0x8530_0000_0100_0000, "an unknown kind of call"),
            (0x8500_0100_0100_0000, "a helper call with an offset"),
            (0x1871_0000_0100_0000, "an unknown kind of 64-bit load"),
            (0x0000_0000_0000_0000, "nothing"),
        ] {
            let bytes = bytes.to_be_bytes();
            assert_eq!(decode(&bytes), [Decoded::Data(Data::new(&bytes))], "{why}");
        }
        // Instructions that only the kernel itself may put into programs.
        for (bytes, meaning) in [
            (0xc200_0000_0000_0000u64, Some("nospec")),
            (0xbf21_ffff_0000_0000, Some("r1 = &(void __percpu *)(r2)")),
            (0xbf2b_ffff_0000_0000, None),
            (0xc201_0000_0000_0000, None),
        ] {
            let bytes = bytes.to_be_bytes();
            assert_eq!(decode(&bytes), [Decoded::Data(Data::new(&bytes))]);
            assert_eq!(Data::new(&bytes).meaning().as_deref(), meaning);
            assert_eq!(Data::new(&bytes[..7]).meaning(), None);
        }
        // The second slot of a 64-bit load is missing or malformed.
        let half = 0x1801_0000_0100_0000u64.to_be_bytes();
        assert_eq!(decode(&half), [Decoded::Data(Data::new(&half))]);
        for second in [0x9500_0000_0000_0000u64, 0x0001_0000_0000_0000, 0x0000_0100_0000_0000] {
            let both = [half, second.to_be_bytes()].concat();
            assert_eq!(decode(&both)[0], Decoded::Data(Data::new(&half)));
        }
        let map = [0x1811_0000_0100_0000u64.to_be_bytes(), 0x0000_0000_0100_0000u64.to_be_bytes()]
            .concat();
        assert_eq!(decode(&map).len(), 2, "a map with something in the upper half");
    }
}
