//! The tests of a tier: built together, run one binary after the other, each with no more than its
//! tier has.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Message, MetadataCommand, Package, Target};

use crate::tier::{Statement, Tier};
use crate::{tools, workspace};

/// Says to the tests which tier runs. `testkit` refuses others by it.
const VARIABLE: &str = "SHUNT_TIER";

/// By which the harness of Rust's tests is told how many run at the same time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Tests with real connections wait for more than half of their time.
const TESTS_PER_PROCESSOR: usize = 2;

/// A package, and what it says of its tests.
struct Tested {
    package: Package,
    statement: Statement,
}

/// A test binary, and the tests of it that are in the tier.
struct Binary {
    path: PathBuf,
    target: String,
    folder: PathBuf,
    tests: Vec<String>,
    /// Whether the binary has no others.
    all: bool,
}

/// Runs the tests of a tier. Whether all passed.
///
/// # Errors
/// When they cannot be built or run.
pub fn run(tier: Tier) -> Result<bool> {
    ensure!(tier == Tier::Quick || root()?, "the {tier} tier needs root");
    tools::check(tier)?;
    let packages = packages()?;
    let started = Instant::now();
    let binaries = build(tier, &packages)?;
    eprintln!("== {tier}: built in {} s", started.elapsed().as_secs());

    let started = Instant::now();
    let count: usize = binaries.iter().map(|binary| binary.tests.len()).sum();
    let mut failed = Vec::new();
    for binary in &binaries {
        if !binary.run(tier)? {
            failed.push(binary.target.as_str());
        }
    }
    if tier == Tier::Quick && !documentation(tier)? {
        failed.push("the documentation");
    }
    let seconds = started.elapsed().as_secs();
    eprintln!("== {tier}: {count} tests of {} binaries in {seconds} s", binaries.len());
    if !failed.is_empty() {
        eprintln!("== {tier}: FAILED in {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}

/// Whether this process has the capability that mounts (CAP_SYS_ADMIN), as root does.
fn root() -> Result<bool> {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").context("cannot read its own status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.context("the kernel says nothing of capabilities")?;
    let effective = u64::from_str_radix(effective.trim(), 16).context("a set of capabilities")?;
    Ok(effective >> CAP_SYS_ADMIN & 1 == 1)
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn packages() -> Result<Vec<Tested>> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace::root()?.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace")?;
    let tested = metadata.packages.into_iter().map(|package| {
        let statement = Statement::read(&package.metadata)
            .map_err(|error| anyhow::anyhow!("{}: {error}", package.manifest_path))?;
        let targets: Vec<&str> = targets(&package).map(|target| target.name.as_str()).collect();
        let homeless = statement.homeless(&targets);
        ensure!(
            homeless.is_empty(),
            "{}: metadata.tiers names targets that there are not: {}",
            package.manifest_path,
            homeless.join(", ")
        );
        Ok(Tested { package, statement })
    });
    tested.collect()
}

/// What has tests.
fn targets(package: &Package) -> impl Iterator<Item = &Target> {
    package
        .targets
        .iter()
        .filter(|target| target.test && (target.is_lib() || target.is_bin() || target.is_test()))
}

/// Builds what may have tests of the tier, and chooses them.
fn build(tier: Tier, packages: &[Tested]) -> Result<Vec<Binary>> {
    // A set, because cargo takes `--lib` once.
    let mut wanted = BTreeSet::new();
    for Tested { package, statement } in packages {
        for target in targets(package).filter(|target| statement.may_have(&target.name, tier)) {
            wanted.insert(match target {
                target if target.is_lib() => vec!["--lib"],
                target if target.is_bin() => vec!["--bins"],
                target => vec!["--test", &target.name],
            });
        }
    }
    if tier == Tier::Root {
        build_examples()?;
    }
    let mut building = Command::new(cargo())
        .current_dir(workspace::root()?)
        .args(["test", "--workspace", "--locked", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .args(wanted.into_iter().flatten())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stdout = building.stdout.take().context("cannot read what cargo prints")?;
    let mut binaries = Vec::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        let Message::CompilerArtifact(artifact) =
            message.context("cannot read what cargo prints")?
        else {
            continue;
        };
        let Some(path) = artifact.executable.filter(|_| artifact.profile.test) else { continue };
        let tested = packages.iter().find(|tested| tested.package.id == artifact.package_id);
        let Some(Tested { package, statement }) = tested else { continue };
        let folder = package.manifest_path.parent().context("a manifest is in a folder")?;
        let target = artifact.target.name;
        binaries.extend(choose(tier, statement, target, path.as_std_path(), folder.as_std_path())?);
    }
    ensure!(
        building.wait().context("cannot wait for cargo")?.success(),
        "cargo cannot build the tests, see above"
    );
    Ok(binaries)
}

/// Builds the examples that tests of the root tier run as programs: `cargo test --examples` would
/// make test binaries of them.
fn build_examples() -> Result<()> {
    let built = Command::new(cargo())
        .current_dir(workspace::root()?)
        .args(["build", "--workspace", "--locked", "--quiet", "--examples"])
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "cargo cannot build the examples, see above");
    Ok(())
}

/// The tests of a binary that are in the tier.
fn choose(
    tier: Tier,
    statement: &Statement,
    target: String,
    path: &Path,
    folder: &Path,
) -> Result<Option<Binary>> {
    let listed = Command::new(path)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    let listed = String::from_utf8(listed.stdout).context("a list of tests is text")?;
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let paths: Vec<String> = names.map(|name| format!("{target}::{name}")).collect();
    let idle = statement.idle(&target, &paths);
    ensure!(idle.is_empty(), "metadata.tiers names tests that there are not: {}", idle.join(", "));
    let own = paths.iter().filter(|path| statement.tier(path) == tier);
    let prefix = target.len() + "::".len();
    let tests: Vec<String> = own.map(|path| path[prefix..].to_owned()).collect();
    let all = tests.len() == paths.len();
    Ok((!tests.is_empty()).then(|| Binary {
        path: path.to_owned(),
        target,
        folder: folder.to_owned(),
        tests,
        all,
    }))
}

impl Binary {
    fn run(&self, tier: Tier) -> Result<bool> {
        eprintln!("\n== {}: {} tests", self.target, self.tests.len());
        let started = Instant::now();
        let mut arguments: Vec<OsString> = vec![self.path.clone().into(), "--quiet".into()];
        if !self.all {
            arguments.push("--exact".into());
            arguments.extend(self.tests.iter().map(OsString::from));
        }
        let mut command = confined(tier, &arguments)?;
        if tier > Tier::Quick && std::env::var_os(THREADS).is_none() {
            let processors = std::thread::available_parallelism()?.get();
            command.env(THREADS, (processors * TESTS_PER_PROCESSOR).to_string());
        }
        let status = command.current_dir(&self.folder).status();
        let passed =
            status.with_context(|| format!("cannot run {}", self.path.display()))?.success();
        eprintln!("== {}: {} s", self.target, started.elapsed().as_secs());
        Ok(passed)
    }
}

/// The examples in the documentation.
fn documentation(tier: Tier) -> Result<bool> {
    let arguments = ["test", "--quiet", "--workspace", "--locked", "--doc"].map(OsString::from);
    let arguments: Vec<OsString> = [cargo()].into_iter().chain(arguments).collect();
    let mut command = confined(tier, &arguments)?;
    Ok(command.current_dir(workspace::root()?).status().context("cannot run cargo")?.success())
}

/// A command that has no more than its tier has. Root can take tools and privileges away, and does;
/// for others the tools that there are stay.
fn confined(tier: Tier, arguments: &[OsString]) -> Result<Command> {
    /// Hides as many files and folders as the first argument says, and runs what follows them.
    const HIDE: &str = "count=$1; shift
        while [ $count -gt 0 ]; do
            if [ -d \"$1\" ]; then mount -t tmpfs none \"$1\"
            else mount --bind /dev/null \"$1\"; fi
            shift; count=$((count - 1))
        done
        exec \"$@\"";
    let mut words: Vec<OsString> = Vec::new();
    if root()? && tier <= Tier::Root {
        let hidden = tools::hidden(tier)?;
        words.extend(["unshare", "--mount", "sh", "-euc", HIDE, "sh"].map(OsString::from));
        words.push(hidden.len().to_string().into());
        words.extend(hidden.into_iter().map(OsString::from));
    }
    if root()? && tier == Tier::Quick {
        let setpriv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
        words.extend(setpriv.map(OsString::from));
    }
    words.extend(arguments.iter().cloned());
    let (program, rest) = words.split_first().context("a command has a first word")?;
    let mut command = Command::new(program);
    command.args(rest).env(VARIABLE, tier.name()).stdin(Stdio::null());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(tier: Tier, script: &str) -> String {
        let words = ["sh", "-c", script].map(OsString::from);
        let output = confined(tier, &words).expect("a command").output().expect("run it");
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn quick_tests_have_no_capability_and_know_their_tier() {
        let status = said(Tier::Quick, "grep Cap /proc/self/status; echo $SHUNT_TIER");
        for set in ["CapPrm", "CapEff"] {
            let line = status.lines().find(|line| line.starts_with(set)).expect("a set");
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
        assert!(status.ends_with("quick\n"), "{status}");
    }

    #[test]
    fn every_target_is_in_a_tier_that_there_is() {
        let packages = packages().expect("a workspace whose statements are right");
        for name in ["tcp-shunt", "bpf-asm", "vm-tests", "xtask"] {
            assert!(packages.iter().any(|tested| tested.package.name == name), "{name}");
        }
    }
}
