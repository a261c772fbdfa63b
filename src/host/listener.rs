//! Who listens: the sockets of other processes, each asked through a copy of its descriptor, so
//! that it does not matter which network namespace they are in.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::AcceptConn;
use nix::{getsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::Processes;

sockopt_impl!(
    /// The number that a socket has for its life, as programs know it.
    Cookie, GetOnly, nix::libc::SOL_SOCKET, nix::libc::SO_COOKIE, u64
);
sockopt_impl!(
    /// `IPPROTO_TCP` for one that connections can come to.
    Protocol, GetOnly, nix::libc::SOL_SOCKET, nix::libc::SO_PROTOCOL, i32
);

/// A socket that listens for TCP connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its cookie.
    pub cookie: u64,
    /// The name of a process that holds it, at most 15 bytes.
    pub process: String,
}

/// All that could be seen.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Those that were found.
    pub listeners: Vec<Listener>,
    /// Processes that this one may not take descriptors of.
    pub hidden: usize,
}

/// Looks through `/proc`. A process that ends meanwhile is left out.
pub fn listeners() -> Listeners {
    let mut found = Listeners::default();
    let mut processes: HashMap<u32, Option<OwnedFd>> = HashMap::new();
    for (process, fd) in Processes::now().sockets() {
        let opened = processes.entry(process.pid).or_insert_with(|| {
            let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw)?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        });
        let Some(opened_process) = opened else { continue };
        match pidfd_getfd(opened_process, fd, PidfdGetfdFlags::empty()) {
            Ok(socket) => {
                let listens = getsockopt(&socket, AcceptConn).unwrap_or(false);
                let by_tcp = getsockopt(&socket, Protocol)
                    .is_ok_and(|protocol| protocol == nix::libc::IPPROTO_TCP);
                let cookie = getsockopt(&socket, Cookie).ok().filter(|_| listens && by_tcp);
                found.listeners.extend(
                    cookie.map(|cookie| Listener { cookie, process: process.name.clone() }),
                );
            }
            Err(Errno::PERM | Errno::NOSYS) => {
                found.hidden += 1;
                // Not asked again.
                *opened = None;
            }
            Err(_) => {}
        }
    }
    found
}

/// Whether a process listens for TCP connections at a port, as far as that can be seen.
pub fn listens(pid: u32, port: u16) -> bool {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return false };
    let processes = Processes::now();
    let mut sockets = processes.sockets().filter(|(holder, _)| holder.pid == pid);
    sockets.any(|(_, fd)| {
        pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()).is_ok_and(|socket| {
            let socket = socket2::Socket::from(socket);
            let at = socket.local_addr().ok().and_then(|address| address.as_socket());
            getsockopt(&socket, AcceptConn).unwrap_or(false)
                && at.is_some_and(|at| at.port() == port)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_sockets_that_listen_are_found_with_the_name_of_their_process() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let other =
            TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        let cookie =
            |socket: &dyn std::os::fd::AsFd| getsockopt(&socket.as_fd(), Cookie).expect("a cookie");
        let comm = std::fs::read_to_string("/proc/self/comm").expect("a name");
        let found = listeners().listeners;
        let of = |cookie| {
            found
                .iter()
                .find(|listener| listener.cookie == cookie)
                .map(|found| found.process.as_str())
        };
        assert_eq!(of(cookie(&listener)), Some(comm.trim_end()));
        assert_eq!(of(cookie(&other)), None);
        let port =
            |address: std::io::Result<std::net::SocketAddr>| address.expect("an address").port();
        assert!(listens(std::process::id(), port(listener.local_addr())));
        assert!(!listens(std::process::id(), port(other.local_addr())));
        assert!(!listens(1, port(listener.local_addr())));
    }
}
