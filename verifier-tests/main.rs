//! shunt's programs and the verifier of the running kernel: `cargo test -p verifier-tests`, as
//! root.
//! | file | what it shows |
//! |---|---|
//! | [`accepted`] | every program in every [`variant`] is accepted, at the cost in `cost.toml` |
//! | [`rejected`] | mistakes that the builder accepts are rejected, at their Rust line |
//! | [`caught_earlier`] | mistakes that the builder rejects, compared with the kernel's error |
//! | [`instructions`] | every instruction computes the same here, in Rust and in rbpf |
//! | [`builder`] | what else the builder can write is accepted, and computes the right result |
//! | [`contexts`] | programs on kernel functions and iterators read their typed contexts |
//! | [`records`] | the layouts of records and contexts agree in Rust, the maps' BTF and vmlinux BTF |
//! | [`lines`] | loaded programs have the Rust line of every instruction |

mod accepted;
mod builder;
mod caught_earlier;
mod complaint;
mod contexts;
mod cost;
mod instructions;
mod lines;
mod records;
mod rejected;
mod variant;
mod verifier;
