//! The guest's side of a run, `vm-tests guest JOB`: loads kernel modules, runs the job's tasks,
//! reports on standard output.
//!
//! vng starts it when the guest is up, as root, on this machine's own files, which the guest sees
//! read-only.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::modules;
use crate::protocol::{Ending, Event, Job, Overmount, REPORTED_OUTPUT, Task, mark};

/// How often a running task is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Where files are in memory.
pub(crate) const MEMORY: &str = "/run";

/// Does what `job` says, and tells the host how it goes.
///
/// # Errors
/// When the host cannot be told.
pub fn run(job: &Path) -> Result<()> {
    let mut host = Host { marks: 0 };
    let last = match run_job(job, &mut host) {
        Ok(()) => Event::Done,
        Err(error) => Event::Broken { reason: format!("{error:#}") },
    };
    host.tell(&last)
}

/// The way out of the guest.
struct Host {
    /// How many marks are in the kernel log.
    marks: usize,
}

impl Host {
    /// Says what happened, after everything that the kernel has said.
    fn tell(&mut self, event: &Event) -> Result<()> {
        if matches!(event, Event::Ready { .. } | Event::Ended { .. } | Event::Done) {
            // A warning, which the console shows. Opened anew, since the writers of this file are
            // throttled one by one.
            let line = format!("<4>{}\n", mark(self.marks));
            let mut log =
                File::options().write(true).open("/dev/kmsg").context("open /dev/kmsg")?;
            log.write_all(line.as_bytes()).context("write to /dev/kmsg")?;
            self.marks += 1;
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut output = std::io::stdout().lock();
        output.write_all(&line).and_then(|()| output.flush()).context("write to the host")
    }
}

fn run_job(job: &Path, host: &mut Host) -> Result<()> {
    let job: Job =
        serde_json::from_slice(&fs::read(job).with_context(|| format!("read {}", job.display()))?)
            .with_context(|| format!("understand {}", job.display()))?;
    // Whatever a task leaves running becomes a child of this process.
    set_child_subreaper(true).context("become a subreaper")?;
    bind_file_systems(&job)?;
    for module in &job.modules {
        modules::load(module)?;
    }
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's release")?;
    host.tell(&Event::Ready { release: release.trim().to_owned() })?;

    let read = |file: &PathBuf| {
        fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
    };
    let before: Vec<String> = job.files.iter().map(read).collect::<Result<_>>()?;
    for (index, task) in job.tasks.iter().enumerate() {
        let began = Instant::now();
        let (ending, output) = run_task(task)?;
        let seconds = began.elapsed().as_secs_f64();
        host.tell(&Event::Ended { task: index, ending, seconds, output })?;
    }
    for (file, before) in job.files.iter().zip(before) {
        let contents = read(file)?;
        if contents != before {
            host.tell(&Event::Written { file: file.clone(), contents })?;
        }
    }
    Ok(())
}

/// What a test finds on a machine with systemd, and what the job wants.
fn bind_file_systems(job: &Job) -> Result<()> {
    let bpffs = "/sys/fs/bpf";
    mount(Some("bpf"), bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount the BPF file system at {bpffs}"))?;
    if let Some(Overmount { folder, at }) = &job.programs {
        bind(folder, at)?;
    }
    // Copies that can be written, where the originals are.
    for (number, file) in job.files.iter().enumerate() {
        let copy = Path::new(MEMORY).join(format!("vm-tests-{number}"));
        fs::copy(file, &copy).with_context(|| format!("copy {}", file.display()))?;
        bind(&copy, file)?;
    }
    Ok(())
}

/// Shows at `at` what is at `what`, too.
pub(crate) fn bind(what: &Path, at: &Path) -> Result<()> {
    mount(Some(what), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mount {} at {}", what.display(), at.display()))
}

fn run_task(task: &Task) -> Result<(Ending, String)> {
    let mut output = tempfile::tempfile_in(MEMORY).context("make a file for a task's output")?;
    let copy = || output.try_clone().context("duplicate a file descriptor");
    let started = Command::new(&task.program)
        .args(&task.arguments)
        .env_clear()
        .envs(&task.environment)
        .stdin(Stdio::null())
        .stdout(copy()?)
        .stderr(copy()?)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            return Ok((
                Ending::NotStarted,
                format!("start {}: {error}\n", task.program.display()),
            ));
        }
    };
    let deadline = Instant::now() + Duration::from_secs(task.timeout_seconds);
    let status = loop {
        match child.try_wait().context("wait for the task")? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => std::thread::sleep(GLANCE),
        }
    };
    end_every_child()?;
    Ok((status.map_or(Ending::TimedOut, ending), end_of(&mut output)?))
}

/// Kills all that a task has left running. Children of a killed process become children of this
/// one, and are killed in turn, until there are none.
fn end_every_child() -> Result<()> {
    loop {
        // Of the only thread of this process (proc_tid_children(5)).
        let children = fs::read_to_string("/proc/thread-self/children")
            .context("read the children of this process")?;
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            // ESRCH: it has just ended.
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        match waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for what a task has started"),
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

fn end_of(output: &mut File) -> Result<String> {
    let length = output.metadata().context("look at the output")?.len();
    output
        .seek(SeekFrom::Start(length.saturating_sub(REPORTED_OUTPUT)))
        .context("seek in the output")?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).context("read the output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(script: &str, timeout_seconds: u64) -> Task {
        Task {
            name: String::new(),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Default::default(),
            timeout_seconds,
        }
    }

    #[test]
    fn a_task_that_cannot_be_started_is_no_failure_of_the_guest() {
        let task = Task { program: "/no/such/program".into(), ..task("", 1) };
        let (ending, output) = run_task(&task).expect("go on");
        assert_eq!(ending, Ending::NotStarted);
        assert!(output.contains("/no/such/program"), "{output}");
    }
}
