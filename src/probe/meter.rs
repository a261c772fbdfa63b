//! Whether this kernel charges redirected bytes to their receiver.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bpf_asm::{Builder, MapKind, MapRef, ProgramType, helper, sk_msg_md};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use syscalls::{Attachment, Update};

use crate::agent::load;
use crate::bed::Namespace;
use crate::datapath::Meter;

sockopt_impl!(
    /// `SO_MEMINFO` (include/uapi/linux/sock_diag.h); the first entry is what is charged to the receive side.
    MemInfo, GetOnly, nix::libc::SOL_SOCKET, nix::libc::SO_MEMINFO, [u32; 9]
);

/// Redirects some bytes to a socket that does not read, and looks whether the kernel charged them to it.
pub fn meter() -> Result<Meter> {
    // A namespace of its own where that is allowed: the machine's own loopback may be filtered.
    match Namespace::new() {
        Ok(namespace) => namespace.run(try_out)?,
        Err(_) => try_out(),
    }
}

fn try_out() -> Result<Meter> {
    const SK_PASS: i64 = 1;
    const INGRESS: i64 = 1;
    const BYTES: [u8; 4096] = [0; 4096];

    let sockets: MapRef<u32, u32> = MapRef::new("probe", MapKind::SockMap, 2);
    let b = Builder::new("shunt_probe");
    let msg = b.keep(b.context::<sk_msg_md>());
    b.call(helper::msg_redirect_map(&msg, &sockets, 0, INGRESS));
    b.ret(SK_PASS);

    let maps = load::maps(&[sockets.def()])?;
    let program = load::program(&b.finish(ProgramType::SkMsg)?, &maps)?;
    let [(_, map)] = maps.as_slice() else { bail!("one map was asked for") };
    let attachment = Attachment::of_sk_msg(&program, map)?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback address")?;
    let mut sender = TcpStream::connect(listener.local_addr()?).context("cannot connect over the loopback address")?;
    let (receiver, _) = listener.accept()?;
    enrol(map, 0, &receiver)?;
    enrol(map, 1, &sender)?;
    sender.write_all(&BYTES)?;

    // The send has queued them; whether they arrived there is seen by their being readable.
    let readable = || receiver.peek(&mut [0]).map(|bytes| bytes > 0);
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let begun = Instant::now();
    ensure!(readable().unwrap_or(false), "redirected bytes did not arrive within {:?}", begun.elapsed());
    let charged = getsockopt(&receiver, MemInfo)?[0];
    attachment.detach()?;
    Ok(if charged as usize >= BYTES.len() { Meter::Charged } else { Meter::Counted })
}

fn enrol(map: &syscalls::Map, index: u32, socket: &TcpStream) -> Result<()> {
    use std::os::fd::AsRawFd;
    let fd = socket.as_raw_fd().cast_unsigned();
    map.update(&index.to_ne_bytes(), &fd.to_ne_bytes(), Update::ANY)
        .context("the kernel refuses a TCP socket in a sockmap")
}
