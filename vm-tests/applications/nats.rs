//! NATS, a Go program: it has the system call splice, and shows that it does not use it.

use testkit::isolation::isolated;
use testkit::program::{command, source};
use testkit::stage::{Host, same_over_both};

#[test]
fn nats_passes_requests_and_answers_on_between_subscribers() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let server = command("nats-server", ["-a", "10.77.0.2", "-p", "4222"]);
            let _nats = stage.serve(Host::Server, server, 4222);
            let mut client = command("python3", [source("nats.py")]);
            client.args(["10.77.0.2", "4222"]);
            stage.run(Host::Client, client)
        });
        toll.assert_direct(5000, 0.6);
    });
}
