//! A reader that does not read holds up its sender, as with TCP (H2).

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::poll::PollFlags;

use testkit::eventually;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::pattern::Pattern;
use testkit::traffic::{
    direct, exchange, is_shown_as_direct, receive, receive_to_end, small_talk, wait_within,
};

/// What the kernel spends on a redirected message besides its bytes (`struct sk_msg` comes from
/// kmalloc-1k).
const BOOKKEEPING: u64 = 1024;

const PATTERN: Pattern = Pattern { seed: 12 };

/// Buffers as the kernel sizes them, or as small as an application might fix them.
#[derive(Debug, Clone, Copy)]
enum Buffers {
    Kernels,
    Fixed(usize),
}

impl Buffers {
    fn apply(self, pair: &Pair) {
        if let Buffers::Fixed(size) = self {
            socket2::SockRef::from(&pair.client).set_send_buffer_size(size).expect("set SO_SNDBUF");
            socket2::SockRef::from(&pair.server).set_recv_buffer_size(size).expect("set SO_RCVBUF");
        }
    }
}

/// A connection with these buffers that is direct.
fn direct_with(node: &Node, path: Path, buffers: Buffers) -> Pair {
    let pair = node.pair(path);
    buffers.apply(&pair);
    if let Buffers::Fixed(_) = buffers {
        // Once shunt knows of it TCP offers less, but the window that it has offered has to be used
        // up, and messages of less than a KiB do not do that: it is rounded up after each.
        eventually("messages to a small buffer are direct", || {
            (0..64).for_each(|_| exchange(&pair, 1, 1500, 1500));
            is_shown_as_direct(&node.agent, &pair).then_some(())
        });
    }
    direct(node, &pair);
    pair
}

/// Writes until nothing more is taken; returns how many bytes were.
fn fill(mut stream: &TcpStream, chunk: usize) -> u64 {
    // No connection of this kind holds as much: then there is no back-pressure.
    const ENDLESS: u64 = 1 << 28;
    let mut taken = 0;
    loop {
        match stream.write(&PATTERN.bytes(taken, chunk)) {
            Ok(written) => taken += written as u64,
            Err(error) => {
                // Not ENOMEM, nor anything else.
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "after {taken} bytes: {error}");
                // TCP moves bytes on to the receiver for a while: its window grows, its
                // acknowledgements are delayed.
                if !wait_within(stream, PollFlags::POLLOUT, Duration::from_secs(1)) {
                    return taken;
                }
            }
        }
        assert!(taken < ENDLESS, "{taken} bytes for a reader that does not read");
    }
}

#[test]
fn a_reader_that_does_not_read_is_sent_little_more_than_tcp_would_send_it() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH] {
            for buffers in [Buffers::Kernels, Buffers::Fixed(16 << 10), Buffers::Fixed(256 << 10)] {
                for chunk in [64 << 10, 1000] {
                    compare(&node, path, buffers, chunk);
                }
            }
        }
    });
}

fn compare(node: &Node, path: Path, buffers: Buffers, chunk: usize) {
    let context = format!("{path}, {buffers:?}, writes of {chunk}");
    let plain = node.pair_outside(path);
    buffers.apply(&plain);
    small_talk(&plain);
    let receive_buffer =
        socket2::SockRef::from(&plain.server).recv_buffer_size().expect("ask for SO_RCVBUF") as u64;
    let by_tcp = fill(&plain.client, chunk);

    let pair = direct_with(node, path, buffers);
    let before = node.redirected();
    let taken = fill(&pair.client, chunk);
    let redirected = node.redirected() - before;
    // A message that is larger than the buffer never is.
    let fits = !matches!(buffers, Buffers::Fixed(size) if size < chunk);
    assert!(redirected > 0 || !fits, "nothing was direct: {context}");
    eprintln!("{context}: {taken} bytes, {redirected} of them redirected; {by_tcp} by TCP");
    let allowed = buffers.may_hold(by_tcp) * 3 / 2 + receive_buffer;
    assert!(taken <= allowed, "{taken} bytes were taken, {by_tcp} by TCP: {context}");

    pair.client.shutdown(std::net::Shutdown::Write).expect("shut down");
    assert_eq!(receive_to_end(&pair.server, PATTERN, 0), (taken, Ok(())), "{context}");
}

impl Buffers {
    /// What TCP may hold for a reader that does not read if it holds so much now.
    ///
    /// How far it lets a send buffer grow differs by some receive buffers from one connection to
    /// the next, and by how much it has sent before: in the end as far as it may.
    fn may_hold(self, by_tcp: u64) -> u64 {
        if let Buffers::Kernels = self { by_tcp.max(most_in_a_send_buffer()) } else { by_tcp }
    }
}

/// The third number of `tcp_wmem`: a connection that has sent much may hold so much for its
/// receiver.
fn most_in_a_send_buffer() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").expect("read it");
    text.split_whitespace().nth(2).and_then(|most| most.parse().ok()).expect("three numbers")
}

#[test]
fn messages_of_one_byte_hold_no_more_kernel_memory_than_tcp_would() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH] {
            for buffers in [Buffers::Kernels, Buffers::Fixed(16 << 10)] {
                let plain = node.pair_outside(path);
                buffers.apply(&plain);
                small_talk(&plain);
                let by_tcp = fill(&plain.client, 64 << 10);

                let pair = direct_with(&node, path, buffers);
                let messages = || node.stats().counter("direct_messages");
                let before = messages();
                // Enough to overrun any limit that counts payload only by a factor of hundreds,
                // without waiting for TCP to fill up byte by byte.
                let mut taken = 0;
                while taken < 100_000 {
                    match (&pair.client).write(&PATTERN.bytes(taken, 1)) {
                        Ok(written) => taken += written as u64,
                        Err(error) => {
                            assert_eq!(
                                error.kind(),
                                ErrorKind::WouldBlock,
                                "after {taken} bytes: {error}"
                            );
                            break;
                        }
                    }
                }
                let queued = messages() - before;
                assert!(queued > 0, "nothing was direct: {path}, {buffers:?}");
                let held = queued * (BOOKKEEPING + 1);
                assert!(
                    held <= buffers.may_hold(by_tcp) * 3 / 2,
                    "{queued} messages hold {held} bytes, TCP {by_tcp}: {path}, {buffers:?}"
                );

                pair.client.shutdown(std::net::Shutdown::Write).expect("shut down");
                assert_eq!(
                    receive_to_end(&pair.server, PATTERN, 0),
                    (taken, Ok(())),
                    "{path}, {buffers:?}"
                );
            }
        }
    });
}

#[test]
fn a_sender_that_was_held_up_becomes_direct_again_once_everything_is_read() {
    isolated(|| {
        let node = Node::start();
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);
        let taken = fill(&pair.client, 64 << 10);
        receive(&pair.server, PATTERN, 0..taken, 64 << 10);
        assert!(node.stats().counter("memory_gate") > 0, "the memory gate never closed");
        direct(&node, &pair);
    });
}
