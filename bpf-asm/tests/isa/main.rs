//! The instruction set: every form in bytes and text, and compared with LLVM.

mod anything;
mod forms;
mod llvm;
mod notation;
mod round_trip;
