//! A reader that is owed bytes is woken (H8), and its settings survive it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;

use crate::harness::agent::run;
use crate::harness::isolation::isolated;
use crate::harness::node::{Node, Pair};
use crate::harness::path::{Family, LOOPBACK, Path, REDIRECT, Route, VETH};
use crate::harness::pattern::Pattern;
use crate::harness::socket::{TcpInfo, option, set_option};
use crate::harness::traffic::{exchange, receive, send, settle, warm_up};
use crate::harness::{eventually, share_of};

const PATTERN: Pattern = Pattern { seed: 30 };
const WRITE: usize = 10_000;
const READ: usize = 64 << 10;

/// The longest that bytes may wait for a reader who would read them.
const STALL: Duration = Duration::from_secs(5);

/// Fills both of the server's queues: direct until the memory gate closes, then some by TCP. Returns the bytes sent.
fn mix(node: &Node, pair: &Pair) -> u64 {
    pair.client.set_nonblocking(true).expect("make it non-blocking");
    let mut sent = 0;
    let flow = || node.flow_of(&pair.client).expect("the flow is listed");
    loop {
        for _ in 0..5 {
            match (&pair.client).write(&PATTERN.bytes(sent, WRITE)) {
                Ok(written) => sent += written as u64,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        let server = flow().server.expect("the server is enrolled");
        if server.tcp_unread > 0 {
            if server.direct_unread {
                break;
            }
            // A refresh came first. Once more from the beginning.
            receive(&pair.server, PATTERN, 0..sent, READ);
            sent = 0;
        }
    }
    pair.client.set_nonblocking(false).expect("make it blocking");
    sent
}

/// What tokio and nginx do: one edge, then reads until one is short, which they take for "drained". Returns the longest wait.
fn read_edge_triggered(mut stream: &TcpStream, length: u64, pause_at: Option<u64>) -> Duration {
    stream.set_nonblocking(true).expect("make it non-blocking");
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("make an epoll instance");
    epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).expect("register");
    let mut buffer = vec![0; READ];
    let (mut at, mut worst, mut pause_at) = (0, Duration::ZERO, pause_at);
    while at < length {
        let waiting = Instant::now();
        let mut events = [EpollEvent::empty()];
        let ready = epoll.wait(&mut events, EpollTimeout::from(60_000_u16)).expect("wait");
        assert_ne!(ready, 0, "never woken: {} of {length} bytes wait unread", length - at);
        worst = worst.max(waiting.elapsed());
        loop {
            let read = match stream.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("read at byte {at}: {error}"),
            };
            assert_ne!(read, 0, "the stream ended at byte {at} of {length}");
            PATTERN.check(at, &buffer[..read]);
            at += read as u64;
            if read < READ {
                break;
            }
            if pause_at.is_some_and(|place| at >= place) {
                pause_at = None;
                // The reader is busy elsewhere for a while, then takes whatever edge there is, and reads on.
                std::thread::sleep(Duration::from_millis(1200));
                epoll.wait(&mut events, EpollTimeout::ZERO).expect("take the edge");
            }
        }
    }
    stream.set_nonblocking(false).expect("make it blocking");
    worst
}

const PATHS: [Path; 4] = [LOOPBACK, VETH, REDIRECT, Path { family: Family::V6, route: Route::Veth }];

#[test]
fn an_edge_triggered_reader_that_stops_at_a_short_read_is_woken_for_the_tcp_bytes() {
    isolated(|| {
        let node = Node::start();
        for path in PATHS {
            for pause in [false, true] {
                let pair = node.pair(path);
                settle(&pair);
                let sent = mix(&node, &pair);
                let worst = read_edge_triggered(&pair.server, sent, pause.then_some(READ as u64));
                assert!(worst < STALL, "{path}: stalled for {worst:?}");
                exchange(&pair, 31, 1000, 1000);
            }
        }
    });
}

