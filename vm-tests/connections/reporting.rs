//! What a bug report holds.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tcp_shunt::bed::Cgroup;

use testkit::agent::{binary, name_prefix, run};
use testkit::isolation::isolated;
use testkit::node::Node;
use testkit::path::VETH;
use testkit::traffic::direct;

#[test]
fn a_report_holds_flows_configuration_and_log_and_no_address_if_it_is_masked() {
    isolated(|| {
        let folder = tempfile::tempdir().expect("make a folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
        fs::write(file("shunt.toml"), "[exclude]\naddresses = [\"10.20.30.40\"]\n")
            .expect("write it");
        let node = Node::start_with(&["--config", &file("shunt.toml")]);
        let pair = node.pair(VETH);
        direct(&node, &pair);
        let client = pair.client.local_addr().expect("an address").ip().to_string();
        // Another one, whose log is a file.
        let cgroup = Cgroup::new().expect("make a cgroup");
        let name = format!("{}logging", name_prefix(std::process::id()));
        let mut logging = Command::new(binary())
            .args(["run", "--name", &name, "--cgroup"])
            .arg(cgroup.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(file("log")).expect("make a file"))
            .spawn()
            .expect("start an agent");
        assert_eq!(run(&["status", "--name", &name, "--wait", "30"]).status.code(), Some(0));

        let written = run(&["report", "--output", &file("plain")]);
        assert_eq!(written.status.code(), Some(0), "{written:?}");
        let mode = fs::metadata(file("plain")).expect("look at it").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let plain = fs::read_to_string(file("plain")).expect("read it");
        let masked = run(&["report", "--mask"]);
        let masked = String::from_utf8(masked.stdout).expect("text");
        kill(Pid::from_raw(logging.id().cast_signed()), Signal::SIGTERM).expect("ask it to stop");
        logging.wait().expect("wait for it");

        for part in [
            "/proc/version",
            "shunt doctor",
            "shunt status",
            "shunt status --json",
            "the journal of the service",
        ] {
            assert!(plain.contains(&format!("==== {part}")), "{part}: {plain}");
        }
        let own = node.agent.name();
        for part in [
            &format!("shunt stats --name {own}"),
            &format!("shunt flows --name {own}"),
            &format!("the log of {name}"),
        ] {
            assert!(plain.contains(&format!("==== {part}")), "{part}: {plain}");
        }
        assert!(plain.contains("What shunt needs") && plain.contains("direct_messages"), "{plain}");
        assert!(plain.contains("keeps CAP_"), "no log: {plain}");
        for address in [client.as_str(), "10.20.30.40"] {
            assert!(plain.contains(address), "{address}: {plain}");
            assert!(!masked.contains(address), "{address}: {masked}");
        }
        assert!(masked.contains("addresses = [\"ipv4-"), "{masked}");

        let again = run(&["report", "--output", &file("plain")]);
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        assert_eq!(fs::read_to_string(file("plain")).expect("read it"), plain);
    });
}
