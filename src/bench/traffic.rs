//! Application traffic: requests and responses, and bulk transfers, on non-blocking sockets with
//! `poll(2)`. Shared by the bench and the demo.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use socket2::Socket;

use super::patience::{Watchdog, after, unless_not_ready, until_ready};

/// Operations between two readings of the clock.
const BATCH: u32 = 16;

/// Size of a write of a bulk transfer, and of any read.
pub const BULK: usize = 64 * 1024;

/// Sets the options of event-driven applications: non-blocking, TCP_NODELAY.
pub fn prepare(socket: Socket) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Sends a message one way and reads it at the other end, on one thread: the cost of the path
/// without wake-ups.
pub fn pass(mut from: &Socket, mut to: &Socket, buffer: &mut [u8]) -> io::Result<()> {
    let (mut sent, mut received) = (0, 0);
    let mut watchdog = Watchdog::default();
    while received < buffer.len() {
        let before = sent + received;
        // A message larger than the buffers is read in between.
        if sent < buffer.len() {
            sent += unless_not_ready(from.write(&buffer[sent..]))?.unwrap_or(0);
        }
        // The sent part of the buffer is reused.
        match unless_not_ready(to.read(&mut buffer[received..sent]))? {
            Some(0) if received < sent => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => received += length.unwrap_or(0),
        }
        watchdog.step(sent + received > before)?;
    }
    Ok(())
}

/// Sends all data.
pub fn send(mut socket: &Socket, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match socket.write(data) {
            Ok(length) => data = &data[length..],
            Err(error) => after(error, socket, PollFlags::POLLOUT)?,
        }
    }
    Ok(())
}

/// Reads like an event loop: waits until the socket is readable, and again after a short read.
#[derive(Debug)]
pub struct Reader<'a> {
    socket: &'a Socket,
    drained: bool,
}

impl<'a> Reader<'a> {
    /// The readiness of the socket is unknown.
    pub fn new(socket: &'a Socket) -> Self {
        Self { socket, drained: true }
    }

    /// Reads some bytes; 0 at the end of the stream.
    pub fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.socket;
        loop {
            if self.drained {
                until_ready(socket, PollFlags::POLLIN)?;
            }
            if let Some(length) = unless_not_ready(socket.read(buffer))? {
                self.drained = length < buffer.len();
                return Ok(length);
            }
            self.drained = true;
        }
    }

    /// Fills the buffer; `false` at the end of the stream, if no byte has arrived.
    pub fn all(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.some(&mut buffer[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => filled += length,
            }
        }
        self.drained = true;
        Ok(true)
    }
}

/// Sends a request and waits for a response of the same length.
pub fn request(server: &Socket, buffer: &mut [u8]) -> io::Result<()> {
    send(server, buffer)?;
    if Reader::new(server).all(buffer)? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Answers requests of `size` bytes with as many until the end of the stream.
pub fn answer(client: &Socket, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    let mut requests = Reader::new(client);
    while requests.all(&mut buffer)? {
        send(client, &buffer)?;
    }
    Ok(())
}

/// Repeats `operation` for `slice`, after a tenth of it as warm-up, and returns the median of its
/// time in ns over batches, which excludes batches interrupted by other work.
pub fn time(slice: Duration, mut operation: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut batches = |length: Duration| {
        let mut times = Vec::new();
        let start = Instant::now();
        let mut last = start;
        while last - start < length {
            for _ in 0..BATCH {
                operation()?;
            }
            let now = Instant::now();
            times.push((now - last).as_nanos() as f64 / f64::from(BATCH));
            last = now;
        }
        Ok::<_, io::Error>(times)
    };
    batches(slice / 10)?;
    let times = batches(slice)?;
    let quartiles = super::Quartiles::of(&times);
    quartiles.map(|times| times.median).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Writes `size` bytes at a time for `length`, shuts down writing, and waits for the receiver to
/// report the bytes received. Returns bytes and elapsed time; `wrote` is told the time of each
/// write.
pub fn send_bulk(
    server: &Socket,
    size: usize,
    length: Duration,
    mut wrote: impl FnMut(Instant),
) -> io::Result<(u64, Duration)> {
    let data = vec![0x5a; size];
    let start = Instant::now();
    let mut sent = 0;
    let mut now = start;
    while now - start < length {
        send(server, &data)?;
        sent += size as u64;
        now = Instant::now();
        wrote(now);
    }
    server.shutdown(Shutdown::Write)?;
    let mut reply = [0; 8];
    if !Reader::new(server).all(&mut reply)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let received = u64::from_be_bytes(reply);
    if received != sent {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{sent} bytes were sent and {received} received"),
        ));
    }
    Ok((received, start.elapsed()))
}

