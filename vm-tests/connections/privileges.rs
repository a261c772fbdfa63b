//! The agent runs with few capabilities, and keeps no others when it is given more.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities,
};
use tcp_shunt::bed::Bed;

use testkit::agent::{Agent, run};
use testkit::isolation::isolated;
use testkit::node::Node;
use testkit::node::Pair;
use testkit::path::{Path, VETH, ready_for_tests};
use testkit::traffic::{direct, small_talk, until_direct};

const NEEDED: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);
/// With these it sees how processes read that may do more than it.
const SEEING: CapabilitySet = NEEDED.union(CapabilitySet::SYS_PTRACE);

/// Runs `work` on a thread whose programs, though root's, get these capabilities and no others.
fn confined_to<T: Send>(allowed: CapabilitySet, work: impl FnOnce() -> T + Send) -> T {
    let confined = || {
        // As a unit or a runtime would: kernels before 5.11 charge maps to this limit, and later
        // ones need none, nor the right to raise it.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let held = capabilities(None).expect("ask for capabilities").permitted;
        for one in held.iter().filter(|one| !allowed.contains(*one)) {
            remove_capability_from_bounding_set(one)
                .expect("make the bounding set smaller (as root)");
        }
        let sets = CapabilitySets {
            effective: allowed,
            permitted: allowed,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).expect("give up capabilities");
        work()
    };
    thread::scope(|scope| scope.spawn(confined).join().expect("the confined thread"))
}

/// What `/proc/PID/task/*/status` says of a field, of all threads.
fn of_all_threads(agent: &Agent, field: &str) -> BTreeSet<String> {
    let tasks =
        fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("list the agent's threads");
    let statuses = tasks.map(|task| {
        fs::read_to_string(task.expect("a thread").path().join("status")).expect("read its status")
    });
    let value = |status: String| {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{field} is not in {status}")).trim().to_owned()
    };
    statuses.map(value).collect()
}

fn assert_every_thread(agent: &Agent, field: &str, value: &str) {
    assert_eq!(of_all_threads(agent, field), BTreeSet::from([value.to_owned()]), "{field}");
}

fn assert_confined(agent: &Agent, capabilities: CapabilitySet) {
    let kept = format!("{:016x}", capabilities.bits());
    for field in ["CapEff", "CapPrm"] {
        assert_every_thread(agent, field, &kept);
    }
    for field in ["CapInh", "CapAmb"] {
        assert_every_thread(agent, field, "0000000000000000");
    }
    assert_every_thread(agent, "NoNewPrivs", "1");
}

/// An agent with these capabilities and no others in the namespace of a bed's client, and a
/// connection of this process, which has all.
fn confined(capabilities: CapabilitySet) -> (Bed, Agent, Pair) {
    let mut bed = Bed::new().expect("make a bed (as root, with cgroup v2)");
    Path::prepare(&mut bed).expect("write the NAT rules");
    // It cannot make a namespace to try things out in, so it does that where it is: there has to be
    // a loopback device that is up.
    let start = || Agent::start(bed.cgroup().path(), &["--refresh", "3600"]);
    let agent = bed
        .client()
        .run(|| confined_to(capabilities, start))
        .expect("enter the client's namespace");
    assert_confined(&agent, capabilities);

    let listener = bed.in_server(|| VETH.bind()).expect("enter the server").expect("listen");
    let target = VETH.target(&listener).expect("an address");
    let client = bed
        .in_client(|| std::net::TcpStream::connect(target))
        .expect("enter the client")
        .expect("connect");
    let (server, _) = listener.accept().expect("accept");
    for end in [&client, &server] {
        ready_for_tests(end).expect("set its options");
    }
    (bed, agent, Pair { client, server })
}

#[test]
fn four_capabilities_are_enough_to_accelerate_and_to_stop_without_a_trace() {
    isolated(|| {
        let (_bed, mut agent, pair) = confined(SEEING);
        until_direct(&agent, std::slice::from_ref(&pair));
        assert_eq!(agent.stats().counter("paired"), 1);
        drop(pair);
        agent.stop();
    });
}

#[test]
fn with_three_capabilities_a_process_that_the_agent_may_not_look_at_stays_with_tcp() {
    isolated(|| {
        let (_bed, mut agent, pair) = confined(NEEDED);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            small_talk(&pair);
        }
        let stats = agent.stats();
        assert_eq!((stats.counter("candidates"), stats.counter("paired")), (2, 0), "{stats:?}");
        drop(pair);
        agent.stop();
    });
}

#[test]
fn an_agent_that_root_starts_gives_up_what_it_does_not_use_and_cannot_get_it_back() {
    isolated(|| {
        let node = Node::start();
        assert_confined(&node.agent, SEEING);
        assert_every_thread(&node.agent, "CapBnd", "0000000000000000");
        // What it keeps is enough to work and, when the node is dropped, to leave nothing.
        direct(&node, &node.pair(VETH));
    });
}

#[test]
fn each_capability_that_is_missing_is_named_before_anything_is_started() {
    isolated(|| {
        for missing in NEEDED.iter() {
            let output = confined_to(NEEDED - missing, || run(&["run", "--name", "never-started"]));
            let said = String::from_utf8_lossy(&output.stderr);
            let name =
                missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect::<String>();
            assert!(said.contains(&format!("lacks {name}:")), "without {name}: {said}");
            assert_eq!(output.status.code(), Some(1));
        }
    });
}
