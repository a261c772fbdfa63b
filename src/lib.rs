//! shunt takes the TCP/IP stack out of the path of connections whose two ends are on one node.
//!
//! These are the parts behind the `shunt` binary; ARCHITECTURE.md says how they fit together.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod agent;
#[cfg(test)]
mod architecture;
pub mod bed;
pub mod bench;
pub mod cli;
pub mod datapath;
pub mod demo;
pub mod evidence;
pub mod host;
pub mod instance;
pub mod kernel;
pub mod observe;
pub mod policy;
pub mod probe;
