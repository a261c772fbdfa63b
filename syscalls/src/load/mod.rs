//! Loads programs of [`bpf_asm`]: their maps with all attributes, the programs with their Rust
//! lines, and the links that attach them. Feature `load`.
//!
//! ```no_run
//! use bpf_asm::{__sk_buff, Builder, MapKind, MapRef, Modify, ProgramType};
//! use syscalls::load::{self, Maps, Target};
//!
//! const SEEN: MapRef<u32, u64> = MapRef::new("seen", MapKind::Array, 1);
//!
//! let b = Builder::new("count");
//! b.atomic(Modify::Add, b.map_value(&SEEN).at_all(), &b.value(1));
//! b.ret(-1);
//! let program = b.finish(ProgramType::Classifier)?;
//!
//! let maps = Maps::create([&program])?;
//! let loaded = load::program(&program, &maps)?;
//! let link = load::attach(&program, &loaded, Target::Ingress(1))?;
//! println!("packets on the loopback device: {:?}", maps.typed(&SEEN)?.lookup(&0)?);
//! // Detached, because it is not pinned.
//! drop(link);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | step | function | what it does |
//! |---|---|---|
//! | maps | [`Maps::create`] | creates each map once, with flags, NUMA node, `map_extra`, the template of inner maps, and the types of keys and values |
//! | | [`Maps::create_pinned`] | uses those pinned in a folder, and pins the others there |
//! | | [`Maps::insert`] | uses a map from elsewhere |
//! | programs | [`program()`] | resolves kfuncs and the type that it attaches to, fills read-only data; if the verifier rejects it, its log comes under the Rust lines |
//! | | [`program_with_log`] | the same, with the log of an accepted program |
//! | | [`with_spec`] | the same, up to the [`ProgSpec`](crate::ProgSpec), for all else |
//! | links | [`attach`] | attaches a program to a [`Target`] that fits its type |

mod attach;
mod error;
mod maps;
mod program;

pub use attach::{Target, attach};
pub use error::{LoadError, Rejected};
pub use maps::{Maps, map, maps};
pub use program::{LICENSE, program, program_with_log, with_spec};

#[cfg(test)]
mod tests;
