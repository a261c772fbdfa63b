//! Stopping, killing and restarting the agent loses nothing (H7).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use testkit::agent::run;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{Family, LOOPBACK, Path, REDIRECT, Route, VETH};
use testkit::pattern::Pattern;
use testkit::traffic::{
    both_ways, by_tcp, direct, direct_all, exchange, receive, receive_to_end, send,
};
use testkit::{SetOnDrop, eventually, share_of};

const PATHS: [Path; 4] =
    [LOOPBACK, VETH, REDIRECT, Path { family: Family::V6, route: Route::Veth }];
/// Less than a receiver lets a lane redirect in any case.
const UNREAD: u64 = 20_000;

/// Both directions of a flow: what is sent and by whom.
const THERE: Pattern = Pattern { seed: 20 };
const BACK: Pattern = Pattern { seed: 21 };

/// Flows with direct bytes that nobody has read yet, in both directions.
fn flows_with_unread_bytes(node: &Node) -> Vec<Pair> {
    let pairs: Vec<Pair> = PATHS.map(|path| node.pair(path)).into();
    direct_all(node, &pairs);
    for pair in &pairs {
        send(&pair.client, THERE, 0..UNREAD, 5_000);
        send(&pair.server, BACK, 0..UNREAD, 5_000);
        let flow = node.flow_of(&pair.client).expect("the flow is listed");
        for end in [flow.client.expect("a client"), flow.server.expect("a server")] {
            assert!(end.direct_unread, "nothing direct to lose: {end:?}");
        }
    }
    pairs
}

/// Writes a little more in both directions, behind what is unread. Returns how much is unread then.
fn write_more(pair: &Pair, by: u64) -> u64 {
    send(&pair.client, THERE, UNREAD..UNREAD + by, 5_000);
    send(&pair.server, BACK, UNREAD..UNREAD + by, 5_000);
    UNREAD + by
}

fn read_the_rest(pair: &Pair, end: u64) {
    receive(&pair.server, THERE, 0..end, 10_000);
    receive(&pair.client, BACK, 0..end, 10_000);
}

#[test]
fn a_stop_waits_for_nobody_and_loses_nothing() {
    isolated(|| {
        let mut node = Node::start();
        let pairs = flows_with_unread_bytes(&node);
        let begun = Instant::now();
        node.agent.stop();
        // A guest that is emulated has no such times.
        assert!(
            begun.elapsed() < Duration::from_secs(3) || share_of(100) < 100,
            "it took {:?}",
            begun.elapsed()
        );
        for pair in &pairs {
            let end = write_more(pair, 10_000);
            read_the_rest(pair, end);
        }
        // The connections go on as if shunt had never been there.
        for pair in &pairs {
            let before = by_tcp(pair);
            exchange(pair, 22, 1000, 1000);
            // More when a segment was sent twice.
            assert!(by_tcp(pair) >= before + 2000);
            both_ways(pair, 22, 2 << 20, 50_000);
        }
    });
}

#[test]
fn what_is_sent_and_read_while_an_agent_stops_arrives() {
    isolated(|| {
        for _ in 0..3 {
            let mut node = Node::start();
            let pairs = flows_with_unread_bytes(&node);
            node.agent.signal(Signal::SIGTERM);
            for pair in &pairs {
                let end = write_more(pair, 10_000);
                read_the_rest(pair, end);
                both_ways(pair, 29, 1 << 20, 50_000);
            }
            let status = node.agent.wait();
            assert_eq!(status.code(), Some(0), "{status}");
            for pair in &pairs {
                both_ways(pair, 30, 1 << 20, 50_000);
            }
        }
    });
}

#[test]
fn a_second_stop_signal_changes_nothing() {
    isolated(|| {
        let mut node = Node::start();
        let pairs = flows_with_unread_bytes(&node);
        node.agent.signal(Signal::SIGTERM);
        node.agent.signal(Signal::SIGTERM);
        node.agent.signal(Signal::SIGINT);
        let status = node.agent.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        node.agent.assert_nothing_pinned();
        for pair in &pairs {
            read_the_rest(pair, UNREAD);
            both_ways(pair, 23, 2 << 20, 50_000);
        }
    });
}

