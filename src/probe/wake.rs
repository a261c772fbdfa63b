//! Whether a program can wake the reader of its socket.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_asm::{Builder, Program, ProgramType, bpf_sock_ops, helper};
use syscalls::{AttachType, Link};

use super::edge::Edges;
use super::enrolled::apart;
use crate::agent::load;
use crate::bed::{Cgroup, cgroup};

/// An edge that is to come comes at once.
const PATIENCE: Duration = Duration::from_millis(500);

/// Sets `SO_RCVLOWAT`, to the value that it has, from a sock_ops program while bytes wait that the reader has been told of, and looks
/// whether it is told once more.
///
/// In a cgroup of its own, and where none may be made (a read-only cgroup file system, as containers and hardened services have) in the
/// one that this process is in: the program keeps to this one connection.
pub fn wakes() -> Result<bool> {
    match Cgroup::new() {
        Ok(cgroup) => wakes_in(cgroup.path(), || Ok(cgroup.enter()?)),
        Err(_) => wakes_in(&cgroup::own()?, || Ok(())),
    }
}

/// `enter` moves the calling thread into the cgroup.
fn wakes_in(cgroup: &Path, enter: impl FnOnce() -> Result<()> + Send) -> Result<bool> {
    let folder = File::open(cgroup).with_context(|| format!("cannot open the cgroup {}", cgroup.display()))?;
    apart(|| {
        enter()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback address")?;
        let program = load::program(&setting_low_water(listener.local_addr()?.port())?, &Vec::new())?;
        let _link = Link::to_cgroup(&program, folder.as_fd(), AttachType::CGROUP_SOCK_OPS)?;
        try_out(&listener)
    })
}

fn try_out(listener: &TcpListener) -> Result<bool> {
    let mut sender = TcpStream::connect(listener.local_addr()?).context("cannot connect over the loopback address")?;
    let (mut reader, _) = listener.accept()?;
    let edges = Edges::of(&reader)?;
    sender.write_all(b"bytes")?;
    ensure!(edges.take(PATIENCE)?, "bytes sent by TCP made no edge within {PATIENCE:?}");
    // The program runs at each segment that this end sends.
    reader.write_all(b"segment")?;
    edges.take(PATIENCE)
}

/// At each segment of a socket that is accepted at `port`.
fn setting_low_water(port: u16) -> Result<Program> {
    // include/uapi/linux/bpf.h, include/uapi/asm-generic/socket.h
    const BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB: i32 = 5;
    const BPF_SOCK_OPS_HDR_OPT_LEN_CB: i32 = 14;
    const BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG: i32 = 1 << 6;
    const SOL_SOCKET: i32 = 1;
    const SO_RCVLOWAT: i32 = 18;

    let b = Builder::new("shunt_probe");
    let event = b.keep(b.context::<bpf_sock_ops>());
    let op = b.load(event.at(bpf_sock_ops::op));
    b.when(op.eq(BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB), || {
        let at = b.load(event.at(bpf_sock_ops::local_port));
        b.when(at.eq(i32::from(port)), || {
            b.call(helper::sock_ops_cb_flags_set(&event, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG));
        });
        b.ret(1);
    });
    drop(op);
    let op = b.load(event.at(bpf_sock_ops::op));
    b.when(op.eq(BPF_SOCK_OPS_HDR_OPT_LEN_CB), || {
        let one = b.slot::<u32>();
        b.store(one.place(), 1);
        b.call(helper::setsockopt(&event, SOL_SOCKET, SO_RCVLOWAT, &one, 4));
    });
    drop(op);
    b.ret(1);
    Ok(b.finish(ProgramType::SockOps)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_same_in_a_cgroup_of_ones_own_and_in_the_one_that_one_is_in() {
        let apart = Cgroup::new().expect("make a cgroup (as root, with cgroup v2 mounted)");
        let own = cgroup::own().expect("the cgroup of this process");
        let of_its_own = wakes_in(apart.path(), || Ok(apart.enter()?)).expect("try it out in a cgroup of its own");
        assert_eq!(wakes_in(&own, || Ok(())).expect("try it out here"), of_its_own);
    }
}
