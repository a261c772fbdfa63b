//! An agent can be stopped without taking the datapath away.

use nix::sys::signal::Signal;

use crate::harness::agent::run;
use crate::harness::isolation::isolated;
use crate::harness::node::Node;
use crate::harness::path::VETH;
use crate::harness::traffic::{exchange, warm_up};

#[test]
fn what_an_agent_keeps_goes_on_without_it_until_it_is_detached() {
    isolated(|| {
        let mut node = Node::start_with(&["--refresh", "3600", "--keep"]);
        let before = node.pair(VETH);
        warm_up(&before);
        exchange(&before, 70, 1000, 1000);
        node.agent.signal(Signal::SIGTERM);
        assert_eq!(node.agent.wait().code(), Some(0));

        let direct = node.stats().counter("direct_messages");
        exchange(&before, 71, 1000, 1000);
        let after = node.pair(VETH);
        warm_up(&after);
        exchange(&after, 72, 1000, 1000);
        assert_eq!(node.stats().counter("paired"), 2);
        assert!(node.stats().counter("direct_messages") >= direct + 4, "{:?}", node.stats());

        let detached = run(&["detach", "--name", node.agent.name(), "--wait", "30"]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
        exchange(&before, 73, 1000, 1000);
        node.agent.assert_nothing_pinned();
    });
}
