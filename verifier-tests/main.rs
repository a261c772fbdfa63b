//! What the verifier of the running kernel says to shunt's programs: `cargo test -p
//! verifier-tests`, as root.
//!
//! | file | what it shows |
//! |---|---|
//! | [`accepted`] | every program in every [`variant`] is accepted, and costs what `cost.toml` says |
//! | [`rejected`] | mistakes that the builder lets through are refused, at the Rust line that made them |
//! | [`caught_earlier`] | mistakes that the builder refuses, beside what the kernel would have said |
//! | [`instructions`] | every instruction does what it says, here as in Rust; rbpf is asked as well |
//! | [`builder`] | what the builder can write beside shunt's programs is accepted, and computes what it says |
//! | [`records`] | records and contexts lie in memory as Rust, the maps' BTF and the kernel's BTF say |
//! | [`lines`] | loaded programs name the Rust line of every instruction |

mod accepted;
mod builder;
mod caught_earlier;
mod complaint;
mod cost;
mod instructions;
mod lines;
mod records;
mod rejected;
mod variant;
mod verifier;
