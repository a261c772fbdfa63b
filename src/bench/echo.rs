//! Messages of random size are echoed, many of them in flight at once, between edge-triggered event
//! loops that treat a short read as a drained socket, like tokio's. A lost wake-up makes such a
//! loop hang.

use std::collections::VecDeque;
use std::io;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::Socket;

use super::edge::Edge;
use super::gaps::Gaps;
use super::outcome::Outcome;
use super::pattern::{Pattern, Random};
use super::{Lab, Latency, Transport, ends};

/// Load parameters, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Maximum message size; the minimum is 1.
    pub message: usize,
    /// Maximum number of bytes in flight.
    pub in_flight: usize,
    /// Size of a read at either end.
    pub read: usize,
}

/// Throughput, time until a message is back, processor time, and the longest gap at the reader.
pub(super) fn measure(lab: &Lab, transport: Transport, load: Load) -> Result<Outcome> {
    lab.on_pair(transport, |pair| {
        let ((exchange, cpu), direct) = lab.watch(|| {
            let mut client = Client::new(load);
            let near = || client.run(&pair.near, lab.transfer());
            let both = ends::work(slice::from_ref(pair), near, || echo(&pair.far, load.read))?;
            let bytes = both.near.bytes;
            Ok(((both.near, both.cpu), 2 * bytes))
        })?;
        let Exchange { bytes, time, latency, reads } = exchange;
        let per_kib = cpu.as_nanos() as f64 / bytes as f64 * 1024.0;
        let throughput = bytes as f64 / time.as_secs_f64();
        let figures = [throughput, latency.percentile(99.0), per_kib, reads.longest()];
        Ok(Outcome::of(figures).with_direct(direct).with_latency(latency))
    })
}

/// Result of an exchange.
struct Exchange {
    bytes: u64,
    /// Until the last message was back.
    time: Duration,
    /// From the first byte sent of a message until all of it was back.
    latency: Latency,
    /// Between two reads that returned data.
    reads: Gaps,
}

/// The end that sends messages and reads the echo.
struct Client {
    load: Load,
    pattern: Pattern,
    buffer: Vec<u8>,
    random: Random,
    /// Bytes started, sent and received back.
    begun: u64,
    sent: u64,
    received: u64,
    /// End offset and start time of each message in flight.
    messages: VecDeque<(u64, Instant)>,
    next: u64,
}

impl Client {
    fn new(load: Load) -> Self {
        let mut client = Self {
            load,
            pattern: Pattern::new(load.message.max(load.read)),
            buffer: vec![0; load.read],
            random: Random::new(),
            begun: 0,
            sent: 0,
            received: 0,
            messages: VecDeque::new(),
            next: 0,
        };
        client.next = client.size();
        client
    }

    fn size(&mut self) -> u64 {
        self.random.next() % self.load.message as u64 + 1
    }

    /// Keeps the pipe full for `length`, then waits until everything is back.
    fn run(&mut self, socket: &Socket, length: Duration) -> io::Result<Exchange> {
        let mut socket = Edge::new(socket)?;
        let (mut latency, mut reads) = (Latency::default(), Gaps::default());
        let start = Instant::now();
        loop {
            let now = Instant::now();
            let over = now - start >= length;
            if over && self.received == self.begun {
                break;
            }
            let room = self.begun - self.received + self.next <= self.load.in_flight as u64;
            if !over && room && self.sent == self.begun {
                self.begun += self.next;
                self.messages.push_back((self.begun, now));
                self.next = self.size();
            }
            let unsent = self.pattern.at(self.sent, (self.begun - self.sent) as usize);
            let written = if unsent.is_empty() { None } else { socket.write(unsent)? };
            self.sent += written.unwrap_or(0) as u64;
            let read = socket.read(&mut self.buffer)?;
            if let Some(length) = read {
                self.arrived(length)?;
                let now = Instant::now();
                reads.mark(now);
                while let Some((end, begun)) = self.messages.front()
                    && *end <= self.received
                {
                    latency.record(now - *begun);
                    self.messages.pop_front();
                }
            }
            if written.is_none() && read.is_none() {
                socket.wait()?;
            }
        }
        Ok(Exchange { bytes: self.received, time: start.elapsed(), latency, reads })
    }

    fn arrived(&mut self, length: usize) -> io::Result<()> {
        let place = self.received;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.buffer[..length] != *self.pattern.at(place, length) {
            let what = format!("{length} bytes at offset {place} differ from those sent");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.received += length as u64;
        Ok(())
    }
}

/// Echoes until the end of the stream; reads only when everything read before is sent.
fn echo(socket: &Socket, read: usize) -> io::Result<()> {
    let mut socket = Edge::new(socket)?;
    let mut buffer = vec![0; read];
    let (mut from, mut to) = (0, 0);
    loop {
        let moved = if from < to {
            let written = socket.write(&buffer[from..to])?;
            from += written.unwrap_or(0);
            written
        } else {
            let length = socket.read(&mut buffer)?;
            (from, to) = (0, length.unwrap_or(0));
            length
        };
        match moved {
            Some(0) => return Ok(()),
            Some(_) => {}
            None => socket.wait()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::Pair;
    use super::*;

    const LOAD: Load = Load { message: 3000, in_flight: 10_000, read: 512 };

    #[test]
    fn every_message_comes_back_and_is_timed() {
        for pair in [Pair::tcp().expect("connect"), Pair::unix().expect("a pair")] {
            let length = Duration::from_millis(30);
            let mut client = Client::new(LOAD);
            let near = || client.run(&pair.near, length);
            let both = ends::work(slice::from_ref(&pair), near, || echo(&pair.far, LOAD.read));
            let done = both.expect("all of it comes back").near;
            assert!(done.bytes > 0 && done.time >= length && done.latency.count() > 0);
            assert!(client.messages.is_empty() && client.begun == done.bytes);
        }
    }

    #[test]
    fn bytes_echoed_in_another_order_are_an_error() {
        let mut client = Client::new(LOAD);
        client.buffer[..10].copy_from_slice(client.pattern.at(0, 10));
        client.arrived(10).expect("as it was sent");
        client.buffer[..10].copy_from_slice(client.pattern.at(11, 10));
        let error = client.arrived(10).expect_err("one byte is missing");
        assert!(error.to_string().contains("10 bytes at offset 10"), "{error}");
    }
}
