//! `shunt report`

mod mask;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use self::mask::Mask;
use super::{DONE, log, print};
use crate::instance::{self, Pins};

/// Collect everything for a bug report in one text: versions, doctor, status, stats, flows,
/// configuration and the end of the log
///
/// Nothing leaves this machine: the text is printed, or written to a file that only its owner can
/// read. A part that cannot be read says why. Names of processes, cgroups and containers are
/// included, and addresses unless masked.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt report --mask --output report.txt   to attach to a bug report\n  \
    shunt report | less                       to read\n  \
    kubectl -n shunt-system exec daemonset/shunt -- /shunt report --mask >report.txt")]
pub struct Report {
    /// Write to this file, which must not exist yet [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace IP addresses by ipv4-1, ipv6-2 …, the same address always by the same name; loopback
    /// addresses stay
    #[arg(long)]
    mask: bool,
    /// Where the BPF file system is mounted [default: found in the mount table]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
}

/// Time limit of a command.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Limits: lines of a log, bytes of a file.
const MAX_LINES: usize = 500;
const MAX_BYTES: u64 = 1 << 20;

impl Report {
    pub fn run(self) -> Result<ExitCode> {
        let mut text = self.text();
        if self.mask {
            text = Mask::default().apply(&text);
        }
        let Some(path) = &self.output else {
            print(text)?;
            return Ok(DONE);
        };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write the report to {}", path.display()))?;
        print(format_args!("written to {}\n", path.display()))?;
        Ok(DONE)
    }

    fn text(&self) -> String {
        let mut text = format!("shunt {}, report of {}\n", env!("CARGO_PKG_VERSION"), log::now());
        for file in ["/proc/version", "/etc/os-release", "/sys/kernel/security/lockdown"] {
            part(&mut text, file, &read(Path::new(file)));
        }
        part(
            &mut text,
            "file systems",
            &lines_of("/proc/self/mountinfo", &[" - cgroup", " - bpf "]),
        );
        part(
            &mut text,
            "this process",
            &lines_of("/proc/self/status", &["Cap", "NoNewPrivs", "Seccomp", "NSpid"]),
        );
        part(&mut text, "memory", &lines_of("/proc/meminfo", &["MemTotal", "MemAvailable"]));
        self.command(&mut text, &["doctor"], None);
        self.command(&mut text, &["status"], self.bpffs.as_deref());
        self.command(&mut text, &["status", "--json"], self.bpffs.as_deref());
        let instances = match Pins::all(self.bpffs.as_deref()) {
            Ok(instances) => instances,
            Err(error) => {
                part(&mut text, "instances", &format!("{error:#}"));
                Vec::new()
            }
        };
        for pins in &instances {
            let name = pins.name().as_ref();
            self.command(&mut text, &["stats", "--name", name], self.bpffs.as_deref());
            self.command(&mut text, &["flows", "--name", name], self.bpffs.as_deref());
            if let Some(process) = instance::running(pins.name(), self.bpffs.as_deref()) {
                of_agent(&mut text, name, process);
            }
        }
        let journal = ["--unit=shunt", "--no-pager", "--output=short-iso", "--lines"];
        let journal = output(Command::new("journalctl").args(journal).arg(MAX_LINES.to_string()));
        part(
            &mut text,
            &format!("the journal of the service, {MAX_LINES} lines at most"),
            &journal,
        );
        text
    }

    /// The output of another command of this binary.
    fn command(&self, text: &mut String, arguments: &[&str], bpffs: Option<&Path>) {
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments);
        if let Some(bpffs) = bpffs {
            command.arg("--bpffs").arg(bpffs);
        }
        part(text, &format!("shunt {}", arguments.join(" ")), &output(&mut command));
    }
}

/// How an agent was started, its configuration, and its log if that is a file.
fn of_agent(text: &mut String, name: &str, process: u32) {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let arguments = read(&folder.join("cmdline"));
    let arguments: Vec<&str> = arguments.split('\0').filter(|word| !word.is_empty()).collect();
    part(text, &format!("how the agent of {name} was started"), &arguments.join(" "));
    let after = arguments
        .iter()
        .position(|word| *word == "--config")
        .and_then(|at| arguments.get(at + 1).copied());
    if let Some(path) =
        after.or_else(|| arguments.iter().find_map(|word| word.strip_prefix("--config=")))
    {
        // Paths are resolved as the agent sees them.
        let base = folder.join(if path.starts_with('/') { "root" } else { "cwd" });
        part(
            text,
            &format!("configuration {path}"),
            &read(&base.join(path.trim_start_matches('/'))),
        );
    }
    let log = folder.join("fd/2");
    if fs::metadata(&log).is_ok_and(|about| about.is_file()) {
        part(text, &format!("the log of {name}, {MAX_LINES} lines at most"), &tail(&log));
    }
}

fn part(text: &mut String, heading: &str, content: &str) {
    *text += &format!("\n==== {heading}\n{}\n", content.trim_end());
}

/// The content of a file, or why it cannot be read.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    }
}

fn lines_of(path: &str, with: &[&str]) -> String {
    let all = read(Path::new(path));
    let lines = all.lines().filter(|line| {
        line.starts_with("cannot read") || with.iter().any(|text| line.contains(text))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The last lines of a file, within the size limit.
fn tail(path: &Path) -> String {
    use std::io::{Seek, SeekFrom};
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_BYTES)))?;
        file.take(MAX_BYTES).read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return format!("cannot read {}: {error}", path.display());
    }
    let text = String::from_utf8_lossy(&bytes);
    let skipped = text.lines().count().saturating_sub(MAX_LINES);
    text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
}

/// What a program prints on both streams, and its exit status unless 0. It is killed at the time
/// limit.
fn output(command: &mut Command) -> String {
    let mut outcome = || -> std::io::Result<String> {
        let (mut reader, writer) = std::io::pipe()?;
        let mut running = command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .env("NO_COLOR", "1")
            .spawn()?;
        // Closes this process's copies of the pipe's write end, so that reading ends.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = reader.read_to_end(&mut bytes);
            let _ = sender.send(bytes);
        });
        let Ok(bytes) = receiver.recv_timeout(TIMEOUT) else {
            running.kill()?;
            return Ok(format!("it did not end within {} s", TIMEOUT.as_secs()));
        };
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        let ended = running.wait()?;
        if !ended.success() {
            text += &format!("\n({ended})");
        }
        Ok(text)
    };
    outcome().unwrap_or_else(|error| format!("cannot run it: {error}"))
}
