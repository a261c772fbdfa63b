//! Calls that send.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, recvmsg, send, sendmmsg, sendmsg,
};
use nix::sys::uio::writev;
use rustix::event::PollFlags;

use crate::compare::compare;
use crate::seen::Seen;
use crate::talk::{A_WHILE, delivered, each_way, readiness, ready};
use testkit::pattern::Pattern;
use testkit::socket::set_option;

fn note_arrival(seen: &mut Seen, from: &TcpStream, mut to: &TcpStream) {
    delivered(from);
    let mut buffer = [0; 1000];
    let outcome = to.read(&mut buffer);
    seen.read("arrived", outcome, &buffer);
}

#[test]
fn whichever_way_it_is_sent_it_arrives() {
    compare(|side, seen| {
        each_way(&side.pair(), |mut from, to| {
            let slices = ["gathered ", "", "from three"].map(|part| IoSlice::new(part.as_bytes()));
            seen.call("write", from.write(b"written"));
            note_arrival(seen, from, to);
            seen.call("write nothing", from.write(b""));
            seen.call("writev", writev(from, &slices));
            note_arrival(seen, from, to);
            seen.call(
                "send",
                send(from.as_raw_fd(), b"sent", MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            );
            note_arrival(seen, from, to);
            let no_control: [ControlMessage; 0] = [];
            seen.call(
                "sendmsg",
                sendmsg::<()>(from.as_raw_fd(), &slices, &no_control, MsgFlags::empty(), None),
            );
            note_arrival(seen, from, to);
            let mut headers = MultiHeaders::<()>::preallocate(2, None);
            let messages = [slices; 2];
            let sent = sendmmsg(
                from.as_raw_fd(),
                &mut headers,
                &messages,
                [None; 2],
                no_control,
                MsgFlags::empty(),
            );
            seen.call(
                "sendmmsg",
                sent.map(|sent| sent.map(|message| message.bytes).collect::<Vec<_>>()),
            );
            note_arrival(seen, from, to);
        });
    });
}

#[test]
fn a_large_message_arrives_whole_and_in_order() {
    compare(|side, seen| {
        each_way(&side.pair(), |mut from, mut to| {
            let bytes = Pattern { seed: 60 }.bytes(0, 60_000);
            seen.call("write", from.write(&bytes));
            let mut arrived = Vec::new();
            while arrived.len() < bytes.len() {
                ready(&to, PollFlags::IN);
                let mut buffer = vec![0; bytes.len()];
                let read = to.read(&mut buffer).expect("read what is there");
                arrived.extend_from_slice(&buffer[..read]);
            }
            seen.note("arrived", arrived == bytes);
        });
    });
}

#[test]
fn what_is_corked_arrives_when_the_cork_is_drawn() {
    compare(|side, seen| {
        each_way(&side.pair(), |mut from, to| {
            seen.call(
                "send MSG_MORE",
                send(from.as_raw_fd(), b"a head", MsgFlags::from_bits_retain(libc::MSG_MORE)),
            );
            thread::sleep(A_WHILE);
            seen.note("poll while more is to come", readiness(to));
            seen.call("send", send(from.as_raw_fd(), b" and a tail", MsgFlags::empty()));
            note_arrival(seen, from, to);
            set_option(from, libc::IPPROTO_TCP, libc::TCP_CORK, 1);
            seen.call("write", from.write(b"corked"));
            thread::sleep(A_WHILE);
            seen.note("poll while corked", readiness(to));
            set_option(from, libc::IPPROTO_TCP, libc::TCP_CORK, 0);
            note_arrival(seen, from, to);
        });
    });
}

#[test]
fn zero_copy_sending_says_when_the_buffer_may_be_used_again() {
    compare(|side, seen| {
        let pair = side.pair();
        set_option(&pair.client, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        set_option(&pair.server, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        for (whose, from, to) in
            [("client", &pair.client, &pair.server), ("server", &pair.server, &pair.client)]
        {
            for number in 0..2 {
                let bytes = Pattern { seed: 61 }.bytes(number * 500, 500);
                let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
                seen.call("send MSG_ZEROCOPY", send(from.as_raw_fd(), &bytes, flags));
                note_arrival(seen, from, to);
                thread::sleep(A_WHILE);
                seen.note(format_args!("poll of the {whose}, {number}"), readiness(from));
                note_completion(seen, &format!("completion to the {whose}, {number}"), from);
            }
        }
    });
}

/// Who reports in the error queue (include/uapi/linux/errqueue.h).
const SO_EE_ORIGIN_ZEROCOPY: u8 = 5;

/// Notes which sends are complete, after whether the report is about that
/// (Documentation/networking/msg_zerocopy.rst).
fn note_completion(seen: &mut Seen, what: &str, from: &TcpStream) {
    let mut control = vec![0; 256];
    let message = match recvmsg::<()>(
        from.as_raw_fd(),
        &mut [],
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE,
    ) {
        Ok(message) => message,
        Err(errno) => return seen.call(what, Err::<(), Errno>(errno)),
    };
    for ancillary in message.cmsgs().expect("control messages in full") {
        match ancillary {
            ControlMessageOwned::Ipv4RecvErr(error, _) => seen.note(
                what,
                (error.ee_origin == SO_EE_ORIGIN_ZEROCOPY, error.ee_info, error.ee_data),
            ),
            other => seen.note("something else", other),
        }
    }
}
