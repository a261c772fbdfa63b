//! What differs on arm64, on a kernel of arm64, as a test.

use std::path::Path;
use std::process::Command;

#[test]
fn what_depends_on_the_architecture_holds_on_arm64() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("arm64.toml");
    // What it prints is the report, which is wanted whether the test passes or not.
    let run = Command::new(env!("CARGO_BIN_EXE_vm-tests"))
        .args(["run", "--config"])
        .arg(config)
        .status()
        .expect("start vm-tests");
    assert!(run.success(), "the tests of arm64 ended with {run}");
}
