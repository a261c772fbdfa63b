//! Whether a program can wake the reader of its socket.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_asm::{Builder, Program, ProgramType, bpf_sock_ops, helper};
use syscalls::{AttachType, Link};

use super::edge::Edges;
use super::enrolled::apart;
use crate::agent::load;
use crate::bed::Cgroup;

/// An edge that is to come comes at once.
const PATIENCE: Duration = Duration::from_millis(500);

/// Sets `SO_RCVLOWAT`, to the value that it has, from a sock_ops program while bytes wait that the reader has been told of, and looks
/// whether it is told once more.
pub fn wakes() -> Result<bool> {
    let program = load::program(&setting_low_water()?, &Vec::new())?;
    let cgroup = Cgroup::new().context("the programs need a cgroup of their own to be tried out in")?;
    let folder = File::open(cgroup.path())?;
    let link = Link::to_cgroup(&program, folder.as_fd(), AttachType::CGROUP_SOCK_OPS)?;
    let outcome = apart(|| {
        cgroup.enter()?;
        try_out()
    });
    // Before the cgroup goes.
    drop(link);
    outcome
}

fn try_out() -> Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback address")?;
    let mut sender = TcpStream::connect(listener.local_addr()?).context("cannot connect over the loopback address")?;
    let (mut reader, _) = listener.accept()?;
    let edges = Edges::of(&reader)?;
    sender.write_all(b"bytes")?;
    ensure!(edges.take(PATIENCE)?, "bytes sent by TCP made no edge within {PATIENCE:?}");
    // The program runs at each segment that this end sends.
    reader.write_all(b"segment")?;
    edges.take(PATIENCE)
}

/// At each segment of an accepted socket.
fn setting_low_water() -> Result<Program> {
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
        b.call(helper::sock_ops_cb_flags_set(&event, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG));
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
