//! memcached, which hands connections from the thread that accepts them to others.

use testkit::isolation::isolated;
use testkit::program::{command, source};
use testkit::stage::{Host, same_over_both};

#[test]
fn memcached_gives_back_what_it_was_given() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let server = command("memcached", ["-u", "root", "-l", "10.77.0.2", "-m", "256"]);
            let _memcached = stage.serve(Host::Server, server, 11211);
            let mut client = command("python3", [source("memcached.py")]);
            client.args(["10.77.0.2", "11211"]);
            stage.run(Host::Client, client)
        });
        toll.assert_direct(5000, 0.5);
    });
}
