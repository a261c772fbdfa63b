//! All calls and all readers, at random, on many connections at the same time: no byte is lost,
//! doubled or out of place, no process hangs and no call fails (Q2, Q3, Q7 and all
//! the others).

use std::io::{IoSlice, IoSliceMut};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, recvmsg, send, sendmsg};
use nix::sys::uio::{readv, writev};
use nix::unistd::{read, write};

use testkit::isolation::isolated;
use testkit::node::Pair;
use testkit::nonblocking::{Ground, HANG, over_tcp_and_shunt};
use testkit::path::{LOOPBACK, REDIRECT, VETH};
use testkit::pattern::{Dice, Tape};
use testkit::traffic::wait_within;

/// Sends a part of a pattern by one call or another; returns how much was taken.
fn send_some(stream: &TcpStream, bytes: &[u8], dice: &mut Dice) -> Result<usize, Errno> {
    let (left, right) = bytes.split_at(dice.below(bytes.len() + 1));
    let parts = [IoSlice::new(left), IoSlice::new(right)];
    let fd = stream.as_raw_fd();
    match dice.below(6) {
        0 => write(stream, bytes),
        1 => writev(stream, &parts),
        2 => {
            let nothing: [ControlMessage; 0] = [];
            sendmsg::<()>(fd, &parts, &nothing, MsgFlags::MSG_NOSIGNAL, None)
        }
        3 if dice.below(4) == 0 => {
            let more = MsgFlags::from_bits_retain(libc::MSG_MORE);
            send(fd, bytes, MsgFlags::MSG_NOSIGNAL | more)
        }
        _ => send(fd, bytes, MsgFlags::MSG_NOSIGNAL),
    }
}

/// Sends until `until`, then half-closes; returns how many bytes.
fn sender(stream: &TcpStream, pattern: Tape, until: Instant) -> u64 {
    let (mut dice, mut sent) = (Dice(pattern.seed ^ 3), 0);
    while Instant::now() < until {
        let longest = if dice.below(8) == 0 { 300_000 } else { 5_000 };
        let length = dice.length(longest);
        let bytes = pattern.bytes(sent, length);
        let mut at = 0;
        while at < length {
            match send_some(stream, &bytes[at..], &mut dice) {
                Ok(0) => panic!("a send of {} bytes at {sent} returned 0", length - at),
                Ok(taken) => (at, sent) = (at + taken, sent + taken as u64),
                Err(Errno::EAGAIN) => {
                    assert!(
                        wait_within(stream, PollFlags::POLLOUT, HANG),
                        "no room for {HANG:?} at byte {sent}"
                    );
                }
                Err(error) => panic!("send at byte {sent}: {error}"),
            }
        }
        match dice.below(40) {
            0 => std::thread::sleep(Duration::from_millis(dice.below(30) as u64)),
            1..4 => std::thread::yield_now(),
            _ => {}
        }
    }
    stream.shutdown(Shutdown::Write).expect("shut down");
    sent
}

/// One way to wait, for the whole life of a reader.
enum Waiting {
    Poll,
    Level(Epoll),
    Edge(Epoll),
}

