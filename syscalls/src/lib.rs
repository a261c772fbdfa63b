//! `bpf(2)` by direct system calls: maps, programs, links, iterators, pins and ring buffers as
//! owned file descriptors; feature probes; and a reader of kernel BTF.
//!
//! The layer is thin. The documentation of a function that is one command starts with that command;
//! functions take file descriptors as [`BorrowedFd`](std::os::fd::BorrowedFd) and return them as
//! [`OwnedFd`](std::os::fd::OwnedFd) in a type for the kind of object. An [`Error`] has the
//! command, the errno and, for a program, the whole verifier log.
//!
//! ```no_run
//! use syscalls::{Map, MapKind, MapSpec, Update};
//!
//! let map = Map::create(&MapSpec::new(MapKind::HASH, "answers", 4, 8, 16))?;
//! map.update(&1u32.to_ne_bytes(), &42u64.to_ne_bytes(), Update::ANY)?;
//! assert_eq!(map.lookup(&1u32.to_ne_bytes())?, Some(42u64.to_ne_bytes().to_vec()));
//! # Ok::<(), syscalls::Error>(())
//! ```
//!
//! With the feature `load`, the module `load` takes programs of `bpf-asm` and their maps all the
//! way into the kernel.
//!
//! Layouts are those of `include/uapi/linux/bpf.h` and `include/uapi/linux/btf.h`, checked at
//! compile time. The target is 64-bit Linux.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]
#![expect(unsafe_code, reason = "system calls, and memory that the kernel shares")]

mod insn;
mod memlock;
mod name;
mod perf;
mod uapi;

pub mod btf;
pub mod btf_load;
pub mod cap;
pub mod cpu;
pub mod error;
pub mod feature;
pub mod iter;
pub mod link;
#[cfg(feature = "load")]
pub mod load;
pub mod map;
pub mod object;
pub mod prog;
pub mod ringbuf;
pub mod stats;

#[cfg(test)]
mod fixture;

pub use btf::Btf;
pub use btf_load::BtfObject;
pub use error::{Errno, Error, Result};
pub use feature::{Answer, Feature};
pub use iter::Iter;
pub use link::{Attachment, Link};
pub use map::{Map, MapBtf, MapKind, MapSpec, PerCpuMap, TypedMap, Update};
pub use prog::{AttachType, LogLevel, Prog, ProgBtf, ProgKind, ProgSpec};
pub use ringbuf::RingBuf;
