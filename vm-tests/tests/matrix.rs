//! Every test on every kernel, as a test.

use std::process::Command;

#[test]
fn every_test_passes_on_every_kernel() {
    // What it prints is the report, which is wanted whether the test passes or not.
    let run =
        Command::new(env!("CARGO_BIN_EXE_vm-tests")).arg("run").status().expect("start vm-tests");
    assert!(run.success(), "the matrix ended with {run}");
}
