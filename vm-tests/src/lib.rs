//! Runs the tests of this workspace on other kernels, in virtual machines.
#![deny(missing_docs)]

pub mod guest;
pub mod initramfs;
pub mod modules;
pub mod protocol;
pub mod qemu;
