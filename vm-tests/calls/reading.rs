//! Calls that read.

use std::io::{IoSliceMut, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, recv, recvmmsg, recvmsg, send,
};
use nix::sys::uio::readv;
use rustix::event::PollFlags;

use crate::compare::compare;
use crate::seen::{Seen, text};
use crate::talk::{delivered, each_way, readiness, ready, say, use_once};
use testkit::node::Pair;
use testkit::socket::set_option;

fn note_read(seen: &mut Seen, mut from: &TcpStream, length: usize) {
    let mut buffer = vec![0; length];
    let outcome = from.read(&mut buffer);
    seen.read(format_args!("read {length}"), outcome, &buffer);
}

fn note_recv(seen: &mut Seen, from: &TcpStream, length: usize, flags: MsgFlags) {
    let mut buffer = vec![0; length];
    let outcome = recv(from.as_raw_fd(), &mut buffer, flags);
    seen.read(format_args!("recv {length} {flags:?}"), outcome, &buffer);
}

#[test]
fn read_takes_what_is_there_across_messages() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            note_read(seen, to, 10);
            say(from, "hello ");
            say(from, "world");
            note_read(seen, to, 0);
            note_read(seen, to, 4);
            note_read(seen, to, 4);
            note_read(seen, to, 100);
            note_read(seen, to, 100);
        });
    });
}

#[test]
fn readv_fills_its_buffers_in_their_order() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let mut note_readv = || {
                let (mut first, mut second, mut third) = ([0; 3], [0; 0], [0; 5]);
                let mut buffers =
                    [&mut first[..], &mut second[..], &mut third[..]].map(IoSliceMut::new);
                let outcome = readv(to, &mut buffers);
                seen.read("readv", outcome, &[&first[..], &third[..]].concat());
            };
            note_readv();
            say(from, "hello");
            say(from, " world");
            note_readv();
            note_readv();
            note_readv();
        });
    });
}

#[test]
fn a_peek_leaves_the_bytes_for_the_next_read() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            note_recv(seen, to, 10, MsgFlags::MSG_PEEK);
            say(from, "hello ");
            say(from, "world");
            note_recv(seen, to, 3, MsgFlags::MSG_PEEK);
            note_recv(seen, to, 100, MsgFlags::MSG_PEEK);
            seen.note("poll", readiness(to));
            note_recv(seen, to, 8, MsgFlags::empty());
            note_recv(seen, to, 100, MsgFlags::MSG_PEEK);
            note_recv(seen, to, 100, MsgFlags::empty());
            note_recv(seen, to, 100, MsgFlags::MSG_PEEK);
        });
    });
}

#[test]
fn recv_that_may_not_wait_takes_what_is_there() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            for flags in [
                MsgFlags::MSG_DONTWAIT,
                MsgFlags::MSG_WAITALL,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_WAITALL,
            ] {
                note_recv(seen, to, 10, flags);
                say(from, "hello");
                note_recv(seen, to, 10, flags);
                say(from, "hello");
                say(from, "world");
                note_recv(seen, to, 8, flags);
                note_recv(seen, to, 8, flags);
            }
        });
    });
}

#[test]
fn msg_trunc_throws_bytes_away_without_showing_them() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            say(from, "hello world");
            let mut buffer = *b".....";
            seen.call("recv 5 MSG_TRUNC", recv(to.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC));
            seen.note("the buffer after it", text(&buffer));
            note_recv(seen, to, 100, MsgFlags::empty());
        });
    });
}

/// What a program does that wants to be rid of bytes.
#[test]
fn msg_trunc_needs_no_buffer() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            say(from, "hello world");
            // SAFETY: with this flag nothing is written, and to a null pointer the kernel refuses
            // to.
            let outcome =
                unsafe { libc::recv(to.as_raw_fd(), std::ptr::null_mut(), 5, libc::MSG_TRUNC) };
            seen.call("recv 5 MSG_TRUNC without a buffer", Errno::result(outcome));
            note_recv(seen, to, 100, MsgFlags::empty());
        });
    });
}

nix::ioctl_read_bad!(
    /// Whether the next byte is the urgent one (`SIOCATMARK`, tcp(7)).
    siocatmark, 0x8905, libc::c_int
);

