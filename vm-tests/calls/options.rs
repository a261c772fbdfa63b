//! What an application can set and ask of a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::event::PollFlags;

use crate::compare::compare;
use crate::seen::Seen;
use crate::talk::{each_way, ready, say, unacknowledged};
use testkit::socket::{TcpInfo, option, set_option};

fn note_read(seen: &mut Seen, mut from: &TcpStream) {
    let mut buffer = [0; 100];
    let outcome = from.read(&mut buffer);
    seen.read("read", outcome, &buffer);
}

fn note_unread(seen: &mut Seen, when: &str, socket: &TcpStream) {
    let unread =
        rustix::io::ioctl_fionread(socket).map_err(|error| Errno::from_raw(error.raw_os_error()));
    seen.call(format_args!("FIONREAD {when}"), unread);
}

#[test]
fn fionread_counts_what_is_unread() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            note_unread(seen, "of nothing", to);
            say(from, "hello ");
            note_unread(seen, "of a message", to);
            say(from, "world");
            note_unread(seen, "of two messages", to);
            let mut part = [0; 4];
            (&mut &*to).read_exact(&mut part).expect("read a part");
            note_unread(seen, "of the rest", to);
            note_read(seen, to);
            note_unread(seen, "of nothing", to);
        });
    });
}

/// More than a lane may redirect is unread, so that the rest came by TCP.
#[test]
fn fionread_counts_what_came_either_way() {
    compare(|side, seen| {
        let pair = side.pair();
        let mut sent = 0;
        while let Ok(written) = (&pair.client).write(&[0; 60_000]) {
            sent += written as u64;
        }
        let counts_all = || {
            let arrived = sent
                - u64::try_from(unacknowledged(&pair.client).expect("SIOCOUTQ")).expect("a count");
            rustix::io::ioctl_fionread(&pair.server).expect("FIONREAD") == arrived
        };
        // What is on its way arrives soon.
        let soon = Instant::now() + Duration::from_secs(1);
        while !counts_all() && Instant::now() < soon {
            thread::sleep(Duration::from_millis(20));
        }
        seen.note("FIONREAD counts all that has arrived", counts_all());
    });
}

nix::ioctl_read_bad!(
    /// Bytes that were not sent yet (`SIOCOUTQNSD`, tcp(7)).
    siocoutqnsd, 0x894b, libc::c_int
);

#[test]
fn siocoutq_counts_what_the_peer_has_not_got() {
    compare(|side, seen| {
        each_way(&side.pair(), |mut from, to| {
            seen.call("SIOCOUTQ of nothing", unacknowledged(from));
            say(from, "hello");
            seen.call("SIOCOUTQ of what has arrived", unacknowledged(from));
            let mut unsent = 0;
            // SAFETY: the call writes one int, which `unsent` is.
            let outcome = unsafe { siocoutqnsd(from.as_raw_fd(), &raw mut unsent) };
            seen.call("SIOCOUTQNSD", outcome.map(|_| unsent));
            note_read(seen, to);
            while from.write(&[0; 60_000]).is_ok() {}
            seen.call(
                "SIOCOUTQ is above 0 when there is no room",
                unacknowledged(from).map(|bytes| bytes > 0),
            );
            while unacknowledged(from).expect("SIOCOUTQ") > 0 {
                let _ = (&mut &*to).read(&mut vec![0; 1 << 20]);
            }
            seen.call("SIOCOUTQ when all is read", unacknowledged(from));
        });
    });
}

