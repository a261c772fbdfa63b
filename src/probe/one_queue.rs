//! What shunt requires of a kernel: redirected bytes and bytes received by TCP form one stream in
//! one queue, with all guarantees of TCP. Each test runs once.
//!
//! [`Deviation`] means that the kernel behaves otherwise, any other error that the test could not
//! be done.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::event::PollFlags;
use socket2::SockRef;

use super::behaviour::holds;
use super::enrolled::{
    End, Enrolled, PATIENCE, Way, connection, in_namespace, ready, receive, receive_end, stream,
    transfer,
};

/// A sequence of paths with all changes, immediate and delayed.
const SEQUENCE: [Way; 12] = [
    Way::Tcp,
    Way::Direct,
    Way::Tcp,
    Way::Tcp,
    Way::Direct,
    Way::Direct,
    Way::Direct,
    Way::Tcp,
    Way::Direct,
    Way::Tcp,
    Way::Tcp,
    Way::Direct,
];

/// Sends [`SEQUENCE`] from an end, reading some of it in between and the rest at the end.
fn mix(pair: &Enrolled, from: End) -> Result<()> {
    let to = pair.end(from.peer());
    let (mut sent, mut received) = (0, Vec::new());
    for (number, way) in SEQUENCE.into_iter().enumerate() {
        let size = [1, 700, 4096, 9000][number % 4];
        pair.send(from, way, &stream(sent, size))?;
        sent += size;
        if number % 3 == 2 {
            received.extend(receive(to, (sent - received.len()) / 2)?);
        }
    }
    received.extend(receive(to, sent - received.len())?);
    let wrong = received.iter().zip(stream(0, sent)).position(|(got, sent)| *got != sent);
    holds!(wrong.is_none(), "the stream is wrong from byte {} on", wrong.unwrap_or_default());
    Ok(())
}

/// Redirected bytes and bytes received by TCP are read in the order in which they were sent,
/// including bytes received before the enrolment, read or unread.
pub fn order() -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        End::BOTH.into_iter().try_for_each(|from| mix(&pair, from))?;

        let ends = connection()?;
        let mut client = &ends[0];
        client.write_all(&stream(0, 100))?;
        holds!(
            ready(&ends[1], PollFlags::IN, PATIENCE)? == PollFlags::IN,
            "a byte by plain TCP did not arrive"
        );
        let pair = Enrolled::of(ends)?;
        pair.send(End::Client, Way::Tcp, &stream(100, 100))?;
        pair.send(End::Client, Way::Direct, &stream(200, 100))?;
        let received = receive(pair.end(End::Server), 300)?;
        holds!(
            received == stream(0, 300),
            "bytes received before the enrolment are read out of order"
        );
        Ok(())
    })
}

/// The end of the stream comes after its last byte.
pub fn end_of_stream() -> Result<()> {
    const UNREAD: [&[Way]; 4] =
        [&[Way::Direct, Way::Tcp], &[Way::Tcp, Way::Direct], &[Way::Direct], &[]];
    in_namespace(|| {
        for unread in UNREAD {
            for closes in [false, true] {
                let mut pair = Enrolled::over_loopback()?;
                for (number, way) in unread.iter().enumerate() {
                    pair.send(End::Client, *way, &stream(number * 100, 100))?;
                }
                match closes {
                    true => pair.close(End::Client),
                    false => pair.end(End::Client).shutdown(Shutdown::Write)?,
                }
                let server = pair.end(End::Server);
                let hung_up = ready(server, PollFlags::RDHUP, PATIENCE)?;
                holds!(hung_up.contains(PollFlags::RDHUP), "the end does not set POLLRDHUP");
                let received = receive(server, unread.len() * 100)?;
                holds!(received == stream(0, unread.len() * 100), "the last bytes are wrong");
                receive_end(server)?;
            }
        }
        Ok(())
    })
}

/// After one direction has ended the other continues.
pub fn half_close() -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        pair.send(End::Client, Way::Direct, b"request")?;
        pair.end(End::Client).shutdown(Shutdown::Write)?;
        holds!(receive(pair.end(End::Server), 7)? == b"request", "the request is corrupted");
        receive_end(pair.end(End::Server))?;
        mix(&pair, End::Server)?;
        pair.send(End::Server, Way::Tcp, b"by TCP")?;
        pair.send(End::Server, Way::Direct, b"direct")?;
        pair.end(End::Server).shutdown(Shutdown::Write)?;
        holds!(receive(pair.end(End::Client), 12)? == b"by TCPdirect", "the response is corrupted");
        receive_end(pair.end(End::Client))
    })
}

