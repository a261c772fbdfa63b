//! A running `shunt run`, started as a separate process like an operator does.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use syscalls::Prog;

use super::screen;
use crate::datapath::ProgramName;
use crate::instance::{MAPS, Pins};

/// This binary, independent of its name and place.
pub(super) const SELF_EXE: &str = "/proc/self/exe";
/// Time limit for attaching.
const START: Duration = Duration::from_secs(30);
/// Time limit for draining, after which the agent is killed.
const STOP: Duration = Duration::from_secs(10);
/// Lines of the agent's log shown in an error.
const LOG_LINES: usize = 20;

/// An agent on one cgroup. Dropping it stops it.
#[derive(Debug)]
pub struct Agent {
    name: String,
    process: Process,
}

impl Agent {
    /// Starts an agent under a free name that begins with `purpose`, and waits until it is
    /// attached.
    pub fn start(purpose: &str, cgroup: &Path, options: &[&str]) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("{purpose}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        match Process::start(run(&name, cgroup, options), START) {
            Ok(process) => Ok(Self { name, process }),
            Err(error) => {
                // It may have pinned something already.
                detach(&name);
                Err(error.context("the agent did not start"))
            }
        }
    }

    /// Its counters, as in `shunt stats --json`.
    pub fn counters(&self) -> Result<Counters> {
        Ok(self.stats()?.counters)
    }

    /// Number of enrolled sockets.
    pub fn enrolled(&self) -> Result<u64> {
        Ok(self.stats()?.maps.socks)
    }

    fn stats(&self) -> Result<Stats> {
        let output = self.command("stats --json")?;
        serde_json::from_slice(&output).context("cannot parse the output of `shunt stats --json`")
    }

    /// The output of a command about this instance.
    pub fn command(&self, words: &str) -> Result<Vec<u8>> {
        let output = Command::new(SELF_EXE)
            .args(words.split(' '))
            .args(["--name", &self.name])
            // As for the agent: Ctrl-C is for this process only, and there may be no /dev/null.
            .process_group(0)
            .stdin(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `shunt {words}`"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`shunt {words}` failed: {}", said.trim());
        Ok(output.stdout)
    }

    /// The first frame of a command about this instance that draws on a terminal.
    pub(super) fn first_frame(&self, words: &str) -> Result<Vec<u8>> {
        let mut command = Command::new(SELF_EXE);
        command.args(words.split(' ')).args(["--name", &self.name]);
        screen::first_frame(command).with_context(|| format!("`shunt {words}` failed"))
    }

    /// Kernel memory of its maps, in bytes.
    pub(super) fn map_memory(&self) -> Result<u64> {
        let newest = Pins::existing(&self.name.parse()?, None)?.newest()?;
        let mut all = 0;
        for def in MAPS.all() {
            let map =
                newest.map(def)?.with_context(|| format!("there is no map '{}'", def.name))?;
            let path = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
            let about =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            let bytes = about.lines().find_map(|line| line.strip_prefix("memlock:"));
            let bytes = bytes.and_then(|bytes| bytes.trim().parse::<u64>().ok());
            all += bytes.with_context(|| format!("{path}: no memlock"))?;
        }
        Ok(all)
    }

    /// Starts an agent that takes over from this one.
    pub fn replaced(&self, cgroup: &Path, options: &[&str]) -> Result<Self> {
        let options = [options, &["--replace"]].concat();
        let process = Process::start(run(&self.name, cgroup, &options), START)
            .context("the agent was not replaced")?;
        Ok(Self { name: self.name.clone(), process })
    }

    /// Processor time used so far.
    pub fn processor_time(&self) -> Result<Duration> {
        /// Ticks per second (`USER_HZ`, include/asm-generic/param.h).
        const TICKS: u64 = 100;
        let stat = self.shown("stat")?;
        // The name, in parentheses, may contain spaces. Then come the state and, eleven fields
        // later, utime and stime.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').skip(11));
        let ticks: u64 = fields
            .into_iter()
            .flatten()
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> Result<u64> {
        bytes_of(&self.shown("status")?, "VmRSS").context("cannot read the agent's memory usage")
    }

    /// Reads a file of its `/proc` directory.
    fn shown(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.process.child.id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    /// One of its programs.
    pub fn program(&self, name: ProgramName) -> Result<Prog> {
        let newest = Pins::existing(&self.name.parse()?, None)?.newest()?;
        newest.program(name)?.with_context(|| format!("there is no program '{}'", name.pin()))
    }

    /// Stops it and waits until it has detached.
    pub fn stop(mut self) -> Result<()> {
        self.end().context("the agent did not stop cleanly")
    }

    fn end(&mut self) -> Result<()> {
        let outcome = self.process.stop(STOP);
        if outcome.is_err() {
            // It could not detach itself.
            detach(&self.name);
        }
        outcome
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // `stop` has reported the error, or a more important one is propagating.
        let _ = self.end();
    }
}

fn run(name: &str, cgroup: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(SELF_EXE);
    command.arg("run").arg("--cgroup").arg(cgroup).args(["--name", name]).args(options);
    command
}

/// Removes leftovers of an agent of that name. If that fails, `shunt status` still shows them.
fn detach(name: &str) {
    let _ = Command::new(SELF_EXE)
        .args(["detach", "--name", name])
        .process_group(0)
        .stdin(Stdio::inherit())
        .output();
}

/// The value in bytes of a line `NAME: NUMBER kB` of a file in `/proc`.
pub(super) fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(number.trim().split(' ').next()?.parse::<u64>().ok()? * 1024)
}

