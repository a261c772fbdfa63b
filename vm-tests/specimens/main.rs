//! Tests with known outcomes, run in a guest to see whether each is recognised. They are no tests
//! of anything.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// One of these crashes the kernel it runs on.
fn only_in_a_guest() {
    let first = fs::read_link("/proc/1/exe").expect("see what the first process is (as root)");
    assert!(
        first.ends_with("virtme-ng-init") || first.ends_with("vm-tests"),
        "this is not a guest of the kernel matrix, but of {}",
        first.display()
    );
}

fn tell_kernel(message: &str) {
    fs::write("/dev/kmsg", format!("<4>{message}\n")).expect("write to the kernel log");
}

// The names begin with the order in which they run.

#[test]
fn a_holds() {
    only_in_a_guest();
}

#[test]
fn b_does_not_hold() {
    only_in_a_guest();
    panic!("on purpose");
}

#[test]
fn c_is_never_done_nor_is_what_it_started() {
    only_in_a_guest();
    const CHILD: &str = "SPECIMEN_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let own = std::env::current_exe().expect("the path of this binary");
        let this = ["c_is_never_done_nor_is_what_it_started", "--exact"];
        // In a process group of its own, where a signal to that of its parent does not reach it.
        Command::new(own)
            .args(this)
            .env(CHILD, "")
            .process_group(0)
            .spawn()
            .expect("start another process");
    }
    std::thread::sleep(Duration::from_secs(3600));
}

#[test]
fn d_finds_nothing_running_that_was_left_by_others() {
    only_in_a_guest();
    let own = std::env::current_exe().expect("the path of this binary");
    let processes = fs::read_dir("/proc").expect("read /proc").flatten();
    let same = processes
        .filter(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == own));
    // The links of threads, /proc/self and /proc/thread-self, lead to this process as well.
    let numbers: Vec<_> =
        same.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).collect();
    assert_eq!(numbers, [std::process::id()], "others are running");
}

#[test]
fn e_holds_while_the_kernel_complains() {
    only_in_a_guest();
    tell_kernel("WARNING: CPU: 0 PID: 1 at specimens/main.rs:1 on purpose");
}

#[test]
fn f_crashes_the_kernel() {
    only_in_a_guest();
    fs::write("/tmp/left", "").expect("leave a file");
    // Documentation/admin-guide/sysrq.rst.
    fs::write("/proc/sysrq-trigger", "c").expect("crash the kernel");
    std::thread::sleep(Duration::from_secs(3600));
}

#[test]
fn g_holds_in_a_new_guest() {
    only_in_a_guest();
    assert!(!fs::exists("/tmp/left").expect("look"), "this is no new guest");
}
