//! Only the connections that the rules let be are accelerated, and a change of rules disturbs
//! nobody.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use tcp_shunt::bed::Bed;
use tempfile::NamedTempFile;

use testkit::agent::run;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair, service};
use testkit::path::{Family, LOOPBACK, Path, REDIRECT, REDIRECTED, REDIRECTED_TO, Route, VETH};
use testkit::traffic::{exchange, until_direct};
use testkit::{eventually, share_of};

/// A node whose rules stand in a file.
struct Ruled {
    node: Node,
    file: NamedTempFile,
    reloads: usize,
}

impl Ruled {
    fn start(rules: &str) -> Ruled {
        Ruled::start_on(Bed::new().expect("make a bed (as root, with cgroup v2)"), rules)
    }

    fn start_on(bed: Bed, rules: &str) -> Ruled {
        let mut file = NamedTempFile::new().expect("make a file");
        file.write_all(rules.as_bytes()).expect("write the rules");
        let path = file.path().to_str().expect("a path that is text").to_owned();
        let node = Node::start_on(bed, &["--refresh", "3600", "--config", &path]);
        Ruled { node, file, reloads: 0 }
    }

    /// Writes other rules and makes the agent read them.
    fn reload(&mut self, rules: &str) {
        fs::write(self.file.path(), rules).expect("write the rules");
        self.node.agent.signal(Signal::SIGHUP);
        self.reloads += 1;
        self.node.agent.has_logged("reloaded /", self.reloads);
    }

    /// Whether a new connection is accelerated. If it is not, it is counted as excluded.
    fn accelerates(&self, connect: impl FnOnce(&Node) -> Pair) -> bool {
        let excluded = || self.node.stats().counter("excluded");
        let before = excluded();
        let pair = [connect(&self.node)];
        exchange(&pair[0], 0, 1000, 10_000);
        let accelerated = excluded() == before;
        if accelerated {
            until_direct(&self.node.agent, &pair);
        } else {
            for round in 1..20 {
                exchange(&pair[0], round, 1000, 10_000);
            }
            assert!(self.node.flow_of(&pair[0].client).is_none(), "excluded, and accelerated");
        }
        assert_eq!(excluded() - before, u64::from(!accelerated));
        accelerated
    }

    fn accelerates_path(&self, path: Path) -> bool {
        self.accelerates(|node| node.pair(path))
    }
}

/// Names this process, whose threads the tests' sockets belong to.
fn call_this_process(name: &str) {
    fs::write("/proc/self/comm", name).expect("change the name of this process");
}

/// A connection between two processes of these names.
fn between(server: &str, client: &str) -> impl FnOnce(&Node) -> Pair {
    move |node| {
        call_this_process(server);
        let service = node.listen(LOOPBACK);
        call_this_process(client);
        let client = node.connect(&service);
        Pair { client, server: service.accept() }
    }
}

#[test]
fn a_port_is_the_one_that_was_dialled_or_the_one_that_is_listened_at() {
    isolated(|| {
        let mut ruled = Ruled::start("");
        assert!(ruled.accelerates_path(REDIRECT) && ruled.accelerates_path(LOOPBACK));
        for port in [REDIRECTED[0], REDIRECTED_TO] {
            ruled.reload(&format!("[exclude]\nports = [{port}]"));
            assert!(!ruled.accelerates_path(REDIRECT), "{port}");
            assert!(ruled.accelerates_path(LOOPBACK), "{port}");
            ruled.reload(&format!("[include]\nports = [\"{port}-{}\"]", port + 1));
            assert!(ruled.accelerates_path(REDIRECT), "{port}");
            assert!(!ruled.accelerates_path(LOOPBACK), "{port}");
        }
        // Where the client's own port is from.
        ruled.reload("[exclude]\nports = [\"30000-65535\"]");
        assert!(ruled.accelerates_path(REDIRECT));
        assert!(!ruled.accelerates_path(LOOPBACK));
    });
}

