//! Connections whose two ends are non-blocking, and what applications do with those: read and write
//! when they may, wait by poll.
//!
//! Bodies of tests are written for [`Ground`]: they run on plain TCP first, where an expectation
//! that TCP does not meet is found out, and then on shunt.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use socket2::Socket;

use crate::naming;
use crate::node::{Node, Pair, Service, new_bed};
use crate::path::{Path, ready_for_tests};
use crate::pattern::Tape;
use crate::socket::unconnected;
use crate::traffic::{FIRST_REFRESH, until_direct, wait_within};

/// After this a stream that ought to move counts as hanging.
pub const HANG: Duration = Duration::from_secs(10);

/// How a connection is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Both ends are outside the cgroup.
    Tcp,
    Shunt,
}

/// A node, and whether connections are made inside its cgroup.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub node: &'a Node,
    pub carrier: Carrier,
}

/// Runs `test` over plain TCP, then over shunt as it starts by default, on one node.
pub fn over_tcp_and_shunt(test: impl FnMut(Ground)) {
    over_tcp_and_shunt_with(&[], test);
}

/// The same with options for `shunt run`.
pub fn over_tcp_and_shunt_with(options: &[&str], mut test: impl FnMut(Ground)) {
    let node = Node::start_on(new_bed(), options);
    for carrier in [Carrier::Tcp, Carrier::Shunt] {
        naming(format!("over {carrier:?}"), || test(Ground { node: &node, carrier }));
    }
}

/// Runs `test` on both and wants the same of it.
pub fn same_over_tcp_and_shunt<T: PartialEq + fmt::Debug>(mut test: impl FnMut(Ground) -> T) {
    let mut by_tcp = None;
    over_tcp_and_shunt(|ground| {
        let result = test(ground);
        match &by_tcp {
            None => by_tcp = Some(result),
            Some(by_tcp) => assert_eq!(&result, by_tcp, "shunt on the left, TCP on the right"),
        }
    });
}

impl Ground<'_> {
    pub fn is_shunt(self) -> bool {
        self.carrier == Carrier::Shunt
    }

    pub fn listen(self, path: Path) -> Service {
        match self.carrier {
            Carrier::Tcp => self.node.listen_outside(path),
            Carrier::Shunt => self.node.listen(path),
        }
    }

    /// Runs `work` where this ground's clients and their sockets are.
    pub fn in_client<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        match self.carrier {
            Carrier::Tcp => self.node.outside_in_client(work),
            Carrier::Shunt => self.node.in_client(work),
        }
    }

    /// A connection whose ends are non-blocking from the start.
    pub fn open(self, path: Path) -> Pair {
        self.open_prepared(path, &|_| {}, &|_| {})
    }

    /// The same. `listener` is prepared before anybody connects to it, and `client` before it
    /// connects.
    pub fn open_prepared(
        self,
        path: Path,
        client: &(dyn Fn(&Socket) + Sync),
        listener: &(dyn Fn(&TcpListener) + Sync),
    ) -> Pair {
        let listening = self.listen(path);
        listener(&listening.listener);
        self.connect_prepared(&listening, client)
    }

    /// A connection to a listener of this ground, both ends non-blocking.
    pub fn connect(self, listening: &Service) -> Pair {
        self.connect_prepared(listening, &|_| {})
    }

    fn connect_prepared(self, listening: &Service, prepare: &(dyn Fn(&Socket) + Sync)) -> Pair {
        let client = self.in_client(|| {
            let socket = unconnected(listening.target);
            socket.set_nonblocking(true).expect("make it non-blocking");
            prepare(&socket);
            match socket.connect(&listening.target.into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                    panic!("connect to {}: {error}", listening.target)
                }
                _ => TcpStream::from(socket),
            }
        });
        let (server, _) = listening.listener.accept().expect("accept");
        server.set_nonblocking(true).expect("make it non-blocking");
        assert!(
            wait_within(&client, PollFlags::POLLOUT, HANG),
            "the connection is not established"
        );
        for end in [&client, &server] {
            ready_for_tests(end).expect("set its options");
        }
        Pair { client, server }
    }

    /// A connection that is direct in both lanes, where there is shunt.
    pub fn open_direct(self, path: Path) -> Pair {
        let pair = self.open(path);
        self.warm(&pair);
        pair
    }

    /// Makes it direct in both lanes, where there is shunt; over TCP, exchanges as much.
    pub fn warm(self, pair: &Pair) {
        self.warm_all(std::slice::from_ref(pair));
    }

    /// The same for many connections at once, which takes hardly longer.
    pub fn warm_all(self, pairs: &[Pair]) {
        match self.carrier {
            Carrier::Shunt => until_direct(&self.node.agent, pairs),
            Carrier::Tcp => pairs.iter().for_each(small_talk),
        }
    }

    /// [`Ground::open_direct`], and past the refreshes that come early in a connection's life.
    pub fn open_settled(self, path: Path) -> Pair {
        let pair = self.open_direct(path);
        std::thread::sleep(FIRST_REFRESH);
        self.warm(&pair);
        pair
    }

    /// Exchanges what would make a connection direct if it could be, and gives shunt the time for
    /// it. For sockets that are to stay with TCP.
    pub fn warm_in_vain(self, pair: &Pair) {
        for _ in 0..64 {
            small_talk(pair);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A request and a response of a few bytes.
pub fn small_talk(pair: &Pair) {
    let (ask, answer) = (Tape { seed: 1 }, Tape { seed: 2 });
    for (from, to, pattern) in
        [(&pair.client, &pair.server, ask), (&pair.server, &pair.client, answer)]
    {
        put(from, pattern.bytes(0, 8));
        pattern.check(0, &take(to, 8));
    }
}

/// Writes all of it, waiting for room by poll. Fails when nothing moves for [`HANG`].
pub fn put(mut stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => panic!("a write of {} bytes returned 0", bytes.len()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let room = wait_within(stream, PollFlags::POLLOUT, HANG);
                assert!(room, "no room for {HANG:?}, {} bytes are left to write", bytes.len());
            }
            Err(error) => panic!("write: {error}, {} bytes are left to write", bytes.len()),
        }
    }
}

