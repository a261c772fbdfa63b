//! A virtual machine that is running: what its guest says, and its end.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::group::Group;
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
    machine: Group,
    /// What QEMU needs beside it.
    _servers: Vec<Group>,
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
    /// standard error has the console. `servers` end with the machine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, servers: Vec<Group>) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut machine = Group::start(command)?;
        let leader = &mut machine.leader;
        let (Some(stdout), Some(stderr)) = (leader.stdout.take(), leader.stderr.take()) else {
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
        Ok(Self { machine, _servers: servers, events, console: Console::read(stderr) })
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
                    .machine
                    .leader
                    .wait()
                    .map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(Silence::Off(status))
            }
        }
    }

    /// Lets the guest switch itself off.
    pub fn wait_until_off(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && matches!(self.machine.leader.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
