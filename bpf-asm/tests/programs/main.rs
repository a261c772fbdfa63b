//! Whole programs: built, run in rbpf, printed, described, or rejected.

mod allocation;
mod anything;
mod arguments;
mod arithmetic;
mod branches;
mod choices;
mod description;
mod forms;
mod functions;
mod machine;
mod memory;
mod minimum;
mod optimised;
mod refusals;
mod specialised;
