//! A connection over loopback whose two ends are in a socket map, each with one queue for both
//! kinds of bytes: an sk_msg program redirects messages into the peer's ingress queue or lets them
//! go by TCP, and an sk_skb verdict program moves bytes received by TCP to the same queue.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bpf_asm::uapi::SK_PASS;
use bpf_asm::{Builder, MapKind, MapRef, Program, ProgramType, helper, sk_msg_md};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use syscalls::{Attachment, Map, Update};

use super::behaviour::Deviation;
use crate::host::Namespace;
use crate::kernel::load;

sockopt_impl!(
    /// `SO_MEMINFO` (include/uapi/linux/sock_diag.h); the first entry is `sk_rmem_alloc`.
    MemInfo, GetOnly, nix::libc::SOL_SOCKET, nix::libc::SO_MEMINFO, [u32; 9]
);

/// Longer than any immediate event takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The path of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// TCP, and then the verdict into the receiver's ingress queue.
    Tcp,
    /// Redirected into the receiver's ingress queue.
    Direct,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Tcp => "TCP",
            Way::Direct => "redirected",
        })
    }
}

/// An end of the connection; its number is its key in the socket map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Client,
    Server,
}

impl End {
    pub const BOTH: [End; 2] = [End::Client, End::Server];

    pub fn peer(self) -> End {
        match self {
            End::Client => End::Server,
            End::Server => End::Client,
        }
    }

    fn key(self) -> u32 {
        self as u32
    }
}

/// The two ends, both non-blocking.
pub struct Enrolled {
    /// By [`End`]; `None` once closed.
    ends: [Option<TcpStream>; 2],
    /// The path of messages from now on.
    way: Map,
    sockets: Map,
    sk_msg: Attachment,
    /// `None` where each kind of bytes has its own queue.
    verdict: Option<Attachment>,
}

/// A connection over the loopback address of the calling thread's namespace, not enrolled. Both
/// ends are non-blocking with TCP_NODELAY.
pub fn connection() -> Result<[TcpStream; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .context("cannot listen on the loopback address")?;
    let client = TcpStream::connect(listener.local_addr()?)
        .context("cannot connect over the loopback address")?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        end.set_nonblocking(true)?;
    }
    Ok([client, server])
}

/// The maps of [`programs`].
fn maps() -> (MapRef<u32, u32>, MapRef<u32, u32>) {
    (MapRef::new("probe", MapKind::SockMap, 2), MapRef::new("probe_way", MapKind::Array, 1))
}

/// The sk_msg program, which redirects from `client_port` to the server and from any other port to
/// the client, and the verdict.
fn programs(client_port: u16) -> Result<(Program, Program)> {
    const INGRESS: i64 = 1;
    let (sockets, way) = maps();
    let b = Builder::new("shunt_probe");
    let msg = b.context::<sk_msg_md>();
    let chosen = b.map_value(&way);
    let redirects = b.load(chosen.at_all());
    b.when(redirects.ne(0), || {
        let port = b.load(msg.at(sk_msg_md::local_port));
        let redirect = |to: End| {
            b.call(helper::msg_redirect_map(&msg, &sockets, i64::from(to.key()), INGRESS));
        };
        b.when_else(
            port.eq(i32::from(client_port)),
            || redirect(End::Server),
            || redirect(End::Client),
        );
    });
    b.ret(SK_PASS);
    let sk_msg = b.finish(ProgramType::SkMsg)?;
    let b = Builder::new("shunt_probe");
    b.ret(SK_PASS);
    Ok((sk_msg, b.finish(ProgramType::SkSkbVerdict)?))
}

impl Enrolled {
    /// A new [`connection`], enrolled.
    pub fn over_loopback() -> Result<Enrolled> {
        Enrolled::of(connection()?)
    }

    /// Enrols the two ends of a connection, the client's first.
    pub fn of(ends: [TcpStream; 2]) -> Result<Enrolled> {
        Enrolled::with(ends, true)
    }

    /// Enrols them without a verdict: only redirected bytes go to the ingress queue.
    #[cfg(test)]
    pub fn with_two_queues(ends: [TcpStream; 2]) -> Result<Enrolled> {
        Enrolled::with(ends, false)
    }

    fn with([client, server]: [TcpStream; 2], one_queue: bool) -> Result<Enrolled> {
        let (sockets, way) = maps();
        let (sk_msg, verdict) = programs(client.local_addr()?.port())?;
        let mut maps = load::maps(&[sockets.def(), way.def()])?;
        let sk_msg = load::program(&sk_msg, &maps)?;
        let verdict = load::program(&verdict, &maps)?;
        let (_, way) = maps.pop().context("two maps were requested")?;
        let (_, sockets) = maps.pop().context("two maps were requested")?;
        let enrolled = Enrolled {
            ends: [Some(client), Some(server)],
            sk_msg: Attachment::of_sk_msg(&sk_msg, &sockets)?,
            verdict: one_queue
                .then(|| Attachment::of_sk_skb_verdict(&verdict, &sockets))
                .transpose()?,
            way,
            sockets,
        };
        End::BOTH.iter().try_for_each(|end| enrolled.insert(*end))?;
        Ok(enrolled)
    }

