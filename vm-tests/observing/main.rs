//! What operators look with, for real: Prometheus scrapes an agent, promtool judges what it
//! scrapes, and a terminal shows `shunt top`.
//!
//! Needs prometheus and tmux, and says so where they are missing.
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tcp_shunt::observe::METRICS;
use testkit::eventually;
use testkit::isolation::isolated;
use testkit::node::Node;
use testkit::path::LOOPBACK;
use testkit::traffic::{direct, small_talk};

/// A program that has to be installed.
fn tool(name: &str, package: &str) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    assert!(found, "{name} is missing: apt-get install {package}");
    Command::new(name)
}

fn checked(output: Output) -> String {
    let [out, err] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    out
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("listen").local_addr().expect("an address").port()
}

/// The body of a response, `None` if there is no response.
fn get(port: u16, target: &str, accept: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {target} HTTP/1.0\r\nAccept: {accept}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Prometheus that scrapes one agent each second.
struct Prometheus {
    api: u16,
    _process: Running,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn of(agent: u16) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("prometheus.yml");
        let scrape = format!(
            "[{{job_name: shunt, scrape_interval: 1s, static_configs: [{{targets: ['127.0.0.1:{agent}']}}]}}]"
        );
        std::fs::write(&config, format!("scrape_configs: {scrape}\n")).expect("write");
        let api = free_port();
        let process = Running(
            tool("prometheus", "prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().display()))
                .arg(format!("--web.listen-address=127.0.0.1:{api}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("run prometheus"),
        );
        Prometheus { api, _process: process, _folder: folder }
    }

    fn ask(&self, target: &str) -> Option<Value> {
        serde_json::from_str(&get(self.api, target, "*/*")?).ok()
    }

    /// The value of each series of a query, none as long as there is no answer, or if it is wrong.
    fn values(&self, query: &str) -> Vec<String> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={query}")).unwrap_or_default();
        let series = answer["data"]["result"].as_array().into_iter().flatten();
        series.filter_map(|one| one["value"][1].as_str().map(str::to_owned)).collect()
    }
}

#[test]
fn prometheus_scrapes_every_metric_and_reads_the_same_numbers_as_the_commands() {
    isolated(|| {
        let port = free_port();
        let node =
            Node::start_with(&["--refresh", "3600", "--metrics", &format!("127.0.0.1:{port}")]);
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);

        let text = get(port, "/metrics", "text/plain").expect("a scrape");
        let mut promtool = tool("promtool", "prometheus")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run promtool");
        promtool.stdin.take().expect("its stdin").write_all(text.as_bytes()).expect("write to it");
        assert_eq!(checked(promtool.wait_with_output().expect("its end")), "");
        assert!(
            get(port, "/metrics", "application/openmetrics-text")
                .expect("a scrape")
                .ends_with("# EOF\n")
        );
        for probe in ["/healthz", "/livez"] {
            assert_eq!(get(port, probe, "*/*").as_deref(), Some("ok\n"));
        }

        let prometheus = Prometheus::of(port);
        let value = |query: &str| prometheus.values(query).first()?.parse::<f64>().ok();
        eventually("Prometheus has scraped", || (value("up")? == 1.0).then_some(()));
        let names = prometheus.ask("/api/v1/label/__name__/values").expect("names");
        for (name, kind, _) in METRICS {
            let series = format!("{name}{}", if *kind == "counter" { "_total" } else { "" });
            assert!(
                names["data"].as_array().expect("a list").contains(&series.as_str().into()),
                "{series}: {names}"
            );
        }
        let direct = node.stats().counter("direct_messages") as f64;
        assert!(direct > 0.0);
        eventually("Prometheus has the number that shunt stats shows", || {
            (value("shunt_messages_total{way=\"direct\"}")? == direct).then_some(())
        });
        assert_eq!(value("shunt_flows"), Some(1.0));
        drop(pair);
    });
}

/// What Grafana asks Prometheus for, with its variables replaced as Grafana does.
#[test]
fn every_panel_of_the_dashboard_shows_what_a_running_agent_says() {
    isolated(|| {
        let dashboard: Value =
            serde_json::from_str(include_str!("../../deploy/grafana/shunt.json")).expect("JSON");
        let port = free_port();
        let node =
            Node::start_with(&["--refresh", "3600", "--metrics", &format!("127.0.0.1:{port}")]);
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);
        let prometheus = Prometheus::of(port);

        // The variable by which a node is selected.
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let asked: Vec<&str> =
            variables.iter().filter_map(|one| one["query"]["query"].as_str()).collect();
        assert_eq!(asked, ["label_values(shunt_build_info, instance)"]);
        let nodes = eventually("Prometheus has scraped", || {
            let nodes = prometheus.ask("/api/v1/label/instance/values?match[]=shunt_build_info")?;
            nodes["data"].as_array().filter(|nodes| !nodes.is_empty()).cloned()
        });
        assert_eq!(nodes, [format!("127.0.0.1:{port}")]);

        let mut panels = 0;
        for panel in dashboard["panels"].as_array().expect("panels") {
            let title = panel["title"].as_str().expect("a title");
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().expect("a query");
                let query = query.replace("$instance", ".*").replace("$__rate_interval", "5s");
                assert!(!query.contains('$'), "{title}: {query}");
                let shown = eventually(&format!("'{title}' shows something: {query}"), || {
                    small_talk(&pair);
                    let shown = prometheus.values(&query);
                    let is_number = |text: &String| text.parse().is_ok_and(f64::is_finite);
                    // Runs of programs are not counted here: kernel.bpf_stats_enabled is 0.
                    let is_enough =
                        title == "Time per run of a program" || shown.iter().any(is_number);
                    (!shown.is_empty() && is_enough).then_some(shown)
                });
                println!("{title}: {shown:?}");
                panels += 1;
            }
        }
        assert!(panels >= 11, "{panels}");
    });
}

