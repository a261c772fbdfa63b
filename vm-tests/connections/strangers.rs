//! Nobody ever reads bytes of a connection that is not theirs (H3).

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tcp_shunt::bed::Bed;
use tcp_shunt::host::{Namespace, link};

use testkit::eventually;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, ready_for_tests};
use testkit::pattern::Pattern;
use testkit::share_of;
use testkit::socket::{reset, unconnected};
use testkit::traffic::{exchange, read_exactly, receive, send, write, write_fully};

/// The same on both sides of the fence, so that every address and port is the same.
const CLIENT_PORT: u16 = 40_000;
const SERVER_PORT: u16 = 8443;

const SECRET: Pattern = Pattern { seed: 0x5ec2e7 };
const OWN: Pattern = Pattern { seed: 0xa77ac4 };

/// A namespace of another tenant that has given itself the addresses of the bed's two hosts.
fn impostor() -> Namespace {
    let namespace = Namespace::new().expect("make a namespace");
    namespace
        .run(|| {
            for ip in [IpAddr::V4(Bed::CLIENT_V4), IpAddr::V4(Bed::SERVER_V4)] {
                link::add_address("lo", ip, 32)?;
            }
            for ip in [IpAddr::V6(Bed::CLIENT_V6), IpAddr::V6(Bed::SERVER_V6)] {
                link::add_address("lo", ip, 128)?;
            }
            Ok::<_, tcp_shunt::host::Error>(())
        })
        .expect("enter the namespace")
        .expect("take the addresses");
    namespace
}

fn listen(at: IpAddr) -> TcpListener {
    TcpListener::bind((at, SERVER_PORT)).expect("listen")
}

fn dial(from: IpAddr, to: IpAddr) -> TcpStream {
    let target = SocketAddr::from((to, SERVER_PORT));
    let stream: TcpStream = eventually("there is a way", || {
        let socket = unconnected(target);
        socket.set_reuse_address(true).expect("set SO_REUSEADDR");
        socket.bind(&SocketAddr::from((from, CLIENT_PORT)).into()).expect("bind");
        match socket.connect(&target.into()) {
            Ok(()) => Some(socket.into()),
            // A new IPv6 address is the kernel's to use only a moment later.
            Err(error) if error.kind() == ErrorKind::NetworkUnreachable => None,
            Err(error) => panic!("connect: {error}"),
        }
    });
    ready_for_tests(&stream).expect("set its options");
    stream
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("accept");
    ready_for_tests(&stream).expect("set its options");
    stream
}

#[test]
fn a_socket_with_the_same_addresses_in_another_namespace_never_gets_a_victims_bytes() {
    isolated(|| {
        let node = Node::start();
        let ends = [
            (IpAddr::V4(Bed::CLIENT_V4), IpAddr::V4(Bed::SERVER_V4)),
            (IpAddr::V6(Bed::CLIENT_V6), IpAddr::V6(Bed::SERVER_V6)),
        ];
        for (client_ip, server_ip) in ends {
            for server_is_on_the_node in [false, true] {
                for attacker_first in [true, false] {
                    let namespace = impostor();
                    let attack = || {
                        node.bed.cgroup().enter().expect("enter the cgroup");
                        let listener = listen(server_ip);
                        let client = dial(client_ip, server_ip);
                        Pair { client, server: accept(&listener) }
                    };
                    let victimise = || {
                        let listener = if server_is_on_the_node {
                            node.in_server(|| listen(server_ip))
                        } else {
                            node.bed
                                .server()
                                .run(|| listen(server_ip))
                                .expect("enter the server's namespace")
                        };
                        let client = node.in_client(|| dial(client_ip, server_ip));
                        Pair { client, server: accept(&listener) }
                    };
                    let paired = node.stats().counter("paired");
                    let (attacker, victim);
                    if attacker_first {
                        attacker = namespace.run(attack).expect("enter the namespace");
                        victim = victimise();
                    } else {
                        victim = victimise();
                        attacker = namespace.run(attack).expect("enter the namespace");
                    }

                    let mut at = 0;
                    let mut talk = || {
                        send(&victim.client, SECRET, at..at + 1000, 1000);
                        send(&attacker.client, OWN, at..at + 1000, 1000);
                        receive(&victim.server, SECRET, at..at + 1000, 1000);
                        receive(&attacker.server, OWN, at..at + 1000, 1000);
                        send(&victim.server, SECRET, at..at + 1000, 1000);
                        send(&attacker.server, OWN, at..at + 1000, 1000);
                        receive(&victim.client, SECRET, at..at + 1000, 1000);
                        receive(&attacker.client, OWN, at..at + 1000, 1000);
                        at += 1000;
                    };
                    // The attacker's own connection is accelerated, so there is something to
                    // confuse.
                    let goal = paired + 1 + u64::from(server_is_on_the_node);
                    eventually("all are enrolled that could be", || {
                        talk();
                        (node.stats().counter("paired") >= goal).then_some(())
                    });
                    (0..100).for_each(|_| talk());
                    for mut end in
                        [&attacker.client, &attacker.server, &victim.client, &victim.server]
                    {
                        let more = end.read(&mut [0; 1000]).expect_err("nothing more was sent");
                        assert_eq!(more.kind(), ErrorKind::WouldBlock);
                    }
                    // Without a reset the ports would stay taken for a minute.
                    for end in [attacker.client, attacker.server, victim.client, victim.server] {
                        reset(end);
                    }
                }
            }
        }
    });
}

