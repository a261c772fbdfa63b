//! Flows are direct in both lanes, however their two ends are joined.

use std::time::Duration;

use testkit::isolation::isolated;
use testkit::naming;
use testkit::node::{Node, Pair};
use testkit::path::Path;
use testkit::pattern::Dice;
use testkit::report::{Mode, canonical};
use testkit::socket::TcpInfo;
use testkit::traffic::{by_tcp, direct, direct_over_every_path, exchange};

const ROUNDS: u64 = 50;
const LONGEST: usize = 16 << 10;

#[test]
fn requests_and_responses_are_direct_over_every_path() {
    isolated(|| {
        let node = Node::start();
        let pairs = direct_over_every_path(&node);
        assert_eq!(node.stats().counter("paired"), pairs.len() as u64);
        for (path, pair) in pairs {
            naming(format!("on {path}"), || requests_and_responses_are_direct(&node, path, &pair));
        }
    });
}

fn requests_and_responses_are_direct(node: &Node, path: Path, pair: &Pair) {
    let before = node.stats();
    let by_tcp_before = by_tcp(pair);
    let mut dice = Dice(1);
    let (mut requests, mut responses) = (0, 0);
    for round in 0..ROUNDS {
        let (request, response) = (dice.length(LONGEST), dice.length(LONGEST));
        exchange(pair, round, request, response);
        requests += request as u64;
        responses += response as u64;
    }
    let grown = by_tcp(pair) - by_tcp_before;
    // A refresh is one message by TCP, and what follows it before it has been read.
    let after = node.stats();
    let counted = |name| after.counter(name) - before.counter(name);
    assert_eq!(counted("memory_gate"), 0, "{after:?}");
    let allowed = counted("refresh") * 2 * LONGEST as u64;
    assert!(grown <= allowed, "the kernel sent {grown} bytes by TCP: {after:?}");
    assert!(counted("direct_bytes") + grown >= requests + responses, "{after:?}");

    let flow = node.flow_of(&pair.client).expect("the flow is listed");
    let client = flow.client.expect("the client is enrolled");
    let server = flow.server.expect("the server is enrolled");
    for (end, socket, bytes) in
        [(&client, &pair.client, requests), (&server, &pair.server, responses)]
    {
        assert!(end.direct_messages >= ROUNDS / 2, "{end:?}");
        assert!(end.direct_bytes + grown >= bytes, "{end:?}");
        assert_eq!(end.tcp_bytes, TcpInfo::of(socket).bytes_sent());
        assert!(!end.direct_unread && end.tcp_unread == 0, "{end:?}");
        assert_eq!(canonical(end.local), canonical(socket.local_addr().expect("an address")));
        assert_eq!(canonical(end.remote), canonical(socket.peer_addr().expect("an address")));
        assert_eq!(end.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    }
    assert_eq!(client.netns == server.netns, path.stays_at_the_client());
}

#[test]
fn a_connection_that_pauses_between_its_messages_is_a_candidate_with_the_fourth_each_way() {
    isolated(|| {
        let node = Node::start();
        let pair = node.pair(testkit::path::VETH);
        for round in 0..4 {
            // Several ticks of any kernel's clock.
            std::thread::sleep(Duration::from_millis(100));
            assert!(
                round >= 2 || node.stats().counter("candidates") == 0,
                "after {round} exchanges"
            );
            exchange(&pair, round, 1, 1);
        }
        assert_eq!(node.stats().counter("candidates"), 2);
    });
}

#[test]
fn a_connection_that_ends_after_a_few_messages_without_a_pause_is_no_candidate() {
    isolated(|| {
        let node = Node::start();
        for _ in 0..20 {
            let pair = node.pair(testkit::path::LOOPBACK);
            (0..4).for_each(|round| exchange(&pair, round, 1, 1));
        }
        // A tick may fall between two messages, more often on a machine that is slow.
        let candidates = node.stats().counter("candidates");
        assert!(candidates <= 30, "{candidates} of 40 ends");
    });
}

#[test]
fn a_flow_that_has_ended_is_no_longer_listed() {
    isolated(|| {
        let node = Node::start();
        let pair = node.pair(testkit::path::VETH);
        direct(&node, &pair);
        let client = pair.client.try_clone().expect("duplicate the client's descriptor");
        assert!(node.flow_of(&client).is_some());
        client.shutdown(std::net::Shutdown::Both).expect("shut down");
        drop(pair);
        drop(client);
        testkit::eventually("the flow is gone", || node.agent.flows().is_empty().then_some(()));
    });
}

#[test]
fn two_agents_on_two_cgroups_accelerate_only_their_own_connections() {
    isolated(|| {
        let nodes = [Node::start(), Node::start()];
        for (turn, node) in nodes.iter().enumerate() {
            let others = |counter: &str| nodes[1 - turn].stats().counter(counter);
            let before = (others("paired"), others("no_hint"));
            let pair = node.pair(testkit::path::VETH);
            direct(node, &pair);
            exchange(&pair, 2, 1000, 1000);
            let flow = node.flow_of(&pair.client).expect("the flow is listed");
            assert!(flow.client.is_some_and(|end| end.mode == Mode::Direct));
            assert!(flow.server.is_some_and(|end| end.mode == Mode::Direct));
            assert_eq!((others("paired"), others("no_hint")), before);
        }
    });
}
