//! Nothing stays behind, and a full map only means plain TCP.

use std::net::{Shutdown, TcpStream};
use std::thread;

use testkit::isolation::isolated;
use testkit::node::{Node, Pair, Service};
use testkit::path::{Family, LOOPBACK, Path, Route, VETH};
use testkit::pattern::Pattern;
use testkit::socket::reset;
use testkit::traffic::{direct, exchange, read_exactly, receive, send, write_fully};
use testkit::{eventually, share_of};

const REQUEST: Pattern = Pattern { seed: 40 };
const RESPONSE: Pattern = Pattern { seed: 41 };

#[test]
fn a_hundred_thousand_short_connections_leave_nothing_in_any_map() {
    isolated(|| {
        let node = Node::start();
        let before = node.stats();
        let loopback_v6 = Path { family: Family::V6, route: Route::Loopback };
        let services: Vec<Service> = [LOOPBACK, loopback_v6, LOOPBACK, loopback_v6]
            .into_iter()
            .map(|path| node.listen(path))
            .collect();
        let each = share_of(100_000) / services.len();
        node.in_client(|| {
            thread::scope(|scope| {
                for service in &services {
                    scope.spawn(move || (0..each).for_each(|_| answer(service.accept())));
                    scope
                        .spawn(move || (0..each).for_each(|number| ask(service.connect(), number)));
                }
            });
        });
        let grown = |counter| node.stats().counter(counter) - before.counter(counter);
        let all = (each * services.len()) as u64;
        let (candidates, paired) = (grown("candidates"), grown("paired"));
        println!("{candidates} candidates and {paired} pairs of {all} connections");
        assert!(paired > all / LONG / 2, "{paired} of {all} were paired");
        assert!(
            candidates < all / 4,
            "{candidates} candidates of {all} connections that hardly go on"
        );
        assert_eq!((grown("no_hint"), grown("no_client")), (0, 0));
        node.nothing_is_enrolled();
    });
}

/// One of so many connections goes on, so that it is enrolled.
const LONG: u64 = 200;
/// For so many requests: this process could splice, and shows by 256 reads at each end that it does
/// not.
const REQUESTS: usize = 1200;

fn ask(client: TcpStream, number: usize) {
    if (number as u64).is_multiple_of(LONG) {
        for _ in 0..REQUESTS {
            send(&client, REQUEST, 0..100, 100);
            receive(&client, RESPONSE, 0..100, 100);
        }
    }
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
    // The client may have reset the connection at any point.
    while read_exactly(&server, &mut [0; 100]).is_ok() {
        let _ = write_fully(&server, &RESPONSE.bytes(0, 100));
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
            pairs.extend(
                (0..64).map(|_| Pair { client: node.connect(&service), server: service.accept() }),
            );
        }
        let mut round = 0;
        eventually("some are direct and some find no room", || {
            for (number, pair) in pairs.iter().enumerate() {
                exchange(pair, round << 32 | number as u64, 1000, 2000);
            }
            round += 1;
            let stats = node.stats();
            ["socks_full", "paired", "direct_bytes"]
                .iter()
                .all(|name| stats.counter(name) > 0)
                .then_some(())
        });

        // Room that is given back is used again.
        drop(pairs);
        eventually("the maps are empty", || (node.stats().entries("socks") == 0).then_some(()));
        direct(&node, &node.pair(VETH));
    });
}
