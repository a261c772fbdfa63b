use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use nix::errno::Errno;
use nix::poll::PollFlags;
use rustix::net::{SocketFlags, accept_with};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::patience::{after, until_ready};

/// How bytes of a connection are transported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP over loopback; the sockets are outside the accelerated cgroup.
    Tcp,
    /// The same with sockets inside the cgroup.
    Shunt,
    /// A Unix stream socket: the lower bound for bytes between two processes.
    Unix,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Shunt => "shunt",
            Self::Unix => "Unix",
        })
    }
}

/// The two ends of a connection, both non-blocking.
#[derive(Debug)]
pub(super) struct Pair {
    /// The end that connected.
    pub near: Socket,
    /// The end that accepted.
    pub far: Socket,
}

impl Pair {
    /// Connects over the loopback of the calling thread's namespace; the sockets belong to its
    /// cgroup.
    pub fn tcp() -> io::Result<Self> {
        let listener = Listener::new()?;
        let near = listener.connect()?;
        let far = listener.accept()?;
        Ok(Self { near, far })
    }

    pub fn unix() -> io::Result<Self> {
        let (near, far) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        for end in [&near, &far] {
            end.set_nonblocking(true)?;
        }
        Ok(Self { near, far })
    }
}

/// A listener for TCP connections of this namespace.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    address: SocketAddr,
}

impl Listener {
    pub fn new() -> io::Result<Self> {
        let socket = non_blocking()?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(128)?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { socket, address })
    }

    pub fn connect(&self) -> io::Result<Socket> {
        let socket = non_blocking()?;
        match socket.connect(&self.address.into()) {
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {
                until_ready(&socket, PollFlags::POLLOUT)?;
                if let Some(error) = socket.take_error()? {
                    return Err(error);
                }
            }
            outcome => outcome?,
        }
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }

    pub fn accept(&self) -> io::Result<Socket> {
        loop {
            match accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let socket = Socket::from(socket);
                    socket.set_tcp_nodelay(true)?;
                    return Ok(socket);
                }
                Err(errno) => after(errno.into(), &self.socket, PollFlags::POLLIN)?,
            }
        }
    }
}

/// Non-blocking before it is connected, like in event loops.
fn non_blocking() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}