/// The fields used of `shunt stats --json`.
#[derive(Deserialize)]
struct Stats {
    counters: Counters,
    maps: Maps,
}

#[derive(Deserialize)]
struct Maps {
    socks: u64,
}

/// The agent's counters by name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// One counter; 0 if absent.
    pub fn get(&self, reason: &str) -> u64 {
        self.0.get(reason).copied().unwrap_or_default()
    }

    /// Growth of a counter since `earlier`.
    pub fn since(&self, earlier: &Self, reason: &str) -> u64 {
        self.get(reason).saturating_sub(earlier.get(reason))
    }

    /// All counters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &u64)> {
        self.0.iter().map(|(reason, count)| (reason.as_str(), count))
    }
}

/// A child process that prints `ready`, logs to stderr, and exits on SIGTERM.
#[derive(Debug)]
struct Process {
    child: Child,
    log: Option<JoinHandle<VecDeque<String>>>,
}

impl Process {
    fn start(mut command: Command, limit: Duration) -> Result<Self> {
        command.stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at the terminal is for the parent only, which stops the child after closing its
        // connections.
        command.process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let (output, log) = (child.stdout.take(), child.stderr.take());
        let mut process = Self { child, log: None };
        let (output, log) =
            output.zip(log).ok_or_else(|| anyhow!("the child's output was not captured"))?;
        process.log =
            Some(thread::Builder::new().name("agent-log".into()).spawn(|| last_lines(log))?);
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().name("agent-output".into()).spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            let outcome = output.read_line(&mut line).map(|_| line);
            // The receiver may be gone; drain the rest of the output so that the child does not
            // block.
            let _ = sender.send(outcome);
            let _ = io::copy(&mut output, &mut io::sink());
        })?;
        match receiver.recv_timeout(limit) {
            Ok(Ok(line)) if line.starts_with("ready") => Ok(process),
            Ok(Ok(line)) if line.is_empty() => {
                let status = process.child.wait()?;
                bail!("{status}; its last log lines: {}", process.last_log_lines())
            }
            Ok(Ok(line)) => bail!("it printed {:?} instead of ready", line.trim()),
            Ok(Err(error)) => Err(error).context("cannot read its output"),
            Err(_) => {
                process.kill();
                bail!(
                    "it was not ready after {limit:?}; its last log lines: {}",
                    process.last_log_lines()
                )
            }
        }
    }

    /// Its last log lines.
    fn last_log_lines(&mut self) -> String {
        let lines = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        if lines.is_empty() { "none".to_owned() } else { Vec::from(lines).join("\n") }
    }

    /// Stops it; idempotent.
    fn stop(&mut self, limit: Duration) -> Result<()> {
        if self.log.is_none() {
            return Ok(());
        }
        // It may have exited already, which wait reports.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                None => {
                    self.kill();
                    bail!(
                        "it was still running {limit:?} after SIGTERM; its last log lines: {}",
                        self.last_log_lines()
                    )
                }
            }
        };
        let words = self.last_log_lines();
        ensure!(status.success(), "{status}; its last log lines: {words}");
        Ok(())
    }

    fn kill(&mut self) {
        // Both fail only for a child that has been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After a failed start; `stop` has reaped it otherwise.
        self.kill();
    }
}

fn last_lines(log: impl Read) -> VecDeque<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
        if last.len() == LOG_LINES {
            last.pop_front();
        }
        last.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_process_is_ready_when_it_says_so_and_ends_on_the_signal() {
        let script = "trap 'exit 0' TERM; echo ready for work; while :; do sleep 0.01; done";
        let mut process = Process::start(shell(script), SOON).expect("start");
        process.stop(SOON).expect("stop");
        process.stop(SOON).expect("nothing is left to stop");
    }

    #[test]
    fn an_error_contains_the_last_log_lines() {
        let cases = [
            ("echo no capability >&2; exit 1", SOON, &["exit status: 1", "no capability"][..]),
            ("echo hello; sleep 10", SOON, &["hello"]),
            ("echo slow >&2; exec sleep 10", Duration::from_millis(300), &["not ready", "slow"]),
        ];
        for (script, limit, expected) in cases {
            let error =
                Process::start(shell(script), limit).expect_err("it is not ready").to_string();
            assert!(expected.iter().all(|words| error.contains(words)), "{script}: {error}");
        }
        let mut process =
            Process::start(shell("echo ready; echo lost >&2; sleep 0.1; exit 75"), SOON)
                .expect("start");
        thread::sleep(Duration::from_millis(300));
        let error = process.stop(SOON).expect_err("it failed").to_string();
        assert!(error.contains("75") && error.contains("lost"), "{error}");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let log: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let kept = last_lines(log.as_bytes());
        assert_eq!((kept.len(), kept.front().map(String::as_str)), (LOG_LINES, Some("line 80")));
    }

    #[test]
    fn counters_are_read_by_name_and_absent_ones_are_zero() {
        let json = br#"{"name": "x", "counters": {"paired": 12, "refresh": 3},
            "maps": {"socks": 24, "lanes": 24}}"#;
        let Stats { counters, maps } =
            serde_json::from_slice(json).expect("as shunt stats prints it");
        assert_eq!(maps.socks, 24);
        assert_eq!(
            (counters.get("paired"), counters.get("refresh"), counters.get("new_in_2030")),
            (12, 3, 0)
        );
        assert_eq!(counters.since(&Counters::default(), "paired"), 12);
        assert_eq!(Counters::default().since(&counters, "paired"), 0);
        assert!(serde_json::from_slice::<Stats>(b"{}").is_err(), "no counters");
    }
}
