//! The guest's first process: prepares the system, runs its job, powers off.
//!
//! It is this package's own binary, as everything that runs in a guest is one static file; so a guest needs no
//! distribution.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcdrain;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::protocol::{Ending, Event, JOB, Job, PORT, REPORTED_OUTPUT, Task};

/// `MODULE_INIT_COMPRESSED_FILE` (include/uapi/linux/module.h): the kernel unpacks the module itself. Every kernel whose
/// modules Debian compresses can.
const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

/// Where the output of the running task is kept.
const OUTPUT: &str = "/tmp/output";

/// How often a running task is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Does everything a guest has to do and never returns: a kernel whose first process ends panics.
pub fn main() -> ! {
    if let Err(error) = report_and_run() {
        // To the console, which the host shows when it hears nothing else.
        eprintln!("vm-tests: {error:#}");
    }
    loop {
        // With QEMU's -no-reboot either way ends the machine.
        let _ = reboot(RebootMode::RB_POWER_OFF);
        let _ = reboot(RebootMode::RB_AUTOBOOT);
    }
}

fn report_and_run() -> Result<()> {
    mount_file_systems()?;
    let mut host = Host::open()?;
    let outcome = run_job(&mut host);
    let last = match &outcome {
        Ok(()) => Event::Done,
        Err(error) => Event::Broken { reason: format!("{error:#}") },
    };
    host.tell(&last)?;
    tcdrain(&host.port).context("wait until the host has everything")?;
    outcome
}

/// What a distribution's first process would have mounted.
fn mount_file_systems() -> Result<()> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("bpf", "/sys/fs/bpf"),
    ] {
        fs::create_dir_all(at).with_context(|| format!("make {at}"))?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {kind} at {at}"))?;
    }
    // The root itself is in memory, and executables may lie below these.
    for at in ["/run", "/tmp"] {
        fs::create_dir_all(at).with_context(|| format!("make {at}"))?;
    }
    Ok(())
}

/// The way out of the guest.
struct Host {
    port: File,
}

impl Host {
    fn open() -> Result<Self> {
        let port = File::options()
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(PORT)
            .with_context(|| format!("open {PORT}"))?;
        Ok(Self { port })
    }

    fn tell(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.port.write_all(&line).with_context(|| format!("write to {PORT}"))
    }
}

fn run_job(host: &mut Host) -> Result<()> {
    let job: Job = serde_json::from_slice(&fs::read(JOB).with_context(|| format!("read {JOB}"))?)
        .with_context(|| format!("understand {JOB}"))?;
    for module in &job.modules {
        load(module).with_context(|| format!("load {}", module.display()))?;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's release")?;
    host.tell(&Event::Ready { release: release.trim().to_owned() })?;

    let read = |file: &PathBuf| fs::read_to_string(file).with_context(|| format!("read {}", file.display()));
    let before: Vec<String> = job.files.iter().map(read).collect::<Result<_>>()?;
    for (index, task) in job.tasks.iter().enumerate() {
        host.tell(&Event::Started { task: index })?;
        let (mut attempts, mut output) = (0, String::new());
        let (ending, seconds) = loop {
            let began = Instant::now();
            let ending = run(task)?;
            let seconds = began.elapsed().as_secs_f64();
            attempts += 1;
            output += &end_of_output()?;
            if attempts >= task.attempts || matches!(ending, Ending::Exited(0) | Ending::TimedOut) {
                break (ending, seconds);
            }
        };
        host.tell(&Event::Ended { task: index, ending, seconds, attempts, output })?;
    }
    for (file, before) in job.files.iter().zip(before) {
        let contents = read(file)?;
        if contents != before {
            host.tell(&Event::Written { file: file.clone(), contents })?;
        }
    }
    Ok(())
}

fn load(module: &Path) -> Result<()> {
    let flags = if module.extension().is_some_and(|extension| extension == "ko") {
        ModuleInitFlags::empty()
    } else {
        COMPRESSED
    };
    Ok(finit_module(File::open(module)?, &CString::default(), flags)?)
}

fn run(task: &Task) -> Result<Ending> {
    let output = File::create(OUTPUT).with_context(|| format!("create {OUTPUT}"))?;
    let mut complaints = output.try_clone().context("duplicate a file descriptor")?;
    let started = Command::new(&task.program)
        .args(&task.arguments)
        .env_clear()
        .envs(&task.environment)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(complaints.try_clone().context("duplicate a file descriptor")?)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            writeln!(complaints, "start {}: {error}", task.program.display())?;
            return Ok(Ending::NotStarted);
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
    end_every_process();
    Ok(match status {
        Some(status) => ending(status),
        None => Ending::TimedOut,
    })
}

/// A task leaves nothing running: the next one finds the system as the first one did.
fn end_every_process() {
    // From the first process this reaches every other one. ESRCH: there is none.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    // Fails with ECHILD when all have been reaped.
    while waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)).is_ok() {}
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

fn end_of_output() -> Result<String> {
    let mut file = File::open(OUTPUT).with_context(|| format!("open {OUTPUT}"))?;
    let length = file.metadata().context("look at the output")?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(REPORTED_OUTPUT))).context("seek in the output")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("read the output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
