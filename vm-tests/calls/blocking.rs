//! Calls that wait, on sockets that block, which shunt leaves to TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{MsgFlags, recv};

use crate::compare::compare;
use crate::seen::Seen;
use crate::talk::{A_WHILE, each_way, say};
use testkit::node::Pair;
use testkit::pattern::Pattern;
use testkit::socket::set_option;
use testkit::thread_state::Thread;

/// Does something while a thread sleeps in `recv`, and notes what that returns.
fn note_recv_while(
    seen: &mut Seen,
    what: &str,
    to: &TcpStream,
    flags: MsgFlags,
    meanwhile: impl FnOnce(Pthread),
) {
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let reader = scope.spawn(move || {
            tell.send((Thread::current(), pthread_self())).expect("tell the thread");
            let mut buffer = [0; 10];
            let outcome = recv(to.as_raw_fd(), &mut buffer, flags);
            (outcome, buffer)
        });
        let (thread, handle) = told.recv().expect("the reader's thread");
        thread.wait_until_blocked_in(libc::SYS_recvfrom);
        meanwhile(handle);
        let (outcome, buffer) = reader.join().expect("the reader");
        seen.read(what, outcome, &buffer);
    });
}

fn note_rest(seen: &mut Seen, what: &str, from: &TcpStream) {
    let mut buffer = [0; 100];
    let outcome = recv(from.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT);
    seen.read(what, outcome, &buffer);
}

fn reader_is_woken_by_bytes(pair: &Pair, seen: &mut Seen) {
    each_way(pair, |from, to| {
        note_recv_while(seen, "recv", to, MsgFlags::empty(), |_| say(from, "hello"));
    });
}

#[test]
fn a_reader_that_sleeps_is_woken_by_bytes() {
    compare(|side, seen| reader_is_woken_by_bytes(&side.blocking_pair(), seen));
}

fn reader_waits_for_all(pair: &Pair, seen: &mut Seen) {
    each_way(pair, |from, to| {
        note_recv_while(seen, "recv MSG_WAITALL", to, MsgFlags::MSG_WAITALL, |_| {
            say(from, "hello");
            thread::sleep(A_WHILE);
            say(from, "world");
        });
        note_rest(seen, "the rest", to);
    });
}

#[test]
fn msg_waitall_waits_for_all() {
    compare(|side, seen| reader_waits_for_all(&side.blocking_pair(), seen));
}

/// Sends the reader a signal whose handler returns.
fn interrupt(reader: Pthread) {
    pthread_kill(reader, Signal::SIGUSR1).expect("signal the reader");
}

extern "C" fn nothing(_: libc::c_int) {}

fn handle_signals(flags: SaFlags) {
    let action = SigAction::new(SigHandler::Handler(nothing), flags, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("handle SIGUSR1");
}

fn reader_is_interrupted(pair: &Pair, seen: &mut Seen) {
    each_way(pair, |from, to| {
        // A read time-out makes the kernel return EINTR even where it could restart the call.
        to.set_read_timeout(None).expect("wait as long as it takes");
        for (name, flags) in [("without", SaFlags::empty()), ("with", SaFlags::SA_RESTART)] {
            handle_signals(flags);
            note_recv_while(
                seen,
                &format!("recv, interrupted {name} SA_RESTART"),
                to,
                MsgFlags::empty(),
                |reader| {
                    interrupt(reader);
                    thread::sleep(A_WHILE);
                    say(from, "hello");
                },
            );
            note_rest(seen, &format!("what came {name} SA_RESTART"), to);
        }
    });
}

#[test]
fn a_signal_ends_a_recv_unless_it_is_to_be_restarted() {
    compare(|side, seen| reader_is_interrupted(&side.blocking_pair(), seen));
}

const TIMEOUT: Duration = Duration::from_millis(200);

fn reader_has_a_timeout(pair: &Pair, seen: &mut Seen) {
    each_way(pair, |from, to| {
        to.set_read_timeout(Some(TIMEOUT)).expect("set SO_RCVTIMEO");
        for flags in [MsgFlags::empty(), MsgFlags::MSG_WAITALL] {
            let started = Instant::now();
            note_recv_while(seen, &format!("recv {flags:?} in time"), to, flags, |_| {
                say(from, "hello")
            });
            seen.note(
                format_args!("… {flags:?} waited for its time"),
                started.elapsed() >= TIMEOUT,
            );
            note_recv_while(seen, "recv of nothing", to, flags, |_| {});
        }
    });
}

#[test]
fn a_receive_timeout_ends_a_recv() {
    compare(|side, seen| {
        let pair = side.blocking_pair();
        reader_has_a_timeout(&pair, seen);
        let started = Instant::now();
        note_recv_while(seen, "recv of nothing", &pair.client, MsgFlags::empty(), |_| {});
        seen.note("… waited for its time", started.elapsed() >= TIMEOUT);
    });
}

fn writer_has_a_timeout(pair: &Pair, seen: &mut Seen) {
    let Pair { client, server } = pair;
    client.set_write_timeout(Some(TIMEOUT)).expect("set SO_SNDTIMEO");
    let pattern = Pattern { seed: 71 };
    let mut sent = 0;
    let error = loop {
        match (&mut &*client).write(&pattern.bytes(sent, 100_000)) {
            Ok(written) => sent += written as u64,
            Err(error) => break error,
        }
    };
    seen.note("write when there is no room", error.kind());
    client.shutdown(Shutdown::Write).expect("shut down");
    let mut all = Vec::new();
    let end = loop {
        match (&mut &*server).read_to_end(&mut all) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            end => break end,
        }
    };
    pattern.check(0, &all);
    seen.note("everything arrived", end.is_ok() && all.len() as u64 == sent);
}

