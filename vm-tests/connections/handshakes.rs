//! Unusual births of a connection end in a correct flow or in plain TCP (H1, H10).

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tcp_shunt::host::Namespace;

use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{Family, LOOPBACK, Path, REDIRECT, Route, VETH, ready_for_tests};
use testkit::pattern::Pattern;
use testkit::socket::{
    TcpInfo, connect_with_data, deafen, disconnect, let_hear, set_option, unconnected,
};
use testkit::thread_state::Thread;
use testkit::traffic::{
    both_ways, direct, exchange, read_exactly, receive, receive_to_end, send, small_talk,
    until_direct, write, write_fully,
};
use testkit::{eventually, share_of};

/// Numbered records, so that the order of arrival is in the bytes.
fn number(stream: &TcpStream, number: u32) {
    write_fully(stream, &number.to_be_bytes()).expect("write a number");
}

fn expect_numbers(stream: &TcpStream, count: u32) {
    for expected in 0..count {
        let mut bytes = [0; 4];
        read_exactly(stream, &mut bytes).expect("read a number");
        assert_eq!(u32::from_be_bytes(bytes), expected, "out of order");
    }
}

#[test]
fn what_a_second_thread_writes_while_connect_completes_is_read_first() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH, REDIRECT, Path { family: Family::V6, route: Route::Veth }] {
            let service = node.listen(path);
            for round in 0..share_of(300) {
                let socket = node.in_client(|| unconnected(service.target));
                let (trying, early_written) = (AtomicBool::new(false), AtomicBool::new(false));
                let stream = thread::scope(|scope| {
                    let early = scope.spawn(|| {
                        // Refused until connect has begun, then held up inside send until it has
                        // completed.
                        while let Err(error) = socket.send(&0_u32.to_be_bytes()) {
                            assert!(
                                matches!(
                                    error.kind(),
                                    ErrorKind::BrokenPipe | ErrorKind::NotConnected
                                ),
                                "{error}"
                            );
                            trying.store(true, Ordering::Release);
                        }
                        early_written.store(true, Ordering::Release);
                    });
                    while !trying.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                    socket.connect(&service.target.into()).expect("connect");
                    while !early_written.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                    (&socket).write_all(&1_u32.to_be_bytes()).expect("write");
                    (&socket).write_all(&2_u32.to_be_bytes()).expect("write");
                    early.join().expect("the early writer");
                    service.accept()
                });
                expect_numbers(&stream, 3);
                let pair = Pair { client: TcpStream::from(socket), server: stream };
                ready_for_tests(&pair.client).expect("set its options");
                if round % 50 == 0 {
                    direct(&node, &pair);
                }
                exchange(&pair, round as u64, 1000, 1000);
            }
        }
    });
}

#[test]
fn what_is_sent_before_a_deferred_accept_is_read_first() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH, REDIRECT] {
            let service = node.listen(path);
            set_option(&service.listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 30);
            for round in 0..share_of(100) {
                let client = node.connect(&service);
                for n in 0..10 {
                    number(&client, n);
                }
                let server = service.accept();
                expect_numbers(&server, 10);
                let pair = Pair { client, server };
                if round % 20 == 0 {
                    direct(&node, &pair);
                }
                exchange(&pair, 15, 1000, 1000);
            }
        }
    });
}