impl Waiting {
    fn of(stream: &TcpStream, kind: usize) -> Self {
        let epoll = |flags| {
            let epoll =
                Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("make an epoll instance");
            epoll
                .add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | flags, 0))
                .expect("register");
            epoll
        };
        match kind % 3 {
            0 => Self::Poll,
            1 => Self::Level(epoll(EpollFlags::empty())),
            _ => Self::Edge(epoll(EpollFlags::EPOLLET | EpollFlags::EPOLLRDHUP)),
        }
    }

    /// What has come: something to read, or the end with it. `None` when nothing has for [`HANG`].
    fn wait(&self, stream: &TcpStream) -> Option<Come> {
        let flags = match self {
            Self::Poll => {
                return wait_within(stream, PollFlags::POLLIN, HANG).then_some(Come::Something);
            }
            Self::Level(epoll) | Self::Edge(epoll) => {
                let limit = EpollTimeout::try_from(HANG).expect("a timeout");
                let mut events = [EpollEvent::empty()];
                if epoll.wait(&mut events, limit).expect("wait") == 0 {
                    return None;
                }
                events[0].events()
            }
        };
        Some(if flags == EpollFlags::EPOLLIN { Come::Something } else { Come::End })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Come {
    Something,
    /// There is no edge after this one.
    End,
}

/// Reads to the end and checks every byte; returns how many there were.
fn receiver(stream: &TcpStream, pattern: Tape, read_bytes: &AtomicU64) -> u64 {
    let (mut dice, mut at) = (Dice(pattern.seed ^ 4), 0);
    let waiting = Waiting::of(stream, dice.below(3));
    let mut buffer = vec![0; 64 << 10];
    let (fd, mut come) = (stream.as_raw_fd(), Come::Something);
    loop {
        let length = dice.length(buffer.len());
        let part = &mut buffer[..length];
        if dice.below(10) == 0 {
            // What is peeked at is what is read next.
            match recv(fd, part, MsgFlags::MSG_PEEK) {
                Ok(peeked) => pattern.check(at, &part[..peeked]),
                Err(Errno::EAGAIN) => {}
                Err(error) => panic!("peek at byte {at}: {error}"),
            }
        }
        let middle = dice.below(length + 1);
        let outcome = match dice.below(4) {
            0 => read(stream, part),
            1 => {
                let (left, right) = part.split_at_mut(middle);
                readv(stream, &mut [IoSliceMut::new(left), IoSliceMut::new(right)])
            }
            2 => {
                let (left, right) = part.split_at_mut(middle);
                let mut parts = [IoSliceMut::new(left), IoSliceMut::new(right)];
                recvmsg::<()>(fd, &mut parts, None, MsgFlags::empty()).map(|message| message.bytes)
            }
            _ => recv(fd, part, MsgFlags::empty()),
        };
        match outcome {
            Ok(0) => return at,
            Ok(read) => {
                pattern.check(at, &part[..read]);
                at += read as u64;
                read_bytes.fetch_add(read as u64, Ordering::Relaxed);
                // A short read is taken for drained.
                if read == length || come == Come::End {
                    continue;
                }
            }
            Err(Errno::EAGAIN) => {}
            Err(error) => panic!("read at byte {at}: {error}"),
        }
        let waited = waiting.wait(stream);
        come = waited.unwrap_or_else(|| panic!("not woken for {HANG:?} at byte {at}"));
        if dice.below(200) == 0 {
            std::thread::sleep(Duration::from_millis(dice.below(40) as u64));
        }
    }
}

/// Everything on one connection, both ways, until either way has come to its end.
fn life(pair: &Pair, seed: u64, time: Duration, read_bytes: &AtomicU64) {
    let (there, back) = (Tape { seed }, Tape { seed: !seed });
    let begun = Instant::now();
    let mut dice = Dice(seed);
    // One way ends before the other, which goes on over a half-closed connection.
    let [one, other] = [0, 1].map(|_| begun + time.mul_f64((1 + dice.below(10)) as f64 / 10.0));
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || sender(&pair.client, there, one));
        let sent_back = scope.spawn(move || sender(&pair.server, back, other));
        let read = scope.spawn(move || receiver(&pair.server, there, read_bytes));
        let read_back = receiver(&pair.client, back, read_bytes);
        assert_eq!(
            read.join().expect("a reader"),
            sent.join().expect("a sender"),
            "the client's bytes, seed {seed}"
        );
        assert_eq!(
            read_back,
            sent_back.join().expect("a sender"),
            "the server's bytes, seed {seed}"
        );
    });
}

fn torture(ground: Ground, time: Duration) {
    let read_bytes = AtomicU64::new(0);
    let until = Instant::now() + time;
    let services = [LOOPBACK, VETH, REDIRECT].map(|path| ground.listen(path));
    std::thread::scope(|scope| {
        for (number, service) in services.iter().enumerate() {
            let read_bytes = &read_bytes;
            scope.spawn(move || {
                for round in 0.. {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let pair = ground.connect(service);
                    ground.warm(&pair);
                    let time = Duration::from_millis(1200).min(left);
                    life(&pair, round * 10 + number as u64, time, read_bytes);
                }
            });
        }
    });
    eprintln!("{:?}: {} MB", ground.carrier, read_bytes.into_inner() / 1_000_000);
}

#[test]
fn every_call_and_reader_at_random_moves_every_byte_to_its_place() {
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            torture(ground, Duration::from_secs(if ground.is_shunt() { 10 } else { 3 }));
        });
    });
}
