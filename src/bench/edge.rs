use std::io::{self, Read, Write};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::Socket;

use super::patience::{PATIENCE, Stalled, Watchdog, unless_not_ready};

/// A socket with its edge-triggered readiness. A short read counts as drained and a short write as
/// full, like in tokio: only the next event changes that.
pub(super) struct Edge<'a> {
    socket: &'a Socket,
    epoll: Epoll,
    readable: bool,
    writable: bool,
    watchdog: Watchdog,
}

impl<'a> Edge<'a> {
    pub fn new(socket: &'a Socket) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let events = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        // Adding it generates an event for the current readiness.
        epoll.add(socket, EpollEvent::new(events, 0))?;
        let watchdog = Watchdog::default();
        Ok(Self { socket, epoll, readable: false, writable: false, watchdog })
    }

    /// `None` if nothing can be read before the next event.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.readable {
            return Ok(None);
        }
        let length = unless_not_ready((&mut &*self.socket).read(buffer))?;
        self.readable = length == Some(buffer.len());
        self.watchdog.step(length.is_some())?;
        Ok(length)
    }

    /// `None` if nothing can be written before the next event.
    pub fn write(&mut self, data: &[u8]) -> io::Result<Option<usize>> {
        if !self.writable {
            return Ok(None);
        }
        let length = unless_not_ready((&mut &*self.socket).write(data))?;
        self.writable = length == Some(data.len());
        self.watchdog.step(length.is_some())?;
        Ok(length)
    }

    /// Waits for the next event. An event without subsequent progress does not count as progress.
    pub fn wait(&mut self) -> io::Result<()> {
        self.watchdog.step(false)?;
        let mut events = [EpollEvent::empty(); 1];
        let patience = EpollTimeout::try_from(PATIENCE).unwrap_or(EpollTimeout::MAX);
        let ready = self.epoll.wait(&mut events, patience).map_err(io::Error::from);
        if unless_not_ready(ready)? == Some(0) {
            return Err(Stalled.into());
        }
        let events = events[0].events();
        let ended = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        self.readable |= events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | ended);
        self.writable |= events.intersects(EpollFlags::EPOLLOUT | ended);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::Pair;
    use super::super::traffic::send;
    use super::*;

    #[test]
    fn a_short_read_counts_as_drained_until_the_next_event() {
        let pair = Pair::tcp().expect("connect");
        let mut edge = Edge::new(&pair.far).expect("epoll");
        let mut buffer = [0; 4];
        assert_eq!(edge.read(&mut buffer).expect("nothing is known"), None);
        send(&pair.near, b"123456").expect("send");
        edge.wait().expect("an event");
        assert_eq!(edge.read(&mut buffer).expect("read"), Some(4));
        assert_eq!(edge.read(&mut buffer).expect("read"), Some(2));
        send(&pair.near, b"7").expect("send");
        assert_eq!(edge.read(&mut buffer).expect("no event"), None);
        edge.wait().expect("an event");
        assert_eq!(edge.read(&mut buffer).expect("read"), Some(1));
        assert_eq!(edge.write(b"answer").expect("it was writable all the time"), Some(6));
        pair.near.shutdown(std::net::Shutdown::Both).expect("end");
        edge.wait().expect("an event");
        assert_eq!(edge.read(&mut buffer).expect("the end"), Some(0));
    }
}
