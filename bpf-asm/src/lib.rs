//! eBPF programs written in Rust: a typed builder whose errors, verifier logs and disassembly name Rust lines.
//!
//! A [`Builder`] writes one program. Registers are values ([`Reg`], [`Ptr`]) that are free again when they are dropped;
//! [`Builder::keep`] moves one to where calls cannot destroy it. Memory is reached by field ([`record!`], [`context`]),
//! the stack by typed [`Slot`]s, the kernel by typed [`helper`]s and [`MapRef`]s. Branches are closures, or jumps to
//! [`Label`]s. Nothing fails on the way: [`Builder::finish`] gives the [`Program`], or everything that is wrong with it.
//!
//! ```
//! use bpf_asm::{Builder, ProgramType, record};
//!
//! record! {
//!     /// How much a sender may still send.
//!     pub struct Lane {
//!         /// Bytes.
//!         pub credit: u32,
//!         /// Bytes of the message.
//!         pub size: u32,
//!     }
//! }
//!
//! let b = Builder::new("spend");
//! let lane = b.context::<Lane>();
//! let credit = b.load(lane.at(Lane::credit));
//! let size = b.load(lane.at(Lane::size));
//! b.when(size.gt(&credit), || b.ret(0));
//! credit.sub(&size);
//! b.store(lane.at(Lane::credit), &credit);
//! b.ret(1);
//! let program = b.finish(ProgramType::SocketFilter)?;
//!
//! // In the kernel's notation, each instruction under the Rust line that wrote it.
//! let text = program.to_string();
//! assert!(text.contains("r1 = *(u32 *)(r6 +0)"), "{text}");
//! assert!(text.contains("if r2 <= r1 goto pc+2"), "{text}");
//!
//! // The same program in user space.
//! let bytes = program.for_rbpf(|_| 0);
//! let machine = rbpf::EbpfVmRaw::new(Some(&bytes))?;
//! let mut memory = [100, 0, 0, 0, 30, 0, 0, 0];
//! assert_eq!(machine.execute_program(&mut memory)?, 1);
//! assert_eq!(memory[0], 70);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

#[cfg(feature = "btf")]
pub mod btf;
mod builder;
mod condition;
pub mod context;
#[cfg(feature = "elf")]
pub mod elf;
mod error;
mod flow;
pub mod helper;
pub mod insn;
mod label;
pub mod log;
mod map;
mod optimise;
mod place;
mod program;
mod record;
mod stack;
mod step;
pub mod text;
mod value;

#[cfg(feature = "btf")]
pub use btf::{BtfImage, MapTypes, MapsBtf};
pub use builder::{Builder, Function};
pub use condition::Condition;
pub use context::{
    __sk_buff, bpf_iter__bpf_sk_storage_map, bpf_iter__sockmap, bpf_iter_meta, bpf_map, bpf_sock, bpf_sock_addr,
    bpf_sock_ops, packet, seq_file, sk_msg_md, sock, tcp_sock, tcp6_sock, xdp_md,
};
pub use error::{BuildError, BuildErrors, ErrorKind, Location};
pub use helper::{Arg, At, Call, NULL};
pub use insn::{AtomicOp, EndianBits};
pub use label::Label;
pub use map::{MapDef, MapKind, MapRef};
pub use place::{Dyn, KernelField, Place, Slot};
pub use program::{Image, Program, ProgramType};
pub use record::{Address, Field, FieldInfo, FieldType, Record, Scalar, Type};
pub use value::{Operand, Ptr, Reg};
