//! Calls that are made through io_uring(7).

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};
use nix::errno::Errno;

use crate::compare::compare;
use crate::seen::{LACKING, Seen, text};
use crate::talk::{delivered, each_way, say};
use testkit::eventually;
use testkit::node::Pair;

/// A ring and the memory that its operations use.
struct Ring {
    ring: IoUring,
    buffers: Vec<u8>,
}

/// Each of as many buffers.
const LENGTH: usize = 16;
const BUFFERS: u16 = 4;
/// The group of provided buffers.
const GROUP: u16 = 7;

impl Ring {
    fn new() -> Self {
        let ring = IoUring::new(8)
            .expect("make a ring (is io_uring disabled? kernel.io_uring_disabled has to be 0)");
        Self { ring, buffers: vec![0; LENGTH * usize::from(BUFFERS)] }
    }

    fn submit(&mut self, entry: &squeue::Entry) {
        // SAFETY: what entries point to is in `self.buffers`, or in buffers that live until the
        // completion was taken.
        unsafe { self.ring.submission().push(entry) }.expect("room in the ring");
        self.ring.submit().expect("submit");
    }

    /// The next completion.
    fn completion(&mut self) -> cqueue::Entry {
        eventually("an operation completes", || self.completed())
    }

    fn completed(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn recv(&mut self, from: &TcpStream) -> opcode::Recv {
        opcode::Recv::new(Fd(from.as_raw_fd()), self.buffers.as_mut_ptr(), LENGTH as u32)
    }

    /// Notes the next completion, and with it what was read into the first buffer.
    fn note_read(&mut self, seen: &mut Seen, what: &str) {
        let outcome = result(&self.completion());
        seen.read(what, outcome, &self.buffers[..LENGTH]);
    }

    fn note(&mut self, seen: &mut Seen, what: &str) {
        let completion = self.completion();
        let more = cqueue::more(completion.flags());
        seen.call(
            what,
            result(&completion).map(|length| (length, if more { "and more to come" } else { "" })),
        );
    }

    /// Gives the kernel buffers to choose from.
    fn provide_buffers(&mut self, seen: &mut Seen) {
        let provide = opcode::ProvideBuffers::new(
            self.buffers.as_mut_ptr(),
            LENGTH as i32,
            BUFFERS,
            GROUP,
            0,
        );
        self.submit(&provide.build());
        seen.call("provide buffers", result(&self.completion()));
    }

    /// Notes the next completion, and with it what was read into the buffer that the kernel chose.
    /// Returns whether more will come.
    fn note_chosen(&mut self, seen: &mut Seen, what: &str) -> bool {
        let completion = self.completion();
        let chosen = cqueue::buffer_select(completion.flags());
        let start = chosen.map_or(0, |number| usize::from(number) * LENGTH);
        let more = cqueue::more(completion.flags());
        let read =
            result(&completion).map(|length| (text(&self.buffers[start..start + length]), more));
        seen.call(what, read);
        more
    }
}

fn result(completion: &cqueue::Entry) -> Result<usize, Errno> {
    usize::try_from(completion.result()).map_err(|_| Errno::from_raw(-completion.result()))
}

#[test]
fn a_recv_completes_with_what_is_there() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let mut ring = Ring::new();
            let at_once = ring.recv(to).flags(libc::MSG_DONTWAIT).build();
            ring.submit(&at_once);
            ring.note_read(seen, "recv of nothing");
            let recv = ring.recv(to).build();
            say(from, "hello");
            say(from, " world, once more");
            ring.submit(&recv);
            ring.note_read(seen, "recv of some");
            let peek = ring.recv(to).flags(libc::MSG_PEEK).build();
            ring.submit(&peek);
            ring.note_read(seen, "peek at the rest");
            let read =
                opcode::Read::new(Fd(to.as_raw_fd()), ring.buffers.as_mut_ptr(), LENGTH as u32)
                    .build();
            ring.submit(&read);
            ring.note_read(seen, "read of the rest");
        });
    });
}

/// A `recv` that looks only when poll says so: `IORING_RECVSEND_POLL_FIRST`, which kernels before
/// 5.19 refuse (include/uapi/linux/io_uring.h).
const POLL_FIRST: u16 = 1;

