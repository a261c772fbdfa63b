//! Waiting for a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::select::{FdSet, select};
use nix::sys::time::TimeVal;
use rustix::event::PollFlags;

use crate::compare::compare;
use crate::seen::Seen;
use crate::talk::{A_WHILE, delivered, each_way, readiness, ready, say};
use testkit::node::Pair;
use testkit::socket::set_option;

fn take(mut from: &TcpStream, length: usize) {
    let read = from.read(&mut vec![0; length]).expect("read what is there");
    assert!(read > 0);
}

fn drain(mut from: &TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("read: {error}"),
        }
    }
}

/// Writes until there is no room.
fn fill(mut to: &TcpStream) {
    loop {
        match to.write(&[1; 64 << 10]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("write: {error}"),
        }
    }
}

#[test]
fn poll_tells_what_can_be_done() {
    compare(|side, seen| {
        let pair = side.pair();
        each_way(&pair, |from, to| {
            seen.note("idle", readiness(to));
            say(from, "hello");
            seen.note("bytes", readiness(to));
            take(to, 2);
            seen.note("half of them", readiness(to));
            take(to, 3);
            seen.note("none", readiness(to));
        });
        let Pair { client, server } = pair;
        say(&client, "bye");
        client.shutdown(Shutdown::Write).expect("shut down");
        delivered(&client);
        seen.note("bytes and the end", readiness(&server));
        take(&server, 3);
        seen.note("the end", readiness(&server));
        server.shutdown(Shutdown::Write).expect("shut down");
        seen.note("both have ended", ready(&client, PollFlags::RDHUP));
    });
}

#[test]
fn poll_finds_room_when_the_reader_has_made_some() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            fill(from);
            seen.note("no room", readiness(from));
            let mut rounds = 0;
            while !readiness(from).contains(PollFlags::OUT) && rounds < 1000 {
                drain(to);
                std::thread::sleep(Duration::from_millis(5));
                rounds += 1;
            }
            seen.note("room", readiness(from));
            delivered_to(from, to);
            seen.note("nothing is left", readiness(to));
        });
    });
}

/// Waits until what was sent has been read.
fn delivered_to(from: &TcpStream, to: &TcpStream) {
    while crate::talk::unacknowledged(from).expect("SIOCOUTQ") > 0 {
        drain(to);
    }
    drain(to);
}

#[test]
fn select_tells_what_can_be_done() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let mut note_select = |when| {
                let [mut readable, mut writable, mut exceptional] = [(); 3].map(|()| {
                    let mut set = FdSet::new();
                    set.insert(to.as_fd());
                    set
                });
                let mut at_once = TimeVal::new(0, 0);
                let found =
                    select(None, &mut readable, &mut writable, &mut exceptional, &mut at_once);
                seen.call(when, found);
                let sets = [readable, writable, exceptional].map(|set| set.contains(to.as_fd()));
                seen.note("… of these three", sets);
            };
            note_select("idle");
            say(from, "hello");
            note_select("bytes");
            take(to, 2);
            note_select("half of them");
            take(to, 3);
            note_select("none");
        });
    });
}

/// An epoll instance that watches one socket.
struct Watch(Epoll);

impl Watch {
    fn of(socket: &impl AsFd, mode: EpollFlags) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("make an epoll instance");
        let all = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLPRI;
        epoll.add(socket, EpollEvent::new(all | mode, 0)).expect("watch the socket");
        Self(epoll)
    }

    fn note(&self, seen: &mut Seen, when: &str) {
        let mut events = [EpollEvent::empty(); 2];
        let found = self.0.wait(&mut events, 0_u8).expect("epoll_wait");
        seen.note(when, events[..found].iter().map(EpollEvent::events).collect::<Vec<_>>());
    }
}

fn note_events(seen: &mut Seen, pair: Pair, mode: EpollFlags) {
    each_way(&pair, |from, to| {
        let watch = Watch::of(to, mode);
        watch.note(seen, "at first");
        watch.note(seen, "again");
        say(from, "hello");
        watch.note(seen, "bytes");
        watch.note(seen, "again");
        say(from, "world");
        watch.note(seen, "more bytes");
        take(to, 7);
        watch.note(seen, "some read");
        take(to, 3);
        watch.note(seen, "all read");
        say(from, "once more");
        watch.note(seen, "new bytes");
        take(to, 100);
        watch.note(seen, "all read");
    });
    let Pair { client, server } = pair;
    let watch = Watch::of(&server, mode);
    watch.note(seen, "before the end");
    say(&client, "bye");
    watch.note(seen, "before the end, with bytes");
    client.shutdown(Shutdown::Write).expect("shut down");
    delivered(&client);
    watch.note(seen, "the end");
    take(&server, 3);
    watch.note(seen, "all read");
    watch.note(seen, "again");
    drop(client);
    server.shutdown(Shutdown::Write).expect("shut down");
    ready(&server, PollFlags::HUP);
    watch.note(seen, "both have ended");
}

#[test]
fn level_triggered_epoll_reports_as_long_as_something_is_there() {
    compare(|side, seen| note_events(seen, side.pair(), EpollFlags::empty()));
}

#[test]
fn edge_triggered_epoll_reports_what_is_new() {
    compare(|side, seen| note_events(seen, side.pair(), EpollFlags::EPOLLET));
}

#[test]
fn one_shot_epoll_reports_once() {
    compare(|side, seen| note_events(seen, side.pair(), EpollFlags::EPOLLONESHOT));
}

#[test]
fn a_half_close_is_seen_as_epollrdhup_before_what_was_sent_is_read() {
    compare(|side, seen| {
        let Pair { client, server } = side.pair();
        say(&server, "bye");
        server.shutdown(Shutdown::Write).expect("shut down");
        seen.note("bytes and the end", ready(&client, PollFlags::RDHUP));
        take(&client, 3);
        seen.note("the end", readiness(&client));
        seen.call("read", (&client).read(&mut [0]));
        drop(client);
        seen.note("both have ended", ready(&server, PollFlags::HUP));
    });
}

#[test]
fn nobody_is_woken_below_the_low_water_mark() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            set_option(to, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 2);
            // As many as it asks for.
            for (end, other) in [(to, from), (from, to), (to, from)] {
                say(end, "..");
                ready(other, PollFlags::IN);
                take(other, 2);
            }
            set_option(to, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 8);
            let watch = Watch::of(to, EpollFlags::EPOLLET);
            watch.note(seen, "at first");
            say(from, "hello");
            std::thread::sleep(A_WHILE);
            seen.note("5 of 8 bytes", readiness(to));
            watch.note(seen, "their edge");
            say(from, "world");
            seen.note("10 of 8 bytes", ready(to, PollFlags::IN));
            watch.note(seen, "their edge");
            take(to, 100);
            say(from, "abc");
            take(to, 100);
            set_option(to, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1);
        });
    });
}
