//! What applications do with a connection: its sockets are non-blocking, and they wait by poll(2).

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::agent::Agent;
use crate::node::{Node, Pair};
use crate::path::Path;
use crate::pattern::{Dice, Pattern};
use crate::report::{Flow, Mode, canonical};
use crate::socket::TcpInfo;
use crate::{PATIENCE, naming};

/// Waits until poll reports one of `wanted`, an error or a hang-up; `false` when `limit` has
/// passed.
pub fn wait_within(stream: &TcpStream, wanted: PollFlags, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Not poll(2), which some architectures do not have.
        match ppoll(
            &mut [PollFd::new(stream.as_fd(), wanted)],
            Some(TimeSpec::from_duration(left)),
            None,
        ) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Does what would block once it does not: `TimedOut` when [`PATIENCE`] ends.
pub fn once_ready<T>(
    stream: &TcpStream,
    wanted: PollFlags,
    mut call: impl FnMut(&TcpStream) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match call(stream) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !wait_within(stream, wanted, PATIENCE) {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            outcome => return outcome,
        }
    }
}

/// One read, once there is something to read.
pub fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    once_ready(stream, PollFlags::POLLIN, |mut stream| stream.read(buffer))
}

/// One write, once there is room.
pub fn write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    once_ready(stream, PollFlags::POLLOUT, |mut stream| stream.write(bytes))
}

/// Writes all of it.
pub fn write_fully(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(stream, bytes)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// Fills the buffer.
pub fn read_exactly(stream: &TcpStream, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match read(stream, buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => buffer = &mut buffer[read..],
        }
    }
    Ok(())
}

/// Writes `range` of a pattern in chunks of 1 to `longest` bytes.
pub fn send(stream: &TcpStream, pattern: Pattern, range: Range<u64>, longest: usize) {
    let mut dice = Dice(pattern.seed ^ 1);
    let mut buffer = vec![0; longest];
    let mut at = range.start;
    while at < range.end {
        let length = dice.length(longest).min((range.end - at) as usize);
        pattern.fill(at, &mut buffer[..length]);
        write_fully(stream, &buffer[..length])
            .unwrap_or_else(|error| panic!("write at byte {at}: {error}"));
        at += length as u64;
    }
}

/// Reads `range` of a pattern into buffers of 1 to `longest` bytes and checks every byte.
pub fn receive(stream: &TcpStream, pattern: Pattern, range: Range<u64>, longest: usize) {
    let mut dice = Dice(pattern.seed ^ 2);
    let mut buffer = vec![0; longest];
    let mut at = range.start;
    while at < range.end {
        let length = dice.length(longest).min((range.end - at) as usize);
        let read = read(stream, &mut buffer[..length])
            .unwrap_or_else(|error| panic!("read at byte {at}: {error}"));
        assert_ne!(read, 0, "the stream ended at byte {at} of {range:?}");
        pattern.check(at, &buffer[..read]);
        at += read as u64;
    }
}

/// Reads to the end of the stream, checking every byte from offset `from` on; returns the offset of
/// the end and how it came.
pub fn receive_to_end(
    stream: &TcpStream,
    pattern: Pattern,
    from: u64,
) -> (u64, Result<(), ErrorKind>) {
    let mut buffer = vec![0; 64 << 10];
    let mut at = from;
    loop {
        match read(stream, &mut buffer) {
            Ok(0) => return (at, Ok(())),
            Ok(read) => {
                pattern.check(at, &buffer[..read]);
                at += read as u64;
            }
            Err(error) => return (at, Err(error.kind())),
        }
    }
}

pub fn expect_end(stream: &TcpStream) {
    let mut byte = [0];
    match read(stream, &mut byte) {
        Ok(0) => {}
        outcome => panic!("expected the end of the stream: {outcome:?} {byte:02x?}"),
    }
}

/// A request and its response, both of them patterns of `nonce`.
pub fn exchange(pair: &Pair, nonce: u64, request: usize, response: usize) {
    let (ask, answer) = (Pattern { seed: nonce }, Pattern { seed: !nonce });
    send(&pair.client, ask, 0..request as u64, request);
    receive(&pair.server, ask, 0..request as u64, request);
    send(&pair.server, answer, 0..response as u64, response);
    receive(&pair.client, answer, 0..response as u64, response);
}

/// An exchange of small messages.
pub fn small_talk(pair: &Pair) {
    exchange(pair, 0x77a2, 100, 100);
}