    /// Puts an end into the socket map.
    pub fn insert(&self, end: End) -> Result<()> {
        let fd = self.end(end).as_raw_fd().cast_unsigned();
        self.sockets
            .update(&end.key().to_ne_bytes(), &fd.to_ne_bytes(), Update::ANY)
            .context("the kernel refuses a TCP socket in a sockmap with both programs")
    }

    /// Removes an end from the socket map.
    pub fn remove(&self, end: End) -> Result<()> {
        self.sockets
            .delete(&end.key().to_ne_bytes())
            .context("cannot remove a TCP socket from a sockmap")?;
        Ok(())
    }

    /// The socket of an open end.
    pub fn end(&self, end: End) -> &TcpStream {
        match &self.ends[end as usize] {
            Some(socket) => socket,
            None => unreachable!("{end:?} has been closed"),
        }
    }

    /// Closes an end.
    pub fn close(&mut self, end: End) {
        self.ends[end as usize] = None;
    }

    /// Sets the path of messages of both ends.
    pub fn goes(&self, way: Way) -> Result<()> {
        let redirects = u32::from(way == Way::Direct);
        Ok(self.way.update(&0u32.to_ne_bytes(), &redirects.to_ne_bytes(), Update::ANY)?)
    }

    /// Sends a message that must fit the buffers, and waits until it is in the peer's queue, since
    /// messages that take different paths could overtake each other.
    pub fn send(&self, from: End, way: Way, message: &[u8]) -> Result<()> {
        self.goes(way)?;
        let before = self.charged(from.peer())?;
        let mut socket = self.end(from);
        let sent = socket.write(message).map_err(|error| {
            Deviation(format!("sending a message of {} bytes fails: {error}", message.len()))
        })?;
        if sent != message.len() {
            return Err(
                Deviation(format!("{sent} of {} bytes were accepted", message.len())).into()
            );
        }
        if way == Way::Tcp {
            let deadline = Instant::now() + PATIENCE;
            while self.charged(from.peer())? <= before {
                if Instant::now() >= deadline {
                    return Err(Deviation("bytes sent by TCP did not arrive".to_owned()).into());
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(())
    }

    /// Bytes charged to an end's receive buffer.
    pub fn charged(&self, end: End) -> Result<u32> {
        Ok(getsockopt(self.end(end), MemInfo)?[0])
    }

    /// The result of FIONREAD; a negative count appears as more than 2^31.
    pub fn unread(&self, end: End) -> Result<u64> {
        rustix::io::ioctl_fionread(self.end(end)).context("FIONREAD is refused")
    }

    /// Whether the sk_msg program and the verdict are attached by links.
    pub fn are_linked(&self) -> [bool; 2] {
        let is_link = |attachment: &Attachment| matches!(attachment, Attachment::Link(_));
        [is_link(&self.sk_msg), self.verdict.as_ref().is_some_and(is_link)]
    }
}

/// `count` bytes of a stream from offset `from`, each determined by its position.
pub fn stream(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

/// The events, and errors, that `socket` reports within `patience`.
pub fn ready(socket: impl AsFd, events: PollFlags, patience: Duration) -> Result<PollFlags> {
    let mut socket = [PollFd::from_borrowed_fd(socket.as_fd(), events)];
    let timeout = Timespec::try_from(patience).context("time-out too long")?;
    poll(&mut socket, Some(&timeout)).context("cannot poll")?;
    Ok(socket[0].revents())
}

/// Reads `count` bytes as they arrive.
pub fn receive(mut socket: &TcpStream, count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while filled < count {
        ensure_readable(socket, || format!("{filled} of {count} bytes can be read"))?;
        match socket.read(&mut bytes[filled..]) {
            Ok(0) => {
                return Err(
                    Deviation(format!("the stream ended after {filled} of {count} bytes")).into()
                );
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Deviation(format!("readable, but read failed: {error}")).into());
            }
        }
    }
    Ok(bytes)
}

fn ensure_readable(socket: &TcpStream, otherwise: impl Fn() -> String) -> Result<()> {
    let events = ready(socket, PollFlags::IN, PATIENCE)?;
    if events.is_empty() { Err(Deviation(otherwise()).into()) } else { Ok(()) }
}

/// Reads the end of the stream, which must come next.
pub fn receive_end(mut socket: &TcpStream) -> Result<()> {
    ensure_readable(socket, || "the end of the stream is not reported".to_owned())?;
    // It is reported on each read.
    for _ in 0..2 {
        match socket.read(&mut [0; 16]) {
            Ok(0) => {}
            Ok(read) => return Err(Deviation(format!("{read} bytes instead of the end")).into()),
            Err(error) => return Err(Deviation(format!("{error} instead of the end")).into()),
        }
    }
    Ok(())
}

/// Sends in pieces that fit the buffers while `to` reads.
pub fn transfer(from: &TcpStream, to: &TcpStream, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut received = Vec::with_capacity(bytes.len());
    for piece in bytes.chunks(16 << 10) {
        let mut writer = from;
        let sent = writer.write(piece).context("cannot send")?;
        ensure!(sent == piece.len(), "{sent} of {} bytes found room", piece.len());
        received.extend(receive(to, piece.len())?);
    }
    Ok(received)
}

/// Runs in a new namespace if permitted: the machine's own loopback may be filtered.
pub fn in_namespace<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match Namespace::new() {
        Ok(namespace) => namespace.run(work)?,
        Err(_) => work(),
    }
}