#[test]
fn an_address_is_that_of_either_end_before_or_after_nat() {
    isolated(|| {
        let mut ruled = Ruled::start("");
        for family in [Family::V4, Family::V6, Family::MappedServer, Family::MappedBoth] {
            let v6 = family == Family::V6;
            let (client, server, service) = match v6 {
                false => (IpAddr::V4(Bed::CLIENT_V4), IpAddr::V4(Bed::SERVER_V4), "10.96.0.0/16"),
                true => (IpAddr::V6(Bed::CLIENT_V6), IpAddr::V6(Bed::SERVER_V6), "fd00:96::/32"),
            };
            let [loopback, veth, dnat] =
                [Route::Loopback, Route::Veth, Route::Dnat].map(|route| Path { family, route });
            for address in [client.to_string(), server.to_string(), service.to_owned()] {
                ruled.reload(&format!("[exclude]\naddresses = [\"{address}\"]"));
                let dialled = address == service;
                assert_eq!(ruled.accelerates_path(veth), dialled, "{veth} without {address}");
                assert!(!ruled.accelerates_path(dnat), "{dnat} without {address}");
                assert!(ruled.accelerates_path(loopback), "{loopback} without {address}");
            }
            ruled.reload(&format!("[include]\naddresses = [\"{server}\"]"));
            assert!(
                ruled.accelerates_path(veth) && !ruled.accelerates_path(loopback),
                "only {server}"
            );
        }
        ruled.reload("[include]\naddresses = [\"0.0.0.0/0\"]");
        assert!(ruled.accelerates_path(VETH));
        assert!(!ruled.accelerates_path(Path { family: Family::V6, route: Route::Veth }));
    });
}

#[test]
fn a_process_is_the_one_that_listens_or_the_one_that_connects() {
    isolated(|| {
        let mut ruled = Ruled::start("[exclude]\nprocesses = [\"left-alone\"]");
        assert!(!ruled.accelerates(between("left-alone", "other")));
        assert!(!ruled.accelerates(between("other", "left-alone")));
        assert!(ruled.accelerates(between("other", "left-alon")));
        // The kernel leaves the end of the name before behind the new one.
        assert!(!ruled.accelerates(between("left-alone\0", "a-longer-name")));
        ruled.reload("[include]\nprocesses = [\"wanted\"]");
        assert!(ruled.accelerates(between("wanted", "other")));
        assert!(ruled.accelerates(between("other", "wanted")));
        assert!(!ruled.accelerates(between("other", "other")));
        ruled
            .reload("[include]\nprocesses = [\"wanted\"]\n[exclude]\nprocesses = [\"left-alone\"]");
        assert!(!ruled.accelerates(between("wanted", "left-alone")));
        assert!(!ruled.accelerates(between("left-alone", "wanted")));
    });
}

#[test]
fn a_thread_goes_by_the_name_of_its_process() {
    isolated(|| {
        let ruled = Ruled::start("[exclude]\nprocesses = [\"thread\"]");
        call_this_process("process");
        let threaded = |node: &Node| {
            thread::scope(|scope| {
                let named = thread::Builder::new().name("thread".into());
                let connect = || {
                    // The thread that connects is named after the one that starts it.
                    node.in_client(|| {
                        fs::write("/proc/thread-self/comm", "thread").expect("name the thread")
                    });
                    node.pair(LOOPBACK)
                };
                named
                    .spawn_scoped(scope, connect)
                    .expect("start a thread")
                    .join()
                    .expect("the thread")
            })
        };
        assert!(ruled.accelerates(threaded));
    });
}

/// A cgroup below the node's and one in it, or more, removed when dropped.
struct Below(Vec<PathBuf>);

impl Below {
    fn new(node: &Node) -> Below {
        Below::called(node, &["below", "deeper"])
    }

    fn called(node: &Node, names: &[&str]) -> Below {
        let mut path = node.bed.cgroup().path().to_owned();
        let deeper = |name| {
            path.push(name);
            path.clone()
        };
        let below = Below(names.iter().map(deeper).collect());
        below.make();
        below
    }

    fn make(&self) {
        for folder in &self.0 {
            fs::create_dir(folder).expect("make a cgroup");
            fs::write(folder.join("cgroup.type"), "threaded").expect("make it threaded");
        }
    }

    fn remove(&self) {
        for folder in self.0.iter().rev() {
            eventually("the cgroup is empty", || fs::remove_dir(folder).ok());
        }
    }

    /// Runs `work` in the deepest one, then goes back.
    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let (first, last) = (&self.0[0], &self.0[self.0.len() - 1]);
        fs::write(last.join("cgroup.threads"), "0").expect("enter the cgroup");
        let done = work();
        fs::write(first.join("../cgroup.threads"), "0").expect("leave the cgroup");
        done
    }

    fn listening(&self) -> impl FnOnce(&Node) -> Pair {
        move |node| {
            let listener = node.in_client(|| self.within(|| LOOPBACK.bind()));
            let service = service(LOOPBACK, listener);
            let client = node.connect(&service);
            Pair { client, server: service.accept() }
        }
    }

    fn connecting(&self) -> impl FnOnce(&Node) -> Pair {
        move |node| {
            let service = node.listen(LOOPBACK);
            let client = node.in_client(|| self.within(|| service.connect()));
            Pair { client, server: service.accept() }
        }
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.remove();
        }
    }
}