#[test]
fn a_recv_that_was_submitted_before_completes_when_bytes_come() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, mut to| {
            let mut ring = Ring::new();
            for how in [0, POLL_FIRST] {
                let recv = ring.recv(to).ioprio(how).build();
                ring.submit(&recv);
                say(from, "hello");
                ring.note_read(seen, &format!("recv {how}"));
                let mut rest = [0; 10];
                let outcome = to.read(&mut rest);
                seen.read("the rest", outcome, &rest);
            }
            ring.submit(&opcode::PollAdd::new(Fd(to.as_raw_fd()), libc::POLLIN as u32).build());
            seen.note("poll has completed when nothing is there", ring.completed().is_some());
            say(from, "world");
            let events = result(&ring.completion());
            seen.call("poll finds bytes", events.map(|events| events & libc::POLLIN as usize != 0));
            let recv = ring.recv(to).build();
            ring.submit(&recv);
            ring.note_read(seen, "recv after poll");
        });
    });
}

#[test]
fn a_multishot_recv_completes_again_and_again() {
    compare(|side, seen| {
        let pair = side.pair();
        each_way(&pair, |from, to| {
            let mut ring = Ring::new();
            ring.provide_buffers(seen);
            ring.submit(&opcode::RecvMulti::new(Fd(to.as_raw_fd()), GROUP).build());
            for word in ["hello", "world", "again"] {
                say(from, word);
                if !ring.note_chosen(seen, "multishot recv") {
                    return;
                }
            }
            from.shutdown(Shutdown::Write).expect("shut down");
            ring.note_chosen(seen, "multishot recv at the end");
        });
    });
}

#[test]
fn a_multishot_recv_from_a_blocking_socket_completes_again_and_again() {
    compare(|side, seen| {
        let Pair { client, server } = side.blocking_pair();
        let mut ring = Ring::new();
        ring.provide_buffers(seen);
        ring.submit(&opcode::RecvMulti::new(Fd(server.as_raw_fd()), GROUP).build());
        for word in ["hello", "world"] {
            say(&client, word);
            if !ring.note_chosen(seen, "multishot recv") {
                return;
            }
        }
    });
}

#[test]
fn a_send_arrives() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, mut to| {
            let mut ring = Ring::new();
            let mut hear = |seen: &mut Seen| {
                delivered(from);
                let mut buffer = [0; 100];
                let outcome = to.read(&mut buffer);
                seen.read("arrived", outcome, &buffer);
            };
            let words = *b"hello";
            ring.submit(
                &opcode::Send::new(Fd(from.as_raw_fd()), words.as_ptr(), words.len() as u32)
                    .build(),
            );
            ring.note(seen, "send");
            hear(seen);
            ring.submit(
                &opcode::Write::new(Fd(from.as_raw_fd()), words.as_ptr(), words.len() as u32)
                    .build(),
            );
            ring.note(seen, "write");
            hear(seen);
        });
    });
}

#[test]
fn a_zero_copy_send_completes_and_then_gives_its_buffer_back() {
    compare(|side, seen| {
        let pair = side.pair();
        for (whose, from, mut to) in
            [("client", &pair.client, &pair.server), ("server", &pair.server, &pair.client)]
        {
            let mut ring = Ring::new();
            let words = *b"hello";
            ring.submit(
                &opcode::SendZc::new(Fd(from.as_raw_fd()), words.as_ptr(), words.len() as u32)
                    .build(),
            );
            let completion = ring.completion();
            seen.call(format_args!("the {whose}'s send"), result(&completion));
            if result(&completion) == Err(Errno::EINVAL) {
                return seen.note(LACKING, "IORING_OP_SEND_ZC");
            }
            delivered(from);
            let mut buffer = [0; 100];
            let outcome = to.read(&mut buffer);
            seen.read(format_args!("arrived of the {whose}"), outcome, &buffer);
            let given_back =
                cqueue::more(completion.flags()) && cqueue::notif(ring.completion().flags());
            seen.note(format_args!("the {whose}'s buffer is given back"), given_back);
        }
    });
}
