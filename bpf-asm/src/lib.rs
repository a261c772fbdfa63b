//! eBPF programs written in Rust: a typed builder whose errors, verifier logs and disassembly name
//! Rust lines.
//!
//! A [`Builder`] writes one program. Values ([`Reg`], [`Ptr`]) get their registers when it is
//! finished, or bytes of the stack where there are too many. Memory is reached by field
//! ([`record!`], [`context`]), the stack by typed [`Slot`]s, the kernel by typed [`helper`]s and
//! [`MapRef`]s. Branches and blocks are closures, or jumps to [`Label`]s. Nothing fails on the way:
//! [`Builder::finish`] gives the [`Program`], or everything that is wrong with it.
//!
//! # A first program
//!
//! Written, disassembled, and run in user space:
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
//! assert!(text.contains("r2 = *(u32 *)(r1 +0)"), "{text}");
//! assert!(text.contains("if r3 <= r2 goto pc+2"), "{text}");
//!
//! // The same program in user space.
//! let bytes = program.for_rbpf(|_| 0);
//! let machine = rbpf::EbpfVmRaw::new(Some(&bytes))?;
//! let mut memory = [100, 0, 0, 0, 30, 0, 0, 0];
//! assert_eq!(machine.execute_program(&mut memory)?, 1);
//! assert_eq!(memory[0], 70);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Into the kernel
//!
//! [`Program::relocate`] returns the instructions for `BPF_PROG_LOAD`, with file descriptors for
//! [`Program::maps`]; `Program::btf` describes their Rust lines, so that `bpftool prog dump xlated
//! linum` and the verifier name them, and [`log`] formats the verifier's log. The README's three
//! programs, a socket filter, an XDP counter and a cgroup program, are complete examples, with a
//! loader that uses the crate `bpf-syscalls`.
//!
//! # Where to find what
//!
//! | wanted | |
//! |---|---|
//! | a number or pointer in a register | [`Builder::value`], [`Builder::load`], arithmetic and comparisons of [`Reg`] and [`Ptr`] |
//! | memory of the stack | [`Builder::slot`] |
//! | fields of records | [`record!`], [`Ptr::at`], [`Place::at`]; of kernel structures, [`Ptr::member`] |
//! | a branch, an early return, a way out | [`Builder::when`], [`Builder::ret`], [`Builder::block`], [`Builder::attempt`] |
//! | a loop, any other jump | [`Builder::repeat`], [`Builder::label`] with [`Builder::jump_if`] |
//! | a helper of the kernel | [`Builder::call`] with a function of [`helper`], or [`Call::raw`] |
//! | another function of the kernel (a kfunc) | [`Builder::call`] with [`Call::named`], and [`Program::resolve`] |
//! | a map | [`MapRef`], as an argument of helpers or by [`Builder::map_value`] |
//! | a map's value without lookup | [`Builder::map_value`], [`Builder::map_value_at`] |
//! | constant bytes and strings | [`Builder::bytes`], [`Builder::string`], and [`Program::read_only`] |
//! | memory shared with others | [`Builder::atomic`], [`Builder::fetch`], [`Builder::compare_exchange`], [`Builder::load_acquire`], [`Builder::store_release`] |
//! | a function of the program | [`Builder::function`], [`Builder::call_local`] |
//! | a callback | the same, passed by reference, or [`Builder::address_of_function`] |
//! | numbers of the kernel's headers | [`uapi`] |
//! | any instruction | [`Builder::emit`], [`Builder::emit_value`] |
//! | any program type or kind of map | [`ProgramType::Other`], [`MapKind::Other`] |
//! | instructions without a builder | [`insn`], and [`text`] for the kernel's notation, both ways |
//!
//! # Errors found before loading
//!
//! Each with the Rust line that wrote it, see [`ErrorKind`]: values read where not every path has
//! made them, bytes of the stack read before they are written (also by a helper), sizes, numbers,
//! offsets and jumps that do not fit, paths without an end, labels without a place, unreachable
//! code, frames that are too large together. That a program returns something, and that keys and
//! values have their map's types, is checked by the Rust compiler.
//!
//! # Programs for one machine
//!
//! A program is assembled where it is loaded, so Rust's `if` decides what is in it. The optimiser
//! removes what is then constant or unused: arithmetic and branches on constants, unused results,
//! moves, jumps to jumps. [`Builder::finish_as_written`] skips it.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod allocate;
#[cfg(feature = "btf")]
pub mod btf;
mod builder;
mod condition;
pub mod context;
mod debug;
mod draft;
mod effect;
#[cfg(feature = "elf")]
pub mod elf;
mod error;
mod excerpt;
mod flow;
pub mod helper;
pub mod insn;
pub mod kfunc;
mod label;
mod layout;
pub mod log;
mod managed;
mod map;
mod optimise;
mod place;
mod program;
mod record;
mod stack;
mod step;
pub mod text;
pub mod uapi;
mod value;

#[cfg(feature = "btf")]
pub use btf::{BtfImage, MapTypes, MapsBtf};
pub use builder::{Builder, Fetch, Function, Modify, Raw};
pub use condition::Condition;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use context::bpf_user_pt_regs_t;
pub use context::{
    __sk_buff, bpf_iter__bpf_sk_storage_map, bpf_iter__sockmap, bpf_iter__task_file, bpf_iter__tcp,
    bpf_iter_meta, bpf_map, bpf_raw_tracepoint_args, bpf_sk_lookup, bpf_sock, bpf_sock_addr,
    bpf_sock_ops, bpf_sockopt, file, packet, pt_regs, seq_file, sk_msg_md, sock, sock_recv_length,
    socket, task_struct, tcp_sock, tcp6_sock, user_pt_regs, xdp_md,
};
pub use error::{BuildError, BuildErrors, ErrorKind, Location};
pub use helper::{Arg, At, Call, NULL};
pub use insn::EndianBits;
pub use label::Label;
pub use managed::bpf_spin_lock;
pub use map::{MapDef, MapKind, MapRef};
pub use place::{Dyn, KernelField, Place, Slot};
pub use program::{AttachesTo, Image, KernelFunction, Program, ProgramType, READ_ONLY};
pub use record::{Address, Field, FieldInfo, FieldType, Record, Scalar, Signed, Type};
pub use value::{Operand, Ptr, Reg};
