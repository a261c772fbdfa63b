//! One agent takes over from another, and no application can tell.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;
use syscalls::{Link, Map, Prog, Update};
use tcp_shunt::bed::Cgroup;
use tcp_shunt::datapath::ABI;

use testkit::agent::{Agent, run};
use testkit::isolation::isolated;
use testkit::load::under_load;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, REDIRECT, VETH};
use testkit::pattern::Pattern;
use testkit::traffic::{
    both_ways, by_tcp, direct, direct_all, exchange, receive, send, small_talk, until_direct,
};
use testkit::{eventually, share_of};

/// Less than a receiver lets a lane redirect in any case.
const UNREAD: u64 = 20_000;
const THERE: Pattern = Pattern { seed: 70 };

fn settled(node: &Node) -> Vec<Pair> {
    let pairs: Vec<Pair> = [LOOPBACK, VETH, REDIRECT].map(|path| node.pair(path)).into();
    direct_all(node, &pairs);
    pairs
}

fn hold_unread_bytes(node: &Node, pairs: &[Pair]) {
    for pair in pairs {
        send(&pair.client, THERE, 0..UNREAD, 5_000);
        let flow = node.flow_of(&pair.client).expect("the flow is listed");
        assert!(
            flow.server.as_ref().is_some_and(|end| end.direct_unread),
            "nothing direct to lose: {flow:?}"
        );
    }
}

fn assert_direct(node: &Node, pair: &Pair) {
    direct(node, pair);
    let before = by_tcp(pair);
    exchange(pair, 71, 1000, 1000);
    assert_eq!(by_tcp(pair), before, "messages go by TCP");
}

/// Makes what an agent has pinned look like another version's.
fn of_another_version(agent: &Agent, generation: u32) {
    let about = Map::open_pinned(&agent.pins().join(generation.to_string()).join("about"))
        .expect("open the pinned map");
    let mut record = about.lookup(&[0; 4]).expect("look it up").expect("the only entry");
    assert_eq!(record[..4], ABI.to_ne_bytes());
    record[..4].copy_from_slice(&(ABI + 1).to_ne_bytes());
    about.update(&[0; 4], &record, Update::ANY).expect("write it");
}

/// The programs that are attached by links, which are those that are pinned.
fn attached(agent: &Agent, generation: u32) -> Vec<u32> {
    let dir = agent.pins().join(generation.to_string());
    let pinned = ["establish", "options", "send", "verdict"]
        .map(|name| (dir.join(format!("link_{name}")), dir.join(name)));
    // Not every kernel has links for programs of socket maps.
    let by_link = pinned.iter().filter(|(link, _)| link.exists());
    let programs = by_link.map(|(link, program)| {
        let attached =
            Link::open_pinned(link).and_then(|link| link.info()).expect("ask for the link").prog_id;
        let pinned = Prog::open_pinned(program)
            .and_then(|program| program.info())
            .expect("ask for the program")
            .id;
        assert_eq!(attached, pinned, "{}", link.display());
        attached
    });
    programs.collect()
}

#[test]
fn agents_that_replace_each_other_under_load_disturb_no_flow_and_miss_no_connection() {
    isolated(|| {
        let mut node = Node::start();
        let flows = settled(&node);
        let waiting = settled(&node);
        hold_unread_bytes(&node, &waiting);
        let services = [LOOPBACK, REDIRECT].map(|path| node.listen(path));
        let agent = &mut node.agent;
        under_load(&node.bed, &flows, &services, |load| {
            for _ in 0..share_of(20).clamp(2, 5) {
                load.progress();
                let programs = attached(agent, 1);
                let mut before = agent.replace(&[]);
                let status = before.wait().expect("wait for the agent before");
                assert_eq!(status.code(), Some(0), "it ended with {status}");
                assert_eq!(agent.states(), ["running"]);
                let replaced = attached(agent, 1);
                assert!(
                    replaced.iter().all(|program| !programs.contains(program)),
                    "{programs:?}, then {replaced:?}"
                );
            }
            load.progress();
        });
        let stats = node.stats();
        assert_eq!(
            (stats.counter("no_hint"), stats.counter("no_client")),
            (0, 0),
            "connections were missed: {stats:?}"
        );
        for pair in &waiting {
            receive(&pair.server, THERE, 0..UNREAD, 10_000);
        }
        for pair in flows.iter().chain(&waiting) {
            assert_direct(&node, pair);
        }
    });
}

#[test]
fn what_a_killed_agent_left_is_taken_over_with_its_flows() {
    isolated(|| {
        let mut node = Node::start();
        let flows = settled(&node);
        hold_unread_bytes(&node, &flows);
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        assert_eq!(node.agent.states(), ["orphaned"]);
        node.agent.replace(&[]).wait().expect("it has ended before");
        assert_eq!(node.agent.states(), ["running"]);
        for pair in &flows {
            receive(&pair.server, THERE, 0..UNREAD, 10_000);
            assert_direct(&node, pair);
        }
        assert_direct(&node, &node.pair(VETH));
    });
}

#[test]
fn a_successor_that_comes_while_an_agent_stops_begins_anew_and_nothing_is_lost() {
    isolated(|| {
        let mut node = Node::start();
        let flows = settled(&node);
        hold_unread_bytes(&node, &flows);
        node.agent.signal(Signal::SIGTERM);
        let status = node.agent.replace(&[]).wait().expect("wait for the agent before");
        assert_eq!(status.code(), Some(0), "it ended with {status}");
        assert_eq!(node.agent.states(), ["running"]);
        for pair in &flows {
            receive(&pair.server, THERE, 0..UNREAD, 10_000);
            both_ways(pair, 72, 1 << 20, 50_000);
        }
        assert_direct(&node, &node.pair(VETH));
    });
}

