//! What is handed to operators, made from this workspace alone: no container engine, no network.
//! Everything is reproducible: the same sources and the same compiler give the same bytes.
//!
//! And the tests of this workspace, by what they need.

pub mod api;
pub mod archive;
pub mod binary;
pub mod bundle;
pub mod crates;
pub mod dependencies;
pub mod image;
pub mod licences;
pub mod sbom;
pub mod shell;
pub mod target;
pub mod test;
pub mod tier;
pub mod tools;
pub mod workspace;
