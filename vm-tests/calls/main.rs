//! Every socket call over TCP and over shunt: what an application sees has to be the same, or as
//! `differences` says.
//!
//! Each test is a script that makes socket calls and notes what it sees of them. It runs twice
//! (`compare`): on connections that shunt has nothing to do with, and on flows that are direct in
//! both lanes when it begins. `docs/differences.md` shows the outcome to people (`document`).
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

mod compare;
mod differences;
mod document;
mod process;
mod seen;
mod talk;

mod blocking;
mod closing;
mod descriptors;
mod io_uring;
mod options;
mod protocols;
mod reading;
mod sending;
mod splicing;
mod waiting;
