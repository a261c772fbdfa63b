//! What is told of flows while they live.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use testkit::agent::binary;
use testkit::eventually;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::LOOPBACK;
use testkit::traffic::{direct, small_talk, until_direct};

/// What `shunt trace` says until it has said enough.
fn trace_until(
    node: &Node,
    options: &[&str],
    enough: impl Fn(&[Value]) -> bool,
    work: impl FnOnce(),
) -> Vec<Value> {
    let mut trace = Command::new(binary())
        .args(["trace", "--json", "--name", node.agent.name()])
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start a trace");
    let mut ready = String::new();
    BufReader::new(trace.stderr.take().expect("its stderr")).read_line(&mut ready).expect("read");
    assert!(ready.starts_with("tracing"), "{ready}");
    let lines = BufReader::new(trace.stdout.take().expect("its stdout"));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let _ = tell.send(serde_json::from_str::<Value>(&line).expect("an object a line"));
        }
    });
    work();
    let mut seen = Vec::new();
    eventually("the trace has said it", || {
        seen.extend(told.try_iter());
        enough(&seen).then_some(())
    });
    let second = Command::new(binary())
        .args(["trace", "--name", node.agent.name()])
        .output()
        .expect("run a second one");
    assert!(!second.status.success(), "two trace at once");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(trace.id().cast_signed()),
        nix::sys::signal::Signal::SIGINT,
    )
    .expect("interrupt it");
    assert!(trace.wait().expect("its end").success());
    seen
}

#[test]
fn a_trace_tells_of_a_flow_until_its_end_and_who_is_behind_it() {
    isolated(|| {
        // Each refresh is a change.
        let node = Node::start_with(&["--refresh", "1"]);
        let mut port = 0;
        let closed =
            |seen: &[Value]| seen.iter().filter(|change| change["event"] == "closed").count() == 2;
        let seen = trace_until(&node, &[], closed, || {
            let pair = node.pair(LOOPBACK);
            port = pair.client.local_addr().expect("an address").port();
            direct(&node, &pair);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3) {
                small_talk(&pair);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let events: Vec<&str> = seen.iter().filter_map(|change| change["event"].as_str()).collect();
        assert!(events.contains(&"direct") && events.contains(&"tcp"), "{seen:#?}");
        assert!(
            seen.iter().all(|change| change["event"] != "tcp" || change["why"].is_string()),
            "{seen:#?}"
        );
        let direct = seen.iter().find(|change| change["event"] == "direct").expect("one of them");
        let ends = [&direct["local"], &direct["remote"]]
            .map(|end| end.as_str().unwrap_or_default().to_owned());
        assert!(ends.iter().any(|end| end.ends_with(&format!(":{port}"))), "{ends:?}, not {port}");
        let me =
            |change: &&Value| change["process"]["pid"].as_u64() == Some(std::process::id().into());
        let mine: Vec<&Value> = seen.iter().filter(me).collect();
        assert!(!mine.is_empty(), "{seen:#?}");
        let cgroup =
            node.bed.cgroup().path().file_name().expect("a name").to_string_lossy().into_owned();
        for change in mine {
            let shown = change["workload"]["cgroup"].as_str().unwrap_or_default();
            assert!(shown.contains(&cgroup), "{change:#?}, not {cgroup}");
        }
        assert!(seen.iter().any(|change| change["direct_bytes"].as_u64() > Some(0)), "{seen:#?}");
        // No trace runs now, and what happens now is not reported.
        drop(node.pair(LOOPBACK));
        assert_eq!(node.stats().counter("trace_lost"), 0);
    });
}

#[test]
fn a_trace_shows_only_what_was_asked_for() {
    isolated(|| {
        let node = Node::start();
        let service = node.listen(LOOPBACK);
        let port = service.target.port().to_string();
        let is_direct = |seen: &[Value]| seen.iter().any(|change| change["event"] == "direct");
        let seen = trace_until(&node, &["--port", &port], is_direct, || {
            direct(&node, &node.pair(LOOPBACK));
            direct(&node, &Pair { client: node.connect(&service), server: service.accept() });
        });
        for change in &seen {
            let of_port =
                |end: &Value| end.as_str().is_some_and(|end| end.ends_with(&format!(":{port}")));
            assert!(of_port(&change["local"]) || of_port(&change["remote"]), "{change}");
        }
    });
}

fn scrape(path: &std::path::Path) -> String {
    let mut stream = UnixStream::connect(path).expect("connect to the agent");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read the answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answer
}

fn sample(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
}

#[test]
fn who_holds_an_end_is_found_with_the_program_that_shows_it_and_without() {
    isolated(|| {
        let node = Node::start();
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);
        let pin = node.agent.pins().join("1").join("holders");
        assert!(pin.exists(), "this kernel has refused it");
        for pinned in [true, false] {
            let flow = node.flow_of(&pair.client).expect("the flow is listed");
            for end in [flow.client, flow.server] {
                let process = end.and_then(|end| end.process).map(|process| process.pid);
                assert_eq!(process, Some(std::process::id()), "{pinned}");
            }
            if pinned {
                std::fs::remove_file(&pin).expect("unpin it");
            }
        }
    });
}

#[test]
fn a_scrape_of_many_flows_counts_them_all_and_the_next_one_does_not_look_again() {
    isolated(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics");
        let metrics = format!("unix:{}", path.display());
        let node = Node::start_with(&["--refresh", "3600", "--metrics", &metrics]);
        let count = testkit::share_of(400);
        let service = node.listen(LOOPBACK);
        let pair = || Pair { client: node.connect(&service), server: service.accept() };
        let pairs: Vec<_> = (0..count).map(|_| pair()).collect();
        until_direct(&node.agent, &pairs);
        let begun = Instant::now();
        let first = scrape(&path);
        let first_took = begun.elapsed();
        assert_eq!(sample(&first, "shunt_flows"), count as f64);
        assert_eq!(sample(&first, "shunt_map_entries{map=\"socks\"}"), 2.0 * count as f64);
        assert_eq!(sample(&first, "shunt_decisions_total{reason=\"paired\"}"), count as f64);
        let begun = Instant::now();
        let second = scrape(&path);
        println!(
            "{count} flows: a scrape took {first_took:?} with a look at all, {:?} without",
            begun.elapsed()
        );
        assert_eq!(sample(&first, "shunt_look_seconds"), sample(&second, "shunt_look_seconds"));
        drop(pairs);
        drop(node);
        assert!(!path.exists(), "the agent left its socket");
    });
}
