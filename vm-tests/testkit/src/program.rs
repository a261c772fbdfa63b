//! Processes: found, started, and ended in any case.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// After this a program counts as hanging; each job takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a server may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The path of an installed program.
pub fn find(name: &str) -> PathBuf {
    crate::tier::only_in(&["applications"]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(elsewhere())
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; run .ci/install applications"))
}

/// Directories that need not be in a test's `PATH`: for servers, of each version of PostgreSQL, and
/// where `install` puts Envoy.
fn elsewhere() -> impl Iterator<Item = PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let home = std::env::home_dir().unwrap_or_default();
    [PathBuf::from("/usr/sbin"), home.join(".cache/shunt-applications")]
        .into_iter()
        .chain(versions.map(|version| version.path().join("bin")))
}

/// A program with its arguments, to be started on a stage.
pub fn command<S: AsRef<std::ffi::OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(find(name));
    command.args(arguments);
    command
}

/// Runs a program to its end, which has to be a good one and to come in time, and returns what it
/// printed.
pub fn finish(mut command: Command) -> String {
    let directory = tempfile::tempdir().expect("make a directory for the output");
    let mut process = Running::start(&mut command, directory.path());
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        match process.child.try_wait().expect("look at the process") {
            Some(status) => break status,
            None if Instant::now() > deadline => panic!("{command:?} hangs:\n{}", process.output()),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let output = process.output();
    assert!(status.success(), "{command:?}: {status}\n{output}");
    output
}

/// A process in the background. Dropping it ends it, as politely as it lets.
pub struct Running {
    child: Child,
    directory: PathBuf,
}

impl Running {
    /// Starts it in the network namespace and cgroup of the calling thread; what it prints is kept
    /// in `directory`.
    pub fn start(command: &mut Command, directory: &Path) -> Self {
        let kept =
            |name: &str| File::create(directory.join(name)).expect("make a file for the output");
        let child = command
            .stdin(Stdio::null())
            .stdout(kept("stdout"))
            .stderr(kept("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self { child, directory: directory.to_owned() }
    }

    /// Fails when the process has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("look at the process") {
            panic!("a server has ended with {status}:\n{}", self.output());
        }
    }

    fn output(&self) -> String {
        ["stdout", "stderr"]
            .map(|name| {
                String::from_utf8_lossy(&fs::read(self.directory.join(name)).unwrap_or_default())
                    .into_owned()
            })
            .concat()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if std::thread::panicking() {
            eprintln!("a server's last words:\n{}", self.output());
        }
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("a server does not end when asked to: {:?}", self.child.kill());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The path of one of the programs of these tests.
pub fn source(name: &str) -> PathBuf {
    crate::workspace().join("vm-tests/applications/programs").join(name)
}
