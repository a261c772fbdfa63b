//! What a send or a receive answers when something is wrong is what TCP would have answered (Q10,
//! Q12).

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::SockRef;

use testkit::isolation::isolated;
use testkit::memory::{PLENTY, SocketMemory};
use testkit::node::Pair;
use testkit::nonblocking::{
    Ground, HANG, over_tcp_and_shunt, put, same_over_tcp_and_shunt, take, take_to_end,
};
use testkit::path::{LOOPBACK, VETH};
use testkit::pattern::Tape;
use testkit::socket::reset;
use testkit::traffic::wait_within;

/// Sends as much as is taken within `time`; returns how much, and every error but EAGAIN.
fn send_for(stream: &TcpStream, pattern: Tape, size: usize, time: Duration) -> (u64, Vec<Errno>) {
    let (begun, mut sent, mut errors) = (Instant::now(), 0, Vec::new());
    while begun.elapsed() < time && sent < 64 << 20 {
        match send(stream.as_raw_fd(), pattern.bytes(sent, size), MsgFlags::MSG_NOSIGNAL) {
            Ok(0) => panic!("a send of {size} bytes returned 0"),
            Ok(length) => sent += length as u64,
            Err(Errno::EAGAIN) => {
                wait_within(stream, PollFlags::POLLOUT, Duration::from_millis(20));
            }
            Err(error) => {
                errors.push(error);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    (sent, errors)
}

/// Q10.
#[test]
fn a_receiver_that_is_short_of_socket_memory_is_not_its_senders_error() {
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            for (limit, size) in [(65_536, 8192), (16_384, 1000), (131_072, 64 << 10)] {
                let Some(memory) = SocketMemory::new() else {
                    return eprintln!(
                        "on this kernel no receiver can be short of socket memory alone"
                    );
                };
                let service = ground.listen(LOOPBACK);
                let pair = memory.run(|| ground.connect(&service));
                ground.warm(&pair);
                memory.limit(limit);
                let pattern = Tape { seed: limit };
                let (sent, errors) =
                    send_for(&pair.client, pattern, size, Duration::from_millis(500));
                assert!(
                    errors.is_empty(),
                    "limit {limit}, messages of {size} over {:?}: {} errors, the first {:?}; {sent} bytes",
                    ground.carrier,
                    errors.len(),
                    errors[0]
                );
                memory.limit(PLENTY);
                pair.client.shutdown(Shutdown::Write).expect("shut down");
                let (arrived, ended) = take_to_end(&pair.server, HANG);
                pattern.check(0, &arrived);
                assert_eq!((arrived.len() as u64, ended), (sent, true), "limit {limit}");
            }
        });
    });
}

/// Memory of which the first part can be read and the rest cannot.
struct PartlyBad {
    at: *mut libc::c_void,
    good: usize,
    bad: usize,
}

impl PartlyBad {
    fn new(good: usize, bad: usize) -> Self {
        let (kinds, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, where the kernel likes.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), good + bad, kinds, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        let memory = Self { at, good, bad };
        // SAFETY: the first `good` bytes stay readable and writable, the others lose both.
        unsafe {
            std::ptr::write_bytes(at.cast::<u8>(), b'f', good);
            assert_eq!(libc::mprotect(at.byte_add(good), bad, libc::PROT_NONE), 0);
        }
        memory
    }

    /// One send of all of it.
    fn send(&self, stream: &TcpStream) -> Result<usize, Errno> {
        let length = self.good + self.bad;
        // SAFETY: the kernel checks what it reads.
        let sent = unsafe { libc::send(stream.as_raw_fd(), self.at, length, libc::MSG_NOSIGNAL) };
        Errno::result(sent).map(|sent| sent as usize)
    }
}

impl Drop for PartlyBad {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.at, self.good + self.bad) };
    }
}

/// Q12.
#[test]
fn a_send_from_memory_that_ends_says_how_much_was_sent_or_that_nothing_was() {
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            for (good, bad) in
                [(4096, 4096), (4096, 1 << 20), (64 << 10, 4096), (256 << 10, 64 << 10)]
            {
                let pair = ground.open_direct(LOOPBACK);
                let memory = PartlyBad::new(good, bad);
                let sent = memory.send(&pair.client);
                let context =
                    format!("{good} good and {bad} bad bytes over {:?}: {sent:?}", ground.carrier);
                let length = match sent {
                    // A socket in a map answers 0 or ENOSPC where TCP says EFAULT
                    // (docs/differences.md).
                    Ok(length) if (length > 0 || ground.is_shunt()) && length <= good => length,
                    Err(Errno::EFAULT) => 0,
                    Err(Errno::ENOSPC) if ground.is_shunt() => 0,
                    _ => panic!("{context}"),
                };
                put(&pair.client, b"the end");
                pair.client.shutdown(Shutdown::Write).expect("shut down");
                let (arrived, ended) = take_to_end(&pair.server, HANG);
                assert!(ended, "{context}");
                assert_eq!(arrived.len(), length + 7, "{context}");
                assert!(arrived[..length].iter().all(|&byte| byte == b'f'), "{context}");
                assert_eq!(&arrived[length..], b"the end", "{context}");
            }
        });
    });
}

