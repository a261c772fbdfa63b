use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::traffic::{be_patient, prepare};

/// How the bytes of a connection travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP over loopback; the sockets are outside the accelerated cgroup.
    Tcp,
    /// The same TCP with its sockets inside.
    Shunt,
    /// A Unix stream socket: the least that bytes between two processes cost.
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

/// The two ends of a connection.
#[derive(Debug)]
pub(super) struct Pair {
    /// The end that connected.
    pub near: Socket,
    /// The end that accepted.
    pub far: Socket,
}

impl Pair {
    /// Connects over loopback of the calling thread's namespace; the sockets belong to its cgroup.
    pub fn tcp() -> io::Result<Self> {
        let listener = Listener::new()?;
        let near = listener.connect()?;
        let far = listener.accept()?;
        Ok(Self { near, far })
    }

    pub fn unix() -> io::Result<Self> {
        let (near, far) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        for end in [&near, &far] {
            be_patient(end)?;
        }
        Ok(Self { near, far })
    }
}

/// Where TCP connections of this namespace can be made to.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    address: SocketAddr,
}

impl Listener {
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(128)?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { socket, address })
    }

    pub fn connect(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.connect(&self.address.into())?;
        prepare(socket)
    }

    pub fn accept(&self) -> io::Result<Socket> {
        prepare(self.socket.accept()?.0)
    }
}
