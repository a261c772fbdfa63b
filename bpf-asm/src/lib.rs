//! eBPF programs written in Rust.
