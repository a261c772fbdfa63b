//! Nothing stays behind, and a full map only means plain TCP.

use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::harness::isolation::isolated;
use crate::harness::node::{Node, Pair, Service};
use crate::harness::path::{Family, LOOPBACK, Path, Route, VETH};
use crate::harness::pattern::Pattern;
use crate::harness::socket::reset;
use crate::harness::traffic::{exchange, receive, send};
use crate::harness::{eventually, share_of};

const REQUEST: Pattern = Pattern { seed: 40 };
const RESPONSE: Pattern = Pattern { seed: 41 };

#[test]
fn a_hundred_thousand_short_connections_leave_nothing_in_any_map() {
    isolated(|| {
        let node = Node::start();
        let before = node.stats();
        let loopback_v6 = Path { family: Family::V6, route: Route::Loopback };
        let services: Vec<Service> =
            [LOOPBACK, loopback_v6, LOOPBACK, loopback_v6].into_iter().map(|path| node.listen(path)).collect();
        let each = share_of(100_000) / services.len();
        node.in_client(|| {
            thread::scope(|scope| {
                for service in &services {
                    scope.spawn(move || (0..each).for_each(|_| answer(service.accept())));
                    scope.spawn(move || (0..each).for_each(|number| ask(service.connect(), number)));
                }
            });
        });
        let paired = node.stats().counter("paired") - before.counter("paired");
        let all = (each * services.len()) as u64;
        assert!(paired * 1000 >= all * 999, "{paired} of {all} were paired");
        eventually("every map is back to where it was", || {
            let now = node.stats();
            (now.maps() == before.maps()).then_some(()).or_else(|| {
                eprintln!("{:?}", now.maps());
                None
            })
        });
    });
}

fn ask(client: TcpStream, number: usize) {
    send(&client, REQUEST, 0..100, 100);
    match number % 3 {
        // Without waiting for the answer.
        0 => drop(client),
        1 => reset(client),
        _ => {
            receive(&client, RESPONSE, 0..100, 100);
            client.shutdown(Shutdown::Write).expect("shut down");
        }
    }
}

fn answer(server: TcpStream) {
    use std::io::{Read, Write};
    // The client may have reset the connection at any point.
    if (&server).read_exact(&mut [0; 100]).is_ok() {
        let _ = (&server).write_all(&RESPONSE.bytes(0, 100));
    }
}

#[test]
fn more_connections_than_the_maps_hold_all_work() {
    isolated(|| {
        let node = Node::start_with(&["--refresh", "3600", "--max-flows", "4"]);
        let paths = [LOOPBACK, VETH, Path { family: Family::V6, route: Route::Veth }];
        let mut pairs: Vec<Pair> = Vec::new();
        for path in paths {
            let service = node.listen(path);
            pairs.extend((0..64).map(|_| Pair { client: node.connect(&service), server: service.accept() }));
        }
        for round in 0..5 {
            for (number, pair) in pairs.iter().enumerate() {
                exchange(pair, round << 32 | number as u64, 1000, 2000);
            }
        }
        let stats = node.stats();
        assert!(stats.counter("socks_full") > 0, "{stats:?}");
        assert!(stats.counter("paired") > 0, "{stats:?}");
        assert!(stats.counter("direct_bytes") > 0, "{stats:?}");

        // Room that is given back is used again.
        drop(pairs);
        eventually("the maps are empty", || (node.stats().entries("socks") == 0).then_some(()));
        let before = node.stats().counter("paired");
        let pair = node.pair(VETH);
        exchange(&pair, 42, 1000, 1000);
        assert_eq!(node.stats().counter("paired"), before + 1);
    });
}
