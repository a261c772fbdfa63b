//! This machine's kernel: what it says of itself, and how descriptions of maps and programs become
//! maps and programs of it. How it behaves is found out in [`crate::probe`].

mod hz;
mod layout;
pub mod load;

pub use hz::hz;
pub use layout::{btf, layout};
