//! Requests on many connections at once between two event loops, as in proxies and databases. Few
//! of the messages need a wake-up.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::Socket;
use std::io;

use super::outcome::Outcome;
use super::pair::Pair;
use super::patience::{PATIENCE, Stalled, unless_not_ready};
use super::traffic::send;
use super::{Lab, Latency, Transport, ends};

/// Requests per second, latency, and processor time per request.
pub(super) fn measure(
    lab: &Lab,
    transport: Transport,
    connections: usize,
    size: usize,
) -> Result<Outcome> {
    lab.on_pairs(transport, connections, |pairs| {
        let ((latency, time, cpu), direct) = lab.watch(|| {
            let both =
                ends::work(pairs, || ask(pairs, size, lab.transfer()), || serve(pairs, size))?;
            let (latency, time) = both.near;
            let bytes = latency.count() * 2 * size as u64;
            Ok(((latency, time, both.cpu), bytes))
        })?;
        let requests = latency.count() as f64;
        let per_request = cpu.as_nanos() as f64 / requests;
        let figures = [requests / time.as_secs_f64(), latency.percentile(99.0), per_request];
        Ok(Outcome::of(figures).with_direct(direct).with_latency(latency))
    })
}

/// Keeps one request in flight on each connection for `length`, and waits for the last responses.
fn ask(pairs: &[Pair], size: usize, length: Duration) -> io::Result<(Latency, Duration)> {
    let mut answers = Messages::of(pairs.iter().map(|pair| &pair.near), size)?;
    let request = vec![0x5a; size];
    let mut latency = Latency::default();
    let start = Instant::now();
    let mut asked = vec![start; pairs.len()];
    for pair in pairs {
        send(&pair.near, &request)?;
    }
    let mut outstanding = pairs.len();
    while outstanding > 0 {
        answers.wait(|number, _| {
            let now = Instant::now();
            latency.record(now - asked[number]);
            if now - start < length {
                asked[number] = now;
                return send(&pairs[number].near, &request);
            }
            outstanding -= 1;
            Ok(())
        })?;
    }
    Ok((latency, start.elapsed()))
}

/// Answers requests until every connection has ended.
fn serve(pairs: &[Pair], size: usize) -> io::Result<()> {
    let mut requests = Messages::of(pairs.iter().map(|pair| &pair.far), size)?;
    while requests.open > 0 {
        requests.wait(|number, request| send(&pairs[number].far, request))?;
    }
    Ok(())
}

/// Fixed-size messages arriving on several sockets.
struct Messages<'a> {
    epoll: Epoll,
    sockets: Vec<Partial<'a>>,
    /// Sockets that have not ended.
    open: usize,
}

/// A socket, and the received part of its next message.
struct Partial<'a> {
    socket: &'a Socket,
    buffer: Vec<u8>,
    filled: usize,
}

impl<'a> Messages<'a> {
    fn of(sockets: impl Iterator<Item = &'a Socket>, size: usize) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let sockets: Vec<_> =
            sockets.map(|socket| Partial { socket, buffer: vec![0; size], filled: 0 }).collect();
        for (number, partial) in sockets.iter().enumerate() {
            epoll.add(partial.socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        }
        Ok(Self { epoll, open: sockets.len(), sockets })
    }

    /// Waits for readable sockets, and passes on each complete message with the index of its
    /// socket.
    fn wait(&mut self, mut arrived: impl FnMut(usize, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let patience = EpollTimeout::try_from(PATIENCE).unwrap_or(EpollTimeout::MAX);
        let ready =
            unless_not_ready(self.epoll.wait(&mut events, patience).map_err(io::Error::from))?;
        if ready == Some(0) {
            return Err(Stalled.into());
        }
        for event in &events[..ready.unwrap_or(0)] {
            let number = event.data() as usize;
            let Partial { socket, buffer, filled } = &mut self.sockets[number];
            match unless_not_ready((&**socket).read(&mut buffer[*filled..]))? {
                None => {}
                Some(0) if *filled > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(0) => {
                    self.epoll.delete(&**socket)?;
                    self.open -= 1;
                }
                Some(length) => *filled += length,
            }
            if *filled == buffer.len() {
                *filled = 0;
                arrived(number, buffer)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered_on_every_connection() {
        let pairs: Vec<_> = (0..5).map(|_| Pair::tcp().expect("connect")).collect();
        let length = Duration::from_millis(20);
        let ask = || ask(&pairs, 100, length);
        let both = ends::work(&pairs, ask, || serve(&pairs, 100)).expect("answers");
        let (latency, time) = both.near;
        assert!(latency.count() >= 5 && time >= length, "{} {time:?}", latency.count());
    }

    #[test]
    fn a_message_is_passed_on_when_it_is_complete() {
        let pair = Pair::unix().expect("a pair");
        let mut messages = Messages::of([&pair.far].into_iter(), 4).expect("epoll");
        let mut seen = Vec::new();
        for part in [&b"on"[..], b"e", b".two.", b"x"] {
            send(&pair.near, part).expect("send");
            let keep = |number, message: &[u8]| {
                seen.push((number, message.to_vec()));
                Ok(())
            };
            messages.wait(keep).expect("wait");
        }
        assert_eq!(seen, [(0, b"one.".to_vec()), (0, b"two.".to_vec())]);
        pair.near.shutdown(std::net::Shutdown::Both).expect("end");
        messages.wait(|_, _| Ok(())).expect("the beginning of a message");
        let ended = messages.wait(|_, _| Ok(())).expect_err("in the middle of it");
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }
}
