//! Requests at a fixed rate, which wrk cannot send: one thread, and connections that take turns.
//!
//! A request counts from when it was due, so that those that had to wait for a slow one count in
//! full.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, ppoll};
use socket2::{Domain, Socket, Type};

use crate::mesh::PORT;
use crate::mesh::load::Answers;
use crate::stage::SERVER;

/// How many requests can be on their way at once.
const CONNECTIONS: usize = 16;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: service\r\n\r\n";

/// After this an answer is not waited for any more.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks `rate` times a second for so many seconds, from the calling thread's namespace.
pub fn ask(rate: u32, seconds: u64) -> io::Result<Answers> {
    let mut connections =
        (0..CONNECTIONS).map(|_| Connection::open()).collect::<io::Result<Vec<_>>>()?;
    let mut idle: VecDeque<usize> = (0..CONNECTIONS).collect();
    let mut times = Histogram::<u64>::new(3).map_err(io::Error::other)?;
    let interval = Duration::from_secs(1) / rate.max(1);
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    let mut due = started;
    while due < end || idle.len() < CONNECTIONS {
        while due <= Instant::now() && due < end {
            let Some(next) = idle.pop_front() else { break };
            connections[next].ask(due)?;
            due += interval;
        }
        let wait = if due < end && !idle.is_empty() {
            due.saturating_duration_since(Instant::now())
        } else {
            LIMIT
        };
        for ready in readable(&connections, wait)? {
            if let Some(asked) = connections[ready].read()? {
                times.record(asked.elapsed().as_nanos() as u64).map_err(io::Error::other)?;
                idle.push_back(ready);
            }
        }
        if due + LIMIT < Instant::now() {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                format!("an answer did not come within {LIMIT:?}"),
            ));
        }
    }
    let quantile = |share| times.value_at_quantile(share) as f64 / 1000.0;
    Ok(Answers {
        requests: times.len(),
        duration: started.elapsed().as_secs_f64() * 1e6,
        errors: 0,
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        slowest: quantile(1.0),
    })
}

fn readable(connections: &[Connection], wait: Duration) -> io::Result<Vec<usize>> {
    let mut polled: Vec<_> = connections
        .iter()
        .map(|connection| PollFd::new(connection.socket.as_fd(), PollFlags::POLLIN))
        .collect();
    ppoll(&mut polled, Some(wait.into()), None)?;
    Ok((0..connections.len()).filter(|&index| polled[index].any() == Some(true)).collect())
}

struct Connection {
    socket: Socket,
    due: Instant,
    answer: Vec<u8>,
}

impl Connection {
    /// Never blocking, as sockets of proxies and servers are.
    fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        match socket.connect(&SocketAddr::from((SERVER, PORT)).into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            outcome => outcome?,
        }
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        ppoll(&mut polled, Some(LIMIT.into()), None)?;
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        Ok(Self { socket, due: Instant::now(), answer: Vec::new() })
    }

    fn ask(&mut self, due: Instant) -> io::Result<()> {
        self.due = due;
        self.answer.clear();
        // There is room: nothing else is on its way on this connection.
        (&self.socket).write_all(REQUEST)
    }

    /// When what has been answered now was due, once its last byte is here.
    fn read(&mut self) -> io::Result<Option<Instant>> {
        let mut buffer = [0; 4096];
        match (&self.socket).read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.answer.extend(&buffer[..length]);
                Ok(is_whole(&self.answer)?.then_some(self.due))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether an answer is complete, by its Content-Length. One that is not good is an error.
fn is_whole(answer: &[u8]) -> io::Result<bool> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    match length.filter(|_| head.starts_with("http/1.1 200 ")) {
        Some(length) => Ok(answer.len() >= end + 4 + length),
        None => Err(io::Error::new(ErrorKind::InvalidData, head)),
    }
}
