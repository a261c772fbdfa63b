//! Every byte arrives, once and in its place.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::sendfile::sendfile;

use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, REDIRECT, VETH};
use testkit::pattern::{Dice, Pattern};
use testkit::socket::reset;
use testkit::traffic::{
    both_ways, by_tcp, direct, expect_end, once_ready, over_every_path, read_exactly, receive,
    receive_to_end, send, until_direct, write,
};
use testkit::{PATIENCE, share_of};

#[test]
fn a_large_transfer_each_way_at_once_arrives_whole_over_every_path() {
    isolated(|| {
        let node = Node::start();
        over_every_path(|path| {
            let pair = node.pair(path);
            direct(&node, &pair);
            let length = share_of(32 << 20) as u64;
            both_ways(&pair, 3, length, 256 << 10);
            // How much of it is direct depends on whether the readers keep up; what comes after it
            // is again.
            direct(&node, &pair);
        });
    });
}

#[test]
fn a_large_transfer_arrives_whole_while_lanes_keep_changing_between_direct_and_tcp() {
    isolated(|| {
        // A refresh each second, and a reader that falls behind: both gates close and open again
        // and again.
        let node = Node::start_with(&["--refresh", "1"]);
        for path in [LOOPBACK, VETH, REDIRECT] {
            let pair = node.pair(path);
            direct(&node, &pair);
            let (redirected, sent_by_tcp) = (node.redirected(), by_tcp(&pair));
            let length = share_of(48 << 20) as u64;
            let pattern = Pattern { seed: 4 };
            let mut dice = Dice(5);
            thread::scope(|scope| {
                scope.spawn(|| send(&pair.client, pattern, 0..length, 100_000));
                let mut at = 0;
                while at < length {
                    let end = (at + (1 << 20) + dice.below(12 << 20) as u64).min(length);
                    receive(&pair.server, pattern, at..end, 64 << 10);
                    thread::sleep(Duration::from_millis(300));
                    at = end;
                }
            });
            assert!(
                node.redirected() > redirected && by_tcp(&pair) > sent_by_tcp,
                "the lane never changed"
            );
        }
    });
}

#[test]
fn many_small_connections_deliver_what_was_sent_before_each_kind_of_close() {
    isolated(|| {
        let node = Node::start();
        over_every_path(|path| {
            let service = node.listen(path);
            let connections = share_of(200) as u64;
            // Some are direct, most are closed before they could be.
            let warm: Vec<Pair> = (0..16)
                .map(|_| Pair { client: node.connect(&service), server: service.accept() })
                .collect();
            until_direct(&node.agent, &warm);
            node.in_client(|| {
                let mut dice = Dice(6);
                let cold = (0..connections)
                    .map(|_| Pair { client: service.connect(), server: service.accept() });
                for (pair, seed) in warm.into_iter().chain(cold).zip(0..) {
                    let (there, back) = (Pattern { seed }, Pattern { seed: !seed });
                    let (request, response) = (dice.below(8192) as u64, dice.below(8192) as u64);
                    send(&pair.client, there, 0..request, 4096);
                    match seed % 4 {
                        // Half-close: the request ends, the response still comes.
                        0 => {
                            pair.client.shutdown(Shutdown::Write).expect("shut down");
                            assert_eq!(receive_to_end(&pair.server, there, 0), (request, Ok(())));
                            send(&pair.server, back, 0..response, 4096);
                            drop(pair.server);
                            assert_eq!(receive_to_end(&pair.client, back, 0), (response, Ok(())));
                        }
                        // Close right after sending: everything, then the end.
                        1 => {
                            drop(pair.client);
                            assert_eq!(receive_to_end(&pair.server, there, 0), (request, Ok(())));
                        }
                        // Both ends have finished sending before either reads.
                        2 => {
                            send(&pair.server, back, 0..response, 4096);
                            pair.client.shutdown(Shutdown::Write).expect("shut down");
                            pair.server.shutdown(Shutdown::Write).expect("shut down");
                            assert_eq!(receive_to_end(&pair.client, back, 0), (response, Ok(())));
                            assert_eq!(receive_to_end(&pair.server, there, 0), (request, Ok(())));
                        }
                        // The server answers and closes; the client closes in turn and only then
                        // does the test look.
                        _ => {
                            receive(&pair.server, there, 0..request, 4096);
                            send(&pair.server, back, 0..response, 4096);
                            drop(pair.server);
                            pair.client.shutdown(Shutdown::Write).expect("shut down");
                            assert_eq!(receive_to_end(&pair.client, back, 0), (response, Ok(())));
                        }
                    }
                }
            });
        });
    });
}

