//! shunt: the parts behind the `shunt` binary.

pub mod bed;
