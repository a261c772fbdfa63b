//! ELF objects: written here and loaded by libbpf, written by clang and read here, and broken.

mod clang;
mod corpus;
mod loaded;
mod malformed;
mod mistakes;
mod round_trip;
mod unwritable;
