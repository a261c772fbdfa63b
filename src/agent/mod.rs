//! The agent: assembles the datapath for this machine's kernel, attaches it to a cgroup, and takes
//! it away without losing a byte.

mod adopter;
mod adoption;
mod candidates;
mod drain;
mod enrolment;
pub mod privileges;
mod refusals;
mod rules;
mod signal;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use syscalls::{Attachment, Map, Prog};

pub use adoption::{Adopted, adopt};

use crate::datapath::{ABI, About, Control, Datapath, ProgramName, Settings};
use crate::host::cgroup;
use crate::instance::{Generation, Instance, Lock, Name, Pins, neighbours};
use crate::kernel::load;
use crate::policy::Policy;
use crate::policy::file::{File as ConfigurationFile, Settings as FileSettings};
use crate::policy::tables::Tables;
use crate::probe::{self, Behaviour, Kernel};
use adopter::Adopter;
use drain::Drain;
use enrolment::Enrolment;
use refusals::Refusals;
use rules::Rules;
use signal::{Request, Signals};
use target::Target;

/// What `shunt run` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The instance's name.
    pub name: Name,
    /// Where the BPF file system is; found in the mount table, or mounted, if none.
    pub bpffs: Option<PathBuf>,
    /// The cgroup; the root of cgroup v2 if none.
    pub cgroup: Option<PathBuf>,
    /// The most flows that can be open at once.
    pub flows: u32,
    /// The longest time between two messages that a lane sends by TCP.
    pub refresh: Duration,
    /// Whether the datapath stays at work when the agent is stopped.
    pub keep: bool,
    /// Whether to take over from an agent of this name, running or dead.
    pub replace: bool,
    /// Whose connections are accelerated.
    pub policy: Policy,
    /// What the file says beside it, which counts from the start on.
    pub settings: FileSettings,
    /// Where the policy is read again from when SIGHUP asks for it; without a file SIGHUP stops the
    /// agent, as when a terminal closes.
    pub file: Option<PathBuf>,
    /// Whether the log is for machines, also that of the process that adopts open connections.
    pub log_as_json: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything is detached and unpinned.
    Clean,
    /// The datapath stays at work, as it was asked to.
    Kept,
    /// Another agent has taken over: everything goes on under it.
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
    _lock: Lock,
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
        // Signals first, so that one that comes from here on ends in an orderly stop.
        let signals = Signals::block()?;
        probe::require()?;
        let cgroup = match &config.cgroup {
            Some(dir) => dir.clone(),
            None => cgroup::root().inspect(|root| {
                if !cgroup::is_whole_node(root) {
                    tracing::warn!(
                        "{} is a part of this node's cgroups: connections outside it stay with TCP. In a container, mount the \
                         node's /sys/fs/cgroup and name it with --cgroup",
                        root.display()
                    );
                }
            })?,
        };
        let target = Target::open(&cgroup)?;
        neighbours::expect_none(&config.name, target.path(), config.bpffs.as_deref())?;
        // Before another agent is asked to hand over.
        let kernel = Kernel::of_this_machine()?;
        tracing::info!("this kernel: {kernel} (`shunt doctor` tells what that means)");
        let pins = Pins::new(&config.name, config.bpffs.as_deref())?;
        /// Much longer than a running agent takes to hand over.
        const PATIENCE: Duration = Duration::from_secs(30);
        let lock = match pins.take()? {
            Some(lock) => lock,
            None if config.replace => {
                rehearse(&pins, config, &kernel).with_context(|| {
                    format!("the running agent of '{}' was not asked to end", config.name)
                })?;
                pins.take_over(PATIENCE)?
            }
            None => bail!(
                "an instance named '{0}' is already running: `shunt status` shows it; take over from it with --replace, stop it with \
                 SIGTERM, or choose another name with --name",
                config.name
            ),
        };
        // It is removed only if there is nothing in it.
        let left = pins.generations().inspect_err(|_| drop(pins.remove()))?;
        if !config.replace && !left.is_empty() {
            tracing::info!(name = %config.name, "taking out what a killed agent left");
            report(detach(&pins)?);
            drop(lock);
            return Agent::start(config);
        }

        let installed = install(&pins, config, &kernel, &target);
        if installed.is_err() && pins.generations().is_ok_and(|all| all.is_empty()) {
            let _ = pins.remove();
        }
        let (instance, rules, enrolment) = installed?;
        let mut agent = Agent {
            instance,
            config: config.clone(),
            target,
            kernel,
            signals,
            rules,
            refusals: Refusals::default(),
            enrolment,
            adopter: None,
            older: Vec::new(),
            _lock: lock,
        };
        match agent.find_older() {
            Ok(()) => Ok(agent),
            Err(error) => Err(agent.abandon(error)),
        }
    }

    /// Begins to drain what an agent of another version left.
    fn find_older(&mut self) -> Result<()> {
        let pins = self.instance.pins().clone();
        for generation in pins
            .generations()?
            .into_iter()
            .filter(|generation| generation != self.instance.generation())
        {
            if generation.is_complete() {
                self.older
                    .push(Drain::begin(Instance::open_generation(pins.clone(), generation)?)?);
            } else {
                generation.remove()?;
            }
        }
        self.tell_of_older()
    }

    /// Takes everything away because of this error: nothing is left without an agent.
    pub fn abandon(self, error: anyhow::Error) -> anyhow::Error {
        match self.stop() {
            Ok(_) => error,
            Err(stopping) => {
                error.context(format!("and what is attached could not be taken away: {stopping:#}"))
            }
        }
    }

    /// What runs where, in a line.
    pub fn summary(&self) -> String {
        format!(
            "'{}' on {}, pinned in {}",
            self.config.name,
            self.target.path().display(),
            self.instance.pins().dir().display()
        )
    }

    /// Has open connections adopted by a process of its own, now and whenever the rules are read
    /// again. It gets the privileges that this process has now.
    pub fn adopt(&mut self) {
        let can = self.kernel.does(Behaviour::IteratorMarks)
            && self.instance.generation().path(ProgramName::Adopt.pin()).exists();
        if !can {
            tracing::info!(
                "connections that are open already stay with TCP: this kernel does not let them be found (`shunt doctor`)"
            );
            return;
        }
        self.adopter = Adopter::start(&self.config);
    }

    /// What it has pinned.
    pub fn pins(&self) -> &Pins {
        self.instance.pins()
    }

    /// Runs until a signal asks it to stop, then takes everything away.
    pub fn run(mut self) -> Result<Ended> {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        /// How often the host's connection tracking is asked for its time-out.
        const LOOK: Duration = Duration::from_secs(15);
        /// How soon a cgroup that is made again is followed, and what is left to TCP is said.
        const FOLLOW: Duration = Duration::from_secs(1);
        let (mut looked, mut followed) = (Instant::now(), Instant::now());
        loop {
            /// How often to see whether another agent wants to take over.
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
                self.rules.find_cgroups()?;
                self.refusals.say(&self.instance)?;
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
            let refresh = refresh(&self.config, self.kernel.hz);
            let control = self.instance.control()?;
            if control.refresh != refresh {
                self.instance.set_control(Control { refresh, ..control })?;
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        if self.config.keep {
            tracing::info!("stopping: the datapath stays at work for the next agent");
            return Ok(Ended::Kept);
        }
        tracing::info!("stopping: every connection goes by TCP from now on");
        self.stop()
    }

    /// Tells the programs whether there are others beside them.
    fn tell_of_older(&self) -> Result<()> {
        let older = u32::from(!self.older.is_empty());
        let control = self.instance.control()?;
        if control.older != older {
            self.instance.set_control(Control { older, ..control })?;
        }
        Ok(())
    }

    /// Goes on with what an agent of another version left.
    fn drain_older(&mut self) -> Result<()> {
        if self.older.is_empty() {
            return Ok(());
        }
        for drain in std::mem::take(&mut self.older) {
            if drain.remaining()? > 0 {
                self.older.push(drain);
                continue;
            }
            drain.remove()?;
            tracing::info!("nothing is left of the version before");
        }
        self.tell_of_older()
    }

    /// Leaves everything as it is to whoever waits for it; the lock goes with this value.
    fn hand_over(&self) -> Ended {
        tracing::info!("handed over: another agent goes on with instance '{}'", self.config.name);
        Ended::HandedOver
    }

    fn stop(mut self) -> Result<Ended> {
        let pins = self.instance.pins().clone();
        let mut drains = std::mem::take(&mut self.older);
        drains.push(Drain::begin(self.instance)?);
        report(finish(&pins, drains)?);
        Ok(Ended::Clean)
    }
}

/// Says what becomes of the sockets that have not left.
fn report(remaining: usize) {
    if remaining > 0 {
        tracing::info!(
            sockets = remaining,
            "these were at rest and stay in the kernel's socket map until they close: nothing is lost, they go by TCP"
        );
    }
}

impl Agent {
    /// Reads the rules again; a file with a mistake changes nothing.
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
                        "reloaded {}: the rules count for new connections: {changes}",
                        path.display()
                    );
                    let fixed = self.config.settings.changes(&settings);
                    if !fixed.is_empty() {
                        tracing::warn!(
                            "changed in {}, and read at the start only: {}",
                            path.display(),
                            fixed.join(", ")
                        );
                    }
                    self.config.policy = policy;
                }
                Err(error) => tracing::error!(
                    "the rules could not all be put in place, reload them: {error:#}"
                ),
            },
            Err(error) => tracing::error!("not reloaded, the rules stay as they are: {error:#}"),
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

    /// There may be open connections that are to be accelerated now.
    fn adopt_again(&mut self) {
        if let Some(adopter) = &mut self.adopter {
            adopter.again();
        }
    }
}