#[test]
fn options_are_what_they_were_set_to() {
    const OPTIONS: &[(i32, i32, &str, i32)] = &[
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, "SO_KEEPALIVE", 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, "TCP_KEEPIDLE", 17),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, "TCP_KEEPINTVL", 5),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, "TCP_KEEPCNT", 3),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT", 12_345),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, "TCP_NODELAY", 0),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK, "TCP_QUICKACK", 1),
        (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT", 16_384),
        (libc::IPPROTO_TCP, libc::TCP_LINGER2, "TCP_LINGER2", 7),
        (libc::SOL_SOCKET, libc::SO_RCVBUF, "SO_RCVBUF", 30_000),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, "SO_SNDBUF", 30_000),
        (libc::SOL_SOCKET, libc::SO_PRIORITY, "SO_PRIORITY", 3),
        (libc::IPPROTO_IP, libc::IP_TOS, "IP_TOS", 16),
    ];
    const QUESTIONS: &[(i32, i32, &str)] = &[
        (libc::SOL_SOCKET, libc::SO_ERROR, "SO_ERROR"),
        (libc::SOL_SOCKET, libc::SO_TYPE, "SO_TYPE"),
        (libc::SOL_SOCKET, libc::SO_DOMAIN, "SO_DOMAIN"),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL, "SO_PROTOCOL"),
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN, "SO_ACCEPTCONN"),
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT, "SO_RCVLOWAT"),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG, "TCP_MAXSEG"),
    ];
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            for &(level, name, text, _) in OPTIONS {
                // Buffers grow with what is read: see the test of that.
                if name != libc::SO_RCVBUF && name != libc::SO_SNDBUF {
                    seen.note(format_args!("{text} at first"), option(to, level, name));
                }
            }
            for &(level, name, text, value) in OPTIONS {
                set_option(to, level, name, value);
                seen.note(text, option(to, level, name));
            }
            for &(level, name, text) in QUESTIONS {
                seen.note(text, option(to, level, name));
            }
            for word in ["still", "here"] {
                say(from, word);
                note_read(seen, to);
                say(to, word);
                note_read(seen, from);
            }
            for &(level, name, text, _) in OPTIONS {
                seen.note(format_args!("{text} after use"), option(to, level, name));
            }
        });
    });
}

#[test]
fn a_new_receive_buffer_has_its_default_size() {
    compare(|side, seen| {
        let defaults =
            std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").expect("read tcp_rmem");
        let default: i32 = defaults
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("three numbers");
        let pair = side.new_pair();
        seen.note(
            "the client's SO_RCVBUF is the default",
            option(&pair.client, libc::SOL_SOCKET, libc::SO_RCVBUF) == default,
        );
        seen.note(
            "the server's SO_RCVBUF is the default",
            option(&pair.server, libc::SOL_SOCKET, libc::SO_RCVBUF) == default,
        );
    });
}

#[test]
fn keepalive_probes_do_not_disturb_a_connection() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            for (name, value) in
                [(libc::TCP_KEEPIDLE, 1), (libc::TCP_KEEPINTVL, 1), (libc::TCP_KEEPCNT, 2)]
            {
                set_option(to, libc::IPPROTO_TCP, name, value);
            }
            set_option(to, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
            say(from, "unread");
            thread::sleep(Duration::from_millis(1500));
            note_read(seen, to);
            say(to, "back");
            note_read(seen, from);
            seen.note("SO_KEEPALIVE", option(to, libc::SOL_SOCKET, libc::SO_KEEPALIVE));
        });
    });
}

#[test]
fn a_user_timeout_gives_up_on_a_peer_that_does_not_read() {
    compare(|side, seen| {
        let pair = side.pair();
        let mut client = &pair.client;
        set_option(client, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 500);
        let error = loop {
            if let Err(error) = client.write(&[0; 60_000]) {
                break error;
            }
        };
        seen.note("write when there is no room", error.kind());
        seen.note("poll", ready(client, PollFlags::HUP));
        seen.note("SO_ERROR", Errno::from_raw(option(client, libc::SOL_SOCKET, libc::SO_ERROR)));
        seen.call("write after it", client.write(b"more"));
    });
}

/// `tcpi_bytes_received` (include/uapi/linux/tcp.h).
const BYTES_RECEIVED: usize = 128;

#[test]
fn tcp_info_counts_what_was_sent() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            let counts =
                || [TcpInfo::of(from).bytes_sent(), TcpInfo::of(to).u64_at(BYTES_RECEIVED)];
            let [sent, received] = counts();
            say(from, "hello");
            note_read(seen, to);
            let [sent_after, received_after] = counts();
            seen.note("tcpi_bytes_sent grew by", sent_after - sent);
            seen.note("tcpi_bytes_received grew by", received_after - received);
        });
    });
}