/// The programs alone need up to a second and a half: the timer that they borrow knows no less than one.
#[test]
fn a_reader_waits_less_than_fifty_milliseconds_while_the_agent_lives_and_less_than_two_seconds_when_it_is_dead() {
    /// A guest that is emulated has no such times.
    const MARGIN: u32 = 20;
    isolated(|| {
        let margin = if share_of(1000) < 1000 { MARGIN } else { 1 };
        let mut node = Node::start();
        let stalls = |node: &Node| {
            let mut stalls: Vec<Duration> = (0..7)
                .map(|_| {
                    let pair = node.pair(VETH);
                    settle(&pair);
                    let sent = mix(node, &pair);
                    // So that the segments that acknowledge what was sent have gone, and none comes to the reader's help.
                    std::thread::sleep(Duration::from_millis(100));
                    read_edge_triggered(&pair.server, sent, None)
                })
                .collect();
            stalls.sort();
            eprintln!("waited for {stalls:?}");
            stalls
        };
        let alive = stalls(&node);
        assert!(alive[alive.len() / 2] < Duration::from_millis(50) * margin, "{alive:?}");
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        if tcp_shunt::probe::wakes().expect("find out whether programs wake readers") {
            let dead = stalls(&node);
            assert!(dead[dead.len() - 1] < Duration::from_secs(2) * margin, "{dead:?}");
        }
        let detached = run(&["detach", "--name", node.agent.name()]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
    });
}

/// The acknowledgement is delayed, and finds only TCP bytes unread: nothing but time tells that they came behind others.
#[test]
fn a_reader_that_has_read_what_was_redirected_before_tcp_acknowledges_the_rest_is_woken() {
    isolated(|| {
        let node = Node::start();
        for path in PATHS {
            let pair = node.pair(path);
            warm_up(&pair);
            send(&pair.client, PATTERN, 0..1000, 1000);
            // Until the first refresh is due and can be put off no longer: the next message goes by TCP.
            std::thread::sleep(Duration::from_millis(800));
            set_option(&pair.server, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 0);
            let by_tcp = TcpInfo::of(&pair.client).bytes_sent();
            send(&pair.client, PATTERN, 1000..1001, 1);
            assert_eq!(TcpInfo::of(&pair.client).bytes_sent(), by_tcp + 1, "{path}");
            let worst = read_edge_triggered(&pair.server, 1001, None);
            assert!(worst < STALL, "{path}: stalled for {worst:?}");
        }
    });
}

#[test]
fn an_edge_triggered_client_is_woken_as_its_server_is() {
    isolated(|| {
        let node = Node::start();
        let Pair { client, server } = node.pair(VETH);
        settle(&Pair {
            client: client.try_clone().expect("duplicate"),
            server: server.try_clone().expect("duplicate"),
        });
        server.set_nonblocking(true).expect("make it non-blocking");
        let mut sent = 0;
        eventually("TCP bytes wait behind direct ones", || {
            if let Ok(written) = (&server).write(&PATTERN.bytes(sent, WRITE)) {
                sent += written as u64;
            }
            let end = node.flow_of(&client)?.client?;
            (end.direct_unread && end.tcp_unread > 0).then_some(())
        });
        let worst = read_edge_triggered(&client, sent, None);
        assert!(worst < STALL, "stalled for {worst:?}");
    });
}

#[test]
fn readers_are_woken_when_the_agent_has_been_killed() {
    isolated(|| {
        let mut node = Node::start();
        let mixed = PATHS.map(|path| {
            let pair = node.pair(path);
            settle(&pair);
            let sent = mix(&node, &pair);
            (path, pair, sent)
        });
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        let name = node.agent.name();
        let detach = || {
            let detached = run(&["detach", "--name", name]);
            assert_eq!(detached.status.code(), Some(0), "{detached:?}");
        };
        std::thread::scope(|scope| {
            // Where programs cannot wake readers, whoever comes after the agent does.
            let needed = !tcp_shunt::probe::wakes().expect("find out whether programs wake readers");
            let successor = needed.then(|| scope.spawn(detach));
            for (path, pair, sent) in &mixed {
                let worst = read_edge_triggered(&pair.server, *sent, None);
                assert!(worst < STALL, "{path}: stalled for {worst:?}");
            }
            match successor {
                Some(successor) => successor.join().expect("the successor"),
                None => detach(),
            }
        });
    });
}

#[test]
fn a_stop_gives_the_keepalive_timer_back() {
    isolated(|| {
        let mut node = Node::start();
        let pair = node.pair(VETH);
        const SETTINGS: [(i32, i32, i32); 3] = [
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 1234),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 56),
        ];
        for (level, name, value) in SETTINGS {
            set_option(&pair.server, level, name, value);
        }
        settle(&pair);
        let sent = mix(&node, &pair);
        eventually("the timer is borrowed", || (node.stats().counter("wake_armed") > 0).then_some(()));
        node.agent.signal(Signal::SIGTERM);
        read_edge_triggered(&pair.server, sent, None);
        let status = node.agent.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        for (level, name, value) in SETTINGS {
            assert_eq!(option(&pair.server, level, name), value, "{level} {name}");
        }
    });
}

#[test]
fn keepalive_and_low_water_settings_survive_a_wake_up() {
    isolated(|| {
        let node = Node::start();
        const SETTINGS: [(i32, i32); 5] = [
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
            (libc::SOL_SOCKET, libc::SO_RCVLOWAT),
        ];
        for values in
            [[0, 7200, 75, 9, 1], [1, 7200, 75, 9, 1], [1, 1234, 56, 7, 1], [0, 77, 7, 3, 1], [1, 600, 30, 5, 1]]
        {
            let Pair { client, server } = node.pair(VETH);
            for ((level, name), value) in SETTINGS.into_iter().zip(values) {
                set_option(&server, level, name, value);
            }
            let pair = Pair { client, server };
            settle(&pair);
            let before = node.stats();
            let sent = mix(&node, &pair);
            read_edge_triggered(&pair.server, sent, None);
            let after = node.stats();
            assert!(after.counter("wake_armed") > before.counter("wake_armed"), "nothing was woken: {after:?}");
            let present = || SETTINGS.map(|(level, name)| option(&pair.server, level, name));
            eventually("the settings are what they were", || (present() == values).then_some(()));
            exchange(&pair, 32, 1000, 1000);
            assert_eq!(present(), values);
        }
    });
}

#[test]
fn keepalive_settings_that_are_made_while_the_timer_is_borrowed_are_what_it_is_given_back_with() {
    const SETTINGS: [(i32, i32, i32); 3] = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 1234),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 56),
    ];
    isolated(|| {
        let node = Node::start();
        let pair = node.pair(VETH);
        settle(&pair);
        let before = node.stats();
        let sent = mix(&node, &pair);
        eventually("the timer is borrowed", || {
            (node.stats().counter("wake_armed") > before.counter("wake_armed")).then_some(())
        });
        for (level, name, value) in SETTINGS {
            set_option(&pair.server, level, name, value);
        }
        read_edge_triggered(&pair.server, sent, None);
        let present = || SETTINGS.map(|(level, name, _)| option(&pair.server, level, name));
        eventually("they are what the application set", || (present() == [1, 1234, 56]).then_some(()));
    });
}