#[test]
fn a_send_timeout_ends_a_write() {
    compare(|side, seen| writer_has_a_timeout(&side.blocking_pair(), seen));
}

fn reader_has_a_low_water_mark(pair: &Pair, seen: &mut Seen) {
    each_way(pair, |from, to| {
        set_option(to, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 8);
        note_recv_while(seen, "recv of at least 8", to, MsgFlags::empty(), |_| {
            say(from, "hello");
            thread::sleep(A_WHILE);
            say(from, "world");
        });
        note_rest(seen, "the rest", to);
        set_option(to, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1);
    });
}

#[test]
fn a_reader_sleeps_below_its_low_water_mark() {
    compare(|side, seen| reader_has_a_low_water_mark(&side.blocking_pair(), seen));
}

fn one_thread_writes_while_another_reads(pair: &Pair, seen: &mut Seen) {
    const LENGTH: usize = 20_000_000;
    let Pair { client, server } = pair;
    client.set_read_timeout(None).expect("wait as long as it takes");
    let pattern = Pattern { seed: 72 };
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let writer = scope.spawn(move || {
            tell.send(Thread::current()).expect("tell the thread");
            (&mut &*client).write_all(&pattern.bytes(0, LENGTH))
        });
        told.recv().expect("the writer's thread").wait_until_blocked_in(libc::SYS_sendto);
        note_recv_while(seen, "recv while a write sleeps", client, MsgFlags::empty(), |_| {
            let mut all = vec![0; LENGTH];
            testkit::traffic::read_exactly(server, &mut all).expect("read everything");
            pattern.check(0, &all);
            thread::sleep(A_WHILE);
            say(server, "thanks");
        });
        seen.call("the write", writer.join().expect("the writer"));
    });
    note_rest(seen, "the rest", client);
}

#[test]
fn one_thread_sleeps_in_send_while_another_sleeps_in_recv() {
    compare(|side, seen| one_thread_writes_while_another_reads(&side.blocking_pair(), seen));
}

fn reader_is_told_of_the_end(pair: &Pair, seen: &mut Seen) {
    each_way(pair, |from, to| {
        note_recv_while(seen, "recv when the peer shuts down", to, MsgFlags::empty(), |_| {
            from.shutdown(Shutdown::Write).expect("shut down");
        });
    });
}

#[test]
fn a_reader_that_sleeps_is_told_of_the_end() {
    compare(|side, seen| reader_is_told_of_the_end(&side.blocking_pair(), seen));
}

fn reader_is_shut_down_by_a_thread(pair: &Pair, seen: &mut Seen) {
    let Pair { client, server } = pair;
    client.set_read_timeout(None).expect("wait as long as it takes");
    note_recv_while(
        seen,
        "recv while another thread shuts writing down",
        client,
        MsgFlags::empty(),
        |_| {
            client.shutdown(Shutdown::Write).expect("shut down");
            thread::sleep(A_WHILE);
            say(server, "answer");
        },
    );
    note_rest(seen, "the rest", client);
    note_recv_while(
        seen,
        "recv while another thread shuts reading down",
        client,
        MsgFlags::empty(),
        |_| {
            client.shutdown(Shutdown::Read).expect("shut down");
        },
    );
}

#[test]
fn a_reader_sleeps_on_when_another_thread_shuts_writing_down() {
    compare(|side, seen| reader_is_shut_down_by_a_thread(&side.blocking_pair(), seen));
}
