//! Commands of the binary that work on BPF programs.

mod asm;
mod check_config;
mod disasm;
mod output;
mod programs;

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

const SHUNT: &str = env!("CARGO_BIN_EXE_shunt");
/// The example in `shunt asm --help`.
const EXAMPLE: &str = include_str!("../example.s");

/// Runs `shunt` with these arguments.
fn shunt<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    Command::new(SHUNT).args(arguments).stdin(Stdio::null()).output().expect("run shunt")
}

/// Runs `shunt` with text on its standard input.
fn shunt_reading(text: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(SHUNT);
    let command =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("run shunt");
    match running.stdin.take().expect("its standard input").write_all(text.as_bytes()) {
        // A command that rejects its arguments reads nothing.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.expect("write to it"),
    }
    running.wait_with_output().expect("wait for it")
}

/// The output of a command that must succeed.
fn stdout_of(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The errors of a command that must fail.
fn stderr_of(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("text")
}
