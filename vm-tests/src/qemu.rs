//! A virtual machine: QEMU's x86 PC with two serial ports and nothing else.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::protocol::Event;

/// The program that is run.
pub const QEMU: &str = "qemu-system-x86_64";

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU, in one thread: with a thread per processor, kernels crash now and then while they patch their own code.
    Emulation,
}

impl Accelerator {
    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Emulation => ["-accel", "tcg,thread=single", "-cpu", "max"],
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
    qemu: Child,
    events: Receiver<Line>,
}

/// What came over the guest's port.
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
    /// Boots `kernel` with the root file system `initramfs`. The kernel's console goes to the file `console`, and what
    /// QEMU complains about to the file `complaints`.
    ///
    /// # Errors
    /// When QEMU cannot be started. When it can and then refuses, there are no events.
    pub fn boot(
        hardware: Hardware,
        kernel: &Path,
        initramfs: &Path,
        console: &Path,
        complaints: &Path,
    ) -> io::Result<Self> {
        // Quiet up to warnings, as each character of a serial console is expensive under emulation.
        let command_line = "console=ttyS0 loglevel=5 panic=-1 rdinit=/init";
        let mut qemu = Command::new(QEMU)
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(hardware.accelerator.arguments())
            .args(["-m", &format!("{}M", hardware.memory_mib), "-smp", &hardware.processors.to_string()])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", command_line])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(complaints)?)
            .spawn()?;
        let stdout = qemu.stdout.take().ok_or_else(|| io::Error::other("QEMU has no standard output"))?;
        let (tell, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                // The guest's terminal driver ends lines with a carriage return too.
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
        Ok(Self { qemu, events })
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
                let status = self.qemu.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(Silence::Off(status))
            }
        }
    }

    /// Lets the guest switch itself off, so that everything it wrote is in its files.
    pub fn wait_until_off(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && matches!(self.qemu.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails when it is off already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
