//! An agent can be stopped without taking the datapath away.

use nix::sys::signal::Signal;

use testkit::agent::run;
use testkit::isolation::isolated;
use testkit::node::Node;
use testkit::path::VETH;
use testkit::traffic::{direct, exchange, small_talk};

#[test]
fn what_an_agent_keeps_goes_on_without_it_until_it_is_detached() {
    isolated(|| {
        let mut node = Node::start_with(&["--refresh", "3600", "--keep"]);
        let before = node.pair(VETH);
        direct(&node, &before);
        exchange(&before, 70, 1000, 1000);
        node.agent.signal(Signal::SIGTERM);
        assert_eq!(node.agent.wait().code(), Some(0));

        let redirected = node.stats().counter("direct_messages");
        exchange(&before, 71, 1000, 1000);
        assert!(node.stats().counter("direct_messages") >= redirected + 2, "{:?}", node.stats());
        // Nobody enrols it now.
        let between = node.pair(VETH);
        for _ in 0..10 {
            small_talk(&between);
        }
        assert_eq!(node.stats().counter("paired"), 1);

        // The next agent does, and enrols what has come in between.
        node.agent.replace(&[]).wait().expect("it has ended before");
        direct(&node, &between);
        exchange(&before, 72, 1000, 1000);
        let redirected = node.stats().counter("direct_messages");
        node.agent.signal(Signal::SIGTERM);
        assert_eq!(node.agent.wait().code(), Some(0));
        for pair in [&before, &between] {
            exchange(pair, 73, 1000, 1000);
        }
        assert!(node.stats().counter("direct_messages") >= redirected + 4, "{:?}", node.stats());

        let detached = run(&["detach", "--name", node.agent.name()]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
        for pair in [&before, &between] {
            exchange(pair, 74, 1000, 1000);
        }
        node.agent.assert_nothing_pinned();
    });
}
