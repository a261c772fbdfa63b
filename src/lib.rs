//! shunt: the parts behind the `shunt` binary.

pub mod bed;
pub mod bench;
pub mod demo;
