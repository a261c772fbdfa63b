//! The ways a connection can take between two sockets of one node.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use tcp_shunt::bed::{Bed, Error};

use crate::PATIENCE;

/// Ports that the client's namespace REDIRECTs to [`REDIRECTED_TO`].
pub const REDIRECTED: [u16; 2] = [80, 81];
pub const REDIRECTED_TO: u16 = 15001;

/// A service address that exists nowhere: the client's namespace translates it to the server's
/// [`DNAT_TO`].
const SERVICE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
const SERVICE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10));
const SERVICE_PORT: u16 = 443;
const DNAT_TO: u16 = 15002;

/// Which address families the two sockets are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    /// An IPv4 client of a dual-stack IPv6 listener.
    MappedServer,
    /// IPv6 sockets at both ends that speak IPv4.
    MappedBoth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// 127.0.0.1 or ::1 in one namespace.
    Loopback,
    /// A veth pair between two namespaces.
    Veth,
    /// A sidecar's hop: to an address of another host, and redirected to a port of this one.
    Redirect,
    /// A cluster service's address, translated to the server's.
    Dnat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    pub family: Family,
    pub route: Route,
}

pub const LOOPBACK: Path = Path { family: Family::V4, route: Route::Loopback };
pub const VETH: Path = Path { family: Family::V4, route: Route::Veth };
pub const REDIRECT: Path = Path { family: Family::V4, route: Route::Redirect };

impl Path {
    pub fn all() -> impl Iterator<Item = Path> {
        let families = [Family::V4, Family::V6, Family::MappedServer, Family::MappedBoth];
        let routes = [Route::Loopback, Route::Veth, Route::Redirect, Route::Dnat];
        families.into_iter().flat_map(move |family| routes.map(|route| Path { family, route }))
    }

    /// Rules for [`Route::Redirect`] and [`Route::Dnat`].
    pub fn prepare(bed: &mut Bed) -> Result<(), Error> {
        for port in REDIRECTED {
            bed.redirect(port, REDIRECTED_TO)?;
        }
        bed.dnat((SERVICE_V4, SERVICE_PORT).into(), (Bed::SERVER_V4, DNAT_TO).into())?;
        bed.dnat((SERVICE_V6, SERVICE_PORT).into(), (Bed::SERVER_V6, DNAT_TO).into())
    }

    /// Whether both ends are in the client's namespace.
    pub fn stays_at_the_client(self) -> bool {
        matches!(self.route, Route::Loopback | Route::Redirect)
    }

    /// Listens, in the namespace and cgroup of the calling thread.
    pub fn bind(self) -> io::Result<TcpListener> {
        let any = match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 | Family::MappedServer | Family::MappedBoth => {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            }
        };
        let port = match self.route {
            Route::Loopback | Route::Veth => 0,
            Route::Redirect => REDIRECTED_TO,
            Route::Dnat => DNAT_TO,
        };
        let listener = TcpListener::bind((any, port))?;
        socket2::SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
        Ok(listener)
    }

    /// The address a client connects to in order to reach `listener`.
    pub fn target(self, listener: &TcpListener) -> io::Result<SocketAddr> {
        let v4: (IpAddr, u16) = match self.route {
            Route::Loopback => (Ipv4Addr::LOCALHOST.into(), listener.local_addr()?.port()),
            Route::Veth => (Bed::SERVER_V4.into(), listener.local_addr()?.port()),
            Route::Redirect => (Bed::SERVER_V4.into(), REDIRECTED[0]),
            Route::Dnat => (SERVICE_V4, SERVICE_PORT),
        };
        let (ip, port) = match (self.family, v4) {
            (Family::V4 | Family::MappedServer, v4) => v4,
            (Family::MappedBoth, (IpAddr::V4(ip), port)) => (ip.to_ipv6_mapped().into(), port),
            (Family::V6 | Family::MappedBoth, (_, port)) => match self.route {
                Route::Loopback => (Ipv6Addr::LOCALHOST.into(), port),
                Route::Veth | Route::Redirect => (Bed::SERVER_V6.into(), port),
                Route::Dnat => (SERVICE_V6, port),
            },
        };
        Ok((ip, port).into())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} over {:?}", self.family, self.route)
    }
}

/// A connection that does not block, as shunt wants it; a test that makes it block again waits no
/// longer than [`PATIENCE`].
pub fn ready_for_tests(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}
