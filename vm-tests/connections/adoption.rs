//! Connections that were open before shunt was are accelerated, too, and only if their ends belong
//! together.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::{Domain, Protocol, Socket, Type};
use tcp_shunt::bed::Bed;

use testkit::isolation::isolated;
use testkit::memory_fault::{Filler, Hole};
use testkit::node::{Node, Pair, listen_outside_of, new_bed, pair_on, service};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::socket::{option, set_option};
use testkit::traffic::{both_ways, by_tcp, exchange, small_talk, until_direct, write_fully};
use testkit::{SetOnDrop, eventually};

const OPTIONS: [&str; 2] = ["--refresh", "3600"];

#[test]
fn connections_over_every_path_that_were_open_before_become_direct() {
    isolated(|| {
        let (node, pairs) = Node::start_after(new_bed(), &OPTIONS, |bed| {
            let pairs: Vec<Pair> = Path::all().map(|path| pair_on(bed, path)).collect();
            for pair in &pairs {
                exchange(pair, 1, 5000, 7000);
            }
            pairs
        });
        until_direct(&node.agent, &pairs);
        for pair in &pairs {
            exchange(pair, 2, 5000, 7000);
        }
        assert_eq!(node.stats().counter("adopted"), 2 * pairs.len() as u64);
    });
}

