//! An instance as it stands in the BPF file system: its name, its folder of pins, its generations,
//! and what whoever has the pins can do with it, its agent or any command.

mod generation;
mod name;
pub mod neighbours;
mod opened;
mod pins;

use std::path::Path;

pub use generation::{Generation, MAPS};
pub use name::{BadName, Name};
pub use opened::{Instance, cgroup_of, shown_by};
pub use pins::{Lock, NoInstance, Pins};

/// The process of the agent that keeps an instance, by the number that the process has for itself,
/// if there is one.
pub fn running(name: &Name, bpffs: Option<&Path>) -> Option<u32> {
    let pins = Pins::existing(name, bpffs).ok()?;
    if !pins.is_kept().ok()? {
        return None;
    }
    Some(Instance::open(pins).ok()?.about().ok()?.pid)
}
