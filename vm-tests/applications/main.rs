//! Programs that people run, unmodified, do the same job over plain TCP and accelerated: with the
//! same result.
//!
//! Each test runs its job on two stages (`testkit::stage`), one of them with the agent as it starts
//! by default; compares what came out; and says how much of it has to have gone direct
//! (`testkit::toll`). `.ci/install applications` installs the programs.
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

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
mod upgrading;
