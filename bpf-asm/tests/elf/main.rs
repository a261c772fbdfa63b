//! ELF objects: written here and loaded by libbpf, written by clang and read here, and broken.

mod bpftool;
mod clang;
mod loaded;
mod malformed;
mod round_trip;
mod unwritable;
