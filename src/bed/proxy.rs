use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Scope};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Error;
use crate::host::link;

/// Bytes relayed per read, as by service proxies.
const BUFFER: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A transparent proxy: relays connections that are REDIRECTed to its port, byte by byte, to their
/// original destination.
///
/// It belongs to the namespace and cgroup of the thread that starts it. Dropping it closes every
/// connection and joins its threads.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    listeners: Vec<TcpListener>,
    connections: Arc<Mutex<Connections>>,
    acceptors: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// `SO_MARK` of the proxy's own connections, which exempts them from the REDIRECT rule.
    pub const MARK: u32 = 0x7368_756e;

    /// Listens on `port` of all addresses, IPv4 and IPv6; 0 selects a free one.
    pub fn start(port: u16) -> Result<Self, Error> {
        let v4 = listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        let port =
            v4.local_addr().map_err(|cause| failed("read its address".into(), cause))?.port();
        let mut listeners = vec![v4];
        if link::has_ipv6() {
            listeners.push(listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?);
        }
        let mut proxy =
            Self { port, listeners, connections: Arc::default(), acceptors: Vec::new() };
        for listener in &proxy.listeners {
            let listener = listener
                .try_clone()
                .map_err(|cause| failed("duplicate a listener".into(), cause))?;
            let connections = Arc::clone(&proxy.connections);
            let acceptor = thread::Builder::new()
                .name("shunt-proxy".into())
                .spawn(move || accept(&listener, &connections))
                .map_err(|cause| failed("start a thread".into(), cause))?;
            proxy.acceptors.push(acceptor);
        }
        Ok(proxy)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.connections).stop();
        for listener in &self.listeners {
            // Wakes the thread in accept, which close would not.
            let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        }
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
    }
}

/// The open connections, so that a stop can end them.
#[derive(Debug, Default)]
struct Connections {
    stopped: bool,
    next: u64,
    open: HashMap<u64, [TcpStream; 2]>,
}

impl Connections {
    /// Refuses connections after the stop.
    fn add(&mut self, ends: [&TcpStream; 2]) -> io::Result<Option<u64>> {
        if self.stopped {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, [ends[0].try_clone()?, ends[1].try_clone()?]);
        Ok(Some(number))
    }

    fn stop(&mut self) {
        self.stopped = true;
        for end in self.open.values().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn lock(connections: &Mutex<Connections>) -> MutexGuard<'_, Connections> {
    // Each change is a single step, so the table stays valid when a thread panics.
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    };
    listen().map_err(|cause| failed(format!("listen on {address}"), cause))
}

/// Returns when the proxy is stopped, after the last relay has ended.
fn accept(listener: &TcpListener, connections: &Mutex<Connections>) {
    thread::scope(|scope| {
        loop {
            let accepted = listener.accept();
            if lock(connections).stopped {
                break;
            }
            match accepted {
                Ok((downstream, _)) => {
                    let relay = move || relay(scope, downstream, connections);
                    // Without a thread the connection is closed, as by a proxy out of resources.
                    if let Err(error) = thread::Builder::new().spawn_scoped(scope, relay) {
                        tracing::warn!(%error, "the proxy closes a connection");
                    }
                }
                // Out of descriptors, or a connection that was reset before accept: others may
                // succeed.
                Err(error) => {
                    tracing::warn!(%error, "the proxy cannot accept");
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
    });
}

fn relay<'scope>(
    scope: &'scope Scope<'scope, '_>,
    downstream: TcpStream,
    connections: &'scope Mutex<Connections>,
) {
    let outcome = connect(&downstream).and_then(|upstream| {
        let Some(number) = lock(connections).add([&downstream, &upstream])? else { return Ok(()) };
        let outcome = relay_both(scope, downstream, upstream);
        lock(connections).open.remove(&number);
        outcome
    });
    if let Err(error) = outcome {
        tracing::debug!(%error, "the proxy ends a connection");
    }
}

/// Connects to the original destination.
fn connect(downstream: &TcpStream) -> io::Result<TcpStream> {
    let socket = SockRef::from(downstream);
    let here = downstream.local_addr()?;
    let original =
        if here.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() }?;
    let destination = original.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    if destination == here {
        // Not redirected: relaying would loop back here.
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the connection was made to the proxy itself",
        ));
    }
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_mark(Proxy::MARK)?;
    socket.connect_timeout(&destination.into(), CONNECT_TIMEOUT)?;
    downstream.set_nodelay(true)?;
    socket.set_tcp_nodelay(true)?;
    // Proxies are non-blocking, and only such sockets are accelerated.
    downstream.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn relay_both<'scope>(
    scope: &'scope Scope<'scope, '_>,
    downstream: TcpStream,
    upstream: TcpStream,
) -> io::Result<()> {
    let (from_upstream, to_downstream) = (upstream.try_clone()?, downstream.try_clone()?);
    let replies = thread::Builder::new()
        .spawn_scoped(scope, move || relay_one_way(from_upstream, to_downstream))?;
    let requests = relay_one_way(downstream, upstream);
    let replies = replies.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    requests.and(replies)
}

/// Copies until the end of the stream, then shuts the other side down. `io::copy` would splice,
/// which L7 proxies do not do, and which does not see redirected bytes.
fn relay_one_way(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut copy = || {
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => write_all(&mut to, &buffer[..length])?,
                Err(error) => wait(error, &from, PollFlags::POLLIN)?,
            }
        }
    };
    let outcome = copy();
    match &outcome {
        Ok(()) => to.shutdown(Shutdown::Write).or_else(already_gone)?,
        Err(_) => {
            // A half-dead relay is useless: end the thread of the other direction too.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        }
    }
    outcome
}

fn write_all(to: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) => wait(error, &*to, PollFlags::POLLOUT)?,
        }
    }
    Ok(())
}

/// Waits for a socket that was not ready; returns any other error.
fn wait(error: io::Error, socket: &TcpStream, events: PollFlags) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => {
            match poll(&mut [PollFd::new(socket.as_fd(), events)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        }
        _ => Err(error),
    }
}

fn already_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}

fn failed(action: String, cause: io::Error) -> Error {
    Error::Proxy { action, cause }
}
