//! The instruction set: every form to bytes and text and back, and what others say of it.

mod anything;
mod forms;
mod llvm;
mod notation;
mod round_trip;