/// One call, and what it answered.
fn call(what: &str, stream: &TcpStream) -> String {
    let mut buffer = [0; 16];
    let answer = match what {
        "send" => send(stream.as_raw_fd(), b"x", MsgFlags::MSG_NOSIGNAL),
        "recv" => recv(stream.as_raw_fd(), &mut buffer, MsgFlags::empty()),
        "peek" => recv(stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK),
        "SO_ERROR" => {
            let error = SockRef::from(stream).take_error().expect("SO_ERROR");
            return format!(
                "SO_ERROR: {:?}",
                error.and_then(|error| error.raw_os_error()).map(Errno::from_raw)
            );
        }
        "shutdown" => {
            let outcome = SockRef::from(stream).shutdown(Shutdown::Write);
            return format!("shutdown: {:?}", outcome.map_err(|error| error.kind()));
        }
        other => unreachable!("{other}"),
    };
    format!("{what}: {answer:?}")
}

/// Calls of which the first to find a reset is not a send: see [`SENDS_FIRST`].
const AFTER_A_RESET: [&[&str]; 5] = [
    &["recv", "recv", "send", "send"],
    &["peek", "recv", "recv", "send"],
    &["SO_ERROR", "send", "recv", "SO_ERROR"],
    &["SO_ERROR", "recv", "recv", "send"],
    &["recv", "SO_ERROR", "shutdown", "send"],
];

/// After a reset: a send on an enrolled socket tells of it and leaves it to be told again
/// (docs/differences.md).
const SENDS_FIRST: [&[&str]; 2] =
    [&["send", "send", "send", "recv", "recv"], &["shutdown", "send", "recv", "recv"]];

/// Answers of the client to each sequence of calls, after its peer has gone in the way that `leave`
/// says.
fn answers(
    ground: Ground,
    sequences: &[&[&str]],
    leave: impl Fn(Pair) -> TcpStream,
) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for path in [LOOPBACK, VETH] {
        for calls in sequences {
            let client = leave(ground.open_direct(path));
            assert!(wait_within(&client, PollFlags::POLLIN, HANG), "the client is not told");
            std::thread::sleep(Duration::from_millis(20));
            all.push(calls.iter().map(|what| call(what, &client)).collect());
        }
    }
    all
}

/// Q12.
#[test]
fn calls_after_the_peers_reset_answer_as_over_tcp() {
    isolated(|| {
        same_over_tcp_and_shunt(|ground| {
            answers(ground, &AFTER_A_RESET, |Pair { client, server }| {
                reset(server);
                client
            })
        });
    });
}

/// Q12.
#[test]
fn a_send_leaves_the_error_of_a_reset_for_the_calls_after_it() {
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            let all = answers(ground, &SENDS_FIRST, |Pair { client, server }| {
                reset(server);
                client
            });
            let (again, received) = if ground.is_shunt() {
                ("send: Err(ECONNRESET)", "recv: Err(ECONNRESET)")
            } else {
                ("send: Err(EPIPE)", "recv: Ok(0)")
            };
            for both in all.chunks(SENDS_FIRST.len()) {
                assert_eq!(
                    both[0],
                    ["send: Err(ECONNRESET)", again, again, received, "recv: Ok(0)"]
                );
                let not_connected = "shutdown: Err(NotConnected)";
                assert_eq!(
                    both[1],
                    [not_connected, "send: Err(ECONNRESET)", received, "recv: Ok(0)"]
                );
            }
        });
    });
}

/// Q12. The kernel does not reset (docs/differences.md, "`close` with redirected bytes unread").
#[test]
fn a_peer_that_left_bytes_unread_is_at_its_end_and_the_second_send_fails() {
    isolated(|| {
        let calls: &[&str] = &["recv", "SO_ERROR", "send"];
        over_tcp_and_shunt(|ground| {
            let all = answers(ground, &[calls], |Pair { client, server }| {
                put(&client, b"nobody reads this");
                assert!(wait_within(&server, PollFlags::POLLIN, HANG), "it has not arrived");
                drop(server);
                client
            });
            let expected = if ground.is_shunt() {
                ["recv: Ok(0)", "SO_ERROR: None", "send: Ok(1)"]
            } else {
                ["recv: Err(ECONNRESET)", "SO_ERROR: None", "send: Err(EPIPE)"]
            };
            for one in all {
                assert_eq!(one, expected);
            }
        });
    });
}

/// Q12: bytes that arrived before a reset are gone, over TCP too, or read first.
#[test]
fn bytes_that_arrived_before_a_reset_are_read_or_lost_as_over_tcp() {
    isolated(|| {
        same_over_tcp_and_shunt(|ground| {
            answers(ground, &AFTER_A_RESET, |Pair { client, server }| {
                put(&server, b"the last words");
                assert!(wait_within(&client, PollFlags::POLLIN, HANG), "they have not arrived");
                reset(server);
                std::thread::sleep(Duration::from_millis(20));
                client
            })
        });
    });
}

/// Q12: after an orderly end.
#[test]
fn calls_after_the_peers_close_answer_as_over_tcp() {
    isolated(|| {
        same_over_tcp_and_shunt(|ground| {
            answers(ground, &AFTER_A_RESET, |Pair { client, server }| {
                put(&server, b"bye");
                drop(server);
                assert_eq!(take(&client, 3), b"bye");
                client
            })
        });
    });
}