#[test]
fn data_in_the_syn_is_read_first_and_nothing_is_lost_or_reordered() {
    isolated(|| {
        let node = Node::start();
        // Client and server side, both without a cookie.
        const WITHOUT_COOKIES: i32 = 0x1 | 0x2 | 0x4 | 0x200;
        for namespace in [node.bed.client(), node.bed.server()] {
            namespace
                .set_sysctl("net/ipv4/tcp_fastopen", &WITHOUT_COOKIES.to_string())
                .expect("enable Fast Open");
        }
        for path in [LOOPBACK, VETH, REDIRECT, Path { family: Family::V6, route: Route::Veth }] {
            let service = node.listen(path);
            set_option(&service.listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 64);
            let mut in_the_syn = 0;
            let rounds = share_of(100) as u64;
            for seed in 0..rounds {
                let there = Pattern { seed };
                let socket = node.in_client(|| unconnected(service.target));
                let taken = connect_with_data(&socket, service.target, &there.bytes(0, 500)) as u64;
                let client = TcpStream::from(socket);
                ready_for_tests(&client).expect("set the client's options");
                let pair = Pair { client, server: service.accept() };
                // More follows at once, and an answer that may leave before the handshake is
                // complete.
                write_fully(&pair.client, &there.bytes(taken, 5000)).expect("write");
                let back = Pattern { seed: !seed };
                write_fully(&pair.server, &back.bytes(0, 3000)).expect("write");
                receive(&pair.server, there, 0..taken + 5000, 10_000);
                receive(&pair.client, back, 0..3000, 10_000);
                in_the_syn += u64::from(TcpInfo::of(&pair.client).syn_data_acknowledged());
                (0..3).for_each(|_| exchange(&pair, seed, 1000, 1000));
            }
            assert_eq!(in_the_syn, rounds, "Fast Open was not used");
        }
    });
}

#[test]
fn a_simultaneous_open_is_plain_tcp_and_correct() {
    isolated(|| {
        let node = Node::start();
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (first, second) = node.in_client(|| {
            let bound = || {
                let socket = unconnected(address(0));
                socket.bind(&address(0).into()).expect("bind");
                socket.set_nonblocking(true).expect("make it non-blocking");
                // Neither hears the other's first SYN, nor the reset for it; both hear the ones
                // sent again a second later.
                deafen(&socket);
                socket
            };
            let (first, second) = (bound(), bound());
            for (here, there) in [(&first, &second), (&second, &first)] {
                let error = here
                    .connect(&there.local_addr().expect("an address"))
                    .expect_err("it cannot be connected yet");
                assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}");
            }
            let_hear(&first);
            let_hear(&second);
            (TcpStream::from(first), TcpStream::from(second))
        });
        for stream in [&first, &second] {
            eventually("the connection is established", || stream.peer_addr().ok());
            ready_for_tests(stream).expect("set its options");
        }
        let pair = Pair { client: first, server: second };
        (0..1000).for_each(|_| exchange(&pair, 16, 1000, 1000));
        both_ways(&pair, 16, 4 << 20, 50_000);
        assert_eq!(node.stats().counter("paired"), 0);
    });
}

#[test]
fn a_socket_connected_to_itself_reads_what_it_writes() {
    isolated(|| {
        let node = Node::start();
        let stream = node.in_client(|| {
            let socket = unconnected((Ipv4Addr::LOCALHOST, 0).into());
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bind");
            let own = socket.local_addr().expect("an address");
            socket.connect(&own).expect("connect to itself");
            TcpStream::from(socket)
        });
        ready_for_tests(&stream).expect("set its options");
        let pair =
            Pair { client: stream.try_clone().expect("duplicate the descriptor"), server: stream };
        for round in 0..1000 {
            exchange(&pair, round, 3000, 3000);
        }
    });
}

#[test]
fn connections_born_from_syn_cookies_are_correct() {
    isolated(|| {
        let node = Node::start();
        for namespace in [node.bed.client(), node.bed.server()] {
            namespace.set_sysctl("net/ipv4/tcp_syncookies", "2").expect("always send SYN cookies");
        }
        for (path, home) in [
            (LOOPBACK, node.bed.client()),
            (VETH, node.bed.server()),
            (REDIRECT, node.bed.client()),
            (Path { family: Family::V6, route: Route::Veth }, node.bed.server()),
        ] {
            let before = syn_cookies_received(home);
            let service = node.listen(path);
            for round in 0..20 {
                let pair = Pair { client: node.connect(&service), server: service.accept() };
                for n in 0..10 {
                    number(&pair.client, n);
                }
                expect_numbers(&pair.server, 10);
                exchange(&pair, round, 1000, 1000);
                both_ways(&pair, round, share_of(4 << 20) as u64, 50_000);
            }
            assert_eq!(
                syn_cookies_received(home) - before,
                20,
                "SYN cookies were not used: {path}"
            );
        }
    });
}