/// Stops and removes every generation, complete or not: how many sockets stay in the kernel's map
/// until they close. The caller holds the lock.
pub fn detach(pins: &Pins) -> Result<usize> {
    let mut drains = Vec::new();
    for generation in pins.generations()? {
        if generation.is_complete() {
            drains.push(Drain::begin(Instance::open_generation(pins.clone(), generation)?)?);
        } else {
            // Nothing was ever attached.
            generation.remove()?;
        }
    }
    finish(pins, drains)
}

/// Finishes the drains one after the other, and removes the instance's folder.
fn finish(pins: &Pins, drains: Vec<Drain>) -> Result<usize> {
    let mut remaining = 0;
    for drain in drains {
        remaining += drain.finish()?;
    }
    pins.remove()?;
    Ok(remaining)
}

/// The datapath that an agent makes for so many flows.
fn datapath(flows: u32, kernel: &Kernel) -> Datapath {
    let settings = Settings { flows, hz: kernel.hz, passes: kernel.passes() };
    Datapath::new(kernel.layout.clone(), settings)
}

/// The newest generation, if its maps are those that this datapath would make.
fn reused(pins: &Pins, datapath: &Datapath) -> Result<Option<(Generation, load::Maps)>> {
    let Some(newest) = pins.generations()?.pop().filter(Generation::is_complete) else {
        return Ok(None);
    };
    if Instance::open_generation(pins.clone(), newest.clone())?.about()?.abi != ABI {
        return Ok(None);
    }
    Ok(newest.maps(&datapath.maps.all())?.map(|maps| (newest, maps)))
}

