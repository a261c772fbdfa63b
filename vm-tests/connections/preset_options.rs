//! Options that change how a socket reads, sends or counts do what they do over TCP, whenever they
//! are set (Q12).

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};

use testkit::isolation::isolated;
use testkit::node::Pair;
use testkit::nonblocking::{
    Ground, HANG, over_tcp_and_shunt, put, put_pattern, read_within, small_talk, take, take_pattern,
};
use testkit::path::LOOPBACK;
use testkit::pattern::Tape;
use testkit::socket::set_option;
use testkit::traffic::wait_within;

/// When an option is set, and at which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    BeforeConnect,
    OnTheListener,
    OnTheClientLater,
    OnTheServerLater,
}

const ALL: [Set; 4] =
    [Set::BeforeConnect, Set::OnTheListener, Set::OnTheClientLater, Set::OnTheServerLater];

impl Set {
    /// A connection that has gone on for as long as it takes to become direct, with the option set.
    fn open(self, ground: Ground, option: &(dyn Fn(&dyn AsFd) + Sync)) -> Pair {
        match self {
            Set::BeforeConnect | Set::OnTheListener => {
                let pair = ground.open_prepared(
                    LOOPBACK,
                    &|client| {
                        if self == Set::BeforeConnect {
                            option(client);
                        }
                    },
                    &|listener| {
                        if self == Set::OnTheListener {
                            option(listener);
                        }
                    },
                );
                ground.warm_in_vain(&pair);
                pair
            }
            Set::OnTheClientLater => {
                let pair = ground.open_direct(LOOPBACK);
                option(&pair.client);
                // It counts from the next segment that the socket sends.
                small_talk(&pair);
                pair
            }
            Set::OnTheServerLater => {
                let pair = ground.open_direct(LOOPBACK);
                option(&pair.server);
                // It counts from the next segment that the socket sends.
                small_talk(&pair);
                pair
            }
        }
    }

    /// The end that has the option, and its peer.
    fn ends(self, pair: &Pair) -> (&TcpStream, &TcpStream) {
        match self {
            Set::BeforeConnect | Set::OnTheClientLater => (&pair.client, &pair.server),
            Set::OnTheListener | Set::OnTheServerLater => (&pair.server, &pair.client),
        }
    }
}

struct Socket<'a>(&'a dyn AsFd);

impl AsFd for Socket<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens a connection for every [`Set`], over TCP and over shunt.
fn whenever_it_is_set(
    level: i32,
    name: i32,
    value: i32,
    test: impl Fn(&TcpStream, &TcpStream, &str),
) {
    over_tcp_and_shunt(|ground| {
        for set in ALL {
            let pair = set.open(ground, &|socket| set_option(&Socket(socket), level, name, value));
            let (own, peer) = set.ends(&pair);
            test(own, peer, &format!("set {set:?} over {:?}", ground.carrier));
        }
    });
}

fn peek(stream: &TcpStream) -> Vec<u8> {
    let mut bytes = [0; 4];
    let read = recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK).expect("peek");
    bytes[..read].to_vec()
}

/// Q12.
#[test]
fn a_socket_with_a_peek_offset_peeks_on_from_where_it_was() {
    isolated(|| {
        whenever_it_is_set(libc::SOL_SOCKET, libc::SO_PEEK_OFF, 0, |own, peer, context| {
            for _ in 0..3 {
                put(peer, b"abcdefgh");
                assert!(
                    wait_within(own, nix::poll::PollFlags::POLLIN, HANG),
                    "{context}: nothing to read"
                );
                let peeked = [peek(own), peek(own)]
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                assert_eq!(peeked, ["abcd", "efgh"], "{context}");
                assert_eq!(take(own, 8), b"abcdefgh", "{context}");
            }
        });
    });
}

const TRANSMIT: u32 = libc::SOF_TIMESTAMPING_TX_SCHED
    | libc::SOF_TIMESTAMPING_TX_ACK
    | libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_TSONLY;

/// Messages of one kind of queue, with control data; returns how many there were and had any.
fn with_control_data(stream: &TcpStream, flags: i32) -> (usize, usize) {
    let (mut messages, mut with_control) = (0, 0);
    let (mut bytes, mut control) = ([0_u8; 64], [0_u64; 64]);
    loop {
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: all zeros are a valid `msghdr`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) =
            (control.as_mut_ptr().cast(), size_of_val(&control) as _);
        // SAFETY: everything that the message points to is writable and outlives the call.
        if unsafe {
            libc::recvmsg(stream.as_raw_fd(), &raw mut message, flags | libc::MSG_DONTWAIT)
        } < 0
        {
            return (messages, with_control);
        }
        messages += 1;
        with_control += usize::from(message.msg_controllen > 0);
    }
}