/// Sends an urgent byte and reads it with `SO_OOBINLINE` set to this.
fn note_urgent_byte(pair: &Pair, seen: &mut Seen, inline: i32) {
    let note_mark = |seen: &mut Seen, place: &str, to: &TcpStream| {
        let mut mark = 0;
        // SAFETY: the call writes one int, which `mark` is.
        let outcome = unsafe { siocatmark(to.as_raw_fd(), &raw mut mark) };
        seen.call(format_args!("SIOCATMARK {place} the mark"), outcome.map(|_| mark));
    };
    each_way(pair, |from, to| {
        set_option(to, libc::SOL_SOCKET, libc::SO_OOBINLINE, inline);
        use_once(from, to);
        let note_urgent = |seen: &mut Seen, when: &str| {
            let mut byte = [0];
            let outcome = recv(to.as_raw_fd(), &mut byte, MsgFlags::MSG_OOB);
            seen.read(format_args!("recv MSG_OOB {when}"), outcome, &byte);
        };
        let note_read = |seen: &mut Seen, what: &str| {
            let mut buffer = [0; 100];
            let outcome = (&mut &*to).read(&mut buffer);
            seen.read(format_args!("read {what}"), outcome, &buffer);
        };
        if inline == 0 {
            note_urgent(seen, "when there was none");
        }
        say(from, "ab");
        seen.call("send MSG_OOB", send(from.as_raw_fd(), b"c!", MsgFlags::MSG_OOB));
        delivered(from);
        say(from, "de");
        seen.note("poll", ready(to, PollFlags::IN | PollFlags::PRI));
        note_mark(seen, "before", to);
        note_read(seen, "up to the mark");
        note_mark(seen, "at", to);
        note_urgent(seen, "at the mark");
        note_read(seen, "behind the mark");
        note_read(seen, "once more");
        say(from, "after it");
        note_read(seen, "after it");
    });
}

#[test]
fn an_urgent_byte_is_read_out_of_band() {
    compare(|side, seen| note_urgent_byte(&side.pair(), seen, 0));
}

#[test]
fn an_urgent_byte_in_line_is_marked() {
    compare(|side, seen| note_urgent_byte(&side.pair(), seen, 1));
}

/// What a control message says, without what is different every time.
fn name(message: ControlMessageOwned) -> String {
    match message {
        ControlMessageOwned::ScmTimestampns(time) if time.tv_sec() > 0 => "a time".to_owned(),
        ControlMessageOwned::Unknown(other)
            if (other.cmsg_header.cmsg_level, other.cmsg_header.cmsg_type)
                == (libc::IPPROTO_TCP, TCP_INQ) =>
        {
            format!("{} left", other.data_bytes[0])
        }
        other => format!("{other:?}"),
    }
}

/// `TCP_INQ` and the type of its control message (include/uapi/linux/tcp.h).
const TCP_INQ: i32 = 36;

#[test]
fn recvmsg_tells_when_bytes_came_and_how_many_are_left() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            set_option(to, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
            set_option(to, libc::IPPROTO_TCP, TCP_INQ, 1);
            use_once(from, to);
            let mut note_recvmsg = |length| {
                let mut buffer = vec![0; length];
                let mut control = vec![0; 256];
                let mut slices = [IoSliceMut::new(&mut buffer)];
                let fd = to.as_raw_fd();
                let message =
                    match recvmsg::<()>(fd, &mut slices, Some(&mut control), MsgFlags::empty()) {
                        Ok(message) => message,
                        Err(errno) => return seen.call("recvmsg", Err::<(), Errno>(errno)),
                    };
                let ancillary: Vec<_> =
                    message.cmsgs().expect("control messages in full").map(name).collect();
                let (bytes, flags) = (message.bytes, message.flags);
                seen.read("recvmsg", Ok::<_, Errno>(bytes), &buffer);
                seen.note(format_args!("… of {bytes} bytes, with it"), (ancillary, flags));
            };
            say(from, "hello ");
            say(from, "world");
            note_recvmsg(4);
            note_recvmsg(100);
            note_recvmsg(100);
        });
    });
}

#[test]
fn recvmmsg_fills_one_message_after_the_other() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let mut note_recvmmsg = || {
                let mut buffers = [[0; 4]; 4];
                let mut slices: Vec<_> =
                    buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
                let mut headers = MultiHeaders::<()>::preallocate(4, None);
                let received = recvmmsg(
                    to.as_raw_fd(),
                    &mut headers,
                    slices.iter_mut(),
                    MsgFlags::empty(),
                    None,
                );
                let lengths = received
                    .map(|messages| messages.map(|message| message.bytes).collect::<Vec<_>>());
                seen.call("recvmmsg", lengths);
                seen.note("… into", text(&buffers.concat()));
            };
            note_recvmmsg();
            say(from, "hello ");
            say(from, "world");
            note_recvmmsg();
            say(from, "a message that does not fit");
            note_recvmmsg();
            note_recvmmsg();
        });
    });
}
