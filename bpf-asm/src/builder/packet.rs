//! Loads from the packet, a relic of classic BPF.

use std::panic::Location as Caller;

use super::{Builder, VALUE};
use crate::insn::{Insn, Packet, PacketSize, Register};
use crate::value::{Operand, Ptr, Reg};

impl Builder {
    /// Loads 1, 2 or 4 bytes of the packet, from network order, `offset` bytes from its start: a
    /// number below 2^31, or a value of which the lower 32 bits count. Behind the packet's end, the
    /// program returns 0. Linux 3.19.
    ///
    /// Only programs on packets may. In a program with functions of its own the kernel wants no
    /// such loads before Linux 5.10. [`skb_load_bytes`](crate::helper::skb_load_bytes) has none of
    /// these limits.
    ///
    /// ```
    /// use bpf_asm::insn::PacketSize;
    /// use bpf_asm::{Builder, ProgramType, __sk_buff};
    ///
    /// let b = Builder::new("ethertype");
    /// let packet = b.context::<__sk_buff>();
    /// b.ret(b.load_packet(&packet, PacketSize::H, 12));
    /// assert!(b.finish(ProgramType::SocketFilter)?.to_string().contains("r0 = *(u16 *)skb[12]"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn load_packet<C>(
        &self,
        context: &Ptr<C>,
        size: PacketSize,
        offset: impl Into<Operand>,
    ) -> Reg {
        let at = Caller::caller();
        let offset = offset.into();
        let (index, number) = match &offset {
            Operand::Value(value) => (Some(value), 0),
            Operand::Imm(imm) => {
                (None, self.number("a packet's offset", *imm, 0, i64::from(i32::MAX), at))
            }
        };
        // The instruction looks for the context in r6.
        self.set_register(Register::R6, &context.into(), at);
        let insn = Packet { size, index: index.map(|_| VALUE), offset: number as i32 };
        self.write(Insn::Packet(insn), None, index, at);
        Reg(self.value_from(Register::R0, at))
    }
}
