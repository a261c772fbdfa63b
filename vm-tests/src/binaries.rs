//! Test binaries of this workspace: building them, and which tests they have.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

use crate::config::Tests;
use crate::tools;

/// How everything that runs in a guest is compiled: emulation makes unoptimised code slower still.
const PROFILE: &str = "guest";

/// A test binary that is ready to run.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// Binaries of its package, which it expects where they are.
    pub companions: Vec<PathBuf>,
    /// The names of its tests.
    pub tests: Vec<String>,
}

impl Binary {
    /// Builds it in the workspace of this package.
    ///
    /// # Errors
    /// When it cannot be built or lists no tests.
    pub fn build(tests: &Tests) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut building = Command::new(cargo)
            .current_dir(workspace()?)
            .args([
                "test",
                "--no-run",
                "--message-format=json-render-diagnostics",
                "--profile",
                PROFILE,
            ])
            .args(["--package", &tests.package, "--test", &tests.target])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("run cargo")?;
        let stdout = building.stdout.take().context("read what cargo prints")?;
        let (mut path, mut companions) = (None, Vec::new());
        for message in Message::parse_stream(BufReader::new(stdout)) {
            let Message::CompilerArtifact(artifact) = message.context("read what cargo prints")?
            else {
                continue;
            };
            let Some(executable) = artifact.executable else { continue };
            if artifact.target.is_test() && artifact.target.name == tests.target {
                path = Some(executable.into_std_path_buf());
            } else {
                companions.push(executable.into_std_path_buf());
            }
        }
        ensure!(
            building.wait().context("wait for cargo")?.success(),
            "cargo cannot build {}, see above",
            tests.name
        );
        let Some(path) = path else {
            bail!("cargo built no test {} in {}", tests.target, tests.package)
        };
        let list = tools::run(Command::new(&path).args(["--list", "--format", "terse"]))?;
        let found = names_in(&list);
        ensure!(!found.is_empty(), "{} has no tests", path.display());
        Ok(Self { path, companions, tests: found })
    }
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