/// `SyncookiesRecv` of `/proc/net/netstat`: a line of names, then a line of values.
fn syn_cookies_received(namespace: &Namespace) -> u64 {
    let text = namespace
        .run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))
        .expect("enter the namespace")
        .expect("read the namespace's counters");
    let mut lines =
        text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) =
        (lines.next().expect("a line of names"), lines.next().expect("a line of values"));
    let (_, value) = names
        .zip(values)
        .find(|(name, _)| *name == "SyncookiesRecv")
        .expect("a counter of SYN cookies");
    value.parse().expect("a number")
}

#[test]
fn a_reader_that_waited_before_connect_completed_gets_the_first_bytes_and_all_that_follow() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH, REDIRECT, Path { family: Family::V6, route: Route::Veth }] {
            for waits_in in [libc::SYS_ppoll, libc::SYS_recvfrom] {
                reader_before_connect(&node, path, waits_in);
            }
        }
    });
}

/// `waits_in` is the call in which the reader waits.
fn reader_before_connect(node: &Node, path: Path, waits_in: libc::c_long) {
    let blocking = waits_in == libc::SYS_recvfrom;
    let service = node.listen(path);
    let socket = node.in_client(|| unconnected(service.target));
    // The handshake stands still until the reader waits.
    deafen(&socket);
    socket.set_nonblocking(true).expect("make it non-blocking");
    let error = socket.connect(&service.target.into()).expect_err("it cannot be connected yet");
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}");
    let client = TcpStream::from(socket);
    ready_for_tests(&client).expect("set the client's options");
    client.set_nonblocking(!blocking).expect("make it blocking or not");
    let back = Pattern { seed: 17 };
    let read = AtomicU64::new(0);
    let server = thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let (client, read) = (&client, &read);
        let reader = scope.spawn(move || {
            tell.send(Thread::current()).expect("tell the thread");
            for at in (0..100_000).step_by(1000) {
                receive(client, back, at..at + 1000, 1000);
                read.store(at + 1000, Ordering::Release);
            }
        });
        told.recv().expect("the reader's thread").wait_until_blocked_in(waits_in);
        let_hear(client);
        let server = service.accept();
        // One message at a time: each has to be noticed by itself.
        for at in (0..100_000).step_by(1000) {
            send(&server, back, at..at + 1000, 1000);
            if at < 5000 {
                eventually("the reader has read it", || {
                    (read.load(Ordering::Acquire) > at).then_some(())
                });
            }
        }
        reader.join().expect("the reader");
        server
    });
    let pair = Pair { client, server };
    if blocking {
        (0..100).for_each(|_| small_talk(&pair));
        assert!(node.flow_of(&pair.client).is_none(), "enrolled although it blocks");
    } else {
        direct(node, &pair);
    }
}

#[test]
fn a_socket_that_is_connected_a_second_time_never_gets_bytes_of_its_first_peer() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH] {
            let (first, second) = (node.listen(path), node.listen(path));
            for round in 0..share_of(100) as u64 {
                let pair = Pair { client: node.connect(&first), server: first.accept() };
                until_direct(&node.agent, std::slice::from_ref(&pair));
                let Pair { client, server: old } = pair;

                disconnect(&client);
                client.set_nonblocking(false).expect("make it blocking");
                let socket = socket2::Socket::from(client);
                socket.connect(&second.target.into()).expect("connect again");
                socket.set_nonblocking(true).expect("make it non-blocking");
                let again = Pair { client: TcpStream::from(socket), server: second.accept() };
                // The old peer goes on writing: TCP lets it notice the reset once, then refuses.
                let refused = (0..10).filter(|_| write(&old, &[0xee; 1000]).is_err()).count();
                assert!(refused >= 9, "the old peer's writes were taken {} times", 10 - refused);

                (0..20).for_each(|_| small_talk(&again));
                both_ways(&again, round, 100_000, 5000);
                drop(again.server);
                assert_eq!(receive_to_end(&again.client, Pattern { seed: 0 }, 0), (0, Ok(())));
            }
        }
        assert!(node.stats().counter("reused") > 0);
    });
}
