//! A reader that waits for edges, as event loops do: it is told of bytes once, when they come.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// One socket on edge-triggered epoll.
pub struct Edges(Epoll);

impl Edges {
    pub fn of(socket: &TcpStream) -> Result<Edges> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot make an epoll instance")?;
        epoll
            .add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))
            .context("cannot wait for a socket")?;
        Ok(Edges(epoll))
    }

    /// Takes an edge; whether one came in this time.
    pub fn take(&self, patience: Duration) -> Result<bool> {
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX);
        Ok(self.0.wait(&mut [EpollEvent::empty()], timeout).context("cannot wait for an edge")? > 0)
    }
}
