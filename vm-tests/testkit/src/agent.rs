//! A running `shunt run` and the commands that look at it.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tcp_shunt::host::bpffs;
use tempfile::TempDir;

use crate::report::{Flow, Flows, Stats, Status};
use crate::{PATIENCE, eventually};

/// The binary under test: the one that cargo has built with the test that asks, into the folder
/// above that of the test.
pub fn binary() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("the path of this test");
        let path = test.ancestors().nth(2).expect("the folder of the profile").join("shunt");
        assert!(path.exists(), "{} is missing: cargo build", path.display());
        path.into_os_string().into_string().expect("a path in UTF-8")
    });
    &PATH
}

/// What the names of all agents begin with that the test process `process` starts.
pub fn name_prefix(process: u32) -> String {
    format!("test-{process}-")
}

/// `shunt run`, ready to accelerate. Dropping it ends it in whatever way works.
pub struct Agent {
    name: String,
    process: Child,
    /// Known to have ended, and with what.
    ended: Option<ExitStatus>,
    /// What it was started with, and its successors are, too.
    cgroup: PathBuf,
    options: Vec<String>,
    /// What it and its successors have logged, line by line.
    log: Arc<Mutex<Vec<String>>>,
    /// Where it says how it is, as systemd would hear it.
    notifications: Mutex<mpsc::Receiver<String>>,
    folder: TempDir,
}

impl Agent {
    /// Starts it under a new name and waits until it is ready.
    pub fn start(cgroup: &Path, options: &[&str]) -> Self {
        Self::start_by(Path::new(binary()), cgroup, options)
    }

    /// The same by another binary; its successors are those of the binary under test.
    pub fn start_by(binary: &Path, cgroup: &Path, options: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("{}{}", name_prefix(std::process::id()), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().expect("make a folder");
        let notify = folder.path().join("notify");
        let told = UnixDatagram::bind(&notify).expect("bind to a path");
        let (tell, notifications) = mpsc::channel();
        // As systemd does, whether a test asks for it or not: a socket that nobody reads from is
        // soon full.
        std::thread::spawn(move || {
            let mut text = [0; 256];
            while let Ok(length) = told.recv(&mut text) {
                if tell.send(String::from_utf8_lossy(&text[..length]).into_owned()).is_err() {
                    break;
                }
            }
        });
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = spawn(binary, &name, cgroup, &notify, &options, &[]);
        let mut agent = Self {
            name,
            process,
            ended: None,
            cgroup: cgroup.to_owned(),
            options,
            log: Arc::default(),
            notifications: Mutex::new(notifications),
            folder,
        };
        agent.wait_until_ready();
        agent
    }

    /// Starts another agent that is to take over, and does not wait for it.
    pub fn successor(&self, options: &[&str]) -> Child {
        spawn(
            Path::new(binary()),
            &self.name,
            &self.cgroup,
            &self.folder.path().join("notify"),
            &self.options,
            &[&["--replace"], options].concat(),
        )
    }

    /// As [`Self::replace`], with another cgroup.
    pub fn replace_on(&mut self, cgroup: &Path) -> Child {
        self.cgroup = cgroup.to_owned();
        self.replace(&[])
    }

    /// Starts another agent that takes over, and waits until it has. What becomes of the one before
    /// is the caller's to say.
    pub fn replace(&mut self, options: &[&str]) -> Child {
        let successor = self.successor(options);
        let before = std::mem::replace(&mut self.process, successor);
        self.ended = None;
        self.wait_until_ready();
        before
    }

    fn wait_until_ready(&mut self) {
        let stdout = self.process.stdout.take().expect("a piped stdout");
        let stderr = self.process.stderr.take().expect("a piped stderr");
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                log.lock().expect("the log").push(line);
            }
        });
        let (tell, told) = mpsc::channel();
        // Reads to the end, so that the agent never writes into a closed pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        match told.recv_timeout(PATIENCE * 2) {
            Ok(line) => assert!(
                line.starts_with("ready"),
                "the agent's first line is not \"ready\": {line}"
            ),
            Err(_) => panic!("the agent is not ready; it {:?}", self.process.try_wait()),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal)
            .expect("send the agent a signal");
    }

    /// Waits until it has logged a line with these words `times` times.
    pub fn has_logged(&self, words: &str, times: usize) {
        eventually("the agent has logged it", || (self.logged(words) >= times).then_some(()));
    }

    /// How many lines with these words it has logged.
    pub fn logged(&self, words: &str) -> usize {
        self.log.lock().expect("the log").iter().filter(|line| line.contains(words)).count()
    }

    /// What it tells systemd next.
    pub fn notification(&self) -> String {
        self.notifications
            .lock()
            .expect("the notifications")
            .recv_timeout(PATIENCE)
            .expect("a notification")
    }

    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// How it ended, once it has.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the agent has ended", || self.poll())
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().expect("look at the agent's process");
        }
        self.ended
    }

    /// Stops it as an operator does, and checks that it ends well and leaves nothing.
    pub fn stop(&mut self) {
        if self.is_running() {
            self.signal(Signal::SIGTERM);
            let status = self.wait();
            assert_eq!(status.code(), Some(0), "the agent ended with {status}");
        }
        self.assert_nothing_pinned();
    }

    /// Where its maps and programs are pinned.
    pub fn pins(&self) -> PathBuf {
        bpffs::find()
            .expect("read the mount table")
            .expect("a bpffs is mounted")
            .join("shunt")
            .join(&self.name)
    }

    pub fn assert_nothing_pinned(&self) {
        let pins = self.pins();
        assert!(!pins.exists(), "{} is still there", pins.display());
    }

    pub fn stats(&self) -> Stats {
        self.report("stats")
    }

    /// What `shunt status` says of it: a state for each generation, the oldest first.
    pub fn states(&self) -> Vec<String> {
        let status: Status = self.report("status");
        status.instances.into_iter().map(|instance| instance.state).collect()
    }

    pub fn flows(&self) -> Vec<Flow> {
        self.report::<Flows>("flows").flows
    }

    fn report<T: DeserializeOwned>(&self, command: &str) -> T {
        let output = run(&[command, "--name", &self.name, "--json"]);
        assert!(output.status.success(), "shunt {command}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("shunt {command} --json: {error}: {}", String::from_utf8_lossy(&output.stdout))
        })
    }

    /// Everything that is known of the agent, for the message of a failed test.
    pub fn describe(&self) -> String {
        ["stats", "flows"]
            .map(|command| {
                let output = run(&[command, "--name", &self.name]);
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!(
                    "shunt {command}: {}\n{}{}",
                    output.status,
                    text(&output.stdout),
                    text(&output.stderr)
                )
            })
            .join("\n")
    }
}

