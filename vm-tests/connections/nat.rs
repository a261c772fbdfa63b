//! Network address translation on the way (H5, H11).

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tcp_shunt::host::Namespace;

use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{REDIRECT, REDIRECTED, ready_for_tests};
use testkit::pattern::Pattern;
use testkit::socket::unconnected;
use testkit::traffic::{
    by_tcp, direct_all, exchange, expect_end, receive, send, until_direct, write_fully,
};
use testkit::{eventually, share_of};

#[test]
fn flows_whose_source_port_was_remapped_are_paired() {
    isolated(|| {
        let node = Node::start();
        let (used_up, connections) = (share_of(6000).max(600) as u64, share_of(200).max(50));
        // Few more ports than there will be connections in TIME_WAIT: the second port's clients
        // have to share them.
        let ports = format!("20000 {}", 20_000 + used_up * 4 / 3 - 1);
        node.bed
            .client()
            .set_sysctl("net/ipv4/ip_local_port_range", &ports)
            .expect("limit the ports");
        let service = node.listen(REDIRECT);
        let other_port = SocketAddr::new(service.target.ip(), REDIRECTED[1]);
        let pairs: Vec<Pair> = node.in_client(|| {
            for nonce in 0..used_up {
                exchange(
                    &Pair { client: service.connect(), server: service.accept() },
                    nonce,
                    100,
                    100,
                );
            }
            let connect = || {
                let socket = unconnected(other_port);
                socket.connect(&other_port.into()).expect("connect");
                let client = std::net::TcpStream::from(socket);
                ready_for_tests(&client).expect("set its options");
                Pair { client, server: service.accept() }
            };
            (0..connections).map(|_| connect()).collect()
        });
        let is_remapped = |pair: &&Pair| {
            let seen = pair.server.peer_addr().expect("an address").port();
            seen != pair.client.local_addr().expect("an address").port()
        };
        assert_ne!(
            pairs.iter().filter(is_remapped).count(),
            0,
            "no source port was remapped: nothing was tested"
        );
        until_direct(&node.agent, &pairs);
        for (pair, nonce) in pairs.iter().zip(0..) {
            exchange(pair, nonce, 100, 100);
        }
    });
}

#[test]
fn the_nat_entry_of_a_flow_that_is_direct_for_long_does_not_expire() {
    isolated(|| {
        // The agent starts from the time-out of its own namespace: here the kernel's five days,
        // whatever this machine has.
        let elsewhere = Namespace::new().expect("make a namespace");
        let node = elsewhere.run(Node::start).expect("enter the namespace");
        const TIMEOUT: Duration = Duration::from_secs(5);
        node.bed
            .client()
            .set_sysctl(
                "net/netfilter/nf_conntrack_tcp_timeout_established",
                &TIMEOUT.as_secs().to_string(),
            )
            .expect("shorten conntrack's timeout");
        // An entry that is lost is not to be made anew from a segment in the middle: no rule would
        // see it.
        node.bed
            .client()
            .set_sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")
            .expect("be strict");
        let pairs = [(); 3].map(|()| node.pair(REDIRECT));
        direct_all(&node, &pairs);
        let flows = [Talk::Both, Talk::ClientOnly, Talk::ServerOnly].into_iter().zip(&pairs);
        let before: Vec<u64> = pairs.iter().map(by_tcp).collect();
        let (started, mut rounds) = (Instant::now(), 0);
        while started.elapsed() < TIMEOUT * 5 / 2 {
            for (talk, pair) in flows.clone() {
                talk.round(pair, rounds);
            }
            rounds += 1;
            // Time has to pass here; nothing is waited for.
            std::thread::sleep(Duration::from_millis(50));
        }
        for ((talk, pair), before) in flows.zip(before) {
            let refreshed = by_tcp(pair) - before;
            assert!(refreshed > 0, "{talk:?}: nothing went by TCP in {rounds} rounds");
            assert!(
                refreshed <= rounds * 2000 / 5,
                "{talk:?}: {refreshed} bytes went by TCP in {rounds} rounds"
            );
        }
        // All at once: the others' entries would expire while the first is looked at.
        std::thread::scope(|scope| {
            for pair in &pairs {
                scope.spawn(|| everything_still_arrives(pair));
            }
        });
    });
}

/// Which end sends in a flow that is direct for long.
#[derive(Debug, Clone, Copy)]
enum Talk {
    Both,
    ClientOnly,
    ServerOnly,
}

impl Talk {
    fn round(self, pair: &Pair, round: u64) {
        let pattern = Pattern { seed: round };
        // One message of one size: nothing but a refresh goes by TCP.
        let pass = |from: &TcpStream, to| {
            write_fully(from, &pattern.bytes(0, 1000))
                .unwrap_or_else(|error| panic!("{self:?}, round {round}: {error}"));
            receive(to, pattern, 0..1000, 1000);
        };
        if !matches!(self, Talk::ServerOnly) {
            pass(&pair.client, &pair.server);
        }
        if !matches!(self, Talk::ClientOnly) {
            pass(&pair.server, &pair.client);
        }
    }
}

/// Bytes by TCP and both FINs.
fn everything_still_arrives(pair: &Pair) {
    // More than a lane may redirect to a reader that does not read: the rest goes by TCP.
    let (pattern, length, before) = (Pattern { seed: 18 }, 4 << 20, by_tcp(pair));
    std::thread::scope(|scope| {
        scope.spawn(|| send(&pair.client, pattern, 0..length, 64 << 10));
        eventually("bytes go by TCP", || (by_tcp(pair) > before).then_some(()));
        receive(&pair.server, pattern, 0..length, 64 << 10);
    });
    pair.client.shutdown(std::net::Shutdown::Write).expect("shut down");
    expect_end(&pair.server);
    pair.server.shutdown(std::net::Shutdown::Write).expect("shut down");
    expect_end(&pair.client);
}
