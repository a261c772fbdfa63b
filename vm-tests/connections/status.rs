//! What an operator is told: what is left to TCP, and what is wrong with the place that an instance
//! has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tcp_shunt::bed::Cgroup;

use testkit::agent::{Agent, run};
use testkit::eventually;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair, service};
use testkit::path::LOOPBACK;
use testkit::traffic::{direct, small_talk, until_direct};

/// What `shunt status --json` says of an instance.
fn status(agent: &Agent) -> Value {
    let output = run(&["status", "--json", "--name", agent.name()]);
    assert!(output.status.success(), "{output:?}");
    let mut status: Value = serde_json::from_slice(&output.stdout).expect("an object");
    status["instances"][0].take()
}

fn warnings(agent: &Agent) -> Vec<String> {
    serde_json::from_value(status(agent)["warnings"].take()).expect("a list of texts")
}

/// What the kernel calls this process.
fn this_program() -> String {
    fs::read_to_string("/proc/self/comm").expect("its name").trim_end().to_owned()
}

/// Uses a connection whose ends block until it is left to TCP.
fn leave_to_tcp(pair: &Pair) {
    for end in [&pair.client, &pair.server] {
        end.set_nonblocking(false).expect("an option");
    }
    for _ in 0..100 {
        small_talk(pair);
    }
}

#[test]
fn what_is_left_to_tcp_is_told_with_its_reason_and_its_program_and_logged_once() {
    isolated(|| {
        let node = Node::start();
        let accelerated = node.pair(LOOPBACK);
        direct(&node, &accelerated);
        for _ in 0..2 {
            leave_to_tcp(&node.pair(LOOPBACK));
        }
        let found = status(&node.agent);
        assert_eq!(found["state"], "running");
        assert_eq!(
            (&found["flows"], &found["directions"]["direct"]),
            (&1.into(), &2.into()),
            "{found:#}"
        );
        assert!(
            found["messages"]["direct_share"]
                .as_f64()
                .is_some_and(|share| share > 0.0 && share < 1.0),
            "{found:#}"
        );
        let left = &found["left_to_tcp"][0];
        assert_eq!(
            (&left["reason"], &left["times"]),
            (&"blocking_file".into(), &4.into()),
            "{found:#}"
        );
        assert_eq!(
            left["programs"],
            serde_json::json!([{ "name": this_program(), "times": 4 }]),
            "{found:#}"
        );
        assert_eq!(found["warnings"], serde_json::json!([]));

        node.agent.has_logged("left to TCP: the file of the socket blocks", 1);
        leave_to_tcp(&node.pair(LOOPBACK));
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(node.agent.logged("left to TCP: the file of the socket blocks"), 1);
        let text =
            String::from_utf8(run(&["status", "--name", node.agent.name()]).stdout).expect("text");
        let line = text.lines().find(|line| line.contains("left to TCP")).expect("a line about it");
        assert!(
            line.contains("6 blocking_file") && line.contains(&format!("{} 6", this_program())),
            "{text}"
        );
    });
}

/// A cgroup in another one, which could not be removed before it.
struct Inside(PathBuf);

impl Inside {
    fn of(cgroup: &Path) -> Inside {
        let inside = cgroup.join("inside");
        fs::create_dir(&inside).expect("make a cgroup");
        Inside(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Whatever made the test fail is more important.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_second_agent_that_would_see_the_same_connections_does_not_start_and_says_why() {
    isolated(|| {
        let mut node = Node::start();
        let cgroup = node.bed.cgroup().path().to_owned();
        let name = node.agent.name().to_owned();
        let refused = |cgroup: &Path| {
            let output =
                run(&["run", "--name", "second", "--cgroup", cgroup.to_str().expect("text")]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("would see the same connections")
                    && said.contains("shunt detach --name"),
                "{said}"
            );
            said.into_owned()
        };
        let inside = Inside::of(&cgroup);
        for overlapping in [&cgroup, &inside.0, &cgroup.join(".")] {
            assert!(refused(overlapping).contains(&name), "{overlapping:?}");
        }
        // One above it: of its own, since agents of other tests are below the root.
        let above = new_cgroup();
        let below = Inside::of(above.path());
        let agent_below = Agent::start(&below.0, &[]);
        assert!(refused(above.path()).contains(agent_below.name()));
        drop((agent_below, below, above));
        drop(inside);
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);
        // What a dead agent has left is at work, too.
        node.agent.signal(nix::sys::signal::Signal::SIGKILL);
        node.agent.wait();
        refused(&cgroup);
        assert!(
            warnings(&node.agent)[0].contains("its agent is dead"),
            "{:?}",
            warnings(&node.agent)
        );
        // And one beside it does not count here.
        let beside = new_cgroup();
        drop(Agent::start(beside.path(), &[]));
        // Whichever path an agent has for its cgroup: in a container it is another one.
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("cgroup");
        let below = Inside::of(beside.path());
        std::os::unix::fs::symlink(&below.0, &path).expect("make a link");
        let elsewhere = Agent::start(&path, &[]);
        assert!(refused(beside.path()).contains(elsewhere.name()));
        drop(elsewhere);
        let detached = run(&["detach", "--name", &name]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
    });
}

fn new_cgroup() -> Cgroup {
    Cgroup::new().expect("make a cgroup")
}

#[test]
fn a_cgroup_that_is_removed_and_made_again_is_followed() {
    isolated(|| {
        let node = Node::start();
        let beside = new_cgroup();
        let agent = Agent::start(beside.path(), &[]);
        assert!(warnings(&agent).is_empty());
        fs::remove_dir(beside.path()).expect("remove the cgroup");
        eventually("its removal is told", || {
            warnings(&agent).iter().any(|w| w.contains("is gone")).then_some(())
        });
        agent.has_logged("is gone", 1);
        fs::create_dir(beside.path()).expect("make it again");
        fs::write(beside.path().join("cgroup.type"), "threaded").expect("as it was");
        agent.has_logged("has been recreated: attached", 1);
        assert!(warnings(&agent).is_empty(), "{:?}", warnings(&agent));

        let pair = node.outside_in_client(|| {
            beside.enter().expect("enter the new one");
            let service = service(LOOPBACK, LOOPBACK.bind());
            let client = service.connect();
            let pair = Pair { client, server: service.accept() };
            beside.leave().expect("leave it");
            pair
        });
        until_direct(&agent, std::slice::from_ref(&pair));
    });
}

#[test]
fn a_script_waits_until_an_agent_is_at_work_and_is_told_if_it_is_not() {
    isolated(|| {
        let code = |arguments: &[&str]| run(&[&["status"], arguments].concat()).status.code();
        let mut node = Node::start();
        let name = node.agent.name().to_owned();
        assert_eq!(code(&["--name", &name, "--wait", "0"]), Some(0));
        node.agent.signal(nix::sys::signal::Signal::SIGKILL);
        node.agent.wait();
        assert_eq!(code(&["--name", &name, "--wait", "0"]), Some(3));
        // Without the option it tells what there is, and that can be told.
        assert_eq!(code(&["--name", &name]), Some(0));
        assert_eq!(code(&["--name", "nobody", "--wait", "0"]), Some(3));
        assert_eq!(code(&["--name", "nobody"]), Some(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| code(&["--name", &name, "--wait"]));
            std::thread::sleep(std::time::Duration::from_millis(500));
            assert!(!waiting.is_finished(), "it does not wait");
            node.agent.replace(&[]).wait().expect("it has ended before");
            assert_eq!(waiting.join().expect("the waiting command"), Some(0));
        });
    });
}
