//! Test binaries of this workspace: building them, and which tests they have.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{Message, Target};

use crate::architecture::Architecture;
use crate::config::Tests;
use crate::tools;

/// How everything that runs in a guest is compiled: emulation makes unoptimised code slower still.
const PROFILE: &str = "guest";

/// A test binary that is ready to run.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// Binaries of the packages, which it expects where they are.
    pub companions: Vec<PathBuf>,
    /// The names of its tests.
    pub tests: Vec<String>,
}

/// Builds test binaries in the workspace of this package, in the order of `all`.
///
/// # Errors
/// When one cannot be built or lists no tests.
pub fn build(all: &[Tests], architecture: Architecture) -> Result<Vec<Binary>> {
    // All at once: of one package alone, what it depends on would have fewer features, and be
    // compiled once more for each.
    let packages = all.iter().flat_map(|tests| ["--package", tests.package.as_str()]);
    let targets = all.iter().flat_map(|tests| ["--test", tests.target.as_str()]);
    let arguments: Vec<&str> =
        ["test", "--no-run"].into_iter().chain(packages).chain(targets).collect();
    let built = built(&arguments, architecture)?;
    all.iter().map(|tests| Binary::of(tests, &built, architecture)).collect()
}

impl Binary {
    fn of(tests: &Tests, built: &[(Target, PathBuf)], architecture: Architecture) -> Result<Self> {
        let of_target = |(target, _): &&(Target, PathBuf)| target.name == tests.target;
        let tests_of_it = built.iter().filter(|(target, _)| target.is_test()).find(of_target);
        let Some((_, path)) = tests_of_it else {
            bail!("cargo built no test {} in {}", tests.target, tests.package)
        };
        let companions = built.iter().filter(|(target, _)| !target.is_test());
        let companions = companions.map(|(_, path)| path.clone()).collect();
        let mut listing = if architecture.is_native() {
            Command::new(path)
        } else {
            let mut emulator = tools::command(&emulator(architecture))?;
            emulator.arg(path);
            emulator
        };
        let list = tools::run(listing.args(["--list", "--format", "terse"]))?;
        let found = names_in(&list);
        ensure!(!found.is_empty(), "{} has no tests", path.display());
        Ok(Self { path: path.clone(), companions, tests: found })
    }
}

/// What runs programs of an architecture that this machine is not of.
pub fn emulator(architecture: Architecture) -> String {
    format!("qemu-{}", architecture.rust())
}

/// Builds this program for guests of another architecture.
///
/// # Errors
/// When it cannot be built.
pub fn own(architecture: Architecture) -> Result<PathBuf> {
    let name = env!("CARGO_PKG_NAME");
    let built = built(&["build", "--package", name, "--bin", name], architecture)?;
    let own = built.into_iter().find(|(target, _)| target.name == name);
    Ok(own.with_context(|| format!("cargo built no {name}"))?.1)
}

/// Runs cargo in the workspace of this package; the programs that it has built.
fn built(arguments: &[&str], architecture: Architecture) -> Result<Vec<(Target, PathBuf)>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.current_dir(workspace()?).args(arguments).args([
        "--message-format=json-render-diagnostics",
        "--profile",
        PROFILE,
    ]);
    if !architecture.is_native() {
        cargo.args(["--target", &architecture.target()]);
    }
    let mut building =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("run cargo")?;
    let stdout = building.stdout.take().context("read what cargo prints")?;
    let mut built = Vec::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message.context("read what cargo prints")?
            && let Some(executable) = artifact.executable
        {
            built.push((artifact.target, executable.into_std_path_buf()));
        }
    }
    ensure!(
        building.wait().context("wait for cargo")?.success(),
        "`cargo {}` fails for {}, see above; .ci/install installs what it takes",
        arguments.join(" "),
        architecture.target()
    );
    Ok(built)
}

/// The folder of the workspace that this package is in.
///
/// # Errors
/// When there is none.
pub fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the workspace of vm-tests")
}

/// What libtest's `--list --format terse` names.
fn names_in(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Whether a test ran and passed, by what libtest printed: a name that matches no test succeeds
/// too.
pub fn one_test_passed(output: &str) -> bool {
    output.lines().any(|line| line.starts_with("test result: ok. 1 passed; 0 failed; 0 ignored"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_listed_and_benchmarks_are_not() {
        assert_eq!(
            names_in("a::one: test\na::fast: benchmark\ntwo: test\n\n2 tests\n"),
            ["a::one", "two"]
        );
    }

    #[test]
    fn only_one_passed_test_counts_as_passed() {
        let result = |counts: &str| {
            format!("\nrunning 1 test\n\ntest result: ok. {counts}; 0 measured; 9 filtered out")
        };
        assert!(one_test_passed(&result("1 passed; 0 failed; 0 ignored")));
        assert!(!one_test_passed(&result("0 passed; 0 failed; 0 ignored")));
        assert!(!one_test_passed(&result("0 passed; 0 failed; 1 ignored")));
        assert!(!one_test_passed(""));
    }
}
