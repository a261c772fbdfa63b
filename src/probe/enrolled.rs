//! A connection whose two ends are in a socket map, to try out what becomes of redirected bytes.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bpf_asm::{Builder, MapKind, MapRef, ProgramType, Ptr, helper, sk_msg_md};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use syscalls::{Attachment, Map, Update};

use crate::agent::load;
use crate::bed::Namespace;

sockopt_impl!(
    /// `SO_MEMINFO` (include/uapi/linux/sock_diag.h); the first entry is what is charged to the receive side.
    MemInfo, GetOnly, nix::libc::SOL_SOCKET, nix::libc::SO_MEMINFO, [u32; 9]
);

/// Where the receiver is in the socket map, and the sender.
const RECEIVER: u32 = 0;
const SENDER: u32 = 1;

/// Longer than anything takes that happens at once, also on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// A sender and a receiver.
pub struct Enrolled {
    pub sender: TcpStream,
    pub receiver: TcpStream,
    /// Whether the sender's messages are redirected.
    direct: Map,
    /// What keeps them enrolled.
    _sockets: Map,
    attachment: Attachment,
}

impl Enrolled {
    /// A connection over the loopback address of the calling thread's namespace.
    pub fn over_loopback() -> Result<Enrolled> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback address")?;
        let sender = TcpStream::connect(listener.local_addr()?).context("cannot connect over the loopback address")?;
        let (receiver, _) = listener.accept()?;
        Enrolled::new(sender, receiver)
    }

    /// The two ends of a connection.
    pub fn new(sender: TcpStream, receiver: TcpStream) -> Result<Enrolled> {
        const SK_PASS: i64 = 1;
        const INGRESS: i64 = 1;
        let sockets: MapRef<u32, u32> = MapRef::new("probe", MapKind::SockMap, 2);
        let direct: MapRef<u32, u32> = MapRef::new("probe_direct", MapKind::Array, 1);
        let b = Builder::new("shunt_probe");
        let msg = b.keep(b.context::<sk_msg_md>());
        let way: Ptr<u32> = b.map_value(&direct, 0);
        let redirects = b.load(way.at_all());
        b.when(redirects.ne(0), || {
            b.call(helper::msg_redirect_map(&msg, &sockets, RECEIVER, INGRESS));
        });
        drop(redirects);
        b.ret(SK_PASS);

        let maps = load::maps(&[sockets.def(), direct.def()])?;
        let program = load::program(&b.finish(ProgramType::SkMsg)?, &maps)?;
        let Ok([(_, sockets), (_, direct)]) = <[_; 2]>::try_from(maps) else { bail!("two maps were asked for") };
        let attachment = Attachment::of_sk_msg(&program, &sockets)?;
        for (index, socket) in [(RECEIVER, &receiver), (SENDER, &sender)] {
            let fd = socket.as_raw_fd().cast_unsigned();
            sockets
                .update(&index.to_ne_bytes(), &fd.to_ne_bytes(), Update::ANY)
                .context("the kernel refuses a TCP socket in a sockmap")?;
        }
        sender.set_nodelay(true)?;
        receiver.set_read_timeout(Some(PATIENCE))?;
        Ok(Enrolled { sender, receiver, direct, _sockets: sockets, attachment })
    }

    /// Redirects a message into the receiver's queue.
    pub fn send_directly(&mut self, message: &[u8]) -> Result<()> {
        self.send(message, true)?;
        // The send has queued it; whether it arrived there is seen by its being readable.
        let begun = Instant::now();
        let readable = self.receiver.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        ensure!(readable, "redirected bytes did not arrive within {:?}", begun.elapsed());
        Ok(())
    }

    /// Sends a message by TCP and waits until it has arrived.
    pub fn send_by_tcp(&mut self, message: &[u8]) -> Result<()> {
        let before = self.charged()?;
        self.send(message, false)?;
        let deadline = Instant::now() + PATIENCE;
        while self.charged()? <= before {
            ensure!(Instant::now() < deadline, "bytes sent by TCP did not arrive within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn send(&mut self, message: &[u8], direct: bool) -> Result<()> {
        self.direct.update(&0u32.to_ne_bytes(), &u32::from(direct).to_ne_bytes(), Update::ANY)?;
        Ok(self.sender.write_all(message)?)
    }

    /// Bytes of memory that are charged to the receiver.
    pub fn charged(&self) -> Result<u32> {
        Ok(getsockopt(&self.receiver, MemInfo)?[0])
    }

    /// Whether the program is attached by a link.
    pub fn is_linked(&self) -> bool {
        matches!(self.attachment, Attachment::Link(_))
    }
}

/// Does something in a namespace of its own where that is allowed: the machine's own loopback may be filtered.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match Namespace::new() {
        Ok(namespace) => namespace.run(work)?,
        Err(_) => work(),
    }
}
