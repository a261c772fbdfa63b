//! `bpf(2)` by direct system calls.