/// What a reader sees of a peer that resets the connection with bytes unread.
fn seen_of_reset(mut socket: &TcpStream) -> Result<Vec<String>> {
    let events = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    let deadline = Instant::now() + PATIENCE;
    while !ready(socket, events, PATIENCE)?.contains(PollFlags::HUP) {
        holds!(Instant::now() < deadline, "a reset does not set POLLHUP");
    }
    let mut seen = vec![format!("{:?}", ready(socket, events, PATIENCE)?)];
    let mut bytes = 0;
    loop {
        let mut room = [0; 1000];
        match socket.read(&mut room) {
            Ok(0) => seen.push(format!("{bytes} bytes, the end")),
            Ok(read) => {
                bytes += read;
                continue;
            }
            Err(error) => seen.push(format!("{bytes} bytes, {:?}", error.kind())),
        }
        if seen.len() == 3 {
            break;
        }
    }
    seen.push(format!("{:?}", socket.write(b"late").map_err(|error| error.kind())));
    Ok(seen)
}

/// A reset is seen as over TCP.
pub fn reset() -> Result<()> {
    const UNREAD: [&[Way]; 3] = [&[Way::Direct, Way::Tcp], &[Way::Tcp, Way::Direct], &[]];
    in_namespace(|| {
        for unread in UNREAD {
            let [mut client, server] = connection()?;
            for _ in unread {
                client.write_all(&[0; 100])?;
            }
            ready(&server, PollFlags::IN, Duration::from_millis(1))?;
            SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
            drop(client);
            let by_tcp = seen_of_reset(&server)?;

            let mut pair = Enrolled::over_loopback()?;
            for way in unread {
                pair.send(End::Client, *way, &[0; 100])?;
            }
            SockRef::from(pair.end(End::Client)).set_linger(Some(Duration::ZERO))?;
            pair.close(End::Client);
            let enrolled = seen_of_reset(pair.end(End::Server))?;
            holds!(enrolled == by_tcp, "a reset is seen as {enrolled:?}, over TCP {by_tcp:?}");
        }
        Ok(())
    })
}

/// Edge-triggered epoll on one socket.
pub struct Edges(Epoll);

impl Edges {
    pub fn of(socket: &TcpStream) -> Result<Edges> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .context("cannot create an epoll instance")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(socket.as_fd(), event).context("cannot add a socket to epoll")?;
        Ok(Edges(epoll))
    }

    /// Waits for an edge; returns whether one came in time.
    pub fn take(&self, patience: Duration) -> Result<bool> {
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX);
        let mut room = [EpollEvent::empty()];
        Ok(self.0.wait(&mut room, timeout).context("epoll_wait fails")? > 0)
    }
}

/// Each arrival of either kind makes the reader ready, whatever is unread before it.
pub fn readiness() -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        for from in End::BOTH {
            let reader = pair.end(from.peer());
            let edges = Edges::of(reader)?;
            for reads in [false, true] {
                for way in SEQUENCE {
                    pair.send(from, way, b"ab")?;
                    holds!(edges.take(PATIENCE)?, "the arrival of {way} bytes causes no edge");
                    let polled = ready(reader, PollFlags::IN, Duration::ZERO)?;
                    holds!(polled == PollFlags::IN, "poll does not report {way} bytes");
                    // Many event loops treat a short read as the last one.
                    if reads {
                        holds!(
                            receive(reader, 2)? == b"ab",
                            "received bytes differ from those sent"
                        );
                        let polled = ready(reader, PollFlags::IN, Duration::ZERO)?;
                        holds!(polled.is_empty(), "readable with nothing to read");
                    }
                }
                if !reads {
                    receive(reader, 2 * SEQUENCE.len())?;
                }
                while edges.take(Duration::ZERO)? {}
            }
        }
        Ok(())
    })
}

/// Unread redirected bytes are charged to their receiver, and uncharged when read.
pub fn charged() -> Result<()> {
    const BYTES: usize = 4096;
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        let before = pair.charged(End::Server)?;
        pair.send(End::Client, Way::Direct, &[0; BYTES])?;
        let charged = pair.charged(End::Server)?.saturating_sub(before);
        holds!(charged as usize >= BYTES, "{charged} bytes are charged for {BYTES}");
        receive(pair.end(End::Server), BYTES)?;
        let left = pair.charged(End::Server)?;
        holds!(left == before, "{left} bytes stay charged after all were read, {before} before");
        Ok(())
    })
}

/// Writes until the socket stays full for a while.
fn fill(mut socket: &TcpStream, sent: &mut usize, most: usize) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    while *sent < most {
        match socket.write(&stream(*sent, 16 << 10)) {
            Ok(written) => *sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if ready(socket, PollFlags::OUT, PAUSE)?.is_empty() {
                    break;
                }
            }
            Err(error) => return Err(error).context("cannot send"),
        }
    }
    Ok(())
}

/// Much more than the buffers hold.
const PLENTY: usize = 16 << 20;

/// A pair whose client has a small send buffer, so that it fills quickly.
fn small_buffers() -> Result<Enrolled> {
    let ends = connection()?;
    SockRef::from(&ends[0]).set_send_buffer_size(64 << 10)?;
    Enrolled::of(ends)
}

