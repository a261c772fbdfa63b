//! Second opinions on the instruction set: every form runs in the kernel and in rbpf, and its
//! result is compared with an evaluation in Rust, corner cases first. What is newer than the
//! running kernel must be refused by it.
//!
//! | file | what it holds |
//! |---|---|
//! | [`evaluation`] | what instructions do, in Rust |
//! | [`case`] | the forms, each with numbers that it may go wrong on |
//! | [`kernel`] | the cases in the kernel, and what needs a kernel to mean something: maps, calls, packets |
//! | [`notation`] | what verifier logs print is what the disassembler prints, and the assembler reads |
//! | [`user_space`] | the cases in rbpf, and where rbpf differs |

mod case;
mod evaluation;
mod kernel;
mod notation;
mod user_space;

pub use kernel::running;
