//! Every test on every kernel, as a test.

use std::process::{Command, ExitStatus};

fn vm_tests(arguments: &[&str]) -> ExitStatus {
    // What it prints is the report, which is wanted whether the test passes or not.
    Command::new(env!("CARGO_BIN_EXE_vm-tests")).args(arguments).status().expect("start vm-tests")
}

#[test]
fn every_test_passes_on_every_kernel() {
    let fetched = vm_tests(&["fetch", "--if-missing"]);
    assert!(fetched.success(), "fetching the kernels ended with {fetched}");
    let run = vm_tests(&["run"]);
    assert!(run.success(), "the matrix ended with {run}");
}
