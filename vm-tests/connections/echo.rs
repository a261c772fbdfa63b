//! Large messages are echoed by readers that act on edges, without a hang and without gaps (Q2,
//! Q3).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use testkit::isolation::isolated;
use testkit::nonblocking::{Ground, HANG, assert_no_gap, over_tcp_and_shunt};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::pattern::{Dice, Tape};
use testkit::share_of;

/// What is sent, and how it is read.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// The longest message.
    message: usize,
    /// So many bytes may be on their way.
    on_the_way: usize,
    /// The size of both ends' buffers for reading.
    read: usize,
}

/// One run ends when it has moved so many bytes or taken so long.
const BYTES: usize = 96 << 20;
const TIME: Duration = Duration::from_millis(700);

/// A non-blocking stream as tokio sees it: an edge says that it is ready, and it is until a call
/// is refused or does less than it was asked for.
struct Edges<'a> {
    stream: &'a TcpStream,
    /// One for each direction: where both are asked for at once, an edge of one tells of the other.
    to_read: Epoll,
    to_write: Epoll,
    readable: bool,
    writable: bool,
    /// The end of what can be read has come: there is no edge after this one.
    ended: bool,
}

impl<'a> Edges<'a> {
    fn of(stream: &'a TcpStream) -> Self {
        let epoll = |kinds| {
            let epoll =
                Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("make an epoll instance");
            epoll
                .add(stream.as_fd(), EpollEvent::new(kinds | EpollFlags::EPOLLET, 0))
                .expect("register");
            epoll
        };
        let to_read = epoll(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
        let to_write = epoll(EpollFlags::EPOLLOUT);
        Self { stream, to_read, to_write, readable: false, writable: false, ended: false }
    }

    /// Waits for an edge; fails when none comes for [`HANG`].
    fn wait(&mut self) -> Result<(), String> {
        let limit = PollTimeout::try_from(HANG).expect("a timeout");
        let mut both = [&self.to_read, &self.to_write]
            .map(|epoll| PollFd::new(epoll.0.as_fd(), PollFlags::POLLIN));
        if poll(&mut both, limit).map_err(|error| format!("poll: {error}"))? == 0 {
            return Err(format!("no edge for {HANG:?}"));
        }
        let edges = |epoll: &Epoll| {
            let mut events = [EpollEvent::empty()];
            let count = epoll.wait(&mut events, EpollTimeout::ZERO).expect("epoll_wait");
            if count == 0 { EpollFlags::empty() } else { events[0].events() }
        };
        let (read, write) = (edges(&self.to_read), edges(&self.to_write));
        self.ended |= read.intersects(!EpollFlags::EPOLLIN);
        self.readable |= !read.is_empty();
        self.writable |= !write.is_empty();
        Ok(())
    }

    /// `None`: not now.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, String> {
        match self.stream.read(buffer) {
            Ok(read) => {
                self.readable = read == buffer.len() || self.ended;
                Ok(Some(read))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                self.ended = false;
                Ok(None)
            }
            Err(error) => Err(format!("read: {error}")),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, String> {
        match self.stream.write(bytes) {
            Ok(0) => Err("a write returned 0".into()),
            Ok(written) => {
                self.writable = written == bytes.len();
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(format!("write: {error}")),
        }
    }
}

/// Sends back what it reads, until the end.
fn echo(stream: &TcpStream, read: usize) -> Result<(), String> {
    let mut edges = Edges::of(stream);
    let mut buffer = vec![0; read];
    let (mut from, mut to) = (0, 0);
    loop {
        if from == to && edges.readable {
            match edges.read(&mut buffer)? {
                Some(0) => break,
                Some(read) => (from, to) = (0, read),
                None => {}
            }
        } else if from < to && edges.writable {
            from += edges.write(&buffer[from..to])?;
        } else {
            edges
                .wait()
                .map_err(|hang| format!("the server, {} bytes to write: {hang}", to - from))?;
        }
    }
    stream.shutdown(Shutdown::Write).map_err(|error| format!("shut down: {error}"))
}

/// Sends messages and checks what comes back; returns the longest gap between two reads, and the
/// bytes.
fn ask(stream: &TcpStream, case: Case, seed: u64) -> Result<(Duration, u64), String> {
    let (mut edges, pattern, mut dice) = (Edges::of(stream), Tape { seed }, Dice(seed));
    let mut buffer = vec![0; case.read];
    let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut message: &[u8] = &[];
    let (mut sent, mut received, mut at) = (0_u64, 0_u64, 0);
    let limit = share_of(BYTES) as u64;
    let mut asking = true;
    loop {
        if at == message.len() && asking {
            if sent >= limit || begun.elapsed() > TIME {
                asking = false;
                stream.shutdown(Shutdown::Write).map_err(|error| format!("shut down: {error}"))?;
            } else {
                let length = 1 + dice.below(case.message);
                if sent == received || (sent - received) as usize + length <= case.on_the_way {
                    (message, at) = (pattern.bytes(sent, length), 0);
                }
            }
        }
        if edges.readable {
            match edges.read(&mut buffer)? {
                Some(0) if received == sent && !asking => return Ok((longest, received)),
                Some(0) => return Err(format!("the stream ended at byte {received} of {sent}")),
                Some(read) => {
                    pattern.check(received, &buffer[..read]);
                    received += read as u64;
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                None => {}
            }
        } else if at < message.len() && edges.writable {
            if sent == received {
                // Nothing was on its way, so nothing could come.
                last = Instant::now();
            }
            let written = edges.write(&message[at..])?;
            at += written;
            sent += written as u64;
        } else {
            edges.wait().map_err(|hang| {
                format!(
                    "the client, {received} of {sent} bytes are back, {} to write: {hang}",
                    message.len() - at
                )
            })?;
        }
    }
}

fn run(ground: Ground, path: Path, case: Case, seed: u64) -> Duration {
    let pair = ground.open_direct(path);
    let (asked, echoed) = std::thread::scope(|scope| {
        let server = scope.spawn(|| echo(&pair.server, case.read));
        let asked = ask(&pair.client, case, seed);
        if asked.is_err() {
            // The server need not wait any longer.
            let _ = pair.client.shutdown(Shutdown::Both);
        }
        (asked, server.join().expect("the server"))
    });
    let told = |why| {
        panic!("{path}, {case:?}, run {seed} over {:?}: {why}; echo: {echoed:?}", ground.carrier)
    };
    let (longest, bytes) = asked.unwrap_or_else(told);
    eprintln!("{path}, {case:?} over {:?}: {bytes} bytes, longest gap {longest:?}", ground.carrier);
    echoed.as_ref().expect("the server, too, comes to the end");
    longest
}

fn echoes(path: Path, read: usize, cases: &[(usize, usize, u64)]) {
    let mut by_tcp = Vec::new();
    over_tcp_and_shunt(|ground| {
        for (number, &(message, on_the_way, runs)) in cases.iter().enumerate() {
            let case = Case { message, on_the_way, read };
            let runs = if ground.is_shunt() { runs } else { 1 };
            let mut gaps: Vec<_> = (0..runs).map(|seed| run(ground, path, case, seed)).collect();
            gaps.sort();
            // What happens in half of the runs is no accident.
            let longest = gaps[(gaps.len() - 1) / 2];
            if ground.is_shunt() {
                assert_no_gap(&format!("{path}, {case:?}"), longest, by_tcp[number]);
            } else {
                by_tcp.push(longest);
            }
        }
    });
}

const SMALL: usize = 8 << 10;
const LARGE: usize = 64 << 10;

/// The longest message, what may be on the way, and runs.
const CASES: [(usize, usize, u64); 5] = [
    (300_000, 300_000, 8),
    (300_000, 1_000_000, 4),
    (20_000, 200_000, 3),
    (20_000, 20_000, 3),
    (2_000, 20_000, 3),
];

/// Q2, Q3.
#[test]
fn edge_triggered_readers_with_small_buffers_echo_without_gaps_on_loopback() {
    isolated(|| echoes(LOOPBACK, SMALL, &CASES));
}

/// Q2, Q3.
#[test]
fn edge_triggered_readers_with_large_buffers_echo_without_gaps_on_loopback() {
    isolated(|| echoes(LOOPBACK, LARGE, &CASES));
}

/// Q2, Q3.
#[test]
fn edge_triggered_readers_with_small_buffers_echo_without_gaps_over_veth() {
    isolated(|| echoes(VETH, SMALL, &CASES));
}

/// Q2, Q3.
#[test]
fn edge_triggered_readers_with_large_buffers_echo_without_gaps_over_veth() {
    isolated(|| echoes(VETH, LARGE, &CASES));
}