#[test]
fn a_cgroup_is_that_of_either_socket_with_all_below_it_and_is_followed_when_it_is_made_again() {
    isolated(|| {
        let mut ruled = Ruled::start("");
        let below = Below::new(&ruled.node);
        let path = below.0[0].display().to_string();
        assert!(ruled.accelerates(below.listening()) && ruled.accelerates(below.connecting()));
        ruled.reload(&format!("[exclude]\ncgroups = [\"{path}\"]"));
        assert!(!ruled.accelerates(below.listening()));
        assert!(!ruled.accelerates(below.connecting()));
        assert!(ruled.accelerates_path(LOOPBACK));
        ruled.reload(&format!("[include]\ncgroups = [\"{path}\"]"));
        assert!(ruled.accelerates(below.listening()));
        assert!(ruled.accelerates(below.connecting()));
        assert!(!ruled.accelerates_path(LOOPBACK));

        below.remove();
        below.make();
        eventually("the new cgroup is followed", || {
            ruled.accelerates(below.connecting()).then_some(())
        });
    });
}

/// Gives this thread and what it starts a `/var/log` of its own.
fn with_own_logs() {
    let flags = [MsFlags::MS_REC | MsFlags::MS_PRIVATE, MsFlags::empty()];
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(None::<&str>, "/", None::<&str>, flags[0], None::<&str>).expect("make it private");
    mount(Some("logs"), "/var/log", Some("tmpfs"), flags[1], None::<&str>).expect("mount a tmpfs");
}

#[test]
fn a_pod_is_that_of_either_socket_and_one_that_is_not_known_yet_is_excluded() {
    const POD: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";
    const CONTAINER: &str = "3f1a9c0d5b7e42688ad1c3f4e5b6a79881726354afbecd0123456789abcdef01";
    isolated(|| {
        with_own_logs();
        let mut ruled = Ruled::start("");
        let logs = |name: &str| PathBuf::from(format!("/var/log/pods/{name}_{POD}"));
        for names in [
            vec![
                "kubepods.slice".to_owned(),
                "kubepods-burstable.slice".to_owned(),
                format!("kubepods-burstable-pod{}.slice", POD.replace('-', "_")),
                format!("cri-containerd-{CONTAINER}.scope"),
            ],
            ["kubepods", "besteffort", &format!("pod{POD}"), CONTAINER].map(str::to_owned).into(),
        ] {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let pod = Below::called(&ruled.node, &names);
            fs::create_dir_all(logs("shop_cart-1")).expect("name the pod");
            for other in ["namespaces = [\"sho\"]", "pods = [\"other/cart-*\", \"shop/cart\"]"] {
                ruled.reload(&format!("[exclude]\n{other}"));
                assert!(ruled.accelerates(pod.listening()), "{other}");
            }
            for own in ["namespaces = [\"sh*\"]", "pods = [\"shop/cart-*\"]"] {
                ruled.reload(&format!("[exclude]\n{own}"));
                assert!(!ruled.accelerates(pod.listening()), "{own}");
                assert!(!ruled.accelerates(pod.connecting()), "{own}");
                assert!(ruled.accelerates_path(LOOPBACK), "{own}");
                ruled.reload(&format!("[include]\n{own}"));
                assert!(ruled.accelerates(pod.connecting()), "{own}");
                assert!(!ruled.accelerates_path(LOOPBACK), "{own}");
            }
            let config = ruled.file.path().to_str().expect("text");
            let said = run(&["check-config", config]).stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains("  include pods shop/cart-*: shop/cart-1\n"), "{said}");

            ruled.reload("[exclude]\npods = [\"shop/other\"]");
            assert!(ruled.accelerates(pod.connecting()));
            for (name, accelerated) in [(None, false), (Some("shop_else"), true)] {
                let _ = fs::remove_dir_all("/var/log/pods");
                fs::create_dir("/var/log/pods").expect("make a folder");
                if let Some(name) = name {
                    fs::create_dir(logs(name)).expect("name the pod");
                }
                eventually("the pods are found", || {
                    (ruled.accelerates(pod.connecting()) == accelerated).then_some(())
                });
            }
            drop(pod);
            fs::remove_dir_all("/var/log/pods").expect("remove the folder");
        }
        ruled.node.agent.has_logged("rules by pod exclude all pods until /var/log/pods", 1);
    });
}

#[test]
fn a_listener_from_before_the_agent_is_known_by_its_process() {
    isolated(|| {
        let bed = Bed::new().expect("make a bed (as root, with cgroup v2)");
        call_this_process("older");
        let listener =
            bed.in_client(|| LOOPBACK.bind()).expect("enter the client").expect("listen");
        // What is not known is excluded, so that it is not shows that it is known.
        let mut ruled = Ruled::start_on(bed, "[exclude]\nprocesses = [\"no-such-name\"]");
        let service = service(LOOPBACK, Ok(listener));
        let connect =
            |node: &Node| Pair { client: node.connect(&service), server: service.accept() };
        assert!(ruled.accelerates(connect));
        ruled.reload("[exclude]\nprocesses = [\"older\"]");
        assert!(!ruled.accelerates(connect));
        ruled.reload("");
        assert!(ruled.accelerates(connect));
    });
}

