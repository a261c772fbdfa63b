//! Tools that judge. A missing one fails the test and says what to install.

use std::process::{Command, Output};
use std::sync::OnceLock;

use xtask::target::{Built, Target};

/// `program`, which comes with `packages`.
pub fn tool(program: &str, packages: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(found, "{program} is missing: install it with {packages}");
    Command::new(program)
}

/// Runs it to its end and demands success; what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?} ended with {}\n{}", output.status, both(&output));
    String::from_utf8(output.stdout).expect("text")
}

pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"))
}

/// What it printed, on both streams.
pub fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The binary for this machine, as `cargo build` makes it.
pub fn shunt() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Target::native().expect("a machine that shunt is made for");
        xtask::binary::build("dev", target).expect("build shunt")
    })
}

/// Whether shunt takes these arguments.
pub fn assert_understood(arguments: &[String]) {
    let all = std::iter::once("shunt".to_owned()).chain(arguments.iter().cloned());
    if let Err(error) = tcp_shunt::cli::command().try_get_matches_from(all) {
        panic!("shunt does not take {arguments:?}: {error}");
    }
}
