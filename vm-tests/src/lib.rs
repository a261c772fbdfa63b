//! Runs the tests of this workspace on other kernels, in virtual machines.
//!
//! A guest is a kernel of the Debian archive that virtme-ng boots on this machine's own files,
//! which it sees read-only ([`vng`]). There this package's own binary ([`guest`]) loads kernel
//! modules and runs the test binaries where they are. In a guest of another architecture, which
//! can run none of this machine's programs, that binary is the first process, too ([`foreign`],
//! [`init`]).
//!
//! [`cache`] gets kernels, [`binaries`] builds the tests, [`matrix`] runs them, [`report`] tells
//! what came out. Nothing is installed or fetched while tests run: `.ci/install` does that before.

pub mod architecture;
pub mod archive;
pub mod binaries;
pub mod cache;
pub mod config;
pub mod console;
pub mod foreign;
pub mod group;
pub mod guest;
pub mod init;
pub mod machine;
pub mod manifest;
pub mod matrix;
pub mod mirror;
pub mod modules;
pub mod protocol;
pub mod report;
pub mod tools;
pub mod vng;