#[test]
fn connections_that_are_full_of_bytes_both_ways_lose_and_reorder_nothing_while_they_are_adopted() {
    isolated(|| {
        let bed = new_bed();
        let pairs: Vec<Pair> = [LOOPBACK, VETH]
            .into_iter()
            .flat_map(|path| [pair_on(&bed, path), pair_on(&bed, path)])
            .collect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = SetOnDrop(&stop);
            for (number, pair) in pairs.iter().enumerate() {
                let stop = &stop;
                scope.spawn(move || {
                    for round in 0.. {
                        // Both ends are at the end of what was sent when this returns.
                        both_ways(pair, number as u64 ^ round << 8, 3 << 20, 20_000);
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            let node = Node::start_on(bed, &OPTIONS);
            eventually("all are adopted", || {
                (node.stats().counter("adopted") == 2 * pairs.len() as u64).then_some(())
            });
            // They go on for a while.
            thread::sleep(Duration::from_millis(500));
            node
        });
    });
}

/// A connection of which only the client is in the cgroup, as if its server was on another node.
fn to_elsewhere(bed: &Bed) -> Pair {
    let service = listen_outside_of(bed, VETH);
    let client = bed.in_client(|| service.connect()).expect("enter the client");
    Pair { client, server: service.accept() }
}

const SOL_TCP: i32 = libc::IPPROTO_TCP;
/// Queues of a connection that is being repaired (include/uapi/linux/tcp.h).
const TCP_RECV_QUEUE: i32 = 1;
const TCP_SEND_QUEUE: i32 = 2;
/// Leaves the repair without sending anything.
const TCP_REPAIR_OFF_NO_WP: i32 = -1;

/// The next sequence numbers of a connection that has sent nothing: its own and its peer's.
fn numbers(stream: &TcpStream) -> (i32, i32) {
    set_option(stream, SOL_TCP, libc::TCP_REPAIR, 1);
    let [own, peer] = [TCP_SEND_QUEUE, TCP_RECV_QUEUE].map(|queue| {
        set_option(stream, SOL_TCP, libc::TCP_REPAIR_QUEUE, queue);
        option(stream, SOL_TCP, libc::TCP_QUEUE_SEQ)
    });
    set_option(stream, SOL_TCP, libc::TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
    (own, peer)
}

/// A socket that says it is the server of this client: made by TCP_REPAIR with the numbers that the
/// server has.
fn impostor(victim: &TcpStream) -> Socket {
    let (own, peer) = numbers(victim);
    let socket =
        Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("make a socket");
    set_option(&socket, SOL_TCP, libc::TCP_REPAIR, 1);
    for (queue, number) in [(TCP_SEND_QUEUE, peer), (TCP_RECV_QUEUE, own)] {
        set_option(&socket, SOL_TCP, libc::TCP_REPAIR_QUEUE, queue);
        set_option(&socket, SOL_TCP, libc::TCP_QUEUE_SEQ, number);
    }
    let nobody: std::net::SocketAddr = "127.0.0.1:9".parse().expect("an address");
    socket.connect(&nobody.into()).expect("be connected");
    set_option(&socket, SOL_TCP, libc::TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
    socket.set_nonblocking(true).expect("set it non-blocking");
    socket
}

#[test]
fn an_impostor_that_has_chosen_the_numbers_of_anothers_peer_gets_nothing() {
    isolated(|| {
        let (node, (victim, mut impostor)) = Node::start_after(new_bed(), &OPTIONS, |bed| {
            let victim = to_elsewhere(bed);
            let impostor = bed.in_server(|| impostor(&victim.client)).expect("enter the server");
            // As if it was on another node: what is being repaired is not looked at.
            set_option(&victim.server, SOL_TCP, libc::TCP_REPAIR, 1);
            (victim, impostor)
        });
        node.agent.has_logged("local=1 excluded=0 marked=1", 1);
        set_option(&victim.server, SOL_TCP, libc::TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
        let mut round = 0;
        eventually("its peer has not proved itself", || {
            round += 1;
            exchange(&victim, round, 1000, 1000);
            (node.stats().counter("unproven") == 1).then_some(())
        });
        let stats = node.stats();
        assert_eq!(stats.counter("adopted"), 0);
        assert_eq!((stats.counter("candidates"), node.redirected()), (0, 0));
        let got = impostor.read(&mut [0; 16]).expect_err("it gets nothing");
        assert_eq!(got.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn two_that_claim_to_be_the_same_end_are_none() {
    isolated(|| {
        let (node, (pair, _impostor)) = Node::start_after(new_bed(), &OPTIONS, |bed| {
            let pair = pair_on(bed, VETH);
            let impostor = bed.in_client(|| impostor(&pair.client)).expect("enter the client");
            (pair, impostor)
        });
        node.agent.has_logged("local=0 excluded=0 marked=0", 1);
        for round in 0..20 {
            exchange(&pair, round, 1000, 1000);
        }
        assert_eq!(node.redirected(), 0);
    });
}

#[test]
fn what_leaves_the_cgroup_carries_nothing_and_is_not_marked() {
    isolated(|| {
        let (node, pair) = Node::start_after(new_bed(), &OPTIONS, to_elsewhere);
        node.agent.has_logged("local=0 excluded=0 marked=0", 1);
        for round in 0..100 {
            exchange(&pair, round, 1000, 1000);
        }
        let stats = node.stats();
        assert_eq!(["adopted", "unproven", "candidates"].map(|name| stats.counter(name)), [0; 3]);
    });
}

#[test]
fn an_open_connection_is_adopted_when_a_rule_begins_to_include_it() {
    isolated(|| {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        let path = file.path().to_str().expect("a path that is text");
        let (node, pairs) =
            Node::start_after(new_bed(), &["--refresh", "3600", "--config", path], |bed| {
                let pairs = [pair_on(bed, VETH), pair_on(bed, LOOPBACK)];
                let ports = pairs
                    .each_ref()
                    .map(|pair| pair.server.local_addr().expect("an address").port());
                fs::write(path, format!("[exclude]\nports = [{}]\n", ports[0]))
                    .expect("write the rules");
                pairs
            });
        node.agent.has_logged("local=2 excluded=1 marked=1", 1);
        until_direct(&node.agent, &pairs[1..]);
        for _ in 0..400 {
            small_talk(&pairs[0]);
        }
        let before = by_tcp(&pairs[0]);
        small_talk(&pairs[0]);
        assert_ne!(by_tcp(&pairs[0]), before, "the other is excluded");
        fs::write(path, "[exclude]\nprocesses = [\"no-such-name\"]\n").expect("write the rules");
        node.agent.signal(Signal::SIGHUP);
        until_direct(&node.agent, &pairs);
    });
}

#[test]
fn one_who_holds_a_socket_keeps_neither_other_namespaces_from_being_adopted_nor_the_agent_from_its_work()
 {
    isolated(|| {
        let bed = new_bed();
        let held = pair_on(&bed, LOOPBACK);
        // Where no process holds a socket lock.
        let elsewhere = bed.in_server(|| {
            let service = service(LOOPBACK, LOOPBACK.bind());
            Pair { client: service.connect(), server: service.accept() }
        });
        let elsewhere = elsewhere.expect("enter the server");
        let hole = Hole::open();
        exchange(&held, 1, 100, 100);
        write_fully(&held.client, b"M1M1").expect("write");
        thread::scope(|scope| {
            let (held, hole) = (&held, &hole);
            let filler = Filler(hole);
            scope.spawn(|| {
                let (fd, page) = (held.server.as_raw_fd(), hole.pointer() as usize);
                // SAFETY: the page is mapped and writable, and belongs to the kernel until the call
                // returns.
                unsafe { libc::recv(fd, page as *mut libc::c_void, 4, 0) }
            });
            hole.wait_until_touched();
            let mut node = Node::start_on(bed, &OPTIONS);
            let pair = node.pair(VETH);
            until_direct(&node.agent, &[pair, elsewhere]);
            let begun = Instant::now();
            node.agent.stop();
            assert!(
                begun.elapsed() < Duration::from_secs(3),
                "it took {:?} to stop",
                begun.elapsed()
            );
            drop(filler);
            node
        });
    });
}