#[test]
fn the_alerts_are_rules_and_fire_when_they_are_to() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");
    for arguments in [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]] {
        checked(
            tool("promtool", "prometheus")
                .args(arguments)
                .current_dir(folder)
                .output()
                .expect("run promtool"),
        );
    }
}

/// `tmux` with a server of its own.
struct Screen(String);

impl Screen {
    fn run(&self, arguments: &[&str]) -> Output {
        tool("tmux", "tmux")
            .args(["-L", &self.0, "-f", "/dev/null"])
            .args(arguments)
            .output()
            .expect("run tmux")
    }

    /// What is on the screen once it has this.
    fn shows(&self, text: &str) -> String {
        eventually(&format!("the screen shows {text:?}"), || {
            let screen = checked(self.run(&["capture-pane", "-p", "-t", "top"]));
            screen.contains(text).then_some(screen)
        })
    }

    fn press(&self, key: &str) {
        checked(self.run(&["send-keys", "-t", "top", key]));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn top_shows_flows_in_a_terminal_takes_keys_follows_its_size_and_leaves_it_as_it_was() {
    isolated(|| {
        let node = Node::start();
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);
        let screen = Screen(format!("shunt-test-{}", std::process::id()));
        checked(screen.run(&["new-session", "-d", "-s", "top", "-x", "80", "-y", "24", "sh"]));
        // Whatever stays on the screen afterwards, and how the terminal is set.
        let settings = "stty -g | cksum";
        screen.press(&format!("PS1='$ '; echo be''fore; {settings}"));
        screen.press("Enter");
        screen.shows("before\n");
        // It is printed a moment after its heading.
        let sum_under = |heading: &str| {
            eventually("the sum is there", || {
                let screen = checked(screen.run(&["capture-pane", "-p", "-t", "top"]));
                screen
                    .lines()
                    .skip_while(|line| *line != heading)
                    .nth(1)
                    .filter(|line| line.len() > 5)
                    .map(str::to_owned)
            })
        };
        let sum = sum_under("before");
        let run = |ended_by: &dyn Fn()| {
            screen.press(&format!(
                "clear; {} top --name {}",
                testkit::agent::binary(),
                node.agent.name()
            ));
            screen.press("Enter");
            screen.shows("1 flows");
            ended_by();
            screen.press(&format!("echo af''ter; {settings}"));
            screen.press("Enter");
            let after = screen.shows("after\n");
            assert!(!after.contains("WHY NOT"), "the picture stayed:\n{after}");
            let now = sum_under("after");
            assert_eq!(now, sum, "the terminal is set otherwise");
        };
        run(&|| {
            let picture = screen.shows("CLIENT");
            assert!(
                picture
                    .lines()
                    .nth(2)
                    .is_some_and(|line| line.contains("DIRECT PER SECOND WHY NOT")),
                "{picture}"
            );
            assert!(picture.contains("client: "), "{picture}");
            screen.press("s");
            screen.shows("by direct share");
            screen.press("p");
            screen.shows("PAUSED");
            screen.press("p");
            screen.press("/");
            screen.press("nobody");
            screen.shows("no flow matches the filter");
            screen.press("Escape");
            screen.shows("client: ");
            screen.press("?");
            screen.shows("Any key goes back");
            screen.press("x");
            checked(screen.run(&["resize-window", "-t", "top", "-x", "120", "-y", "12"]));
            eventually("the picture has the new size", || {
                let picture = checked(screen.run(&["capture-pane", "-p", "-t", "top"]));
                picture
                    .lines()
                    .any(|line| line.chars().filter(|c| *c == '─').count() == 120)
                    .then_some(())
            });
            checked(screen.run(&["resize-window", "-t", "top", "-x", "80", "-y", "24"]));
            screen.press("q");
        });
        run(&|| screen.press("C-c"));
        run(&|| {
            let top = format!("{} top --name {}", testkit::agent::binary(), node.agent.name());
            // The very process that runs in this terminal, and no other.
            let tty = checked(screen.run(&["display-message", "-p", "-t", "top", "#{pane_tty}"]));
            let tty = tty.trim().trim_start_matches("/dev/").to_owned();
            let processes = checked(
                Command::new("ps").args(["-t", &tty, "-o", "pid=,args="]).output().expect("run ps"),
            );
            let line = processes
                .lines()
                .find(|line| line.trim_end().ends_with(&top))
                .expect("the process");
            let pid =
                line.split_whitespace().next().expect("its number").parse().expect("a number");
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGTERM,
            )
            .expect("end it");
        });
        drop(pair);
    });
}
