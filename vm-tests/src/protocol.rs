//! What host and guest say to each other: the host a [`Job`] before the guest starts, the guest a
//! line of JSON for each [`Event`] as it happens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// As much of a task's output as is reported: its end, in bytes.
pub const REPORTED_OUTPUT: u64 = 64 << 10;

/// What a guest has to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Files of kernel modules to load, in this order.
    pub modules: Vec<PathBuf>,
    /// A folder to mount over another one: the binaries as they were when the run began, over those
    /// that cargo may build anew meanwhile.
    pub programs: Option<Overmount>,
    /// Run one after the other.
    pub tasks: Vec<Task>,
    /// Files that tasks may write, whose new contents the host wants.
    pub files: Vec<PathBuf>,
}

/// A folder that is seen at another place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overmount {
    /// What is seen.
    pub folder: PathBuf,
    /// Where it is seen: an existing folder.
    pub at: PathBuf,
}

/// A command to run in the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What reports call it.
    pub name: String,
    /// The path of the executable.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// After this it is killed, with everything it started.
    pub timeout_seconds: u64,
}

/// What happened in the guest.
///
/// Before it says [`Event::Ready`], [`Event::Ended`] or [`Event::Done`] the guest writes the
/// [`mark`] with the number of those that it has said before to the kernel log: what the console
/// shows up to there came before the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The guest is up and its modules are loaded.
    Ready {
        /// `uname -r`.
        release: String,
    },
    /// A task has ended, and so has everything it started.
    Ended {
        /// Its place in [`Job::tasks`].
        task: usize,
        /// How.
        ending: Ending,
        /// How long it took.
        seconds: f64,
        /// What it wrote to its standard output and standard error: the last [`REPORTED_OUTPUT`]
        /// bytes.
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

/// The line of the kernel log that ends what belongs to an event.
pub fn mark(number: usize) -> String {
    format!("vm-tests: mark {number}.")
}