/// Loads everything that a successor will load, and makes the maps that it will make.
fn rehearse(pins: &Pins, config: &Config, kernel: &Kernel) -> Result<()> {
    let mut own = datapath(config.flows, kernel);
    if reused(pins, &own)?.is_some() {
        own = datapath(1, kernel);
    }
    probe::rehearse(&own)
}

/// Loads the programs and attaches them: on the maps of the newest generation if those are what
/// this version would make, else on maps of a new one.
fn install(
    pins: &Pins,
    config: &Config,
    kernel: &Kernel,
    target: &Target,
) -> Result<(Instance, Rules, Enrolment)> {
    let datapath = datapath(config.flows, kernel);
    let attach =
        |generation: &Generation, maps| attach(pins, generation, &datapath, maps, config, target);
    if let Some((newest, maps)) = reused(pins, &datapath)? {
        let what = || {
            format!(
                "cannot take over instance '{0}'; its flows go on, and `shunt run --name {0} --replace` can be tried again",
                config.name
            )
        };
        return attach(&newest, maps).with_context(what);
    }
    let maps = load::maps(&datapath.maps.all())?;
    let new = Generation::new(
        pins.dir(),
        pins.generations()?.last().map_or(1, |newest| newest.number() + 1),
    );
    new.create()?;
    attach(&new, maps).inspect_err(|_| {
        // That it failed is what has to be told, and what cannot be taken away now is left to
        // `shunt detach`.
        let _ = withdraw(pins, new);
    })
}