#[test]
fn a_response_never_reaches_another_connection_when_ports_are_reused() {
    isolated(|| {
        let node = Node::start();
        node.bed
            .client()
            .set_sysctl("net/ipv4/ip_local_port_range", "20001 20032")
            .expect("leave few ports");
        let service = node.listen(LOOPBACK);
        /// In what time most connections are enrolled.
        const ENROLLED: Duration = Duration::from_millis(40);
        let connections = share_of(500) as u64;
        let target = service.target;
        thread::scope(|scope| {
            scope.spawn(|| {
                // Sockets whose client has gone, and whose port a new client has taken, stay open
                // for a while.
                let mut old = std::collections::VecDeque::new();
                for _ in 0..connections {
                    let server = service.accept();
                    let mut nonce = [0; 8];
                    while read_exactly(&server, &mut nonce).is_ok() {
                        // Its client may have gone before.
                        let _ = write_fully(&server, &nonce);
                    }
                    old.push_back(server);
                    if old.len() > 200 {
                        let late = old.pop_front().expect("the oldest");
                        // Its client has closed: no socket may receive this.
                        let _ = write(&late, b"too late");
                    }
                }
            });
            node.in_client(|| {
                for nonce in 0..connections {
                    let client = TcpStream::connect(target).expect("connect");
                    ready_for_tests(&client).expect("set its options");
                    let begun = Instant::now();
                    while begun.elapsed() < ENROLLED {
                        write_fully(&client, &nonce.to_be_bytes()).expect("ask");
                        let mut answer = [0; 8];
                        read_exactly(&client, &mut answer).expect("read the answer");
                        assert_eq!(u64::from_be_bytes(answer), nonce, "an answer to somebody else");
                    }
                    // A reset frees the port at once, while the server's end is still there.
                    reset(client);
                }
            });
        });
        let stats = node.stats();
        assert!(stats.counter("paired") > connections / 4, "{stats:?}");
    });
}

#[test]
fn exchanges_in_both_tenants_at_once_stay_apart() {
    isolated(|| {
        let node = Node::start();
        let namespace = impostor();
        thread::scope(|scope| {
            scope.spawn(|| {
                namespace.run(|| {
                    node.bed.cgroup().enter().expect("enter the cgroup");
                    let listener = listen(IpAddr::V4(Bed::SERVER_V4));
                    repeat(&listener, 0x0a, || {
                        dial(IpAddr::V4(Bed::CLIENT_V4), IpAddr::V4(Bed::SERVER_V4))
                    });
                })
            });
            scope.spawn(|| {
                let listener = node.in_server(|| listen(IpAddr::V4(Bed::SERVER_V4)));
                node.in_client(|| {
                    repeat(&listener, 0x0b, || {
                        dial(IpAddr::V4(Bed::CLIENT_V4), IpAddr::V4(Bed::SERVER_V4))
                    });
                });
            });
        });
    });
}

fn repeat(listener: &TcpListener, tenant: u64, dial: impl Fn() -> TcpStream) {
    for round in 0..share_of(500) as u64 {
        let pair = Pair { client: dial(), server: accept(listener) };
        for exchange_in_round in 0..30 {
            exchange(&pair, tenant << 32 | round << 8 | exchange_in_round, 700, 900);
        }
        reset(pair.client);
    }
}