#[test]
fn a_reload_leaves_open_flows_as_they_are_and_loses_nothing_under_traffic() {
    isolated(|| {
        let mut ruled = Ruled::start("");
        let open = ruled.node.pair(LOOPBACK);
        until_direct(&ruled.node.agent, std::slice::from_ref(&open));
        let done = AtomicBool::new(false);
        let rounds = thread::scope(|scope| {
            let (open, done) = (&open, &done);
            let busy = scope.spawn(move || {
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) {
                    rounds += 1;
                    exchange(open, rounds, 1000, 20_000);
                }
                rounds
            });
            for _ in 0..share_of(10) {
                ruled.reload("[exclude]\nports = [\"1-65535\"]");
                assert!(!ruled.accelerates_path(LOOPBACK));
                ruled.reload("[include]\nports = [\"1-65535\"]");
                assert!(ruled.accelerates_path(LOOPBACK));
            }
            done.store(true, Ordering::Relaxed);
            busy.join().expect("the traffic")
        });
        let flow = ruled.node.flow_of(&open.client).expect("the flow is still there");
        let messages = flow.client.expect("its client").direct_messages;
        assert!(messages > rounds / 2, "{messages} direct messages in {rounds} rounds");
    });
}

#[test]
fn a_file_with_a_mistake_is_refused_and_the_rules_stay() {
    isolated(|| {
        let mut ruled = Ruled::start("[exclude]\nports = [\"1-65535\"]");
        assert!(!ruled.accelerates_path(LOOPBACK));
        for (number, broken) in
            ["[exclude]\nports = [0]", "[exclude", "[exclude]\nport = [1]"].iter().enumerate()
        {
            fs::write(ruled.file.path(), broken).expect("write the rules");
            ruled.node.agent.signal(Signal::SIGHUP);
            ruled.node.agent.has_logged("not reloaded, the rules are unchanged", number + 1);
            assert!(!ruled.accelerates_path(LOOPBACK), "{broken}");
        }
        ruled.node.agent.has_logged("allowed are numbers from 1 to 65535", 1);
        ruled.reload("");
        ruled.node.agent.has_logged("- exclude ports 1-65535", 1);
        assert!(ruled.accelerates_path(LOOPBACK));
        ruled.reload("refresh = 30");
        ruled.node.agent.has_logged("no rule has changed", 1);
        ruled.node.agent.has_logged("takes effect at the next start: refresh", 1);
        fs::write(ruled.file.path(), "refresh = 0").expect("write the rules");
        let path = ruled.file.path().to_str().expect("text");
        for arguments in [&["check-config", path][..], &["run", "--config", path]] {
            let output = run(arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            assert!(said.contains("line 1: refresh = 0: allowed are 1 to 86400"), "{said}");
        }
    });
}

#[test]
fn systemd_is_told_of_a_reload_and_of_its_end() {
    isolated(|| {
        let mut ruled = Ruled::start("");
        assert_eq!(ruled.node.agent.notification().trim_end(), "READY=1");
        for rules in ["", "[exclude]\nports = [80]"] {
            ruled.reload(rules);
            let reloading = ruled.node.agent.notification();
            let lines: Vec<&str> = reloading.lines().collect();
            assert!(
                lines[0] == "RELOADING=1" && lines[1].starts_with("MONOTONIC_USEC="),
                "{reloading}"
            );
            assert_eq!(ruled.node.agent.notification().trim_end(), "READY=1");
        }
    });
}

#[test]
fn without_a_file_there_is_nothing_to_read_again_and_sighup_stops() {
    isolated(|| {
        let mut node = Node::start();
        node.agent.signal(Signal::SIGHUP);
        assert_eq!(node.agent.wait().code(), Some(0));
    });
}

#[test]
fn what_the_command_line_says_counts_before_the_file() {
    isolated(|| {
        // Neither the name nor the cgroup is the file's.
        let ruled = Ruled::start("name = \"other\"\ncgroup = \"/nowhere\"\nrefresh = 1\n");
        assert!(ruled.accelerates_path(LOOPBACK));
        let mut file = NamedTempFile::new().expect("make a file");
        file.write_all(b"cgroup = \"/nowhere\"").expect("write the settings");
        let output = run(&[
            "run",
            "--name",
            "policy-nowhere",
            "--config",
            file.path().to_str().expect("text"),
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere"), "{output:?}");
    });
}
