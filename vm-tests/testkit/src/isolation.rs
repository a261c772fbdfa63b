//! A process for each test.
//!
//! A test that hangs is killed with everything it started, and no test sees the threads, cgroup
//! memberships or file descriptors of another one.

use std::any::type_name;
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tcp_shunt::host::{bpffs, cgroup};

use crate::agent::{binary, name_prefix};
use crate::tier;

/// Set in the process that runs one test.
const ALONE: &str = "SHUNT_TEST_ALONE";

/// After this a test counts as hanging.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs `test`, the body of the test function that calls this, in a process of its own.
pub fn isolated<F: FnOnce()>(test: F) {
    isolated_as(test_name::<F>(), test);
}

/// Runs `test`, the body of the test function of this name, in a process of its own.
pub fn isolated_as(name: &str, test: impl FnOnce()) {
    tier::only_in(&["root", "applications"]);
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let mut output = tempfile::tempfile().expect("make a file for the test's output");
    let copy = || output.try_clone().expect("duplicate the output file");
    let mut child = Command::new(std::env::current_exe().expect("the path of this test binary"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .process_group(0)
        .stdin(std::process::Stdio::null())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .expect("start the test's process");
    let group = Pid::from_raw(child.id().cast_signed());

    let deadline = Instant::now() + LIMIT;
    let ended: Option<ExitStatus> = loop {
        match child.try_wait().expect("look at the test's process") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // Whatever it started and left running. ESRCH: nothing.
    let _ = killpg(group, Signal::SIGKILL);
    child.wait().expect("reap the test's process");

    output.rewind().expect("rewind the output file");
    let mut text = Vec::new();
    output.read_to_end(&mut text).expect("read the output file");
    let text = String::from_utf8_lossy(&text);
    // An exact name that matches no test would pass with "0 passed".
    if !ended.is_some_and(|status| status.success()) || !text.contains("1 passed") {
        clean_up_after(child.id());
        let how = ended
            .map_or(format!("was killed after {LIMIT:?}"), |status| format!("ended with {status}"));
        panic!("{name} {how}\n{text}");
    }
}

/// The path of the test function whose closure `F` is, as libtest names it.
pub fn test_name<F>() -> &'static str {
    let path = type_name::<F>();
    let path = path.trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_crate, path)| path)
}

/// A test that was killed cannot stop its agents or remove its cgroup.
fn clean_up_after(process: u32) {
    if let Ok(Some(bpffs)) = bpffs::find() {
        for name in names_in(&bpffs.join("shunt"), &name_prefix(process)) {
            let arguments = ["detach", "--name", &name];
            let outcome = Command::new(binary()).args(arguments).output();
            eprintln!("detach {name}, left by the test: {outcome:?}");
        }
    }
    let memory = crate::memory::group(process);
    if memory.exists() {
        eprintln!("remove {}, left by the test: {:?}", memory.display(), fs::remove_dir(&memory));
    }
    if let Ok(home) = cgroup::own() {
        for name in names_in(&home, &format!("shunt-bed-{process}-")) {
            eprintln!(
                "remove the cgroup {name}, left by the test: {:?}",
                fs::remove_dir(home.join(&name))
            );
        }
    }
}

fn names_in(directory: &std::path::Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}
