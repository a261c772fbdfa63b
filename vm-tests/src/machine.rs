//! A virtual machine that is running: what its guest says, and its end.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::console::Console;
use crate::protocol::Event;

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU, in one thread: with a thread per processor, kernels crash now and then while they
    /// patch their own code.
    Emulation,
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
    /// QEMU, or what has started it.
    command: Child,
    /// What QEMU needs beside it.
    servers: Vec<Child>,
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
    /// Runs `command`, which is QEMU or starts it. Its standard output has what the guest says, its
    /// standard error has the console. QEMU writes its process id into `pid_file`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, pid_file: PathBuf) -> io::Result<Self> {
        let mut command =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (Some(stdout), Some(stderr)) = (command.stdout.take(), command.stderr.take()) else {
            return Err(io::Error::other("a command has no standard output"));
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
        Ok(Self { command, servers: vec![], pid_file, events, console: Console::read(stderr) })
    }

    /// Ends this process with the machine.
    pub fn ends(&mut self, server: Child) {
        self.servers.push(server);
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
                    .command
                    .wait()
                    .map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(Silence::Off(status))
            }
        }
    }

    /// Lets the guest switch itself off.
    pub fn wait_until_off(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && matches!(self.command.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if matches!(self.command.try_wait(), Ok(None)) {
            // vng waits for QEMU, cleans up, and ends; so does virtiofsd, which has lost its only
            // client.
            let qemu =
                fs::read_to_string(&self.pid_file).ok().and_then(|text| text.trim().parse().ok());
            match qemu {
                // Fails when it has just ended.
                Some(qemu) => _ = kill(Pid::from_raw(qemu), Signal::SIGKILL),
                None => _ = self.command.kill(),
            }
            let _ = self.command.wait();
        }
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
