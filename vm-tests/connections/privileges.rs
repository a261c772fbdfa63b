//! The agent runs with three capabilities, and keeps no others when it is given more.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};
use tcp_shunt::bed::Bed;

use crate::harness::agent::{Agent, run};
use crate::harness::eventually;
use crate::harness::isolation::isolated;
use crate::harness::node::Node;
use crate::harness::node::Pair;
use crate::harness::path::{Path, VETH, ready_for_tests};
use crate::harness::traffic::{exchange, warm_up};

const NEEDED: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// Runs `work` on a thread whose programs, though root's, get these capabilities and no others.
fn confined_to<T: Send>(allowed: CapabilitySet, work: impl FnOnce() -> T + Send) -> T {
    let confined = || {
        // As a unit or a runtime would: kernels before 5.11 charge maps to this limit, and later ones need none, nor the right to raise it.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let held = capabilities(None).expect("ask for capabilities").permitted;
        for one in held.iter().filter(|one| !allowed.contains(*one)) {
            remove_capability_from_bounding_set(one).expect("make the bounding set smaller (as root)");
        }
        let sets = CapabilitySets { effective: allowed, permitted: allowed, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).expect("give up capabilities");
        work()
    };
    thread::scope(|scope| scope.spawn(confined).join().expect("the confined thread"))
}

/// What `/proc/PID/task/*/status` says of a field, of all threads.
fn of_all_threads(agent: &Agent, field: &str) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("list the agent's threads");
    let statuses =
        tasks.map(|task| fs::read_to_string(task.expect("a thread").path().join("status")).expect("read its status"));
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

#[test]
fn three_capabilities_are_enough_to_accelerate_and_to_stop_without_a_trace() {
    isolated(|| {
        let mut bed = Bed::new().expect("make a bed (as root, with cgroup v2)");
        Path::prepare(&mut bed).expect("write the NAT rules");
        // It cannot make a namespace to try things out in, so it does that where it is: there has to be a loopback device that is up.
        let start = || Agent::start(bed.cgroup().path(), &["--blocking-readers", "--refresh", "3600"]);
        let mut agent = bed.client().run(|| confined_to(NEEDED, start)).expect("enter the client's namespace");
        assert_confined(&agent, NEEDED);

        let listener = bed.in_server(|| VETH.bind()).expect("enter the server").expect("listen");
        let target = VETH.target(&listener).expect("an address");
        let client =
            bed.in_client(|| std::net::TcpStream::connect(target)).expect("enter the client").expect("connect");
        let (server, _) = listener.accept().expect("accept");
        for end in [&client, &server] {
            ready_for_tests(end).expect("set its options");
        }
        let pair = Pair { client, server };
        warm_up(&pair);
        exchange(&pair, 60, 1000, 1000);
        let stats = agent.stats();
        assert_eq!(stats.counter("paired"), 1, "{stats:?}");
        assert!(stats.counter("direct_messages") >= 3, "{stats:?}");
        drop(pair);
        agent.stop();
    });
}

#[test]
fn an_agent_that_root_starts_gives_up_what_it_does_not_use_and_cannot_get_it_back() {
    isolated(|| {
        let node = Node::start();
        assert_confined(&node.agent, NEEDED | CapabilitySet::SYS_PTRACE);
        assert_every_thread(&node.agent, "CapBnd", "0000000000000000");
        // What it keeps is enough to work and, when the node is dropped, to leave nothing.
        let pair = node.pair(VETH);
        warm_up(&pair);
        exchange(&pair, 61, 1000, 1000);
        let direct = eventually("messages go directly", || {
            Some(node.stats().counter("direct_messages")).filter(|direct| *direct >= 3)
        });
        assert!(direct >= 3);
    });
}

#[test]
fn each_capability_that_is_missing_is_named_before_anything_is_started() {
    isolated(|| {
        for missing in NEEDED.iter() {
            let output = confined_to(NEEDED - missing, || run(&["run", "--name", "never-started"]));
            let said = String::from_utf8_lossy(&output.stderr);
            let name = missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect::<String>();
            assert!(said.contains(&format!("lacks {name}:")), "without {name}: {said}");
            assert_eq!(output.status.code(), Some(1));
        }
    });
}
