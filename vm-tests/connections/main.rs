//! Real connections under a running `shunt`: what an application sees must be what TCP would have
//! shown it.
//!
//! Every test runs in a process of its own with its own cgroup and network namespaces
//! (`testkit::isolation`), starts the agent on that cgroup (`testkit::node`) and speaks TCP through
//! ordinary sockets. It takes root and a kernel that shunt supports, and nothing that would have to
//! be installed: the same binary runs on this machine and in a virtual machine.
//!
//! `SHUNT_TEST_SHARE=0.1` makes the long-running counts a tenth of what they are, for emulated
//! guests that would take hours.
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

mod acceleration;
mod adoption;
mod backpressure;
mod blocking;
mod blocking_frames;
mod bystanders;
mod capacity;
mod charging;
mod closing;
mod down_paths;
mod dying;
mod echo;
mod errors;
mod fionread;
mod freezing;
mod full_disk;
mod half_close;
mod handshakes;
mod installation;
mod keeping;
mod logging;
mod nat;
mod observing;
mod policy;
mod preset_options;
mod privileges;
mod readiness;
mod replacing;
mod reporting;
mod retransmissions;
mod scale;
mod status;
mod stopping;
mod stopping_under_load;
mod strangers;
mod streams;
mod torture;
mod transfers;
mod unseen;
