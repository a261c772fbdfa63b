//! The binary of today takes over from those of earlier states, as an upgrade does it.
//!
//! `vm-tests/previous` names the states and `.ci/previous` builds them. `docs/upgrading.md` says
//! what operators can rely on.

use std::path::{Path, PathBuf};

use testkit::agent::binary;
use testkit::eventually;
use testkit::isolation::isolated;
use testkit::load::under_load;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, REDIRECT, VETH};
use testkit::pattern::Pattern;
use testkit::tier;
use testkit::traffic::{
    by_tcp, direct, direct_all, exchange, receive, send, small_talk, until_direct,
};

/// Less than a receiver lets a lane redirect in any case.
const UNREAD: u64 = 20_000;
const THERE: Pattern = Pattern { seed: 90 };

/// The binary of an earlier state with these records. None in a clone without history, which cannot
/// build it: `.ci/run` says so at its end, and sets the variable.
fn previous(abi: u32) -> Option<PathBuf> {
    tier::only_in(&["applications"]);
    if std::env::var_os("SHUNT_NO_HISTORY").is_some() {
        return None;
    }
    let listed = include_str!("../previous").lines().filter(|line| !line.starts_with('#'));
    let (commit, _) = listed
        .filter_map(|line| line.split_once(' '))
        .find(|(_, rest)| rest.split(' ').next() == Some(&abi.to_string()))
        .expect("vm-tests/previous has a state with this ABI");
    // target/TRIPLE/PROFILE/shunt
    let target = Path::new(binary()).ancestors().nth(3).expect("the target folder");
    let previous = target.join("previous").join(commit).join("shunt");
    assert!(previous.is_file(), "{} is missing: run .ci/previous", previous.display());
    Some(previous)
}

/// A node with an agent of an earlier state, flows that are used, and flows with unread bytes.
fn before_the_upgrade(previous: &Path) -> (Node, Vec<Pair>, Vec<Pair>) {
    let node = Node::start_by(previous);
    let flows = || -> Vec<Pair> {
        let pairs: Vec<Pair> = [LOOPBACK, VETH, REDIRECT].map(|path| node.pair(path)).into();
        direct_all(&node, &pairs);
        pairs
    };
    let (busy, waiting) = (flows(), flows());
    let redirected = node.redirected();
    waiting.iter().for_each(|pair| send(&pair.client, THERE, 0..UNREAD, 5_000));
    assert!(node.redirected() > redirected, "nothing direct to lose");
    (node, busy, waiting)
}

/// Replaces the agent while flows and new connections are in use.
fn upgrade(node: &mut Node, busy: &[Pair]) {
    let services = [LOOPBACK, REDIRECT].map(|path| node.listen(path));
    let agent = &mut node.agent;
    under_load(&node.bed, busy, &services, |load| {
        load.progress();
        let status = agent.replace(&[]).wait().expect("wait for the agent before");
        assert_eq!(status.code(), Some(0), "it ended with {status}");
        load.progress();
    });
}

#[test]
fn an_upgrade_from_an_earlier_binary_with_the_same_records_leaves_flows_direct_and_whole() {
    isolated(|| {
        let Some(previous) = previous(tcp_shunt::datapath::ABI) else { return };
        let (mut node, busy, waiting) = before_the_upgrade(&previous);
        upgrade(&mut node, &busy);
        assert_eq!(node.agent.states(), ["running"], "another generation was made");
        for pair in &waiting {
            receive(&pair.server, THERE, 0..UNREAD, 10_000);
        }
        for pair in busy.iter().chain(&waiting) {
            direct(&node, pair);
            let before = by_tcp(pair);
            exchange(pair, 91, 1000, 1000);
            assert_eq!(by_tcp(pair), before, "messages go by TCP");
        }
    });
}

#[test]
fn an_upgrade_from_an_earlier_binary_with_other_records_drains_its_flows_and_loses_nothing() {
    isolated(|| {
        let Some(previous) = previous(6) else { return };
        let (mut node, busy, waiting) = before_the_upgrade(&previous);
        upgrade(&mut node, &busy);
        assert_eq!(node.agent.states(), ["draining", "running"]);
        // What is new is accelerated at once.
        direct(&node, &node.pair(VETH));
        for pair in &waiting {
            send(&pair.client, THERE, UNREAD..2 * UNREAD, 5_000);
            receive(&pair.server, THERE, 0..2 * UNREAD, 10_000);
        }
        eventually("nothing is left of the earlier state", || {
            // A socket leaves at its next segment.
            busy.iter().chain(&waiting).for_each(small_talk);
            (node.agent.states() == ["running"]).then_some(())
        });
        assert!(!node.agent.pins().join("1").exists());
        for pair in busy.iter().chain(&waiting) {
            exchange(pair, 92, 1000, 1000);
        }
        // Who goes on is accelerated again.
        until_direct(&node.agent, &busy);
    });
}
