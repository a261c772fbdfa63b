//! Whether the matrix tells apart what can come of a run: each kind of outcome once, in a real
//! guest where there is one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What is expected of each specimen, in order.
const EXPECTED: &[(&str, &str)] = &[
    ("specimens::a_holds", "<passed>"),
    ("specimens::b_does_not_hold", "FAILED"),
    ("specimens::c_is_never_done_nor_is_what_it_started", "TIMED OUT"),
    ("specimens::d_finds_nothing_running_that_was_left_by_others", "<passed>"),
    ("specimens::e_holds_while_the_kernel_complains", "FAILED"),
    ("specimens::f_crashes_the_kernel", "CRASHED"),
    ("specimens::g_holds_in_a_new_guest", "<passed>"),
];

/// Exit codes of `vm-tests`.
const FAILED: i32 = 1;
const INCOMPLETE: i32 = 2;

fn vm_tests(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vm-tests")).args(arguments).output().expect("start vm-tests")
}

/// What the specimens run on.
fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("specimens/kernels.toml")
}

/// Runs the specimens.
fn run(arguments: &[&str]) -> Output {
    let config = config();
    let config = config.to_str().expect("a path in UTF-8");
    vm_tests(&[&["run", "--config", config], arguments].concat())
}

/// The command lines of the processes that have this variable in their environment.
fn processes_with(variable: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("list processes");
    let folders = processes.map(|entry| entry.expect("an entry").path());
    // A process that has ended meanwhile, or that is waited for, has no environment.
    let read = |path: PathBuf| fs::read(path).unwrap_or_default();
    folders
        .filter(|folder| {
            read(folder.join("environ"))
                .split(|&byte| byte == 0)
                .any(|it| it == variable.as_bytes())
        })
        .map(|folder| text(&read(folder.join("cmdline"))).replace('\0', " "))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The words of a table's row after the name of its test.
fn cell<'a>(table: &'a str, test: &str) -> &'a str {
    let row = table.lines().find_map(|line| line.strip_prefix(test));
    row.unwrap_or_else(|| panic!("no row {test} in\n{table}")).trim()
}

#[test]
fn each_outcome_is_recognised_and_a_crash_takes_no_other_test_with_it() {
    let junit = tempfile::NamedTempFile::new().expect("make a file");
    let output = run(&["--junit", junit.path().to_str().expect("a path in UTF-8")]);
    let (report, progress) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(FAILED), "{report}{progress}");
    for (test, verdict) in EXPECTED {
        let cell = cell(&report, test);
        let (found, seconds) =
            cell.trim_end_matches(" s").rsplit_once(' ').unwrap_or(("<passed>", cell));
        assert_eq!(found, *verdict, "{test} in\n{report}{progress}");
        assert!(seconds.trim_end_matches(" s").parse::<f64>().is_ok(), "{cell}");
    }
    assert!(report.contains(
        "the kernel complained: WARNING: CPU: 0 PID: 1 at specimens/main.rs:1 on purpose"
    ));
    assert!(
        report.contains("the kernel complained: Kernel panic - not syncing: sysrq triggered crash"),
        "{report}"
    );
    assert!(
        report.contains("3 of 7 passed, 4 failed, 0 not run; 7 tests on 1 kernels"),
        "{report}"
    );

    let xml = fs::read_to_string(junit.path()).expect("read the report in XML");
    assert!(
        xml.contains(r#"<testsuite name="6.12" tests="7" skipped="0" errors="0" failures="4">"#),
        "{xml}"
    );
    assert_eq!(xml.matches("<testcase ").count(), EXPECTED.len(), "{xml}");
}

#[test]
fn a_signal_ends_a_run_with_every_process_of_it_and_one_that_is_ignored_does_nothing() {
    let variable = format!("SHUNT_RUN={}", std::process::id());
    let (name, value) = variable.split_once('=').expect("a variable");
    // As a shell starts what a script runs in the background.
    let mut run = Command::new("sh")
        .args(["-c", "trap '' INT; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_vm-tests")])
        .args(["run", "--config"])
        .arg(config())
        .env(name, value)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start vm-tests");
    let mut progress = BufReader::new(run.stderr.take().expect("standard error")).lines();
    let first = progress.find(|line| line.as_ref().is_ok_and(|line| line.contains("a_holds")));
    first.expect("a result").expect("text");
    let assert_a_machine_runs = || {
        let machine = processes_with(&variable);
        assert!(machine.iter().any(|command| command.contains("qemu-system")), "{machine:?}");
    };
    assert_a_machine_runs();

    let tell = |signal| kill(Pid::from_raw(run.id().cast_signed()), signal).expect("send it");
    tell(Signal::SIGINT);
    std::thread::sleep(Duration::from_secs(1));
    assert_a_machine_runs();
    tell(Signal::SIGTERM);
    let status = run.wait().expect("wait");
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{status}");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = processes_with(&variable);
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "left: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_kernel_that_is_not_there_is_no_failure_of_a_test_and_comes_with_the_remedy() {
    let cache = tempfile::tempdir().expect("make a folder");
    let output = run(&["--cache", cache.path().to_str().expect("a path in UTF-8")]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(INCOMPLETE), "{report}{}", text(&output.stderr));
    assert!(
        report.contains("vm-tests fetch") && report.contains("0 failed, 7 not run"),
        "{report}"
    );
}

#[test]
fn a_kernel_that_does_not_boot_is_no_failure_of_a_test_and_says_so() {
    let cache = tempfile::tempdir().expect("make a folder");
    let release = "6.1.0-broken";
    let modules: PathBuf =
        cache.path().join("kernels").join(release).join("lib/modules").join(release);
    fs::create_dir_all(&modules).expect("make folders");
    for (file, contents) in
        [("modules.dep", ""), ("modules.builtin", ""), ("vmlinuz", "this is no kernel")]
    {
        fs::write(modules.join(file), contents).expect("write");
    }
    let manifest =
        format!(r#"{{"kernels": [{{"series": "6.12", "release": "{release}", "packages": []}}]}}"#);
    fs::write(cache.path().join("manifest.json"), manifest).expect("write");
    let output = run(&["--cache", cache.path().to_str().expect("a path in UTF-8")]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(INCOMPLETE), "{report}{}", text(&output.stderr));
    assert!(
        report.contains("the guest did not come up") && report.contains("0 failed, 7 not run"),
        "{report}"
    );
}

#[test]
fn a_run_that_leaves_every_kernel_out_says_so_and_has_not_passed() {
    let output = run(&["--exclude", "6.12"]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(INCOMPLETE), "{report}{}", text(&output.stderr));
    assert!(report.contains("on 0 kernels") && report.contains("excluded: 6.1"), "{report}");
    assert_eq!(cell(&report, "specimens::a_holds"), "excluded");
}
