//! Every form of instruction runs in the kernel and in rbpf, and its result is compared with an
//! evaluation in Rust, corner cases first. The running kernel must reject forms that are newer.
//!
//! | file | content |
//! |---|---|
//! | [`evaluation`] | what instructions do, in Rust |
//! | [`case`] | the forms, with corner cases for each |
//! | [`kernel`] | the cases in the kernel, and forms that need a kernel: maps, calls, packets |
//! | [`notation`] | verifier logs match the disassembler, and the assembler reads them |
//! | [`text`] | the disassembler writes shunt's programs, and the assembler reads them |
//! | [`user_space`] | the cases in rbpf, and where rbpf differs |

mod case;
mod evaluation;
mod kernel;
mod notation;
mod text;
mod user_space;

pub use kernel::running;