/// Q12.
#[test]
fn a_socket_that_asks_for_transmit_timestamps_gets_them_of_every_message() {
    isolated(|| {
        let value = TRANSMIT.cast_signed();
        whenever_it_is_set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, value, |own, peer, context| {
            std::thread::sleep(Duration::from_millis(50));
            with_control_data(own, libc::MSG_ERRQUEUE);
            let mut stamps = 0;
            for message in 1..=3 {
                put(own, b"1234");
                assert_eq!(take(peer, 4), b"1234");
                // Scheduled, sent and acknowledged, the last of which may be delayed.
                put(peer, b"5");
                assert_eq!(take(own, 1), b"5");
                let deadline = Instant::now() + Duration::from_secs(2);
                while stamps < message * 3 && Instant::now() < deadline {
                    stamps += with_control_data(own, libc::MSG_ERRQUEUE).0;
                    std::thread::sleep(Duration::from_millis(5));
                }
                assert_eq!(stamps, message * 3, "{context}: after message {message}");
            }
        });
    });
}

/// Q12.
#[test]
fn a_socket_that_asks_for_receive_timestamps_gets_them_with_every_message() {
    isolated(|| {
        let value =
            (libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE).cast_signed();
        for (name, value) in [(libc::SO_TIMESTAMPING, value), (libc::SO_TIMESTAMPNS, 1)] {
            whenever_it_is_set(libc::SOL_SOCKET, name, value, |own, peer, context| {
                // The kernel begins to stamp a moment after the first socket wants it.
                std::thread::sleep(Duration::from_millis(100));
                for _ in 0..3 {
                    put(peer, b"1234");
                    assert!(wait_within(own, nix::poll::PollFlags::POLLIN, HANG));
                    assert_eq!(with_control_data(own, 0), (1, 1), "{context}, option {name}");
                }
            });
        }
    });
}

/// Q12.
#[test]
fn a_socket_with_a_pacing_rate_sends_no_faster() {
    const RATE: i32 = 400_000;
    const MESSAGES: usize = 300;
    isolated(|| {
        whenever_it_is_set(
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            RATE,
            |own, peer, context| {
                let begun = Instant::now();
                for _ in 0..MESSAGES {
                    put(own, &[9; 1000]);
                    assert_eq!(take(peer, 1000), [9; 1000], "{context}");
                }
                let took = begun.elapsed();
                // 0.75 seconds; what is sent at once in the beginning is the kernel's to say.
                assert!(
                    took > Duration::from_millis(300),
                    "{context}: {MESSAGES} kB at {RATE} bytes a second in {took:?}"
                );
            },
        );
    });
}

/// Q12: an option that limits what a segment may carry or when it goes does not lose anything.
#[test]
fn sockets_with_other_options_from_before_go_on_as_over_tcp() {
    const OPTIONS: [(i32, i32, i32); 6] = [
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100),
        (libc::SOL_SOCKET, libc::SO_RCVBUF, 4096),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, 4096),
        (libc::SOL_SOCKET, libc::SO_OOBINLINE, 1),
        (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, 4096),
        (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, 1),
    ];
    isolated(|| {
        over_tcp_and_shunt(|ground| {
            for (level, name, value) in OPTIONS {
                for set in [Set::BeforeConnect, Set::OnTheListener] {
                    let option =
                        |socket: &dyn AsFd| set_option(&Socket(socket), level, name, value);
                    let pair = ground.open_prepared(
                        LOOPBACK,
                        &|client| {
                            if set == Set::BeforeConnect {
                                option(client)
                            }
                        },
                        &|listener| {
                            if set == Set::OnTheListener {
                                option(listener)
                            }
                        },
                    );
                    let (own, peer) = set.ends(&pair);
                    let context =
                        format!("option {level}/{name} set {set:?} over {:?}", ground.carrier);
                    for _ in 0..50 {
                        // As many bytes as SO_RCVLOWAT wants, each time.
                        for (from, to) in [(own, peer), (peer, own)] {
                            put(from, &[7; 100]);
                            assert_eq!(take(to, 100), [7; 100], "{context}");
                        }
                    }
                    if name == libc::SO_RCVLOWAT {
                        put(peer, &[8; 99]);
                        let early = wait_within(
                            own,
                            nix::poll::PollFlags::POLLIN,
                            Duration::from_millis(50),
                        );
                        assert!(!early, "{context}: readable below the mark");
                        put(peer, &[8]);
                        assert_eq!(take(own, 100), [8; 100], "{context}");
                        set_option(own, level, name, 1);
                    }
                    let pattern = Tape { seed: 40 };
                    std::thread::scope(|scope| {
                        scope.spawn(|| put_pattern(peer, pattern, 100_000, 3000));
                        take_pattern(own, pattern, 100_000, 1000);
                    });
                    small_talk(&pair);
                    let mut byte = [0];
                    assert!(
                        read_within(own, &mut byte, Duration::from_millis(1)).is_none(),
                        "{context}"
                    );
                }
            }
        });
    });
}