#[test]
fn a_response_sent_before_close_outlives_the_connection_until_it_is_read() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH, REDIRECT] {
            let pair = node.pair(path);
            direct(&node, &pair);
            let (there, back) = (Pattern { seed: 8 }, Pattern { seed: 9 });
            send(&pair.client, there, 0..200_000, 50_000);
            send(&pair.server, back, 0..200_000, 50_000);
            pair.client.shutdown(Shutdown::Write).expect("shut down");
            pair.server.shutdown(Shutdown::Write).expect("shut down");
            // Both ends have sent and received a FIN: there is no connection left, only what was
            // not read.
            node.stats();
            assert_eq!(receive_to_end(&pair.client, back, 0), (200_000, Ok(())));
            assert_eq!(receive_to_end(&pair.server, there, 0), (200_000, Ok(())));
        }
    });
}

#[test]
fn a_reset_ends_the_stream_with_an_error_after_some_part_of_what_was_sent() {
    isolated(|| {
        let node = Node::start();
        over_every_path(|path| {
            let lengths = [0_u64, 1, 1000, 100_000];
            let pairs = lengths.map(|_| node.pair(path));
            until_direct(&node.agent, &pairs);
            for (length, Pair { client, server }) in lengths.into_iter().zip(pairs) {
                let pattern = Pattern { seed: length };
                send(&client, pattern, 0..length, 50_000);
                reset(client);
                let (read, end) = receive_to_end(&server, pattern, 0);
                assert!(read <= length);
                assert_eq!(end, Err(ErrorKind::ConnectionReset));
            }
        });
    });
}

#[test]
fn a_slow_reader_gets_everything_that_a_writer_sends_who_waits_for_room() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH, REDIRECT] {
            let pair = node.pair(path);
            direct(&node, &pair);
            // More than TCP and the lane hold together, or the writer would not wait.
            let length = 8 << 20;
            let pattern = Pattern { seed: 10 };
            thread::scope(|scope| {
                let (tell, told) = std::sync::mpsc::channel();
                let client = &pair.client;
                scope.spawn(move || {
                    tell.send(testkit::thread_state::Thread::current()).expect("tell the thread");
                    send(client, pattern, 0..length, 64 << 10);
                });
                // Not before the writer waits for the reader.
                told.recv().expect("the writer's thread").wait_until_blocked_in(libc::SYS_ppoll);
                receive(&pair.server, pattern, 0..length, 3000);
            });
        }
    });
}

/// One record: its writer, its number, its length, and that many bytes of the writer's pattern.
const HEADER: usize = 10;

#[test]
fn records_that_eight_threads_write_to_one_socket_stay_whole_and_in_each_threads_order() {
    isolated(|| {
        const WRITERS: u16 = 8;
        // Less than any socket buffer: TCP itself splits a record between two writers when one has
        // to wait in the middle of it.
        const WINDOW: usize = 16 << 10;
        let node = Node::start_with(&["--refresh", "1"]);
        for path in [LOOPBACK, VETH] {
            let pair = node.pair(path);
            direct(&node, &pair);
            let redirected = node.redirected();
            let records = share_of(10_000) as u32;
            let in_flight = (Mutex::new(0_usize), Condvar::new());
            thread::scope(|scope| {
                for writer in 0..WRITERS {
                    let (in_flight, client) = (&in_flight, &pair.client);
                    scope.spawn(move || {
                        let mut dice = Dice(u64::from(writer));
                        for number in 0..records {
                            let record = record(writer, number, dice.below(500));
                            let (bytes, room) = in_flight;
                            let guard = bytes.lock().expect("the window");
                            let (mut guard, late) = room
                                .wait_timeout_while(guard, PATIENCE, |bytes| {
                                    *bytes + record.len() > WINDOW
                                })
                                .expect("the window");
                            assert!(!late.timed_out(), "the reader does not read");
                            *guard += record.len();
                            drop(guard);
                            let written = write(client, &record).expect("write a record");
                            assert_eq!(written, record.len());
                        }
                    });
                }
                let mut next: BTreeMap<u16, u32> = BTreeMap::new();
                for _ in 0..u32::from(WRITERS) * records {
                    let (writer, number, length) = read_record(&pair.server);
                    let expected = next.entry(writer).or_default();
                    assert_eq!(number, *expected, "of writer {writer}");
                    *expected += 1;
                    let (bytes, room) = &in_flight;
                    *bytes.lock().expect("the window") -= length;
                    room.notify_all();
                }
            });
            assert!(node.redirected() > redirected, "nothing was direct");
        }
    });
}

fn record(writer: u16, number: u32, length: usize) -> Vec<u8> {
    let mut record = writer.to_le_bytes().to_vec();
    record.extend(number.to_le_bytes());
    record.extend((length as u32).to_le_bytes());
    record.extend(Pattern { seed: u64::from(writer) }.bytes(u64::from(number) * 1000, length));
    record
}