#[test]
fn what_another_version_left_drains_beside_its_successor_and_loses_nothing() {
    isolated(|| {
        let mut node = Node::start();
        let flows = settled(&node);
        let waiting = settled(&node);
        hold_unread_bytes(&node, &waiting);
        of_another_version(&node.agent, 1);
        let services = [LOOPBACK, REDIRECT].map(|path| node.listen(path));
        let agent = &mut node.agent;
        under_load(&node.bed, &flows, &services, |load| {
            load.progress();
            let status = agent.replace(&[]).wait().expect("wait for the agent before");
            assert_eq!(status.code(), Some(0), "it ended with {status}");
            load.progress();
        });
        assert_eq!(node.agent.states(), ["draining", "running"]);
        assert_direct(&node, &node.pair(VETH));
        for pair in &waiting {
            both_ways_behind(pair);
        }
        eventually("nothing is left of the other version", || {
            // A socket leaves at its next segment.
            flows.iter().chain(&waiting).for_each(small_talk);
            (node.agent.states() == ["running"]).then_some(())
        });
        assert!(!node.agent.pins().join("1").exists());
        for pair in flows.iter().chain(&waiting) {
            exchange(pair, 73, 1000, 1000);
        }
    });
}

/// Sends more behind what is unread, and reads all of it.
fn both_ways_behind(pair: &Pair) {
    send(&pair.client, THERE, UNREAD..2 * UNREAD, 5_000);
    receive(&pair.server, THERE, 0..2 * UNREAD, 10_000);
}

#[test]
fn maps_of_another_size_are_made_beside_and_a_stop_takes_both_away() {
    isolated(|| {
        let mut node = Node::start();
        let flows = settled(&node);
        hold_unread_bytes(&node, &flows);
        node.agent.replace(&["--max-flows", "1000"]).wait().expect("wait for the agent before");
        assert_eq!(node.agent.states(), ["draining", "running"]);
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        node.agent.replace(&["--max-flows", "1000"]).wait().expect("it has ended before");
        assert_eq!(node.agent.states(), ["draining", "running"]);
        node.agent.stop();
        for pair in &flows {
            receive(&pair.server, THERE, 0..UNREAD, 10_000);
            both_ways(pair, 74, 1 << 20, 50_000);
        }
    });
}

#[test]
fn a_successor_may_move_to_another_cgroup_and_goes_on_after_one_that_was_killed_half_way() {
    isolated(|| {
        let mut node = Node::start();
        let flows = settled(&node);
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        // Killed between pinning its program and putting it in the place of the one before.
        let pins = node.agent.pins().join("1");
        let program = Prog::open_pinned(&pins.join("send")).expect("open the pinned program");
        program.pin(&pins.join("new_send")).expect("pin it once more");

        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2)");
        node.agent.replace_on(cgroup.path()).wait().expect("it has ended before");
        assert!(!pins.join("new_send").exists());
        assert!(!attached(&node.agent, 1).is_empty());
        assert_direct(&node, &flows[0]);
        // The kernel lets go of a link whose pin is gone on a work queue.
        eventually("the cgroup before is left", || {
            let candidates = node.stats().counter("candidates");
            let pair = node.pair(LOOPBACK);
            (0..10).for_each(|_| small_talk(&pair));
            (node.stats().counter("candidates") == candidates).then_some(())
        });
        node.agent.replace_on(node.bed.cgroup().path()).wait().expect("wait for the agent before");
        drop(cgroup);
        until_direct(&node.agent, &[node.pair(LOOPBACK)]);
    });
}

#[test]
fn a_stopped_agent_keeps_its_instance_and_a_successor_that_died_asks_for_nothing() {
    isolated(|| {
        let mut node = Node::start();
        node.agent.signal(Signal::SIGSTOP);
        let mut successor = node.agent.successor(&[]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert!(successor.try_wait().expect("look at it").is_none(), "the successor does not wait");
        successor.kill().expect("kill it");
        successor.wait().expect("wait for it");
        node.agent.signal(Signal::SIGCONT);
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert!(node.agent.is_running(), "the agent handed over to nobody");
        assert_direct(&node, &node.pair(LOOPBACK));
        let refused = run(&["detach", "--name", node.agent.name()]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    });
}

#[test]
fn a_successor_whose_metrics_have_no_place_ends_and_the_agent_before_keeps_its_flows() {
    isolated(|| {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("taken");
        let taken = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = taken.local_addr().expect("an address").to_string();
        let by_path = UnixListener::bind(&path).expect("listen");
        let mut node = Node::start();
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);
        for place in [address, format!("unix:{}", path.display())] {
            let successor = node
                .agent
                .successor(&["--metrics", &place])
                .wait_with_output()
                .expect("wait for it");
            assert_eq!(successor.status.code(), Some(1), "{successor:?}");
            let said = String::from_utf8_lossy(&successor.stderr).into_owned();
            assert!(said.contains("choose another --metrics"), "{said}");
            assert!(node.agent.is_running(), "the agent has handed over to nobody");
            assert_eq!(node.agent.states(), ["running"]);
        }
        assert_direct(&node, &pair);
        drop((taken, by_path));
    });
}

#[test]
fn a_successor_takes_the_place_of_its_predecessor_s_metrics() {
    isolated(|| {
        let folder = tempfile::tempdir().expect("make a folder");
        let free = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("find a port");
        for place in [free.to_string(), format!("unix:{}", folder.path().join("metrics").display())]
        {
            let mut node = Node::start_with(&["--metrics", &place]);
            assert_eq!(node.agent.replace(&[]).wait().expect("it has ended").code(), Some(0));
            node.agent.has_logged("metrics at", 2);
            node.agent.stop();
        }
    });
}
