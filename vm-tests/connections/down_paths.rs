//! A path that is down for a while is survived, with keepalive settings of the application's own
//! (Q6).

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use socket2::SockRef;

use testkit::isolation::isolated;
use testkit::nonblocking::{over_tcp_and_shunt, small_talk, take_pattern};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::pattern::Tape;
use testkit::socket::{TcpInfo, option, set_option};

const PATTERN: Tape = Tape { seed: 97 };

/// Longer than two keepalive probes, a second apart, and what is waited for an answer.
const DOWN: Duration = Duration::from_secs(4);

/// Sets an interface of the calling thread's namespace up or down (netdevice(7)).
pub fn set_up(name: &str, up: bool) {
    let socket =
        std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("[::]:0"));
    let socket = socket.expect("a socket to ask by");
    // SAFETY: all zeros are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let ask = |code: libc::c_ulong, request: &mut libc::ifreq| {
        // SAFETY: both requests read and write one `ifreq`.
        let outcome = unsafe { libc::ioctl(fd, code as libc::Ioctl, std::ptr::from_mut(request)) };
        assert_eq!(outcome, 0, "set {name} up or down: {}", std::io::Error::last_os_error());
    };
    ask(libc::SIOCGIFFLAGS, &mut request);
    // SAFETY: SIOCGIFFLAGS has written this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let bit = libc::IFF_UP as i16;
    request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
    ask(libc::SIOCSIFFLAGS, &mut request);
}

fn a_connection_survives(path: Path, interface: &'static str) {
    over_tcp_and_shunt(|ground| {
        let pair = ground.open_direct(path);
        for end in [&pair.client, &pair.server] {
            set_option(end, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 2);
        }
        // A reader that is behind, with bytes in every queue that there is.
        let by_tcp = || TcpInfo::of(&pair.client).bytes_sent();
        let (before, mut sent, mut behind) = (by_tcp(), 0, 0);
        while behind < 4 && sent < 8 << 20 {
            match (&pair.client).write(PATTERN.bytes(sent, 4096)) {
                Ok(written) => sent += written as u64,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "write: {error}");
                    break;
                }
            }
            if by_tcp() > before {
                behind += 1;
                std::thread::sleep(Duration::from_millis(60));
            }
        }
        std::thread::sleep(Duration::from_millis(300));
        let namespace = ground.node.bed.client();
        namespace.run(|| set_up(interface, false)).expect("enter the client's namespace");
        let down = Instant::now();
        std::thread::sleep(DOWN);
        namespace.run(|| set_up(interface, true)).expect("enter the client's namespace");
        assert!(down.elapsed() >= DOWN);

        let longest = take_pattern(&pair.server, PATTERN, sent, 64 << 10);
        eprintln!(
            "{path} over {:?}: {sent} bytes; waited {longest:?} for the rest",
            ground.carrier
        );
        small_talk(&pair);
        for end in [&pair.client, &pair.server] {
            assert!(SockRef::from(end).take_error().expect("SO_ERROR").is_none());
            assert_eq!(option(end, libc::IPPROTO_TCP, libc::TCP_KEEPCNT), 2);
            assert!(!SockRef::from(end).keepalive().expect("SO_KEEPALIVE"));
        }
    });
}

/// Q6.
#[test]
fn a_reader_that_is_behind_survives_a_path_that_is_down_for_four_seconds_on_loopback() {
    isolated(|| a_connection_survives(LOOPBACK, "lo"));
}

/// Q6.
#[test]
fn a_reader_that_is_behind_survives_a_path_that_is_down_for_four_seconds_over_veth() {
    isolated(|| a_connection_survives(VETH, "to-server"));
}
