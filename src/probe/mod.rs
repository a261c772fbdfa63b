//! What this machine lets us do and how its kernel behaves, found out by asking and by trying, never by version number.

pub mod behaviour;
mod enrolled;
mod facility;
mod hz;
pub mod known_bug;
mod one_queue;
mod requirement;

use anyhow::Result;

use crate::datapath::Meter;

pub use behaviour::Behaviour;
pub use hz::hz;
pub use requirement::{Requirement, rehearse, require, requirements};

/// Goes when the datapath knows no other meter: a kernel that does not charge redirected bytes is
/// refused.
pub fn meter() -> Result<Meter> {
    Ok(Meter::Charged)
}

/// Goes with the waker: on every kernel that is not refused programs wake readers.
pub fn wakes() -> Result<bool> {
    Ok(true)
}