/// Takes away a generation that did not come to be.
fn withdraw(pins: &Pins, generation: Generation) -> Result<()> {
    if !generation.is_complete() {
        return generation.remove();
    }
    Drain::begin(Instance::open_generation(pins.clone(), generation)?)?.finish().map(|_| ())
}

/// Loads, pins and attaches the programs, in the place of those that are there. The sock_ops link
/// comes last: with that connections are noticed.
///
/// Sockets that are enrolled keep the programs that they were enrolled with, and the two share
/// records of one version.
fn attach(
    pins: &Pins,
    generation: &Generation,
    datapath: &Datapath,
    maps: load::Maps,
    config: &Config,
    target: &Target,
) -> Result<(Instance, Rules, Enrolment)> {
    let load = |name: ProgramName| load::program(&datapath.program(name)?, &maps);
    let mut programs = BTreeMap::new();
    for name in ProgramName::ALL {
        let loaded = match (load(name), name.without()) {
            (Err(error), Some(without)) => {
                tracing::warn!("{without}: {error:#}");
                continue;
            }
            (loaded, _) => loaded?,
        };
        generation.pin_program(name.pin(), &loaded)?;
        programs.insert(name, loaded);
    }
    if !generation.is_complete() {
        generation.pin_maps(&maps)?;
    }
    let instance = Instance::open_generation(pins.clone(), generation.clone())?;
    instance.set_about(about(target.path()))?;
    instance.set_control(Control {
        draining: 0,
        refresh: refresh(config, datapath.settings.hz),
        older: u32::from(pins.generations()?.iter().any(|other| other != generation)),
        // Its rules stay until others take their place.
        ..instance.control()?
    })?;
    let rules = Rules::install(&instance, Tables::new(&config.policy))?;
    let program = |name: ProgramName| {
        programs.get(&name).with_context(|| format!("program '{}'", name.pin()))
    };
    attach_to_socks(&instance, "link_send", program(ProgramName::Send)?, Attachment::of_sk_msg)
        .context("cannot attach the sk_msg program")?;
    attach_to_socks(
        &instance,
        "link_verdict",
        program(ProgramName::Verdict)?,
        Attachment::of_sk_skb_verdict,
    )
    .context("cannot attach the verdict program")?;
    target.attach(&instance)?;
    // After the programs are attached, so that each listener is seen by them or by this.
    rules.note_listeners()?;
    let reads = programs.remove(&ProgramName::Reads);
    let enrol = programs.remove(&ProgramName::Enrol).context("program 'enrol'")?;
    let enrolment = Enrolment::new(&instance, enrol, datapath.settings.passes, reads)?;
    Ok((instance, rules, enrolment))
}

/// `link` is the name of its pin.
fn attach_to_socks(
    instance: &Instance,
    link: &str,
    program: &Prog,
    attach: fn(&Prog, &Map) -> syscalls::Result<Attachment>,
) -> Result<()> {
    if let Some(attached) = instance.generation().link(link)? {
        return Ok(attached.update(program)?);
    }
    // Where there are no such links, this takes the place of the program before.
    if let Attachment::Link(attached) = attach(program, instance.socks())? {
        instance.generation().pin_link(link, &attached)?;
    }
    Ok(())
}

fn about(cgroup: &Path) -> About {
    let mut about = About { abi: ABI, pid: std::process::id(), ..About::default() };
    about.started =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let path = cgroup.as_os_str().as_bytes();
    let length = path.len().min(about.cgroup.len());
    about.cgroup[..length].copy_from_slice(&path[..length]);
    about.cgroup_len = length as u32;
    about
}

/// The longest time between two messages by TCP, in jiffies: what the operator allows, and a third
/// of the time-out of connection tracking in the namespace of the agent, through which flows
/// between other namespaces may pass.
fn refresh(config: &Config, hz: u32) -> u32 {
    let tracked =
        fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established");
    let seconds = tracked.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(u64::MAX);
    let allowed = config.refresh.as_millis() as u64;
    let third = seconds.saturating_mul(1000) / 3;
    u32::try_from(allowed.min(third).saturating_mul(u64::from(hz)) / 1000)
        .unwrap_or(u32::MAX)
        .max(1)
}
