//! Runs the tests of this workspace on other kernels, in virtual machines.
//!
//! A guest is a kernel of the Debian archive and an initramfs with static files only: this package's own binary as the
//! first process ([`guest`]), kernel modules, and the test binaries where they are on this machine. It needs no network,
//! no disk and no distribution, and the machine needs QEMU and nothing else.
//!
//! [`cache`] gets kernels, [`binaries`] builds the tests, [`matrix`] runs them, [`report`] tells what came out.
#![deny(missing_docs)]

pub mod archive;
pub mod binaries;
pub mod cache;
pub mod config;
pub mod console;
pub mod guest;
pub mod initramfs;
pub mod manifest;
pub mod matrix;
pub mod mirror;
pub mod modules;
pub mod protocol;
pub mod qemu;
pub mod report;
pub mod tools;
