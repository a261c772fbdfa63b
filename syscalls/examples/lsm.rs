//! An LSM program: one process cannot make sockets of a family.
//!
//! `cargo run --example lsm`, as root.

use std::error::Error;
use std::fs;
use std::os::unix::net::UnixDatagram;

use bpf_asm::{BuildErrors, Builder, Program, ProgramType, helper, record};
use syscalls::Errno;
use syscalls::load::{self, LoadError, Maps, Target};

record! {
    /// The arguments of the hook that is asked before a socket is made, of the same name
    /// (include/linux/lsm_hook_defs.h).
    #[allow(non_camel_case_types, reason = "the name of the hook")]
    struct socket_create {
        family: u64,
        kind: u64,
        protocol: u64,
        /// Whether the kernel makes it for itself.
        kern: u64,
    }
}

/// Refuses sockets of `family` in `process`.
fn program(process: u32, family: i32) -> Result<Program, BuildErrors> {
    let b = Builder::new("no_sockets");
    let socket = b.context::<socket_create>();
    b.block(|allow| {
        b.jump_if(b.load(socket.at(socket_create::family)).ne32(family), allow);
        b.jump_if(b.load(socket.at(socket_create::kern)).ne32(0), allow);
        let caller = b.call(helper::get_current_pid_tgid());
        caller.rsh(32);
        b.jump_if(caller.ne(process), allow);
        b.ret(-libc::EPERM);
    });
    b.ret(0);
    b.finish(ProgramType::Lsm)
}

fn main() -> Result<(), Box<dyn Error>> {
    let program = program(std::process::id(), libc::AF_UNIX)?;
    print!("{program}");
    let loaded = match load::program(&program, &Maps::default()) {
        Err(LoadError::Rejected { rejected, .. })
            if rejected.errno == Errno::PERM && rejected.cause.log() == Some("") =>
        {
            println!("not loaded: the security policy of this kernel refuses LSM programs to root");
            return Ok(());
        }
        loaded => loaded?,
    };
    let attached = load::attach(&program, &loaded, Target::AsLoaded)?;
    let modules = fs::read_to_string("/sys/kernel/security/lsm")
        .map_err(|error| format!("{error}: mount -t securityfs none /sys/kernel/security"))?;
    if !modules.split(',').any(|module| module.trim() == "bpf") {
        println!("not called: the active modules are {}; boot with lsm=...,bpf", modules.trim());
        return Ok(());
    }
    let made = || match UnixDatagram::unbound() {
        Ok(_) => "made".to_owned(),
        Err(error) => error.to_string(),
    };
    println!("attached: {}", made());
    drop(attached);
    println!("detached: {}", made());
    Ok(())
}
