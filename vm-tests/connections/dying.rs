//! Whenever an agent is killed, and whatever is removed under it: traffic goes on, and what is left
//! can be taken away or taken over.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path as Directory, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use syscalls::Link;
use syscalls::object::{LinkTarget, link_ids};
use tcp_shunt::bed::Cgroup;
use tcp_shunt::host::{Namespace, bpffs, cgroup};

use testkit::agent::{Agent, binary, name_prefix, run};
use testkit::isolation::isolated;
use testkit::load::under_load;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, REDIRECT, VETH, ready_for_tests};
use testkit::pattern::{Dice, Pattern};
use testkit::traffic::{
    both_ways, direct, direct_all, exchange, receive, send, small_talk, until_direct,
};
use testkit::{eventually, share_of};

/// Less than a receiver lets a lane redirect in any case.
const UNREAD: u64 = 20_000;
const THERE: Pattern = Pattern { seed: 80 };

fn end(mut process: Child, signal: Signal) {
    kill(Pid::from_raw(process.id().cast_signed()), signal).expect("send a signal");
    process.wait().expect("wait for it");
}

/// How many programs are attached to a cgroup itself.
fn attached_to(cgroup: &Directory) -> usize {
    let inode = fs::metadata(cgroup).expect("look at the cgroup").ino();
    // Links of others come and go.
    let links = link_ids().filter_map(|id| Link::open_id(id.ok()?).ok()?.info().ok());
    links.filter(|link| matches!(link.target, LinkTarget::Cgroup { id, .. } if id == inode)).count()
}

#[test]
fn agents_that_are_killed_at_any_moment_while_they_take_over_disturb_nobody() {
    isolated(|| {
        let mut node = Node::start();
        let flows: Vec<Pair> = [LOOPBACK, VETH].map(|path| node.pair(path)).into();
        let waiting = node.pair(VETH);
        direct(&node, &waiting);
        send(&waiting.client, THERE, 0..UNREAD, 5_000);
        let services = [LOOPBACK, REDIRECT].map(|path| node.listen(path));
        let agent = &mut node.agent;
        let mut dice = Dice(81);
        under_load(&node.bed, &flows, &services, |load| {
            for round in 0..share_of(30) {
                let successor =
                    agent.successor(if round % 5 == 4 { &["--max-flows", "5000"] } else { &[] });
                thread::sleep(Duration::from_micros(dice.below(400_000) as u64));
                end(successor, Signal::SIGKILL);
                if round % 10 == 9 {
                    load.progress();
                }
            }
            agent.replace(&[]).wait().expect("wait for the agent before");
            load.progress();
        });
        receive(&waiting.server, THERE, 0..UNREAD, 10_000);
        eventually("one generation is left", || {
            // A socket leaves at its next segment.
            flows.iter().chain([&waiting]).for_each(small_talk);
            (node.agent.states() == ["running"]).then_some(())
        });
        direct(&node, &node.pair(VETH));
    });
}

#[test]
fn agents_that_are_killed_while_they_start_or_stop_leave_nothing_that_detach_cannot_remove() {
    isolated(|| {
        let mut node = Node::start();
        node.agent.stop();
        let flows: Vec<Pair> = [LOOPBACK, VETH].map(|path| node.pair(path)).into();
        let services = [LOOPBACK].map(|path| node.listen(path));
        let agent = &mut node.agent;
        let mut dice = Dice(82);
        under_load(&node.bed, &flows, &services, |_| {
            for round in 0..share_of(20) {
                let process = agent.successor(&[]);
                thread::sleep(Duration::from_micros(dice.below(300_000) as u64));
                if round % 2 == 0 {
                    kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM)
                        .expect("send a signal");
                    thread::sleep(Duration::from_micros(dice.below(60_000) as u64));
                }
                end(process, Signal::SIGKILL);
                if agent.pins().exists() {
                    let detached = run(&["detach", "--name", agent.name()]);
                    assert_eq!(detached.status.code(), Some(0), "{detached:?}");
                }
                agent.assert_nothing_pinned();
            }
        });
        eventually("nothing is attached", || {
            (attached_to(node.bed.cgroup().path()) == 0).then_some(())
        });
        flows.iter().for_each(|pair| both_ways(pair, 83, 1 << 20, 50_000));
    });
}

fn pins_of(name: &str) -> PathBuf {
    bpffs::find()
        .expect("read the mount table")
        .expect("a bpffs is mounted")
        .join("shunt")
        .join(name)
}

