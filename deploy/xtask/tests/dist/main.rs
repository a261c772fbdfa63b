//! What is handed to operators, judged by the tools that they have: kubectl, Helm, systemd,
//! man, the shells, sha256sum, a chroot.

mod booted;
mod bundle;
mod confined;
mod containerd;
mod docs;
mod engine;
mod helm;
mod image;
mod kubernetes;
mod prometheus;
mod shell;
mod systemd;
mod tool;