#[test]
fn a_killed_agent_disturbs_no_traffic_and_detach_removes_what_it_left_without_loss() {
    isolated(|| {
        let mut node = Node::start();
        let waiting = flows_with_unread_bytes(&node);
        let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
        let progress = |by: u64| {
            let goal = rounds.load(Ordering::Relaxed) + by;
            eventually("traffic goes on", || {
                (rounds.load(Ordering::Relaxed) >= goal).then_some(())
            });
        };
        let busy = [LOOPBACK, VETH].map(|path| node.pair(path));
        direct_all(&node, &busy);
        thread::scope(|scope| {
            // Set also when something below fails: the scope waits for its threads.
            let stopped = SetOnDrop(&stop);
            for pair in &busy {
                scope.spawn(|| {
                    let mut round = 0;
                    while !stop.load(Ordering::Relaxed) {
                        exchange(pair, round, 1000, 20_000);
                        round += 1;
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            progress(100);
            node.agent.signal(Signal::SIGKILL);
            node.agent.wait();
            progress(100);
            let young = node.pair(VETH);
            both_ways(&young, 24, 1 << 20, 50_000);

            let detached = run(&["detach", "--name", node.agent.name()]);
            assert_eq!(detached.status.code(), Some(0), "{detached:?}");
            for pair in &waiting {
                let end = write_more(pair, 10_000);
                read_the_rest(pair, end);
            }
            node.agent.assert_nothing_pinned();
            progress(100);
            drop(stopped);
        });
        for pair in waiting.iter().chain(&busy) {
            both_ways(pair, 25, 1 << 20, 50_000);
        }
    });
}

#[test]
fn a_stop_under_load_loses_nothing() {
    isolated(|| {
        for _ in 0..3 {
            // A reader that keeps up gets bytes by TCP only at refreshes: one a second.
            let mut node = Node::start_with(&["--refresh", "1"]);
            let pairs = PATHS.map(|path| node.pair(path));
            direct_all(&node, &pairs);
            let before = by_tcp(&pairs[0]);
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                // Set also when something below fails: the scope waits for its threads.
                let stopped = SetOnDrop(&stop);
                for pair in &pairs {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            both_ways(pair, 26, share_of(64 << 20) as u64, 100_000);
                        }
                    });
                }
                eventually("the transfers go both ways", || {
                    (by_tcp(&pairs[0]) > before).then_some(())
                });
                node.agent.stop();
                drop(stopped);
            });
            for pair in &pairs {
                exchange(pair, 27, 1000, 1000);
            }
        }
    });
}

#[test]
fn bytes_unread_on_closed_connections_are_not_lost_by_a_stop() {
    isolated(|| {
        let mut node = Node::start();
        let pairs = flows_with_unread_bytes(&node);
        for pair in &pairs {
            pair.client.shutdown(std::net::Shutdown::Write).expect("shut down");
            pair.server.shutdown(std::net::Shutdown::Write).expect("shut down");
        }
        node.agent.stop();
        for pair in &pairs {
            assert_eq!(receive_to_end(&pair.server, THERE, 0), (UNREAD, Ok(())));
            assert_eq!(receive_to_end(&pair.client, BACK, 0), (UNREAD, Ok(())));
        }
    });
}

#[test]
fn a_name_that_is_running_is_refused_and_its_agent_goes_on() {
    isolated(|| {
        let node = Node::start();
        let cgroup = node.bed.cgroup().path().to_str().expect("a path in UTF-8");
        let refused = run(&["run", "--name", node.agent.name(), "--cgroup", cgroup]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(text.contains(node.agent.name()), "{text}");
        direct(&node, &node.pair(LOOPBACK));
    });
}

#[test]
fn what_a_killed_agent_left_is_refused_or_taken_over_but_never_lost() {
    isolated(|| {
        let mut node = Node::start();
        let pairs = flows_with_unread_bytes(&node);
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        // Another agent under another name on the same cgroup would disturb them.
        let cgroup = node.bed.cgroup().path().to_str().expect("text");
        let other = run(&["run", "--name", "another", "--cgroup", cgroup]);
        let said = String::from_utf8_lossy(&other.stderr);
        assert!(other.status.code() == Some(1) && said.contains(node.agent.name()), "{other:?}");
        let young = node.pair(VETH);
        both_ways(&young, 28, 1 << 20, 50_000);
        drop(young);
        for pair in &pairs {
            read_the_rest(pair, UNREAD);
        }
        let detached = run(&["detach", "--name", node.agent.name()]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
    });
}
