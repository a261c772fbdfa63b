//! Nothing can be written to where output and log go, as on a full disk.

use std::fs::{File, OpenOptions};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tcp_shunt::bed::Cgroup;

use testkit::agent::{Agent, binary, run};
use testkit::eventually;
use testkit::isolation::isolated;

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full")
}

/// The process of the running agent with this name.
fn running(name: &str) -> Option<u64> {
    let status = run(&["status", "--name", name, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
    let instance = &status["instances"][0];
    instance["pid"].as_u64().filter(|_| instance["state"] == "running")
}

fn stop(mut process: Child) {
    kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM).expect("ask it to stop");
    let ended = process.wait().expect("wait for it");
    assert_eq!(ended.code(), Some(0), "{ended}");
}

#[test]
fn an_agent_runs_takes_over_and_stops_where_neither_output_nor_log_can_be_written() {
    isolated(|| {
        let cgroup = Cgroup::new().expect("make a cgroup");
        for (out, log) in [(true, false), (false, true), (true, true)] {
            let mut before = Agent::start(cgroup.path(), &[]);
            let to = |is_full| if is_full { Stdio::from(full()) } else { Stdio::null() };
            let mut successor = Command::new(binary())
                .args(["run", "--replace", "--name", before.name(), "--cgroup"])
                .arg(cgroup.path())
                .stdin(Stdio::null())
                .stdout(to(out))
                .stderr(to(log))
                .spawn()
                .expect("start an agent");
            assert_eq!(before.wait().code(), Some(0));
            let pid = u64::from(successor.id());
            eventually("the successor runs", || {
                assert_eq!(successor.try_wait().expect("look at it"), None, "it has ended");
                (running(before.name()) == Some(pid)).then_some(())
            });
            stop(successor);
            before.assert_nothing_pinned();
        }
    });
}

#[test]
fn a_failure_that_cannot_be_told_has_the_exit_code_of_one_that_can() {
    let command = |log: Stdio| {
        let mut command = Command::new(binary());
        command.args(["stats", "--name", "nobody"]).stdout(Stdio::null()).stderr(log);
        command.status().expect("run it").code()
    };
    assert_eq!(command(Stdio::null()), Some(1));
    assert_eq!(command(full().into()), Some(1));
}
