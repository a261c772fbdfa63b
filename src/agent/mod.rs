//! The agent: assembles the datapath for this machine's kernel, attaches it to a cgroup, and takes
//! it away without losing a byte.

mod adopter;
mod adoption;
mod candidates;
mod drain;
mod enrolment;
pub mod privileges;
mod refresh;
mod refusals;
mod rules;
mod signal;
mod start;
mod target;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use adoption::{Adopted, adopt};
pub use drain::detach;

use crate::datapath::{Control, ProgramName};
use crate::instance::{Instance, Lock, Name, Pins};
use crate::policy::Policy;
use crate::policy::file::{File as ConfigurationFile, LogFormat, Settings as FileSettings};
use crate::policy::tables::Tables;
use crate::probe::{Behaviour, Kernel};
use adopter::Adopter;
use drain::Drain;
use enrolment::Enrolment;
use refresh::refresh;
use refusals::Refusals;
use rules::Rules;
use signal::{Request, Signals};
use start::{Attached, Loaded, Pinned, Prepared};
use target::Target;

/// Configuration of an agent: options of `shunt run`, and its file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The instance's name.
    pub name: Name,
    /// Mount point of the BPF file system; if `None`, found in the mount table, or mounted.
    pub bpffs: Option<PathBuf>,
    /// The cgroup; the root of cgroup v2 if `None`.
    pub cgroup: Option<PathBuf>,
    /// Maximum number of open flows.
    pub flows: u32,
    /// Maximum time between two messages that a lane sends by TCP.
    pub refresh: Duration,
    /// Whether the datapath stays attached when the agent is stopped.
    pub keep: bool,
    /// Whether to take over from an agent of this name, running or dead.
    pub replace: bool,
    /// Whose connections are accelerated.
    pub policy: Policy,
    /// Settings of the file that only take effect at the start.
    pub settings: FileSettings,
    /// The file that is read again on SIGHUP; without a file SIGHUP stops the agent, as when a
    /// terminal closes.
    pub file: Option<PathBuf>,
    /// The format of the log, also of the process that adopts open connections.
    pub log_format: LogFormat,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything is detached and unpinned.
    Clean,
    /// The datapath stays attached, as configured.
    Kept,
    /// Another agent has taken over.
    HandedOver,
}

