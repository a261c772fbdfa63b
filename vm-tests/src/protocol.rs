//! What host and guest say to each other: the host a [`Job`] before the guest starts, the guest a line of JSON for each
//! [`Event`] as it happens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the guest finds its [`Job`], as JSON.
pub const JOB: &str = "/job.json";

/// The port over which a guest reports: the second one, as the first is the kernel's console.
pub const PORT: &str = "/dev/ttyS1";

/// As much of a task's output as is reported: its end, in bytes.
pub const REPORTED_OUTPUT: u64 = 64 << 10;

/// What a guest has to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Files of the kernel modules to load, in this order.
    pub modules: Vec<PathBuf>,
    /// Run one after the other.
    pub tasks: Vec<Task>,
    /// Files that tasks may write, whose new contents the host wants.
    pub files: Vec<PathBuf>,
}

/// A command to run in the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What reports call it.
    pub name: String,
    /// The path of the executable in the guest.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// After this it is killed, with everything it started.
    pub timeout_seconds: u64,
    /// How often it is tried, at most, while it exits with a failure.
    pub attempts: u32,
}

/// What happened in the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The guest is up and its modules are loaded.
    Ready {
        /// `uname -r`.
        release: String,
    },
    /// A task begins.
    Started {
        /// Its place in [`Job::tasks`].
        task: usize,
    },
    /// A task has ended, and so has everything it started.
    Ended {
        /// Its place in [`Job::tasks`].
        task: usize,
        /// How.
        ending: Ending,
        /// How long the last attempt took.
        seconds: f64,
        /// How many attempts there were.
        attempts: u32,
        /// What it wrote to its standard output and standard error, in every attempt: the last [`REPORTED_OUTPUT`] bytes of each.
        output: String,
    },
    /// Tasks changed one of [`Job::files`].
    Written {
        /// Which.
        file: PathBuf,
        /// What it holds now.
        contents: String,
    },
    /// Every task has ended; the guest powers off.
    Done,
    /// The guest cannot go on, for a reason that is not a task's.
    Broken {
        /// What failed and why.
        reason: String,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// It was killed when its time was over.
    TimedOut,
    /// It could not be started.
    NotStarted,
}