/// A connection's first refreshes come a third of a second after it was enrolled.
pub const FIRST_REFRESH: Duration = Duration::from_millis(400);

/// Uses a connection until both of its lanes are direct, and lets its first refreshes pass: then
/// they stay so.
pub fn direct(node: &Node, pair: &Pair) {
    direct_all(node, std::slice::from_ref(pair));
}

/// [`direct`] for many connections, which takes hardly longer than for one.
pub fn direct_all(node: &Node, pairs: &[Pair]) {
    until_direct(&node.agent, pairs);
    thread::sleep(FIRST_REFRESH);
    until_direct(&node.agent, pairs);
}

/// Uses connections until all of their lanes are direct; the first refreshes are yet to come.
pub fn until_direct(agent: &Agent, pairs: &[Pair]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // This program could splice: it has to be seen to read 256 times.
        for _ in 0..16 {
            pairs.iter().for_each(small_talk);
        }
        let by_tcp = || pairs.iter().map(by_tcp).sum::<u64>();
        let before = by_tcp();
        pairs.iter().for_each(small_talk);
        let late = Instant::now() > deadline;
        // Asking the agent takes much longer than talking.
        if by_tcp() > before && !late {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        let flows = agent.flows();
        let waiting = pairs
            .iter()
            .find(|pair| !flows.iter().any(|flow| is_of(flow, pair) && is_direct(flow)));
        if waiting.is_none() && by_tcp() == before {
            return;
        }
        if late {
            let flow = waiting.and_then(|pair| flows.iter().find(|flow| is_of(flow, pair)));
            panic!("not direct after {PATIENCE:?}: {flow:#?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes of each message by which [`fill`] does so: more than those that TCP might join.
pub const FILLING: usize = 40_000;

/// Sends to a server that does not read, directly until its memory is full, then by TCP. Returns
/// the bytes sent. A refresh may come before: only what goes by TCP behind direct bytes ends it.
pub fn fill(node: &Node, pair: &Pair, pattern: Pattern) -> u64 {
    let redirected = node.redirected();
    let by_tcp = || TcpInfo::of(&pair.client).bytes_sent();
    let mut sent = 0;
    loop {
        let before = by_tcp();
        match (&pair.client).write(&pattern.bytes(sent, FILLING)) {
            Ok(written) => sent += written as u64,
            Err(error) => panic!("after {sent} bytes, not yet direct and then by TCP: {error}"),
        }
        if by_tcp() > before && node.redirected() > redirected {
            return sent;
        }
    }
}

/// Bytes that both ends have sent by TCP.
pub fn by_tcp(pair: &Pair) -> u64 {
    TcpInfo::of(&pair.client).bytes_sent() + TcpInfo::of(&pair.server).bytes_sent()
}

/// Whether the agent shows both lanes of a connection as direct.
pub fn is_shown_as_direct(agent: &Agent, pair: &Pair) -> bool {
    agent.flows().iter().any(|flow| is_of(flow, pair) && is_direct(flow))
}

fn is_of(flow: &Flow, pair: &Pair) -> bool {
    let address = canonical(pair.client.local_addr().expect("the client's address"));
    flow.client.as_ref().is_some_and(|end| canonical(end.local) == address)
}

fn is_direct(flow: &Flow) -> bool {
    [&flow.client, &flow.server]
        .iter()
        .all(|end| end.as_ref().is_some_and(|end| end.mode == Mode::Direct))
}

/// Sends `length` bytes each way at once, in chunks of at most `longest` bytes.
pub fn both_ways(pair: &Pair, seed: u64, length: u64, longest: usize) {
    let (there, back) = (Pattern { seed }, Pattern { seed: !seed });
    thread::scope(|scope| {
        scope.spawn(|| send(&pair.client, there, 0..length, longest));
        scope.spawn(|| send(&pair.server, back, 0..length, longest));
        scope.spawn(|| receive(&pair.server, there, 0..length, longest));
        scope.spawn(|| receive(&pair.client, back, 0..length, longest));
    });
}

/// A connection over every path, all of them direct.
pub fn direct_over_every_path(node: &Node) -> Vec<(Path, Pair)> {
    let pairs: Vec<Pair> = Path::all().map(|path| node.pair(path)).collect();
    direct_all(node, &pairs);
    Path::all().zip(pairs).collect()
}

/// Runs `test` for every path, naming the path when it fails.
pub fn over_every_path(mut test: impl FnMut(Path)) {
    for path in Path::all() {
        naming(format!("on {path}"), || test(path));
    }
}