/// A running instance.
pub struct Agent {
    instance: Instance,
    config: Config,
    target: Target,
    kernel: Kernel,
    signals: Signals,
    rules: Rules,
    refusals: Refusals,
    enrolment: Enrolment,
    adopter: Option<Adopter>,
    /// Generations that an agent of another version left, which pair no flow any more.
    older: Vec<Drain>,
    /// What failed at the last attempt, which is not logged again.
    failed: Option<String>,
    _lock: Option<Lock>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Agent {
    /// Starts an instance: afterwards every new connection with both ends in the cgroup is
    /// accelerated.
    pub fn start(config: &Config) -> Result<Agent> {
        let taken = Prepared::new(config)?.take()?;
        let takes_over = taken.takes_over();
        let attached = taken.load().and_then(Loaded::pin).and_then(Pinned::attach);
        attached.and_then(Attached::into_agent).map_err(|error| match takes_over {
            true => error.context(format!(
                "cannot take over instance '{0}'; its flows continue, and `shunt run --name {0} --replace` can be retried",
                config.name
            )),
            false => error,
        })
    }

    /// Removes everything because of this error, so that nothing is left without an agent.
    pub fn abandon(self, error: anyhow::Error) -> anyhow::Error {
        match self.stop() {
            Ok(_) => error,
            Err(stopping) => error
                .context(format!("and the attached programs could not be removed: {stopping:#}")),
        }
    }

    /// One line that describes the instance, for the log.
    pub fn summary(&self) -> String {
        format!(
            "'{}' on {}, pinned in {}",
            self.config.name,
            self.target.path().display(),
            self.instance.pins().dir().display()
        )
    }

    /// Starts the process that adopts open connections, now and whenever the rules are reloaded. It
    /// inherits the current privileges of this process.
    pub fn adopt(&mut self) {
        let adopts = self.instance.generation().program(ProgramName::Adopt);
        let can = matches!(adopts, Ok(Some(_))) && self.kernel.does(Behaviour::IteratorMarks);
        if !can {
            tracing::info!(
                "connections that are already open stay with TCP: this kernel does not support adoption (`shunt doctor`)"
            );
            return;
        }
        self.adopter = Adopter::start(&self.config);
    }

    /// Its pins.
    pub fn pins(&self) -> &Pins {
        self.instance.pins()
    }

    /// Runs until a signal stops it, then removes everything.
    pub fn run(mut self) -> Result<Ended> {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        /// How often the time-out of the host's connection tracking is read.
        const LOOK: Duration = Duration::from_secs(15);
        /// How often a recreated cgroup is looked for, and new refusals are logged.
        const FOLLOW: Duration = Duration::from_secs(1);
        let (mut looked, mut followed) = (Instant::now(), Instant::now());
        loop {
            /// How often to check whether another agent wants to take over.
            const SUCCESSORS: Duration = Duration::from_millis(200);
            let mut period = self.enrolment.period(SUCCESSORS);
            if !self.older.is_empty() {
                period = period.min(Drain::PAUSE);
            }
            match self.signals.wait(period, self.enrolment.newcomers())? {
                Some(Request::Reload) if self.config.file.is_some() => self.reload()?,
                Some(_) => break,
                None => {}
            }
            if self.instance.pins().has_successor() {
                return Ok(self.hand_over());
            }
            if followed.elapsed() >= FOLLOW {
                followed = Instant::now();
                self.keep_up();
                if self.target.follow(&self.instance)? {
                    self.adopt_again();
                }
            }
            self.enrolment.step()?;
            self.drain_older()?;
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            let refresh = refresh(self.config.refresh, self.kernel.hz);
            let control = self.instance.control()?;
            if control.refresh != refresh {
                self.instance.set_control(Control { refresh, ..control })?;
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        if self.config.keep {
            tracing::info!("stopping: the datapath stays attached for the next agent");
            return Ok(Ended::Kept);
        }
        tracing::info!("stopping: every connection falls back to TCP");
        self.stop()
    }

    /// Applies rules to new cgroups and logs new refusals. What fails, for want of descriptors for
    /// example, is tried again a second later: the connections do not depend on it.
    fn keep_up(&mut self) {
        let found = self.rules.find_cgroups().context("cannot apply rules to new cgroups");
        let said = self.refusals.say(&self.instance).context("cannot read what is left to TCP");
        let failed = found.and(said).err().map(|error| format!("{error:#}"));
        if let Some(error) = failed.as_ref().filter(|_| failed != self.failed) {
            tracing::warn!("{error}; trying again");
        }
        self.failed = failed;
    }

    /// Writes into the control record whether older generations exist.
    fn tell_of_older(&self) -> Result<()> {
        let older = u32::from(!self.older.is_empty());
        let control = self.instance.control()?;
        if control.older != older {
            self.instance.set_control(Control { older, ..control })?;
        }
        Ok(())
    }

    /// Continues to drain generations of other versions.
    fn drain_older(&mut self) -> Result<()> {
        if self.older.is_empty() {
            return Ok(());
        }
        for drain in std::mem::take(&mut self.older) {
            if !drain.is_empty()? {
                self.older.push(drain);
                continue;
            }
            drain.remove()?;
            tracing::info!("the earlier version is drained and removed");
        }
        self.tell_of_older()
    }

    /// Hands everything to the waiting successor; the lock is released with this value.
    fn hand_over(&self) -> Ended {
        tracing::info!("handed over: another agent continues instance '{}'", self.config.name);
        Ended::HandedOver
    }

    fn stop(mut self) -> Result<Ended> {
        let pins = self.instance.pins().clone();
        let mut drains = std::mem::take(&mut self.older);
        drains.push(Drain::begin(self.instance)?);
        drain::report(drain::finish(drains)?);
        pins.remove()?;
        Ok(Ended::Clean)
    }
}

impl Agent {
    /// Reloads the rules; an invalid file changes nothing.
    fn reload(&mut self) -> Result<()> {
        let Some(path) = self.config.file.clone() else { return Ok(()) };
        let began = sd_notify::NotifyState::monotonic_usec_now().ok();
        let _ = sd_notify::notify(
            &[&[sd_notify::NotifyState::Reloading][..], began.as_slice()].concat(),
        );
        match ConfigurationFile::read(&path) {
            Ok(ConfigurationFile { settings, policy }) => match self.apply(&policy) {
                Ok(()) => {
                    let changes = self.config.policy.changes(&policy);
                    let changes = if changes.is_empty() {
                        "no rule has changed".to_owned()
                    } else {
                        changes.join("; ")
                    };
                    tracing::info!(
                        "reloaded {}: the rules apply to new connections: {changes}",
                        path.display()
                    );
                    let fixed = self.config.settings.changes(&settings);
                    if !fixed.is_empty() {
                        tracing::warn!(
                            "changed in {}, takes effect at the next start: {}",
                            path.display(),
                            fixed.join(", ")
                        );
                    }
                    self.config.policy = policy;
                }
                Err(error) => {
                    tracing::error!("not all rules could be applied, reload them: {error:#}")
                }
            },
            Err(error) => tracing::error!("not reloaded, the rules are unchanged: {error:#}"),
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        Ok(())
    }

    fn apply(&mut self, policy: &Policy) -> Result<()> {
        self.rules.replace(&self.instance, Tables::new(policy))?;
        self.rules.note_listeners()?;
        self.adopt_again();
        Ok(())
    }

    /// Requests another adoption: changed rules may include open connections.
    fn adopt_again(&mut self) {
        if let Some(adopter) = &mut self.adopter {
            adopter.again();
        }
    }
}
