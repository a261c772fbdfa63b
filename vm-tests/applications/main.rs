//! Programs that people run, unmodified, do the same job over plain TCP and accelerated: with the same result.
//!
//! Each test runs its job on two stages (`stage`), one of them with the agent as it starts by default; compares what came out; and says
//! how much of it has to have gone direct (`toll`). `install` installs the programs.

#[allow(dead_code, reason = "`connections` needs the rest")]
#[path = "../connections/harness/mod.rs"]
mod harness;

mod program;
mod stage;
mod toll;

mod clients;
mod envoy;
mod haproxy;
mod iperf3;
mod languages;
mod memcached;
mod nginx;
mod postgres;
mod redis;
