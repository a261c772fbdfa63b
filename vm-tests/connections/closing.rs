//! Writing to what is closed fails as with TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::eventually;
use crate::harness::isolation::isolated;
use crate::harness::node::{Node, Pair};
use crate::harness::path::Path;
use crate::harness::pattern::Pattern;
use crate::harness::thread_state::Thread;
use crate::harness::traffic::{exchange, expect_end, over_every_path, receive, receive_to_end, send, warm_up};

/// Runs `test` with a connection that is direct in both lanes and with one that shunt has nothing to do with: whatever holds
/// for TCP has to hold for both.
fn with_and_without_shunt(mut test: impl FnMut(Pair, Path)) {
    let node = Node::start();
    over_every_path(|path| {
        let outside = node.pair_outside(path);
        warm_up(&outside);
        test(outside, path);
        let direct_before = node.stats().counter("direct_messages");
        let inside = node.pair(path);
        warm_up(&inside);
        exchange(&inside, 50, 100, 100);
        assert!(node.stats().counter("direct_messages") >= direct_before + 3);
        test(inside, path);
    });
}

fn error_of(outcome: std::io::Result<usize>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

#[test]
fn a_write_after_shutdown_fails_and_what_comes_back_is_still_read() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }, _| {
            client.shutdown(Shutdown::Write).expect("shut down");
            for _ in 0..3 {
                assert_eq!(error_of((&client).write(b"after the end")), Some(ErrorKind::BrokenPipe));
            }
            expect_end(&server);
            let back = Pattern { seed: 51 };
            send(&server, back, 0..20_000, 1000);
            drop(server);
            assert_eq!(receive_to_end(&client, back, 0), (20_000, Ok(())));
        });
    });
}

#[test]
fn writes_to_a_peer_that_has_closed_come_to_fail() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }, _| {
            drop(server);
            expect_end(&client);
            let error = eventually("a write fails", || error_of((&client).write(&[0; 100])));
            assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
            let next = eventually("the next write fails, too", || error_of((&client).write(&[0; 100])));
            assert_eq!(next, ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn a_writer_that_is_blocked_is_told_when_its_reader_goes_away() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }, _| {
            std::thread::scope(|scope| {
                let (tell, told) = std::sync::mpsc::channel();
                let client = &client;
                let writer = scope.spawn(move || {
                    tell.send(Thread::current()).expect("tell the thread");
                    loop {
                        if let Err(error) = (&mut &*client).write(&[7; 64 << 10]) {
                            return error.kind();
                        }
                    }
                });
                told.recv().expect("the writer's thread").wait_until_blocked_in(libc::SYS_sendto);
                drop(server);
                let error = writer.join().expect("the writer");
                assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
            });
        });
    });
}

#[test]
fn a_reader_that_waits_is_told_when_its_peer_closes_or_shuts_down() {
    isolated(|| {
        with_and_without_shunt(|pair, _| {
            let Pair { client, server } = pair;
            let blocked = |stream: &TcpStream, end: &dyn Fn()| {
                std::thread::scope(|scope| {
                    let (tell, told) = std::sync::mpsc::channel();
                    let reader = scope.spawn(move || {
                        tell.send(Thread::current()).expect("tell the thread");
                        (&mut &*stream).read(&mut [0; 10]).expect("read")
                    });
                    told.recv().expect("the reader's thread").wait_until_blocked_in(libc::SYS_recvfrom);
                    end();
                    assert_eq!(reader.join().expect("the reader"), 0);
                });
            };
            blocked(&server, &|| client.shutdown(Shutdown::Write).expect("shut down"));
            blocked(&client, &|| server.shutdown(Shutdown::Both).expect("shut down"));
        });
    });
}

#[test]
fn a_reader_that_waits_is_not_disturbed_when_a_writer_of_the_same_socket_finds_room() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }, _| {
            let (there, back, length) = (Pattern { seed: 52 }, Pattern { seed: 53 }, 16 << 20);
            std::thread::scope(|scope| {
                let (tell, told) = std::sync::mpsc::channel();
                let (client, at) = (&client, tell.clone());
                scope.spawn(move || {
                    at.send((Thread::current(), libc::SYS_recvfrom)).expect("tell the thread");
                    let mut buffer = [0; 1000];
                    (&mut &*client).read_exact(&mut buffer).expect("read");
                    back.check(0, &buffer);
                });
                scope.spawn(move || {
                    tell.send((Thread::current(), libc::SYS_sendto)).expect("tell the thread");
                    send(client, there, 0..length, 64 << 10);
                });
                for (thread, call) in told.iter().take(2) {
                    thread.wait_until_blocked_in(call);
                }
                // The writer is woken again and again; the reader has nothing to read until the end.
                receive(&server, there, 0..length, 64 << 10);
                send(&server, back, 0..1000, 1000);
            });
        });
    });
}
