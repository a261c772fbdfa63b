//! What applications do with a connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::node::Pair;
use super::path::Path;
use super::pattern::{Dice, Pattern};

/// Writes `range` of a pattern in chunks of 1 to `longest` bytes.
pub fn send(mut stream: &TcpStream, pattern: Pattern, range: Range<u64>, longest: usize) {
    let mut dice = Dice(pattern.seed ^ 1);
    let mut buffer = vec![0; longest];
    let mut at = range.start;
    while at < range.end {
        let length = dice.length(longest).min((range.end - at) as usize);
        pattern.fill(at, &mut buffer[..length]);
        stream.write_all(&buffer[..length]).unwrap_or_else(|error| panic!("write at byte {at}: {error}"));
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
        let read = read(stream, &mut buffer[..length]).unwrap_or_else(|error| panic!("read at byte {at}: {error}"));
        assert_ne!(read, 0, "the stream ended at byte {at} of {range:?}");
        pattern.check(at, &buffer[..read]);
        at += read as u64;
    }
}

/// A blocking read that goes on when it was woken for nothing.
///
/// `tcp_bpf_recvmsg` (net/ipv4/tcp_bpf.c) answers EAGAIN to a reader of a socket map's member that is woken while there is nothing to
/// read. `closing` shows the two ways to come by that; the other tests are not about it.
fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {}
            outcome => return outcome,
        }
    }
}

/// Fills the buffer, going on when it was woken for nothing.
pub fn read_exactly(stream: &TcpStream, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match read(stream, buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => buffer = &mut buffer[read..],
        }
    }
    Ok(())
}

/// Reads to the end of the stream, checking every byte from offset `from` on; returns the offset of the end and how it came.
pub fn receive_to_end(stream: &TcpStream, pattern: Pattern, from: u64) -> (u64, Result<(), ErrorKind>) {
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

pub fn expect_end(mut stream: &TcpStream) {
    let mut byte = [0];
    match stream.read(&mut byte) {
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

/// Lets a new connection become direct in both lanes: a server's first message may go by TCP.
pub fn warm_up(pair: &Pair) {
    exchange(pair, 0x77a2, 100, 100);
}

/// Lets a new connection's first refreshes pass, which come a third of a second after its birth: then both lanes stay direct.
pub fn settle(pair: &Pair) {
    thread::sleep(Duration::from_millis(400));
    for _ in 0..3 {
        warm_up(pair);
    }
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

/// Runs `test` for every path, naming the path when it fails.
pub fn over_every_path(mut test: impl FnMut(Path)) {
    for path in Path::all() {
        let on_failure = Announcement(path);
        test(path);
        std::mem::forget(on_failure);
    }
}

struct Announcement(Path);

impl Drop for Announcement {
    fn drop(&mut self) {
        eprintln!("failed on {}", self.0);
    }
}
