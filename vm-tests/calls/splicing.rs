//! Bytes that move between a socket and a pipe or a file.

use std::io::{Read, Seek, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, SpliceFFlags, splice, tee};
use nix::sys::sendfile::sendfile;
use nix::unistd::{pipe2, read, write};

use crate::compare::compare;
use crate::seen::Seen;
use crate::talk::{delivered, each_way, say};

const AT_ONCE: SpliceFFlags = SpliceFFlags::SPLICE_F_NONBLOCK;

fn nonblocking_pipe() -> (OwnedFd, OwnedFd) {
    pipe2(OFlag::O_NONBLOCK).expect("make a pipe")
}

fn note_rest(seen: &mut Seen, mut from: &TcpStream) {
    let mut buffer = [0; 100];
    let outcome = from.read(&mut buffer);
    seen.read("read", outcome, &buffer);
}

fn note_pipe(seen: &mut Seen, out: &OwnedFd) {
    let mut buffer = [0; 100];
    let outcome = read(out, &mut buffer);
    seen.read("from the pipe", outcome, &buffer);
}

#[test]
fn splice_moves_bytes_out_of_a_socket() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let (out, into) = nonblocking_pipe();
            seen.call("splice when nothing is there", splice(to, None, &into, None, 5, AT_ONCE));
            say(from, "hello world");
            seen.call("splice 5", splice(to, None, &into, None, 5, AT_ONCE));
            note_pipe(seen, &out);
            seen.call("splice 100", splice(to, None, &into, None, 100, AT_ONCE));
            note_pipe(seen, &out);
            note_rest(seen, to);
        });
    });
}

#[test]
fn splice_moves_bytes_into_a_socket() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let (out, into) = nonblocking_pipe();
            seen.call("splice when nothing is there", splice(&out, None, from, None, 5, AT_ONCE));
            write(&into, b"hello world").expect("write into the pipe");
            seen.call("splice 5", splice(&out, None, from, None, 5, AT_ONCE));
            delivered(from);
            note_rest(seen, to);
            seen.call(
                "splice 100",
                splice(&out, None, from, None, 100, AT_ONCE | SpliceFFlags::SPLICE_F_MOVE),
            );
            delivered(from);
            note_rest(seen, to);
        });
    });
}

#[test]
fn sendfile_sends_a_file() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let mut file = tempfile::tempfile().expect("make a file");
            file.write_all(b"hello world, from a file").expect("write the file");
            file.rewind().expect("rewind the file");
            seen.call("sendfile 11", sendfile(from, &file, None, 11));
            delivered(from);
            note_rest(seen, to);
            let mut offset = 13;
            seen.call("sendfile at an offset", sendfile(from, &file, Some(&mut offset), 100));
            seen.note("the offset after it", offset);
            delivered(from);
            note_rest(seen, to);
            seen.call("sendfile behind its end", sendfile(from, &file, Some(&mut offset), 100));
        });
    });
}

#[test]
fn sendfile_from_a_socket_is_answered_alike() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let file = tempfile::tempfile().expect("make a file");
            say(from, "hello");
            seen.call("sendfile into a file", sendfile(&file, to, None, 100));
            seen.call("sendfile back", sendfile(to, to, None, 100));
            note_rest(seen, to);
        });
    });
}

#[test]
fn tee_copies_what_is_on_its_way_into_a_socket() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let (out, into) = nonblocking_pipe();
            let (copy_out, copy_into) = nonblocking_pipe();
            write(&into, b"hello").expect("write into the pipe");
            seen.call("tee", tee(&out, &copy_into, 100, AT_ONCE));
            seen.call("splice the one", splice(&out, None, from, None, 100, AT_ONCE));
            delivered(from);
            note_rest(seen, to);
            seen.call("splice the other", splice(&copy_out, None, from, None, 100, AT_ONCE));
            delivered(from);
            note_rest(seen, to);
            seen.call("tee out of a socket", tee(to, &copy_into, 100, AT_ONCE));
        });
    });
}

#[test]
fn tee_copies_what_came_out_of_a_socket() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let (out, into) = nonblocking_pipe();
            let (copy_out, copy_into) = nonblocking_pipe();
            say(from, "hello");
            seen.call("splice", splice(to, None, &into, None, 100, AT_ONCE));
            seen.call("tee", tee(&out, &copy_into, 100, AT_ONCE));
            note_pipe(seen, &out);
            note_pipe(seen, &copy_out);
            note_rest(seen, to);
        });
    });
}
