//! Programs that people run, unmodified, do the same job over plain TCP and accelerated: with the
//! same result.
//!
//! Each test runs its job on two stages (`stage`), one of them with the agent as it starts by
//! default; compares what came out; and says how much of it has to have gone direct (`toll`).
//! `install` installs the programs.
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

#[allow(dead_code, reason = "`connections` needs the rest")]
#[path = "../connections/harness/mod.rs"]
mod harness;

mod program;
mod stage;
mod toll;

#[allow(dead_code, reason = "`mesh` reports the rest")]
#[path = "../mesh/load.rs"]
mod load;
#[allow(dead_code, reason = "`mesh` reports the rest")]
#[path = "../mesh/mesh.rs"]
mod mesh;
#[path = "../mesh/meter.rs"]
mod meter;
#[path = "../mesh/rules.rs"]
mod rules;
#[path = "../mesh/sidecar.rs"]
mod sidecar;
#[path = "../mesh/steady.rs"]
mod steady;

mod apache;
mod clients;
mod envoy;
mod haproxy;
mod iperf3;
mod languages;
mod memcached;
mod nats;
mod nginx;
mod postgres;
mod redis;
mod sidecars;
mod splicing;