/// Starts an agent that may not get far. `None` if it was ready, and was stopped then; else what it
/// said.
fn attempt(mut command: Command) -> Option<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap_or_else(|error| panic!("start shunt: {error}"));
    let mut stdout = BufReader::new(process.stdout.take().expect("a piped stdout"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("read its first line");
    let ready = first.starts_with("ready");
    if ready {
        kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM).expect("send a signal");
    }
    let output = process.wait_with_output().expect("wait for it");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(i32::from(!ready)), "{said}");
    (!ready).then_some(said)
}

fn shunt(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

/// Starts agents that may have more and more files open: each file more is a map, a program, a link
/// or a pin more before the kernel refuses. Returns how many were refused before one was ready.
fn with_more_and_more_files(arguments: &[&str], mut look: impl FnMut(&str)) -> usize {
    // An emulated guest takes its time to start an agent.
    let step = if share_of(100) < 100 { 3 } else { 1 };
    for files in (4..200).step_by(step) {
        let mut command = shunt(arguments);
        // SAFETY: setrlimit is all that happens between fork and exec, and it is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                setrlimit(Resource::RLIMIT_NOFILE, files, files).map_err(io::Error::from)
            });
        }
        match attempt(command) {
            Some(said) => {
                assert!(
                    said.contains("Too many open files") || said.contains("EMFILE"),
                    "{files} files: {said}"
                );
                look(&said);
            }
            None => return files as usize - 4,
        }
    }
    panic!("200 files are not enough for an agent")
}

#[test]
fn an_agent_raises_the_limit_of_open_files_as_far_as_it_may() {
    isolated(|| {
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2)");
        let name = format!("{}raised", name_prefix(std::process::id()));
        let path = cgroup.path().to_str().expect("a path in UTF-8");
        let mut command = shunt(&["run", "--name", &name, "--cgroup", path]);
        // SAFETY: setrlimit is all that happens between fork and exec, and it is async-signal-safe.
        unsafe {
            command
                .pre_exec(|| setrlimit(Resource::RLIMIT_NOFILE, 12, 4096).map_err(io::Error::from));
        }
        assert_eq!(attempt(command), None);
    });
}

#[test]
fn a_start_that_the_kernel_refuses_something_says_so_and_leaves_nothing() {
    isolated(|| {
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2)");
        let name = format!("{}refused", name_prefix(std::process::id()));
        let path = cgroup.path().to_str().expect("a path in UTF-8");
        let pins = pins_of(&name);
        let mut pinning_or_loading = 0;
        let refused =
            with_more_and_more_files(&["run", "--name", &name, "--cgroup", path], |said| {
                assert!(!pins.exists(), "{} is left after {said}", pins.display());
                assert_eq!(attached_to(cgroup.path()), 0, "{said}");
                pinning_or_loading +=
                    usize::from(said.contains("the map") || said.contains("program"));
            });
        assert!(
            refused > 10 && pinning_or_loading > 3,
            "{refused}, {pinning_or_loading} of them late"
        );
        assert!(!pins.exists());
    });
}

#[test]
fn a_take_over_that_the_kernel_refuses_something_leaves_all_flows_as_they_are() {
    isolated(|| {
        let mut node = Node::start();
        let flows: Vec<Pair> = [LOOPBACK, VETH].map(|path| node.pair(path)).into();
        direct_all(&node, &flows);
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        let cgroup = node.bed.cgroup().path().to_str().expect("a path in UTF-8");
        let arguments = ["run", "--replace", "--name", node.agent.name(), "--cgroup", cgroup];
        let refused = with_more_and_more_files(&arguments, |said| {
            assert_eq!(node.agent.states(), ["orphaned"], "{said}");
            let direct = node.stats().counter("direct_messages");
            flows.iter().for_each(|pair| exchange(pair, 84, 1000, 1000));
            assert!(node.stats().counter("direct_messages") >= direct + 4, "{said}");
        });
        assert!(refused > 10, "{refused}");
        node.agent.assert_nothing_pinned();
        flows.iter().for_each(|pair| exchange(pair, 85, 1000, 1000));
    });
}

/// A cgroup of the memory controller, version 1 or 2.
struct Memory(PathBuf);

