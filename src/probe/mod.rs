//! What this machine permits and how its kernel behaves, found by querying and testing, and by
//! version number only where a test could crash it.

mod answers;
pub mod behaviour;
mod enrolled;
mod facility;
mod kernel;
pub mod known_bug;
mod one_queue;
mod requirement;

pub use answers::Answers;
pub use behaviour::Behaviour;
pub use kernel::Kernel;
pub use requirement::{Requirement, State, require, requirements};
