//! Listening sockets of other processes, queried through duplicates of their descriptors
//! (pidfd_getfd(2)), which works across network namespaces.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::AcceptConn;
use nix::{getsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::Processes;
use super::process::sockets_of;

sockopt_impl!(
    /// The socket cookie.
    Cookie, GetOnly, nix::libc::SOL_SOCKET, nix::libc::SO_COOKIE, u64
);
sockopt_impl!(
    /// `IPPROTO_TCP` for a TCP socket, not for MPTCP.
    Protocol, GetOnly, nix::libc::SOL_SOCKET, nix::libc::SO_PROTOCOL, i32
);

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its cookie.
    pub cookie: u64,
    /// Name of a process that holds it, at most 15 bytes.
    pub process: String,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Listeners found.
    pub listeners: Vec<Listener>,
    /// Processes whose descriptors this process may not duplicate, or has no room for.
    pub hidden: usize,
}

/// Scans `/proc`. Processes that end meanwhile are skipped.
pub fn listeners() -> Listeners {
    let mut found = Listeners::default();
    let mut processes: HashMap<u32, Option<OwnedFd>> = HashMap::new();
    for (process, fd) in Processes::now().sockets() {
        let opened = processes.entry(process.pid).or_insert_with(|| {
            let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw)?;
            let opened = pidfd_open(pid, PidfdFlags::empty());
            found.hidden += usize::from(opened.as_ref().is_err_and(|errno| !is_gone(*errno)));
            opened.ok()
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
            Err(errno) if is_gone(errno) => {}
            Err(_) => {
                found.hidden += 1;
                // Do not retry this process for each socket.
                *opened = None;
            }
        }
    }
    found
}

/// Whether the process or its descriptor is no longer there.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::SRCH | Errno::BADF)
}

/// Whether a process is seen to listen on a TCP port.
pub fn listens(pid: u32, port: u16) -> bool {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return false };
    sockets_of(pid).into_iter().any(|(_, fd)| {
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
    fn only_listening_sockets_are_found_with_the_name_of_their_process() {
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
