//! A virtual machine that virtme-ng boots: a kernel, and this machine's own files below it,
//! read-only.
//!
//! `vng` packs an initramfs with the modules that a guest needs to reach its root file system,
//! serves this machine's `/` by virtiofsd, starts QEMU, and runs one command when the guest's first
//! process, virtme-ng-init, has set up the rest. The command's standard output is vng's, the
//! kernel's console goes to vng's standard error.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::console::Console;
use crate::protocol::Event;

/// The program that is run.
pub const VNG: &str = "vng";

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU, in one thread: with a thread per processor, kernels crash now and then while they
    /// patch their own code.
    Emulation,
}

impl Accelerator {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &[],
            Self::Emulation => {
                &["--disable-kvm", "--qemu-opts=-accel", "--qemu-opts=tcg,thread=single"]
            }
        }
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Emulation => "emulation",
        })
    }
}

/// What a machine is made of.
#[derive(Debug, Clone, Copy)]
pub struct Hardware {
    /// How it executes.
    pub accelerator: Accelerator,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// Its number of processors.
    pub processors: u32,
}

/// A machine that is running. Dropping it switches it off.
#[derive(Debug)]
pub struct Machine {
    vng: Child,
    /// Where QEMU writes its process id.
    pid_file: PathBuf,
    events: Receiver<Line>,
    /// What the kernel says, and what vng, QEMU and virtiofsd complain about.
    pub console: Console,
}

/// What came from the guest's command.
#[derive(Debug)]
enum Line {
    Event(Event),
    /// A line that is no event, such as half of one.
    Noise(String),
}

/// Why there is no next event.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// Nothing came in time.
    #[error("it has said nothing for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The machine is off.
    #[error("it switched off ({0})")]
    Off(String),
    /// What came is not an event.
    #[error("it sent a line that is no event: {0:?}")]
    Noise(String),
}

impl Machine {
    /// Boots `kernel`, whose modules are where its package has them, and runs `command` in it.
    /// Temporary files go to `folder`, which nothing else uses.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a path that vng would take apart; else when vng cannot
    /// be started. When it can and then refuses, there are no events.
    pub fn boot(
        hardware: Hardware,
        kernel: &Path,
        command: &[&Path],
        folder: &Path,
    ) -> io::Result<Self> {
        let words = command.iter().map(|word| plain(word)).collect::<io::Result<Vec<_>>>()?;
        let pid_file = folder.join("qemu.pid");
        let mut vng = crate::tools::command(VNG).map_err(io::Error::other)?;
        // It looks for its other half, virtme-run, and for virtiofsd and depmod.
        vng.env("PATH", crate::tools::path());
        // Files that it would leave behind when it is killed.
        vng.env("TMPDIR", folder);
        let mut vng = vng
            .args(["--run", plain(kernel)?, "--user", "root", "--cwd", "/"])
            .args([
                "--cpus",
                &hardware.processors.to_string(),
                "--memory",
                &format!("{}M", hardware.memory_mib),
            ])
            .args(hardware.accelerator.arguments())
            // The same machine with KVM as without.
            .arg("--disable-microvm")
            // The console to standard error, but quiet up to warnings: each character is expensive
            // under emulation.
            .args(["--verbose", "--append", "loglevel=5"])
            // Devices and processes that udev would spend seconds on.
            .args(["--qemu-opts=-nodefaults", "--append", "udev.children_max=1"])
            .arg(format!("--qemu-opts=-pidfile {}", plain(&pid_file)?))
            .args(["--exec", &format!("exec {}", words.join(" "))])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(stdout), Some(stderr)) = (vng.stdout.take(), vng.stderr.take()) else {
            return Err(io::Error::other("vng has no standard output"));
        };
        let (tell, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = line.trim_ascii();
                let line = match serde_json::from_slice(line) {
                    Ok(event) => Line::Event(event),
                    Err(_) => Line::Noise(String::from_utf8_lossy(line).into_owned()),
                };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { vng, pid_file, events, console: Console::read(stderr) })
    }

    /// Waits for what the guest says next.
    ///
    /// # Errors
    /// [`Silence`]; after it the machine is of no further use.
    pub fn next_event(&mut self, patience: Duration) -> Result<Event, Silence> {
        match self.events.recv_timeout(patience) {
            Ok(Line::Event(event)) => Ok(event),
            Ok(Line::Noise(line)) => Err(Silence::Noise(line)),
            Err(RecvTimeoutError::Timeout) => Err(Silence::TimedOut(patience)),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self
                    .vng
                    .wait()
                    .map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(Silence::Off(status))
            }
        }
    }

    /// Lets the guest switch itself off.
    pub fn wait_until_off(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && matches!(self.vng.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !matches!(self.vng.try_wait(), Ok(None)) {
            return;
        }
        // vng waits for QEMU, cleans up, and ends; so does virtiofsd, which has lost its only
        // client.
        let qemu =
            fs::read_to_string(&self.pid_file).ok().and_then(|text| text.trim().parse().ok());
        match qemu {
            // Fails when it has just ended.
            Some(qemu) => _ = kill(Pid::from_raw(qemu), Signal::SIGKILL),
            None => _ = self.vng.kill(),
        }
        let _ = self.vng.wait();
    }
}

/// A path as text, where vng does not take it apart: it builds lines for shells and does not quote
/// everything.
fn plain(path: &Path) -> io::Result<&str> {
    let text = path.to_str().unwrap_or_default();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._+-~".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(harmless) {
        return Ok(text);
    }
    let what = "vng cannot be given this path, which has more in it than letters, digits and ./_+-~ \
                (--cache and CARGO_TARGET_DIR say where files are)";
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_shell_would_take_apart_is_refused_before_anything_is_started() {
        for good in ["/root/.cache/shunt-vm/kernels/6.12.1+deb13~x/boot/vmlinuz", "guest"] {
            assert_eq!(plain(Path::new(good)).expect("plain"), good);
        }
        for bad in ["/a b/vmlinuz", "/a;b", "/a'b", "/$HOME", "-x", "", "/a\nb"] {
            assert!(plain(Path::new(bad)).is_err(), "{bad:?}");
        }
    }
}
