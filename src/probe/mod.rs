//! What this machine lets us do and how its kernel behaves, found out by asking and by trying, never by version number.

pub mod behaviour;
mod edge;
mod enrolled;
mod hz;
mod meter;
mod requirement;
mod wake;

pub use hz::hz;
pub use meter::meter;
pub use requirement::{Requirement, rehearse, require, requirements};
pub use wake::wakes;