/// Receives until the end of the stream, then reports the number of bytes. `read` is told the time
/// of each read.
pub fn receive_bulk(client: &Socket, mut read: impl FnMut(Instant)) -> io::Result<()> {
    let mut buffer = vec![0; BULK];
    let mut received = 0u64;
    let mut stream = Reader::new(client);
    loop {
        match stream.some(&mut buffer)? {
            0 => return send(client, &received.to_be_bytes()),
            length => received += length as u64,
        }
        read(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::Pair;
    use super::*;
    use std::thread;

    fn pairs() -> [Pair; 2] {
        [Pair::tcp().expect("connect"), Pair::unix().expect("a pair")]
    }

    #[test]
    fn a_message_arrives_unchanged_and_requests_are_answered_until_the_end() {
        for pair in pairs() {
            let mut buffer = b"request".to_vec();
            pass(&pair.near, &pair.far, &mut buffer).expect("pass");
            assert_eq!(buffer, b"request");
            thread::scope(|scope| {
                let server = scope.spawn(|| answer(&pair.far, 7));
                for _ in 0..3 {
                    request(&pair.near, &mut buffer).expect("an answer");
                }
                pair.near.shutdown(Shutdown::Write).expect("end");
                server.join().expect("the server").expect("a clean end");
            });
            assert_eq!(buffer, b"request");
        }
    }

    #[test]
    fn a_message_larger_than_the_buffers_is_passed_on_one_thread() {
        for pair in pairs() {
            let mut buffer: Vec<u8> = (0u32..8 << 20).map(|n| (n % 251) as u8).collect();
            let sent = buffer.clone();
            pass(&pair.near, &pair.far, &mut buffer).expect("pass");
            assert!(buffer == sent);
        }
    }

    #[test]
    fn a_message_to_a_closed_peer_is_an_error() {
        for pair in pairs() {
            pair.far.shutdown(Shutdown::Both).expect("end");
            pass(&pair.near, &pair.far, &mut [1; 10]).expect_err("nobody reads");
            request(&pair.near, &mut [1; 10]).expect_err("nobody answers");
        }
    }

    #[test]
    fn a_partial_request_is_an_error() {
        let pair = Pair::tcp().expect("connect");
        send(&pair.near, b"req").expect("send");
        pair.near.shutdown(Shutdown::Write).expect("end");
        let error = answer(&pair.far, 7).expect_err("the rest is missing");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_bulk_transfer_reports_bytes_and_time() {
        let pair = Pair::tcp().expect("connect");
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut reads = 0u64;
                receive_bulk(&pair.far, |_| reads += 1).map(|()| reads)
            });
            let mut writes = 0;
            let length = Duration::from_millis(20);
            let (bytes, time) = send_bulk(&pair.near, 1000, length, |_| writes += 1).expect("send");
            assert!(bytes > 0 && bytes == writes * 1000 && time >= length, "{bytes} {time:?}");
            assert!(server.join().expect("the server").expect("a clean end") > 0);
        });
    }

    #[test]
    fn lost_bytes_are_an_error() {
        let pair = Pair::unix().expect("a pair");
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut rest = Reader::new(&pair.far);
                assert!(rest.all(&mut [0; 1]).expect("a byte"));
                send(&pair.far, &0u64.to_be_bytes()).expect("tell");
                while rest.some(&mut [0; 4096]).expect("read the rest") > 0 {}
            });
            let sent = send_bulk(&pair.near, BULK, Duration::from_millis(1), |_| {});
            let error = sent.expect_err("bytes are missing");
            assert!(error.to_string().contains("0 received"), "{error}");
        });
    }

    #[test]
    fn the_time_of_an_operation_is_its_median_and_ignores_an_interruption() {
        let (start, mut interrupted) = (Instant::now(), false);
        let time = time(Duration::from_millis(300), || {
            let interrupt = !interrupted && start.elapsed() > Duration::from_millis(100);
            interrupted |= interrupt;
            let nap =
                if interrupt { Duration::from_millis(160) } else { Duration::from_micros(100) };
            thread::sleep(nap);
            Ok(())
        });
        let time = time.expect("a time");
        assert!(interrupted);
        // The interrupted batch took 10 ms per operation.
        assert!((100_000.0..9_000_000.0).contains(&time), "{time}");
        super::time(Duration::ZERO, || Ok(())).expect_err("no time, no figure");
    }
}