/// One read into `buffer`, once there is something to read. `None` when there is nothing for
/// `limit`.
pub fn read_within(
    mut stream: &TcpStream,
    buffer: &mut [u8],
    limit: Duration,
) -> Option<io::Result<usize>> {
    let deadline = Instant::now() + limit;
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || !wait_within(stream, PollFlags::POLLIN, left) {
                    return None;
                }
            }
            outcome => return Some(outcome),
        }
    }
}

/// Reads exactly so much, waiting by poll. Fails when nothing comes for [`HANG`].
pub fn take(stream: &TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut at = 0;
    while at < length {
        match read_within(stream, &mut bytes[at..], HANG) {
            Some(Ok(0)) => panic!("the stream ended {at} bytes into {length}"),
            Some(Ok(read)) => at += read,
            Some(Err(error)) => panic!("read {at} bytes into {length}: {error}"),
            None => panic!("nothing to read for {HANG:?}, {at} bytes into {length}"),
        }
    }
    bytes
}

/// Reads to the end of the stream, or until nothing comes for `limit`; says whether the end came.
pub fn take_to_end(stream: &TcpStream, limit: Duration) -> (Vec<u8>, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match read_within(stream, &mut buffer, limit) {
            Some(Ok(0)) => return (bytes, true),
            Some(Ok(read)) => bytes.extend_from_slice(&buffer[..read]),
            Some(Err(error)) => panic!("read after {} bytes: {error}", bytes.len()),
            None => return (bytes, false),
        }
    }
}

/// Writes `length` bytes of a pattern in writes of `write` bytes.
pub fn put_pattern(stream: &TcpStream, pattern: Tape, length: u64, write: usize) {
    let mut at = 0;
    while at < length {
        let part = write.min((length - at) as usize);
        put(stream, pattern.bytes(at, part));
        at += part as u64;
    }
}

/// Reads `length` bytes of a pattern by reads of up to `read` bytes and checks each; returns the
/// longest time that nothing came. Fails when that is [`HANG`].
pub fn take_pattern(stream: &TcpStream, pattern: Tape, length: u64, read: usize) -> Duration {
    let mut buffer = vec![0; read];
    let (mut at, mut longest) = (0, Duration::ZERO);
    while at < length {
        let part = read.min((length - at) as usize);
        let waiting = Instant::now();
        match read_within(stream, &mut buffer[..part], HANG) {
            Some(Ok(0)) => panic!("the stream ended at byte {at} of {length}"),
            Some(Ok(read)) => {
                pattern.check(at, &buffer[..read]);
                at += read as u64;
            }
            Some(Err(error)) => panic!("read at byte {at} of {length}: {error}"),
            None => panic!("nothing to read for {HANG:?} at byte {at} of {length}"),
        }
        longest = longest.max(waiting.elapsed());
    }
    longest
}

/// Fails when the longest gap of a transfer is longer than three times what TCP had here, and
/// a bit; a gap of less than 200 ms does not count.
///
/// On a crowded machine TCP has longer ones once in a while: measure again before you believe one.
pub fn assert_no_gap(what: &str, shunt: Duration, tcp: Duration) {
    let allowed = (tcp * 3 + Duration::from_millis(100)).max(Duration::from_millis(200));
    assert!(
        shunt <= allowed,
        "{what}: nothing moved for {shunt:?}; over TCP the longest gap was {tcp:?}"
    );
}
