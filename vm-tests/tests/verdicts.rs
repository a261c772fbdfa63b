//! Whether the matrix tells apart what can come of a test: each kind of outcome once, in a real guest.

use std::path::Path;
use std::process::Command;

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

fn vm_tests(arguments: &[&str]) -> std::process::Output {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("specimens/kernels.toml");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
    Command::new(env!("CARGO_BIN_EXE_vm-tests"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .arg("--cache")
        .arg(cache)
        .output()
        .expect("start vm-tests")
}

/// The words of a table's row after the name of its test.
fn cell<'a>(table: &'a str, test: &str) -> &'a str {
    let row = table.lines().find_map(|line| line.strip_prefix(test));
    row.unwrap_or_else(|| panic!("no row {test} in\n{table}")).trim()
}

#[test]
fn each_outcome_is_recognised_and_a_crash_takes_no_other_test_with_it() {
    let fetched = vm_tests(&["fetch"]);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let output = vm_tests(&["run"]);
    let (report, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{report}{progress}");
    for (test, verdict) in EXPECTED {
        let cell = cell(&report, test);
        let (found, seconds) = cell.trim_end_matches(" s").rsplit_once(' ').unwrap_or(("<passed>", cell));
        assert_eq!(found, *verdict, "{test} in\n{report}{progress}");
        assert!(seconds.trim_end_matches(" s").parse::<f64>().is_ok(), "{cell}");
    }
    assert!(report.contains("the kernel complained: WARNING: CPU: 0 PID: 1 at specimens/main.rs:1 on purpose"));
    assert!(report.contains("the kernel complained: Kernel panic - not syncing: sysrq triggered crash"), "{report}");
    assert!(report.contains("3 of 7 passed, 4 failed, 0 not run; 7 tests on 1 kernels"), "{report}");
}