fn read_record(stream: &TcpStream) -> (u16, u32, usize) {
    let mut header = [0; HEADER];
    read_exactly(stream, &mut header).expect("read a header");
    let writer = u16::from_le_bytes([header[0], header[1]]);
    let number = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    let length = u32::from_le_bytes([header[6], header[7], header[8], header[9]]) as usize;
    assert!(length < 500, "a header that is none: {header:02x?}");
    let mut body = vec![0; length];
    read_exactly(stream, &mut body).expect("read a body");
    Pattern { seed: u64::from(writer) }.check(u64::from(number) * 1000, &body);
    (writer, number, HEADER + length)
}

#[test]
fn a_file_sent_by_the_kernel_arrives_whole() {
    isolated(|| {
        let node = Node::start();
        let (pattern, length) = (Pattern { seed: 33 }, share_of(16 << 20));
        let mut file = tempfile::tempfile().expect("make a file");
        file.write_all(&pattern.bytes(0, length)).expect("fill the file");
        for path in [LOOPBACK, VETH, REDIRECT] {
            let pair = node.pair(path);
            direct(&node, &pair);
            let redirected = node.redirected();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut at = 0;
                    while at < length as i64 {
                        let left = length - at as usize;
                        let send =
                            |stream: &TcpStream| Ok(sendfile(stream, &file, Some(&mut at), left)?);
                        assert_ne!(
                            once_ready(&pair.client, PollFlags::POLLOUT, send)
                                .expect("send the file"),
                            0
                        );
                    }
                });
                receive(&pair.server, pattern, 0..length as u64, 100_000);
            });
            assert!(node.redirected() > redirected, "nothing was direct");
        }
    });
}

#[test]
fn bytes_that_were_peeked_at_are_read_afterwards() {
    isolated(|| {
        let node = Node::start();
        over_every_path(|path| {
            let pair = node.pair(path);
            direct(&node, &pair);
            let pattern = Pattern { seed: 34 };
            for at in (0..50_000).step_by(5000) {
                send(&pair.client, pattern, at..at + 5000, 3000);
                let mut buffer = [0; 4000];
                for _ in 0..2 {
                    let peek = |stream: &TcpStream| stream.peek(&mut buffer);
                    let peeked = once_ready(&pair.server, PollFlags::POLLIN, peek).expect("peek");
                    assert_ne!(peeked, 0);
                    pattern.check(at, &buffer[..peeked]);
                }
                receive(&pair.server, pattern, at..at + 5000, 5000);
            }
        });
    });
}

#[test]
fn event_loops_with_level_and_edge_triggered_readiness_echo_everything() {
    isolated(|| {
        let node = Node::start();
        for trigger in [EpollFlags::empty(), EpollFlags::EPOLLET] {
            for path in [LOOPBACK, VETH, REDIRECT] {
                let pair = node.pair(path);
                direct(&node, &pair);
                let length = share_of(16 << 20) as u64;
                let pattern = Pattern { seed: 11 };
                thread::scope(|scope| {
                    scope.spawn(|| echo(&pair.server, trigger));
                    scope.spawn(|| {
                        send(&pair.client, pattern, 0..length, 100_000);
                        pair.client.shutdown(Shutdown::Write).expect("shut down");
                    });
                    receive(&pair.client, pattern, 0..length, 100_000);
                    expect_end(&pair.client);
                });
            }
        }
    });
}

/// Sends back what it reads until the stream ends, without ever blocking except for readiness.
fn echo(mut stream: &TcpStream, trigger: EpollFlags) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("make an epoll instance");
    let interest = |flags| EpollEvent::new(flags | trigger, 0);
    epoll.add(stream.as_fd(), interest(EpollFlags::EPOLLIN)).expect("register");
    // Only what was written makes room, so a small buffer pushes back on the reader's side, too.
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 40_000];
    let mut ended = false;
    let deadline = Instant::now() + PATIENCE * 5;
    loop {
        // Until both directions would block: what an edge-triggered loop has to do.
        let progressed = {
            let mut progressed = false;
            if !ended && pending.len() < 200_000 {
                match stream.read(&mut buffer) {
                    Ok(0) => ended = true,
                    Ok(read) => {
                        pending.extend(&buffer[..read]);
                        progressed = true;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "read: {error}"),
                }
            }
            if !pending.is_empty() {
                match stream.write(&pending) {
                    Ok(written) => {
                        pending.drain(..written);
                        progressed = true;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "write: {error}"),
                }
            }
            progressed
        };
        if ended && pending.is_empty() {
            return stream.shutdown(Shutdown::Write).expect("shut down");
        }
        if progressed {
            continue;
        }
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, !ended && pending.len() < 200_000);
        wanted.set(EpollFlags::EPOLLOUT, !pending.is_empty());
        epoll.modify(stream.as_fd(), &mut interest(wanted)).expect("change the interest");
        let mut events = [EpollEvent::empty()];
        let ready = epoll.wait(&mut events, EpollTimeout::from(60_000_u16)).expect("wait");
        assert_ne!(ready, 0, "no readiness in a minute with {} bytes to write", pending.len());
        assert!(Instant::now() < deadline, "the echo takes too long");
    }
}
