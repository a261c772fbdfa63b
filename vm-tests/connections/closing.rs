//! Writing to what is closed fails as with TCP.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::pattern::Pattern;
use testkit::thread_state::Thread;
use testkit::traffic::{
    by_tcp, direct_over_every_path, expect_end, read, receive_to_end, send, small_talk, write,
};
use testkit::{eventually, naming};

/// Runs `test` with a connection that is direct in both lanes and with one that shunt has nothing
/// to do with, over every path: whatever holds for TCP has to hold for both.
fn with_and_without_shunt(mut test: impl FnMut(Pair)) {
    let node = Node::start();
    for (path, inside) in direct_over_every_path(&node) {
        naming(format!("on {path}"), || {
            let outside = node.pair_outside(path);
            small_talk(&outside);
            test(outside);
            let before = by_tcp(&inside);
            small_talk(&inside);
            assert_eq!(by_tcp(&inside), before, "it is not direct any more");
            test(inside);
        });
    }
}

fn error_of(outcome: std::io::Result<usize>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

#[test]
fn a_write_after_shutdown_fails_and_what_comes_back_is_still_read() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }| {
            client.shutdown(Shutdown::Write).expect("shut down");
            for _ in 0..3 {
                assert_eq!(
                    error_of((&client).write(b"after the end")),
                    Some(ErrorKind::BrokenPipe)
                );
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
        with_and_without_shunt(|Pair { client, server }| {
            drop(server);
            expect_end(&client);
            let error = eventually("a write fails", || error_of((&client).write(&[0; 100])));
            assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
            let next =
                eventually("the next write fails, too", || error_of((&client).write(&[0; 100])));
            assert_eq!(next, ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn a_writer_that_waits_for_room_is_told_when_its_reader_goes_away() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }| {
            std::thread::scope(|scope| {
                let (tell, told) = std::sync::mpsc::channel();
                let client = &client;
                let writer = scope.spawn(move || {
                    tell.send(Thread::current()).expect("tell the thread");
                    loop {
                        if let Err(error) = write(client, &[7; 64 << 10]) {
                            return error.kind();
                        }
                    }
                });
                told.recv().expect("the writer's thread").wait_until_blocked_in(libc::SYS_ppoll);
                drop(server);
                let error = writer.join().expect("the writer");
                assert!(
                    matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                    "{error}"
                );
            });
        });
    });
}

#[test]
fn a_reader_that_waits_is_told_when_its_peer_closes_or_shuts_down() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }| {
            let waits = |stream: &TcpStream, end: &dyn Fn()| {
                std::thread::scope(|scope| {
                    let (tell, told) = std::sync::mpsc::channel();
                    let reader = scope.spawn(move || {
                        tell.send(Thread::current()).expect("tell the thread");
                        read(stream, &mut [0; 10]).expect("read")
                    });
                    told.recv()
                        .expect("the reader's thread")
                        .wait_until_blocked_in(libc::SYS_ppoll);
                    end();
                    assert_eq!(reader.join().expect("the reader"), 0);
                });
            };
            waits(&server, &|| client.shutdown(Shutdown::Write).expect("shut down"));
            waits(&client, &|| server.shutdown(Shutdown::Both).expect("shut down"));
        });
    });
}

/// Longer than an acknowledgement of nothing but a FIN is delayed.
const DELAYED: Duration = Duration::from_millis(100);

#[test]
fn who_shuts_down_and_then_waits_for_the_rest_is_not_woken_for_nothing() {
    isolated(|| {
        with_and_without_shunt(|Pair { client, server }| {
            client.shutdown(Shutdown::Write).expect("shut down");
            let rest = Pattern { seed: 52 };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    expect_end(&server);
                    // The FIN is acknowledged while the client waits.
                    std::thread::sleep(DELAYED);
                    send(&server, rest, 0..20_000, 5_000);
                    server.shutdown(Shutdown::Write).expect("shut down");
                });
                assert_eq!(receive_to_end(&client, rest, 0), (20_000, Ok(())));
            });
        });
    });
}
