//! Blocking readers of whole frames, with another thread that writes on the same socket (Q9).

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv, send};

use testkit::isolation::isolated;
use testkit::node::Pair;
use testkit::nonblocking::{Ground, over_tcp_and_shunt};
use testkit::path::LOOPBACK;
use testkit::pattern::{Dice, Tape};

const FRAME: usize = 1000;
const PATTERN: Tape = Tape { seed: 95 };

/// Longer than an exchange waits for anything on a crowded machine.
const STALL: Duration = Duration::from_secs(5);

/// Reads frames by `recv(MSG_WAITALL)` until the end; returns how many bytes there were.
fn read_frames(stream: &TcpStream) -> u64 {
    let (mut frame, mut at, mut in_frame) = ([0; FRAME], 0, 0);
    loop {
        let waiting = Instant::now();
        match recv(stream.as_raw_fd(), &mut frame[in_frame..], MsgFlags::MSG_WAITALL) {
            Ok(0) => return at,
            Ok(read) => {
                PATTERN.check(at, &frame[in_frame..in_frame + read]);
                at += read as u64;
                in_frame = (in_frame + read) % FRAME;
            }
            Err(error) => panic!("recv at byte {at}: {error}"),
        }
        assert!(waiting.elapsed() < STALL, "{:?} for the frame at byte {at}", waiting.elapsed());
    }
}

/// Sends frames in two halves, with pauses of different lengths between them.
fn write_frames(stream: &TcpStream, until: Instant) -> u64 {
    let (mut at, mut dice) = (0, Dice(7));
    while Instant::now() < until {
        for pause in [true, false] {
            let half = PATTERN.bytes(at, FRAME / 2);
            let mut part = half;
            while !part.is_empty() {
                let sent = send(stream.as_raw_fd(), part, MsgFlags::MSG_NOSIGNAL)
                    .expect("send a part of a frame");
                part = &part[sent..];
            }
            at += half.len() as u64;
            match (pause, dice.below(4)) {
                (true, 1) => std::thread::yield_now(),
                (true, 2) => std::thread::sleep(Duration::from_micros(50)),
                (true, 3) => std::thread::sleep(Duration::from_micros(300)),
                (false, 0) if dice.below(2) == 0 => std::thread::sleep(Duration::from_micros(500)),
                _ => {}
            }
        }
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
    at
}

fn frames(pair: &Pair, from_client: bool, time: Duration) {
    let (reader, writer) =
        if from_client { (&pair.server, &pair.client) } else { (&pair.client, &pair.server) };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The reader's own socket is written to all the time by another thread.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if send(reader.as_raw_fd(), &[b'x'; 64], MsgFlags::MSG_NOSIGNAL).is_err() {
                    break;
                }
            }
            reader.shutdown(Shutdown::Write).expect("shut down");
        });
        scope.spawn(|| {
            let mut buffer = vec![0; 64 << 10];
            while recv(writer.as_raw_fd(), &mut buffer, MsgFlags::empty()) != Ok(0) {}
        });
        let sent = scope.spawn(|| write_frames(writer, Instant::now() + time));
        // Also when a frame is wrong: then no thread may wait for the others.
        let done = ShutDownOnDrop { pair, done: &done };
        let read = read_frames(reader);
        assert_eq!(read, sent.join().expect("the writer"), "bytes at the end are lost");
        done.done.store(true, Ordering::Relaxed);
        std::mem::forget(done);
    });
}

struct ShutDownOnDrop<'a> {
    pair: &'a Pair,
    done: &'a AtomicBool,
}

impl Drop for ShutDownOnDrop<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for end in [&self.pair.client, &self.pair.server] {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn blocking(ground: Ground) -> Pair {
    let service = ground.listen(LOOPBACK);
    let client = ground.in_client(|| service.connect());
    let server = service.accept();
    for end in [&client, &server] {
        end.set_nonblocking(false).expect("make a socket blocking");
    }
    Pair { client, server }
}

/// Q9.
#[test]
fn frames_that_are_read_whole_by_blocking_readers_are_in_order_beside_a_writing_thread() {
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            let rounds = if ground.is_shunt() { 4 } else { 1 };
            for round in 0..rounds {
                let pair = blocking(ground);
                frames(&pair, round % 2 == 0, Duration::from_millis(2500));
            }
        });
    });
}
