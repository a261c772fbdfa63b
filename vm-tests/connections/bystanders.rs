//! Connections whose other end is not on this node are left alone (H4).

use std::thread;

use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{Family, Path, Route};
use testkit::share_of;
use testkit::traffic::{both_ways, exchange};

#[test]
fn a_client_of_a_server_elsewhere_is_never_enrolled() {
    isolated(|| {
        let node = Node::start();
        let mut connections = 0;
        for family in [Family::V4, Family::V6] {
            for route in [Route::Loopback, Route::Veth, Route::Redirect, Route::Dnat] {
                // Outside the cgroup: for shunt it might as well be on another machine.
                let service = node.listen_outside(Path { family, route });
                let client = node.connect(&service);
                let pair = Pair { client, server: service.accept() };
                connections += 1;
                for round in 0..share_of(100) as u64 {
                    exchange(&pair, round, 1000, 10_000);
                    assert!(node.flow_of(&pair.client).is_none(), "enrolled in round {round}");
                }
                let stats = node.stats();
                assert_eq!(stats.counter("no_hint"), connections);
                assert_eq!(stats.entries("socks"), 0);
                both_ways(&pair, 13, 1 << 20, 50_000);
            }
        }
    });
}

#[test]
fn a_client_from_elsewhere_does_not_enrol_its_server() {
    isolated(|| {
        let node = Node::start();
        for family in [Family::V4, Family::V6] {
            let service = node.listen(Path { family, route: Route::Loopback });
            let client = node.outside_in_client(|| service.connect());
            let pair = Pair { client, server: service.accept() };
            exchange(&pair, 14, 1000, 10_000);
            both_ways(&pair, 14, 1 << 20, 50_000);
            let stats = node.stats();
            assert!(stats.counter("no_client") > 0);
            assert_eq!((stats.entries("socks"), stats.counter("paired")), (0, 0));
        }
    });
}

#[test]
fn clients_elsewhere_stay_unenrolled_while_others_are_accelerated_at_the_same_moment() {
    isolated(|| {
        let node = Node::start();
        let path = Path { family: Family::V4, route: Route::Loopback };
        let (near, far) = (node.listen(path), node.listen_outside(path));
        let far_clients = thread::scope(|scope| {
            let busy = scope.spawn(|| {
                node.in_client(|| {
                    for round in 0..500 {
                        exchange(
                            &Pair { client: near.connect(), server: near.accept() },
                            round,
                            500,
                            500,
                        );
                    }
                })
            });
            let clients: Vec<Pair> = node.in_client(|| {
                (0..500).map(|_| Pair { client: far.connect(), server: far.accept() }).collect()
            });
            for (round, pair) in clients.iter().enumerate() {
                exchange(pair, round as u64, 500, 500);
            }
            busy.join().expect("the accelerated connections");
            clients
        });
        let stats = node.stats();
        assert_eq!(stats.counter("no_client"), 0);
        assert_eq!(stats.counter("no_hint"), far_clients.len() as u64);
    });
}
