//! The end of a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::event::PollFlags;
use socket2::SockRef;

use crate::compare::compare;
use crate::seen::Seen;
use crate::talk::{delivered, readiness, ready, say};
use testkit::eventually;
use testkit::node::Pair;
use testkit::pattern::Pattern;
use testkit::socket::{option, reset};

fn note_read(seen: &mut Seen, mut from: &TcpStream) {
    let mut buffer = [0; 100];
    let outcome = from.read(&mut buffer);
    seen.read("read", outcome, &buffer);
}

fn note_error(seen: &mut Seen, socket: &TcpStream) {
    let code = option(socket, libc::SOL_SOCKET, libc::SO_ERROR);
    seen.note("SO_ERROR", (code != 0).then(|| Errno::from_raw(code)));
}

#[test]
fn either_end_can_go_on_sending_when_the_other_has_shut_down() {
    compare(|side, seen| {
        let swapped = |Pair { client, server }| Pair { client: server, server: client };
        for Pair { client: first, server: second } in [side.pair(), swapped(side.pair())] {
            say(&first, "the last");
            first.shutdown(Shutdown::Write).expect("shut down");
            delivered(&first);
            seen.call("write after it", (&first).write(b"no"));
            seen.note("poll", readiness(&first));
            note_read(seen, &second);
            note_read(seen, &second);
            for word in ["still", "here"] {
                say(&second, word);
                note_read(seen, &first);
            }
            say(&second, "bye");
            drop(second);
            seen.note("poll", ready(&first, PollFlags::HUP));
            note_read(seen, &first);
            note_read(seen, &first);
            note_error(seen, &first);
        }
    });
}

#[test]
fn who_shuts_down_reading_reads_what_is_there_and_then_the_end() {
    compare(|side, seen| {
        let Pair { client, server } = side.pair();
        say(&client, "before");
        server.shutdown(Shutdown::Read).expect("shut down");
        seen.note("poll", readiness(&server));
        note_read(seen, &server);
        note_read(seen, &server);
        say(&client, "after");
        note_read(seen, &server);
        note_read(seen, &server);
        say(&server, "back");
        note_read(seen, &client);
    });
}

#[test]
fn a_close_sends_what_was_written_and_then_the_end() {
    compare(|side, seen| {
        let Pair { client, server } = side.pair();
        say(&client, "bye");
        drop(client);
        seen.note("poll", ready(&server, PollFlags::RDHUP));
        note_read(seen, &server);
        note_read(seen, &server);
        note_error(seen, &server);
        // The first write after it is answered by a reset.
        seen.call("write", (&server).write(b"too late"));
        seen.note("poll", ready(&server, PollFlags::HUP));
        seen.call("write", (&server).write(b"too late"));
        note_read(seen, &server);
    });
}

#[test]
fn a_close_with_unread_bytes_resets() {
    compare(|side, seen| {
        let Pair { client, server } = side.pair();
        say(&client, "never read");
        drop(server);
        seen.note("poll", ready(&client, PollFlags::RDHUP));
        note_error(seen, &client);
        note_read(seen, &client);
        let next = eventually("a write fails", || (&client).write(b"more").err());
        seen.note(
            "a write comes to fail",
            matches!(next.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
        );
    });
}

#[test]
fn a_close_that_does_not_linger_resets_at_once() {
    compare(|side, seen| {
        for with_unread in [false, true] {
            let Pair { client, server } = side.pair();
            if with_unread {
                say(&client, "unread");
            }
            reset(client);
            seen.note("poll", ready(&server, PollFlags::HUP));
            note_read(seen, &server);
            note_read(seen, &server);
            note_error(seen, &server);
            seen.call("write", (&server).write(b"more"));
        }
    });
}

/// How long a close may linger here.
const LINGER: Duration = Duration::from_secs(1);

fn note_lingering(seen: &mut Seen, stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(LINGER)).expect("set SO_LINGER");
    let started = Instant::now();
    drop(stream);
    seen.note("lingered for its time", started.elapsed() >= LINGER);
}

#[test]
fn a_close_lingers_until_everything_has_arrived_or_for_its_time() {
    compare(|side, seen| {
        let Pair { client, server } = side.pair();
        say(&client, "arrives");
        note_lingering(seen, client);
        note_read(seen, &server);
        note_read(seen, &server);

        let Pair { client, server } = side.pair();
        let pattern = Pattern { seed: 70 };
        let mut sent = 0;
        loop {
            match (&client).write(&pattern.bytes(sent, 30_000)) {
                Ok(written) => sent += written as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("write: {error}"),
            }
        }
        note_lingering(seen, client);
        server.set_nonblocking(false).expect("make it blocking");
        let mut all = Vec::new();
        seen.call(
            "read to the end",
            (&server).read_to_end(&mut all).map(|length| length as u64 == sent),
        );
        pattern.check(0, &all);
    });
}
