//! ELF objects: written here and loaded by libbpf, written by clang and read here, and malformed.

mod clang;
mod corpus;
mod counts;
mod loaded;
mod malformed;
mod mistakes;
mod objdump;
mod round_trip;
mod selftests;
mod unwritable;
