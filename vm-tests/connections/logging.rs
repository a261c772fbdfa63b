//! The log, in the form that log collectors need.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tcp_shunt::bed::Cgroup;

use testkit::agent::{Agent, binary, name_prefix};
use testkit::eventually;
use testkit::isolation::isolated;

/// The lines that an agent with these options writes into a file until it has looked for open
/// connections and is stopped; whether the file is said to be the journal.
fn log(options: &[&str], is_journal: bool) -> Vec<String> {
    let cgroup = Cgroup::new().expect("make a cgroup");
    let name = format!("{}log", name_prefix(std::process::id()));
    let path = tempfile::NamedTempFile::new().expect("make a file").into_temp_path();
    let file = File::create(&path).expect("open it");
    let about = file.metadata().expect("look at it");
    let stream =
        if is_journal { format!("{}:{}", about.dev(), about.ino()) } else { "1:1".to_owned() };
    let mut agent = Command::new(binary())
        .args(["run", "--name", &name, "--cgroup"])
        .arg(cgroup.path())
        .args(options)
        .env("JOURNAL_STREAM", stream)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("start an agent");
    let text = || fs::read_to_string(&path).expect("read the log");
    // By the process that adopts.
    eventually("it is at work", || text().contains("looked for open connections").then_some(()));
    kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGTERM).expect("ask it to stop");
    assert_eq!(agent.wait().expect("wait for it").code(), Some(0));
    text().lines().map(str::to_owned).collect()
}

fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000000Z"
}

#[test]
fn lines_have_time_level_and_text_and_none_in_the_journal_which_has_its_own_time() {
    isolated(|| {
        let lines = log(&[], false);
        assert!(lines.len() > 3, "{lines:?}");
        for line in &lines {
            let mut words = line.split_whitespace();
            assert!(words.next().is_some_and(is_time), "{line}");
            assert!(["INFO", "WARN"].contains(&words.next().unwrap_or_default()), "{line}");
        }
        for line in log(&[], true) {
            assert!(line.starts_with(" INFO ") || line.starts_with(" WARN "), "{line}");
        }
    });
}

#[test]
fn lines_for_machines_are_objects_of_all_processes_of_the_agent() {
    isolated(|| {
        let lines = log(&["--log-format", "json"], true);
        let objects: Vec<serde_json::Value> = lines
            .iter()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
            })
            .collect();
        for object in &objects {
            assert!(object["time"].as_str().is_some_and(is_time), "{object}");
            assert!(
                ["INFO", "WARN"].contains(&object["level"].as_str().unwrap_or_default()),
                "{object}"
            );
        }
        let says = |words: &str| {
            let mut said = objects.iter().filter(|object| {
                object["message"].as_str().is_some_and(|text| text.contains(words))
            });
            said.next().unwrap_or_else(|| panic!("{words}: {objects:?}"))
        };
        assert!(says("looked for open connections")["namespaces"].is_u64());
        says("stopping");
    });
}

#[test]
fn a_flood_of_lines_is_cut_and_the_log_says_how_many_were_left_out() {
    /// More than a place may log at once, and in how many seconds it may log one more.
    const LINES: usize = 150;
    isolated(|| {
        let cgroup = Cgroup::new().expect("make a cgroup");
        let file = tempfile::NamedTempFile::new().expect("make a file");
        let path = file.path().to_str().expect("text");
        fs::write(path, "log-format = \"json\"\n").expect("write the configuration");
        let mut agent = Agent::start(cgroup.path(), &["--config", path]);
        let until = |state: &str| while !agent.notification().contains(state) {};
        until("READY=1");
        let begun = std::time::Instant::now();
        for _ in 0..LINES {
            agent.signal(Signal::SIGHUP);
            until("RELOADING=1");
            until("READY=1");
        }
        let seconds = begun.elapsed().as_secs() as usize;
        agent.stop();
        let is_note = "\"left_out\":";
        agent.has_logged(is_note, 1);
        let notes: usize =
            (1..=LINES).map(|lines| lines * agent.logged(&format!("{is_note}{lines},"))).sum();
        let (all, noted) = (agent.logged("reloaded"), agent.logged(is_note));
        let written = all - noted;
        assert!((100..=101 + seconds).contains(&written), "{written} lines in {seconds} s");
        assert_eq!(written + notes, LINES, "{notes} were left out");
    });
}
