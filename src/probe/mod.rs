//! What this machine lets us do and how its kernel behaves, found out by asking and by trying, never by version number.

mod hz;
mod meter;
mod requirement;

pub use hz::hz;
pub use meter::meter;
pub use requirement::require;