/// A receiver that does not read limits what is sent to it by TCP, and loses none of it.
pub fn bounded() -> Result<()> {
    in_namespace(|| {
        let pair = small_buffers()?;
        let mut sent = 0;
        pair.goes(Way::Tcp)?;
        fill(pair.end(End::Client), &mut sent, PLENTY)?;
        holds!(sent < PLENTY, "{sent} bytes are accepted for a receiver that does not read");
        let received = receive(pair.end(End::Server), sent)?;
        holds!(received == stream(0, sent), "some of {sent} unread bytes are corrupted");
        Ok(())
    })
}

/// When a receiver has read a full window its sender continues at once, and not after a
/// retransmission time-out, which is at least 200 ms.
pub fn window() -> Result<()> {
    const ROUNDS: usize = 4;
    const STALL: Duration = Duration::from_millis(150);
    in_namespace(|| {
        let pair = small_buffers()?;
        let (client, server) = (pair.end(End::Client), pair.end(End::Server));
        let mut stalls = Vec::new();
        let (mut sent, mut received) = (0, 0);
        for _ in 0..ROUNDS {
            // Few enough to fit beside the offered window.
            pair.send(End::Client, Way::Direct, &stream(sent, 2000))?;
            sent += 2000;
            pair.goes(Way::Tcp)?;
            fill(client, &mut sent, PLENTY)?;
            let mut stall = Duration::ZERO;
            while received < sent {
                let waits = Instant::now();
                let bytes = receive(server, 1)?;
                stall = stall.max(waits.elapsed());
                holds!(bytes == stream(received, 1), "byte {received} is corrupted");
                received += 1;
                let mut room = vec![0; 64 << 10];
                let mut reader = server;
                let Ok(read) = reader.read(&mut room) else { continue };
                holds!(room[..read] == stream(received, read), "corrupted after byte {received}");
                received += read;
            }
            stalls.push(stall);
        }
        let late = stalls.iter().filter(|stall| **stall >= STALL).count();
        holds!(late <= ROUNDS / 2, "the sender stalled for {stalls:?}");
        Ok(())
    })
}

/// FIONREAD, which is `rcv_nxt - copied_seq` on some kernels, is never negative, and 0 when
/// everything has been read; a socket removed from the map continues with the right byte.
pub fn sequence() -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        for _ in 0..2 {
            for (from, way) in [
                (End::Client, Way::Direct),
                (End::Client, Way::Tcp),
                (End::Server, Way::Tcp),
                (End::Server, Way::Direct),
            ] {
                pair.send(from, way, &[0; 1000])?;
                let unread = pair.unread(from.peer())?;
                holds!(unread <= 1000, "FIONREAD returns {unread} of 1000 unread bytes");
                receive(pair.end(from.peer()), 600)?;
                let unread = pair.unread(from.peer())?;
                holds!(unread <= 400, "FIONREAD returns {unread} of 400 unread bytes");
                receive(pair.end(from.peer()), 400)?;
                let unread = pair.unread(from.peer())?;
                holds!(unread == 0, "FIONREAD returns {unread} when everything has been read");
            }
            End::BOTH.into_iter().try_for_each(|end| pair.remove(end))?;
            for from in End::BOTH {
                let (from, to) = (pair.end(from), pair.end(from.peer()));
                let received = transfer(from, to, &stream(0, 100_000))?;
                holds!(
                    received == stream(0, 100_000),
                    "the stream is corrupted after leaving the map"
                );
            }
            End::BOTH.into_iter().try_for_each(|end| pair.insert(end))?;
        }
        Ok(())
    })
}

/// A socket removed from the map with nothing unread loses nothing of what is sent to it
/// afterwards, or while its peer is still in the map.
pub fn leaving() -> Result<()> {
    in_namespace(|| {
        for first in End::BOTH {
            let pair = Enrolled::over_loopback()?;
            let edges = [Edges::of(pair.end(End::Client))?, Edges::of(pair.end(End::Server))?];
            End::BOTH.into_iter().try_for_each(|from| mix(&pair, from))?;
            pair.goes(Way::Tcp)?;
            for leaver in [first, first.peer()] {
                pair.remove(leaver)?;
                for from in End::BOTH {
                    while edges[from.peer() as usize].take(Duration::ZERO)? {}
                    let mut socket = pair.end(from);
                    socket.write_all(b"after")?;
                    let edge = edges[from.peer() as usize].take(PATIENCE)?;
                    holds!(edge, "bytes of {from:?} after {leaver:?} had left cause no edge");
                    let received = receive(pair.end(from.peer()), 5)?;
                    holds!(received == b"after", "bytes of {from:?} afterwards are corrupted");
                }
            }
            pair.end(End::Client).shutdown(Shutdown::Write)?;
            receive_end(pair.end(End::Server))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::behaviour::Deviation;

    #[test]
    fn two_queues_are_distinguished_from_one() {
        let mixed = in_namespace(|| mix(&Enrolled::with_two_queues(connection()?)?, End::Client));
        let error = mixed.expect_err("redirected bytes overtake bytes by TCP");
        assert!(error.is::<Deviation>(), "{error:#}");
    }
}
