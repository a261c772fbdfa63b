use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tcp_shunt::bed::Cgroup;
use tcp_shunt::host::bpffs;
use xtask::workspace;

use crate::confined::{capability, confined};
use crate::tool::{assert_understood, both, run, shunt, succeed, tool};

fn unit() -> String {
    let path = workspace::root().expect("the workspace").join("deploy/systemd/shunt.service");
    fs::read_to_string(path).expect("read the unit")
}

/// The values of a setting, in order.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('=')).collect()
}

fn systemd_analyze() -> Command {
    tool("systemd-analyze", "apt-get install systemd")
}

#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join("shunt.service");
    // The binary is not installed here, and whether its manual is does not matter.
    let here = unit().replace("/usr/local/bin/shunt", shunt().path.to_str().expect("text"));
    fs::write(&path, here).expect("write the unit");
    let output = run(systemd_analyze().args(["verify", "--man=no"]).arg(&path));
    assert!(output.status.success() && both(&output).is_empty(), "{}", both(&output));
}

#[test]
fn the_exposure_level_is_no_higher_than_the_documentation_states() {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join("shunt.service");
    fs::write(&path, unit()).expect("write the unit");
    let shown =
        both(&run(systemd_analyze().args(["security", "--offline=yes", "--no-pager"]).arg(&path)));
    let level = shown
        .lines()
        .find_map(|line| line.split("Overall exposure level for shunt.service: ").nth(1));
    let level = level
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("no level in {shown}"));
    let level: f32 = level.parse().expect("a number");
    let page = workspace::root().expect("the workspace").join("docs/security.md");
    let page = fs::read_to_string(page).expect("read docs/security.md");
    let stated = page
        .split("exposure level ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .expect("it states one");
    // Later versions of systemd may count differently, but no worse.
    assert!(
        level <= stated.parse().expect("a number"),
        "docs/security.md states {stated}; {shown}"
    );
}

#[test]
fn shunt_takes_the_arguments_that_the_unit_gives_it() {
    let unit = unit();
    let [command] = values(&unit, "ExecStart")[..] else { panic!("one ExecStart") };
    let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    assert_eq!(words[0], "/usr/local/bin/shunt");
    assert_understood(&words[1..]);
}

/// The system calls that the unit's filters leave.
fn system_calls(unit: &str) -> Vec<String> {
    let mut left = std::collections::BTreeSet::new();
    for filter in values(unit, "SystemCallFilter") {
        let (removes, names) =
            filter.strip_prefix('~').map_or((false, filter), |names| (true, names));
        for name in names.split(' ') {
            for call in expanded(name) {
                if removes {
                    left.remove(&call);
                } else {
                    left.insert(call);
                }
            }
        }
    }
    left.into_iter().collect()
}

/// What a set such as `@system-service` holds.
fn expanded(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let list = succeed(systemd_analyze().args(["syscall-filter", "--no-pager", name]));
    let inside = list
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    inside.flat_map(expanded).collect()
}

#[test]
fn the_agent_starts_and_stops_with_the_unit_s_capabilities_and_system_calls() {
    let unit = unit();
    let bounding = values(&unit, "CapabilityBoundingSet");
    let names = bounding.iter().flat_map(|names| names.split(' '));
    let capabilities =
        names.map(|name| capability(name.strip_prefix("CAP_").expect("CAP_"))).collect();
    let cgroup = Cgroup::new().expect("make a cgroup");
    let name = format!("unit-{}", std::process::id());
    let (first, ended) = confined(
        || (),
        capabilities,
        &system_calls(&unit),
        || {
            let mut agent = Command::new(&shunt().path)
                .args(["run", "--name", &name, "--cgroup"])
                .arg(cgroup.path())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("start shunt");
            let mut first = String::new();
            let stdout = agent.stdout.take().expect("a piped stdout");
            BufReader::new(stdout).read_line(&mut first).expect("read what it says");
            kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGTERM).expect("ask it to stop");
            (first, agent.wait().expect("wait for it"))
        },
    );
    assert!(first.starts_with("ready"), "{first:?}, {ended}");
    assert_eq!(ended.code(), Some(0), "{ended}");
    let pins = bpffs::find()
        .expect("the mount table")
        .expect("a BPF file system")
        .join("shunt")
        .join(&name);
    assert!(!pins.exists(), "{} is still there", pins.display());
}
