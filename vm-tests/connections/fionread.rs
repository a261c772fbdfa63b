//! A server that asks by FIONREAD how much there is to read gets everything, whatever its name
//! (Q5).

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use testkit::isolation::isolated;
use testkit::nonblocking::{HANG, over_tcp_and_shunt, put_pattern, small_talk};
use testkit::path::{LOOPBACK, VETH};
use testkit::pattern::Tape;
use testkit::share_of;
use testkit::traffic::wait_within;

const PATTERN: Tape = Tape { seed: 90 };

nix::ioctl_read_bad!(fionread, libc::FIONREAD, libc::c_int);

fn available(stream: &TcpStream) -> usize {
    let mut count = 0;
    // SAFETY: `count` is where the kernel writes the answer.
    unsafe { fionread(stream.as_raw_fd(), &raw mut count) }.expect("FIONREAD");
    usize::try_from(count).expect("not a negative number of bytes")
}

/// Reads exactly `length` bytes that are said to be there, and checks them.
fn read_what_is_there(mut stream: &TcpStream, at: u64, length: usize) {
    let mut buffer = vec![0; length];
    let read = stream
        .read(&mut buffer)
        .unwrap_or_else(|error| panic!("read {length} bytes at {at}: {error}"));
    assert_eq!(read, length, "FIONREAD said {length} at byte {at}");
    PATTERN.check(at, &buffer);
}

/// Readable, and FIONREAD is 0: the end of the stream, according to select_tut(2).
fn read_until_nothing_is_there(stream: &TcpStream) -> u64 {
    let mut at = 0;
    loop {
        assert!(
            wait_within(stream, PollFlags::POLLIN, HANG),
            "nothing to read for {HANG:?} at byte {at}"
        );
        match available(stream) {
            0 => break,
            length => {
                read_what_is_there(stream, at, length);
                at += length as u64;
            }
        }
    }
    let mut rest = [0];
    match (&*stream).read(&mut rest) {
        Ok(0) => at,
        outcome => {
            panic!("readable and FIONREAD 0 at byte {at}, which is not the end: {outcome:?}")
        }
    }
}

/// nginx's way: after an edge, ask and read until there is nothing, then wait for the next edge.
fn read_by_edges(stream: &TcpStream, length: u64) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("make an epoll instance");
    epoll
        .add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))
        .expect("register");
    let limit = EpollTimeout::try_from(HANG).expect("a timeout");
    let mut at = 0;
    while at < length {
        let mut events = [EpollEvent::empty()];
        assert_ne!(
            epoll.wait(&mut events, limit).expect("wait"),
            0,
            "no edge for {HANG:?} at byte {at} of {length}"
        );
        loop {
            match available(stream) {
                0 => break,
                there => {
                    let part = there.min(16 << 10);
                    read_what_is_there(stream, at, part);
                    at += part as u64;
                }
            }
        }
    }
}

/// Q5. Version 1 passes where the kernel counts TCP bytes of members of a socket map (6.12).
#[test]
fn an_upload_that_is_read_as_fionread_says_arrives_whole() {
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            for path in [LOOPBACK, VETH] {
                for write in [100, 1000, 64 << 10, 300_000] {
                    let pair = ground.open_direct(path);
                    let length = (write * share_of(2000)).min(24 << 20) as u64;
                    std::thread::scope(|scope| {
                        scope.spawn(|| put_pattern(&pair.client, PATTERN, length, write));
                        read_by_edges(&pair.server, length);
                    });
                    small_talk(&pair);
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            put_pattern(&pair.client, PATTERN, length, write);
                            pair.client.shutdown(Shutdown::Write).expect("shut down");
                        });
                        let arrived = read_until_nothing_is_there(&pair.server);
                        assert_eq!(arrived, length, "{path}, writes of {write}");
                    });
                }
            }
        });
    });
}

/// Q5: also what FIONREAD says of bytes that wait while the sender goes on.
#[test]
fn fionread_counts_everything_that_a_sender_was_told_has_been_sent_and_arrived() {
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            let pair = ground.open_direct(LOOPBACK);
            let mut sent = 0;
            for write in [1_usize, 10, 1000, 20_000, 5] {
                put_pattern(&pair.client, PATTERN, write as u64, write);
                sent += write;
                testkit::eventually("FIONREAD counts it", || {
                    let counted = available(&pair.server);
                    assert!(counted <= sent, "{counted} of {sent}");
                    (counted == sent).then_some(())
                });
            }
            let mut buffer = vec![0; 100];
            match (&pair.server).read(&mut buffer) {
                Ok(read) => assert_eq!(available(&pair.server), sent - read),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "nothing to read"),
            }
        });
    });
}