impl Memory {
    fn limited_to(bytes: u64) -> Self {
        let name = format!("shunt-test-{}", std::process::id());
        let (first, unified) =
            (Directory::new("/sys/fs/cgroup/memory"), cgroup::root().expect("cgroup v2"));
        let (path, limit) = if first.is_dir() {
            (first.join(name), "memory.limit_in_bytes")
        } else {
            fs::write(unified.join("cgroup.subtree_control"), "+memory")
                .expect("turn the memory controller on");
            (unified.join(name), "memory.max")
        };
        fs::create_dir(&path).expect("make a cgroup of the memory controller");
        let memory = Self(path);
        fs::write(memory.0.join(limit), bytes.to_string()).expect("set its limit");
        memory
    }

    /// Starts a command inside.
    fn will_hold(&self, command: &mut Command) {
        let members =
            File::options().write(true).open(self.0.join("cgroup.procs")).expect("open the cgroup");
        // SAFETY: a write to a descriptor is all that happens between fork and exec, and it is
        // async-signal-safe.
        unsafe { command.pre_exec(move || (&members).write_all(b"0")) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Whoever was inside has ended, and the kernel may still be cleaning up after it.
        eventually("the memory cgroup is gone", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn without_memory_for_its_maps_it_says_so_and_leaves_nothing() {
    isolated(|| {
        let memory = Memory::limited_to(60 << 20);
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2)");
        let name = format!("{}memory", name_prefix(std::process::id()));
        let path = cgroup.path().to_str().expect("a path in UTF-8");
        let mut command =
            shunt(&["run", "--name", &name, "--cgroup", path, "--max-flows", "2000000"]);
        memory.will_hold(&mut command);
        let said = attempt(command);
        let said = said.expect("it is refused");
        assert!(
            said.contains("cannot make the map") && said.contains("Cannot allocate memory"),
            "{said}"
        );
        assert!(!pins_of(&name).exists());
        assert_eq!(attached_to(cgroup.path()), 0);
    });
}

/// Maps of another size are made beside those of the running agent.
fn larger(node: &Node, flows: &str) -> Command {
    let cgroup = node.bed.cgroup().path().to_str().expect("a path in UTF-8");
    let name = node.agent.name();
    shunt(&["run", "--replace", "--name", name, "--cgroup", cgroup, "--max-flows", flows])
}

#[test]
fn a_successor_without_memory_for_its_maps_ends_and_the_agent_before_goes_on() {
    isolated(|| {
        let mut node = Node::start();
        let flows: Vec<Pair> = [LOOPBACK, VETH].map(|path| node.pair(path)).into();
        direct_all(&node, &flows);
        let memory = Memory::limited_to(60 << 20);
        let mut successor = larger(&node, "2000000");
        memory.will_hold(&mut successor);
        let said = attempt(successor).expect("it is refused");
        assert!(
            said.contains("was not asked to end")
                && said.contains("cannot make the map")
                && said.contains("Cannot allocate memory"),
            "{said}"
        );
        assert!(node.agent.is_running(), "the agent has handed over to nobody");
        assert_eq!(node.agent.states(), ["running"]);
        flows.iter().for_each(|pair| exchange(pair, 88, 1000, 1000));
        direct_all(&node, &flows);
    });
}

/// It makes them once: what it made before it asked the running agent to end is what it goes on
/// with.
#[test]
fn a_successor_that_has_memory_for_its_maps_once_takes_over() {
    /// Some 85 MiB, as the kernel counts them.
    const FLOWS: &str = "1000000";
    isolated(|| {
        let mut node = Node::start();
        let pair = node.pair(LOOPBACK);
        direct(&node, &pair);
        let memory = Memory::limited_to(130 << 20);
        let mut command = larger(&node, FLOWS);
        memory.will_hold(&mut command);
        let successor = command.stdout(Stdio::null()).spawn().expect("start an agent");
        assert_eq!(node.agent.wait().code(), Some(0), "the agent before");
        eventually("the successor runs beside what drains", || {
            (node.agent.states().last()? == "running").then_some(())
        });
        exchange(&pair, 89, 1000, 1000);
        let beside = node.pair(LOOPBACK);
        until_direct(&node.agent, &[beside]);
        end(successor, Signal::SIGTERM);
        node.agent.assert_nothing_pinned();
    });
}

#[test]
fn a_bpffs_that_cannot_be_written_is_told_and_nothing_is_attached() {
    isolated(|| {
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2)");
        let name = format!("{}readonly", name_prefix(std::process::id()));
        let path = cgroup.path().to_str().expect("a path in UTF-8");
        let dir = tempfile::tempdir().expect("make a directory");
        let mounted = dir.path().to_str().expect("a path in UTF-8");
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare the mount table");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("make the mounts private");
        mount(Some("bpf"), mounted, Some("bpf"), MsFlags::MS_RDONLY, none).expect("mount a bpffs");
        let said = attempt(shunt(&["run", "--name", &name, "--cgroup", path, "--bpffs", mounted]));
        let said = said.expect("it is refused");
        assert!(said.contains(mounted) && said.contains("Read-only file system"), "{said}");
        assert_eq!(attached_to(cgroup.path()), 0);
    });
}

#[test]
fn a_folder_that_is_no_bpffs_is_refused_and_nothing_is_made_in_it() {
    isolated(|| {
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2)");
        let path = cgroup.path().to_str().expect("a path in UTF-8");
        let dir = tempfile::tempdir().expect("make a directory");
        let missing = dir.path().join("missing");
        for (place, why) in
            [(dir.path(), "is no BPF file system"), (&missing, "No such file or directory")]
        {
            let place = place.to_str().expect("a path in UTF-8");
            for command in [&["run", "--cgroup", path][..], &["stats"], &["status"], &["detach"]] {
                let said = attempt(shunt(&[command, &["--bpffs", place]].concat()))
                    .expect("it is refused");
                assert!(said.contains(place) && said.contains(why), "{command:?}: {said}");
            }
        }
        assert!(!missing.exists());
        assert_eq!(std::fs::read_dir(dir.path()).expect("list it").count(), 0);
        assert_eq!(attached_to(cgroup.path()), 0);
    });
}

/// As an unprivileged user.
#[test]
fn who_may_not_look_into_the_folder_of_pins_is_told_so() {
    isolated(|| {
        let node = Node::start();
        let mut command = shunt(&["stats", "--name", node.agent.name()]);
        command.uid(65_534);
        let said = attempt(command).expect("it is refused");
        assert!(said.contains("Permission denied") && said.contains("root"), "{said}");
    });
}

fn pair_in(cgroup: &Cgroup, namespace: &Namespace) -> Pair {
    let connect = || {
        cgroup.enter().expect("enter the cgroup");
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let client =
            TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        for end in [&client, &server] {
            ready_for_tests(end).expect("set options");
        }
        Pair { client, server }
    };
    namespace.run(connect).expect("enter the namespace")
}

#[test]
fn a_cgroup_that_is_removed_under_an_agent_takes_no_flow_with_it() {
    isolated(|| {
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2)");
        let namespace = Namespace::new().expect("make a namespace (as root)");
        let mut agent = Agent::start(cgroup.path(), &[]);
        let pairs: Vec<Pair> = (0..3).map(|_| pair_in(&cgroup, &namespace)).collect();
        until_direct(&agent, &pairs);
        for pair in &pairs {
            send(&pair.client, THERE, 0..UNREAD, 5_000);
        }
        drop(cgroup);
        // What remains of the cgroup is its sockets.
        for pair in &pairs {
            receive(&pair.server, THERE, 0..UNREAD, 10_000);
            both_ways(pair, 86, 1 << 20, 50_000);
            send(&pair.client, THERE, 0..UNREAD, 5_000);
        }
        agent.signal(Signal::SIGKILL);
        agent.wait();
        for pair in &pairs {
            receive(&pair.server, THERE, 0..UNREAD, 10_000);
        }
        let detached = run(&["detach", "--name", agent.name()]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
        agent.assert_nothing_pinned();
        for pair in &pairs {
            both_ways(pair, 87, 1 << 20, 50_000);
        }
    });
}

#[test]
fn a_namespace_that_goes_with_its_flows_leaves_nothing_in_the_maps() {
    isolated(|| {
        let mut node = Node::start();
        for round in 0..20 {
            let namespace = Namespace::new().expect("make a namespace (as root)");
            let pairs: Vec<Pair> = (0..4).map(|_| pair_in(node.bed.cgroup(), &namespace)).collect();
            until_direct(&node.agent, &pairs);
            drop(namespace);
            for pair in &pairs {
                exchange(pair, round, 1000, 1000);
                send(&pair.client, THERE, 0..UNREAD, 5_000);
            }
            // With the last of these sockets the namespace goes, too.
        }
        node.nothing_is_enrolled();
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        let detached = run(&["detach", "--name", node.agent.name()]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
        node.agent.assert_nothing_pinned();
    });
}