fn spawn(
    binary: &Path,
    name: &str,
    cgroup: &Path,
    notify: &Path,
    options: &[String],
    further: &[&str],
) -> Child {
    Command::new(binary)
        .env("NOTIFY_SOCKET", notify)
        .args(["run", "--name", name, "--cgroup"])
        .arg(cgroup)
        .args(options)
        .args(further)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start shunt: {error}"))
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.ended.is_none() && matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if self.pins().exists() {
            let outcome = run(&["detach", "--name", &self.name]);
            eprintln!("detach what {} left: {outcome:?}", self.name);
        }
    }
}

/// Runs `shunt` with these arguments to its end, which has to come in time.
pub fn run(arguments: &[&str]) -> Output {
    let mut process = Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start shunt: {error}"));
    let pid = Pid::from_raw(process.id().cast_signed());
    let (done, ended) = mpsc::channel();
    let watchdog = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE * 2).is_err() {
            // Not reaped before this thread is joined, so the number still is this process.
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let started = Instant::now();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut pipe = process.stderr.take().expect("a piped stderr");
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::Read::read_to_end(&mut pipe, &mut stderr));
        let mut pipe = process.stdout.take().expect("a piped stdout");
        std::io::Read::read_to_end(&mut pipe, &mut stdout).expect("read what shunt prints");
    });
    let _ = done.send(());
    watchdog.join().expect("the watchdog");
    let status = process.wait().expect("wait for shunt");
    assert!(
        started.elapsed() < PATIENCE * 2 + Duration::from_secs(1),
        "shunt {arguments:?} did not end: {status}"
    );
    Output { status, stdout, stderr }
}
