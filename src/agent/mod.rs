//! The agent: assembles the datapath for this machine's kernel, attaches it to a cgroup, and takes it away without losing a byte.

mod drain;
mod generation;
mod instance;
pub mod kernel;
pub mod load;
mod name;
mod pins;
pub mod privileges;
mod rules;
mod signal;
mod waker;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use syscalls::object::LinkTarget;
use syscalls::{AttachType, Attachment, Link, Prog};

pub use drain::Drained;
pub use generation::Generation;
pub use instance::{Instance, MapFill};
pub use name::{BadName, Name};
pub use pins::{Lock, Pins};

use crate::bed::cgroup;
use crate::datapath::{ABI, About, Control, Datapath, Settings};
use crate::policy::file::File as ConfigurationFile;
use crate::policy::tables::Tables;
use crate::policy::{Policy, guarded};
use crate::probe;
use drain::Drain;
use kernel::Kernel;
use rules::Rules;
use signal::{Request, Signals};
use waker::Waker;

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
    /// Whether sockets whose readers block are accelerated, too.
    pub blocking_readers: bool,
    /// Whether to take over from an agent of this name, running or dead.
    pub replace: bool,
    /// Whose connections are accelerated.
    pub policy: Policy,
    /// Where the policy is read again from when SIGHUP asks for it; without a file SIGHUP stops the agent, as when a terminal closes.
    pub file: Option<PathBuf>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything is detached and unpinned.
    Clean,
    /// The datapath stays at work, as it was asked to.
    Kept,
    /// A second signal came before every reader had read what was redirected to it: the pins are left.
    Unread,
    /// Another agent has taken over: everything goes on under it.
    HandedOver,
}

/// A running instance.
pub struct Agent {
    instance: Instance,
    config: Config,
    cgroup: PathBuf,
    kernel: Kernel,
    signals: Signals,
    rules: Rules,
    /// Programs that this kernel would let notice.
    guarded: Vec<&'static str>,
    waker: Waker,
    /// Generations that an agent of another version left, which pair no flow any more.
    older: Vec<Drain>,
    _lock: Lock,
}

impl Agent {
    /// Starts an instance: afterwards every new connection with both ends in the cgroup is accelerated.
    pub fn start(config: &Config) -> Result<Agent> {
        // Signals first, so that one that comes from here on ends in an orderly stop.
        let signals = Signals::block()?;
        probe::require()?;
        let cgroup = match &config.cgroup {
            Some(dir) => dir.clone(),
            None => cgroup::root()?,
        };
        let target = Target::open(&cgroup)?;
        // Before another agent is asked to hand over: readers may need one that is there to wake them.
        let kernel = Kernel::of_this_machine()?;
        tracing::info!("this kernel: {kernel} (`shunt doctor` tells what that means)");
        let guarded = guarded_here(&config.policy, &kernel);
        let pins = Pins::new(&config.name, config.bpffs.as_deref())?;
        /// Much longer than a running agent takes to hand over.
        const PATIENCE: Duration = Duration::from_secs(30);
        let lock = match pins.take()? {
            Some(lock) => lock,
            None if config.replace => {
                probe::rehearse(kernel.layout.clone(), kernel.meter, kernel.hz)
                    .with_context(|| format!("the running agent of '{}' was not asked to end", config.name))?;
                pins.take_over(PATIENCE)?
            }
            None => bail!(
                "an instance named '{0}' is already running: `shunt status` shows it; take over from it with --replace, stop it with \
                 SIGTERM, or choose another name with --name",
                config.name
            ),
        };
        if !config.replace && !pins.generations()?.is_empty() {
            // What a killed agent left. Its flows must not be cut off from bytes that wait for them.
            tracing::info!(name = %config.name, "taking out what a killed agent left");
            const PATIENCE: Duration = Duration::from_secs(10);
            match detach(&pins, Some(PATIENCE))? {
                Drained::Empty => {}
                Drained::Unread(readers) => bail!(
                    "a killed agent left instance '{0}', and {readers} sockets still hold bytes that their readers have not read: \
                     take over from it with --replace, run `shunt detach --name {0}` to wait for them, or start under another name",
                    config.name
                ),
            }
            drop(lock);
            return Agent::start(config);
        }

        let installed = install(&pins, config, &kernel, &guarded, &target);
        if installed.is_err() && pins.generations().is_ok_and(|all| all.is_empty()) {
            let _ = pins.remove();
        }
        let (instance, rules) = installed?;
        let waker = Waker::new(&instance, true)?;
        let mut older = Vec::new();
        for generation in pins.generations()?.into_iter().filter(|generation| generation != instance.generation()) {
            if generation.is_complete() {
                let old = Instance::open_generation(pins.clone(), generation)?;
                older.push(Drain::begin(old, Waker::without_alarms(true))?);
            } else {
                generation.remove()?;
            }
        }
        Ok(Agent {
            instance,
            config: config.clone(),
            cgroup,
            kernel,
            signals,
            rules,
            guarded,
            waker,
            older,
            _lock: lock,
        })
    }

    /// What runs where, in a line.
    pub fn summary(&self) -> String {
        format!(
            "'{}' on {}, pinned in {}",
            self.config.name,
            self.cgroup.display(),
            self.instance.pins().dir().display()
        )
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
        /// How soon rules by cgroup follow one that is made again.
        const FOLLOW: Duration = Duration::from_secs(1);
        let (mut looked, mut followed) = (Instant::now(), Instant::now());
        loop {
            /// How often to see whether another agent wants to take over.
            const SUCCESSORS: Duration = Duration::from_millis(200);
            let mut period = self.waker.period().min(SUCCESSORS);
            if !self.older.is_empty() {
                period = period.min(Drain::PAUSE);
            }
            match self.signals.wait(period, self.waker.alarms())? {
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
            }
            self.waker.look(&self.instance)?;
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

    /// Goes on with what an agent of another version left.
    fn drain_older(&mut self) -> Result<()> {
        for mut drain in std::mem::take(&mut self.older) {
            match drain.step()? {
                Drained::Empty => {
                    drain.remove()?;
                    tracing::info!("nothing is left of the version before");
                }
                Drained::Unread(_) => self.older.push(drain),
            }
        }
        Ok(())
    }

    /// Leaves everything as it is to whoever waits for it; the lock goes with this value.
    fn hand_over(&self) -> Ended {
        tracing::info!("handed over: another agent goes on with instance '{}'", self.config.name);
        Ended::HandedOver
    }

    fn stop(mut self) -> Result<Ended> {
        let pins = self.instance.pins().clone();
        let mut drains = std::mem::take(&mut self.older);
        let newest = Instance::open_generation(pins.clone(), self.instance.generation().clone())?;
        let waker = std::mem::replace(&mut self.waker, Waker::without_alarms(true));
        drains.push(Drain::begin(newest, waker)?);
        let signals = &mut self.signals;
        let file = self.config.file.is_some();
        // There is nothing to read again any more.
        let mut stop = || matches!(signals.pending(), Some(request) if request == Request::Stop || !file);
        match finish(&pins, drains, None, || stop() || pins.has_successor())? {
            Drained::Empty => Ok(Ended::Clean),
            Drained::Unread(_) if pins.has_successor() => Ok(self.hand_over()),
            Drained::Unread(readers) => {
                tracing::warn!(
                    readers,
                    "stopped before every reader had read what was redirected to it; nothing is lost: run `shunt detach --name {}` later",
                    self.config.name
                );
                Ok(Ended::Unread)
            }
        }
    }
}

impl Agent {
    /// Reads the rules again; a file with a mistake changes nothing.
    fn reload(&mut self) -> Result<()> {
        let Some(path) = self.config.file.clone() else { return Ok(()) };
        let began = sd_notify::NotifyState::monotonic_usec_now().ok();
        let _ = sd_notify::notify(&[&[sd_notify::NotifyState::Reloading][..], began.as_slice()].concat());
        match ConfigurationFile::read(&path) {
            Ok(ConfigurationFile { policy, .. }) => match self.apply(&policy) {
                Ok(()) => {
                    tracing::info!("reloaded {}: the rules count for new connections", path.display());
                    self.config.policy = policy;
                }
                Err(error) => tracing::error!("the rules could not all be put in place, reload them: {error:#}"),
            },
            Err(error) => tracing::error!("not reloaded, the rules stay as they are: {error:#}"),
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        Ok(())
    }

    fn apply(&mut self, policy: &Policy) -> Result<()> {
        if self.guarded.is_empty() && !policy.guarded.is_empty() {
            self.guarded = guarded_here(policy, &self.kernel);
        }
        self.rules.replace(&self.instance, Tables::new(policy, &self.guarded))?;
        self.rules.note_listeners()
    }
}

/// The programs that this kernel would let notice, if any is to be guarded.
fn guarded_here(policy: &Policy, kernel: &Kernel) -> Vec<&'static str> {
    if policy.guarded.is_empty() {
        return Vec::new();
    }
    let all = guarded::applying(|behaviour| kernel.does(behaviour));
    let left_out: Vec<String> = all
        .iter()
        .filter(|program| policy.guarded.contains(&program.name))
        .map(|program| format!("{} ({})", program.name, program.why))
        .collect();
    if !left_out.is_empty() {
        tracing::info!("left to TCP, since this kernel would let them notice: {}", left_out.join(", "));
    }
    all.iter().map(|program| program.name).collect()
}

/// Drains and removes every generation, complete or not. The caller holds the lock.
pub fn detach(pins: &Pins, wait: Option<Duration>) -> Result<Drained> {
    let programs_wake = probe::wakes().unwrap_or_else(|error| {
        tracing::warn!("cannot find out whether programs can wake readers here, so this command will: {error:#}");
        false
    });
    let mut drains = Vec::new();
    for generation in pins.generations()? {
        if generation.is_complete() {
            let instance = Instance::open_generation(pins.clone(), generation)?;
            drains.push(Drain::begin(instance, Waker::without_alarms(programs_wake))?);
        } else {
            // Nothing was ever attached.
            generation.remove()?;
        }
    }
    finish(pins, drains, wait.map(|wait| Instant::now() + wait), || pins.has_successor())
}

/// Finishes the drains one after the other, and removes the instance's folder when all are done.
fn finish(
    pins: &Pins,
    drains: Vec<Drain>,
    deadline: Option<Instant>,
    mut abandon: impl FnMut() -> bool,
) -> Result<Drained> {
    for drain in drains {
        let drained = drain.finish(deadline, &mut abandon)?;
        if drained != Drained::Empty {
            return Ok(drained);
        }
    }
    pins.remove()?;
    Ok(Drained::Empty)
}

/// Loads the programs and attaches them: on the maps of the newest generation if those are what this version would make, else on maps of a
/// new one.
fn install(
    pins: &Pins,
    config: &Config,
    kernel: &Kernel,
    guarded: &[&'static str],
    target: &Target,
) -> Result<(Instance, Rules)> {
    let settings = Settings { flows: config.flows, meter: kernel.meter, hz: kernel.hz };
    let datapath = Datapath::new(kernel.layout.clone(), settings);
    let attach = |generation: &Generation, maps| attach(pins, generation, &datapath, maps, config, guarded, target);
    let generations = pins.generations()?;
    if let Some(newest) = generations.last().filter(|newest| newest.is_complete())
        && Instance::open_generation(pins.clone(), newest.clone())?.about()?.abi == ABI
        && let Some(maps) = newest.maps(&datapath.maps.all())?
    {
        let what = || {
            format!(
                "cannot take over instance '{0}'; its flows go on, and `shunt run --name {0} --replace` can be tried again",
                config.name
            )
        };
        return attach(newest, maps).with_context(what);
    }
    let maps = load::maps(&datapath.maps.all())?;
    let new = Generation::new(pins.dir(), generations.last().map_or(1, |newest| newest.number() + 1));
    new.create()?;
    attach(&new, maps).inspect_err(|_| {
        // That it failed is what has to be told, and what cannot be taken away now is left to `shunt detach`.
        let _ = withdraw(pins, new);
    })
}

/// Takes away a generation that did not come to be.
fn withdraw(pins: &Pins, generation: Generation) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(2);
    if !generation.is_complete() {
        return generation.remove();
    }
    let drain = Drain::begin(Instance::open_generation(pins.clone(), generation)?, Waker::without_alarms(true))?;
    drain.finish(Some(Instant::now() + PATIENCE), &mut || false).map(|_| ())
}

/// Loads, pins and attaches the programs, in the place of those that are there. The sock_ops link comes last: with that sockets are
/// enrolled.
///
/// Sockets that are enrolled keep the sk_msg program that they were enrolled with, and the two share records of one version.
fn attach(
    pins: &Pins,
    generation: &Generation,
    datapath: &Datapath,
    maps: load::Maps,
    config: &Config,
    guarded: &[&'static str],
    target: &Target,
) -> Result<(Instance, Rules)> {
    let establish = load::program(&datapath.establish()?, &maps)?;
    let send = load::program(&datapath.send()?, &maps)?;
    let options = load::program(&datapath.options()?, &maps)?;
    let look = load::program(&datapath.look()?, &maps)?;
    for (name, program) in [("establish", &establish), ("send", &send), ("options", &options), ("look", &look)] {
        generation.pin_program(name, program)?;
    }
    if !generation.is_complete() {
        generation.pin_maps(&maps)?;
    }
    let instance = Instance::open_generation(pins.clone(), generation.clone())?;
    instance.set_about(about(&target.path, datapath.settings.meter))?;
    instance.set_control(Control {
        draining: 0,
        refresh: refresh(config, datapath.settings.hz),
        blocking_readers: config.blocking_readers.into(),
        // Until others take their place.
        rules: instance.control()?.rules,
    })?;
    let rules = Rules::install(&instance, Tables::new(&config.policy, guarded))?;
    attach_send(&instance, &send).context("cannot attach the sk_msg program")?;
    attach_to_cgroup(&instance, "link_options", &options, AttachType::CGROUP_SETSOCKOPT, &target.dir)
        .with_context(|| format!("cannot attach the program for socket options to {}", target.path.display()))?;
    attach_to_cgroup(&instance, "link_establish", &establish, AttachType::CGROUP_SOCK_OPS, &target.dir)
        .with_context(|| format!("cannot attach the sock_ops program to {}", target.path.display()))?;
    // After the programs are attached, so that each listener is seen by them or by this.
    rules.note_listeners()?;
    Ok((instance, rules))
}

fn attach_send(instance: &Instance, send: &Prog) -> Result<()> {
    const LINK: &str = "link_send";
    if let Some(link) = instance.generation().link(LINK)? {
        return Ok(link.update(send)?);
    }
    // Where there are no such links, this takes the place of the program before.
    if let Attachment::Link(link) = Attachment::of_sk_msg(send, instance.socks())? {
        instance.generation().pin_link(LINK, &link)?;
    }
    Ok(())
}

/// `link` is the name of its pin.
fn attach_to_cgroup(
    instance: &Instance,
    link: &str,
    program: &Prog,
    attach_type: AttachType,
    cgroup: &File,
) -> Result<()> {
    if let Some(attached) = instance.generation().link(link)?
        && matches!(attached.info()?.target, LinkTarget::Cgroup { id, .. } if id == cgroup.metadata()?.ino())
    {
        return Ok(attached.update(program)?);
    }
    // Nothing is attached yet, or it is to another cgroup, or to one that is gone.
    instance.generation().pin_link(link, &Link::to_cgroup(program, cgroup.as_fd(), attach_type)?)
}

/// The cgroup whose sockets are accelerated.
struct Target {
    path: PathBuf,
    dir: File,
}

impl Target {
    fn open(dir: &Path) -> Result<Target> {
        let opened = File::open(dir).with_context(|| format!("cannot open the cgroup {}", dir.display()))?;
        let magic = nix::sys::statfs::fstatfs(&opened).with_context(|| format!("cannot look at {}", dir.display()))?;
        if magic.filesystem_type() != nix::sys::statfs::CGROUP2_SUPER_MAGIC {
            bail!(
                "{} is not a cgroup of version 2: leave --cgroup out for all of it, or give a folder below {}",
                dir.display(),
                cgroup::root().map_or("its mount point".to_owned(), |root| root.display().to_string())
            );
        }
        Ok(Target { path: dir.to_owned(), dir: opened })
    }
}

fn about(cgroup: &Path, meter: crate::datapath::Meter) -> About {
    let mut about = About { abi: ABI, pid: std::process::id(), meter: meter as u32, ..About::default() };
    about.started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let path = cgroup.as_os_str().as_bytes();
    let length = path.len().min(about.cgroup.len());
    about.cgroup[..length].copy_from_slice(&path[..length]);
    about.cgroup_len = length as u32;
    about
}

/// The longest time between two messages by TCP, in jiffies: what the operator allows, and a third of the time-out of connection
/// tracking in the namespace of the agent, through which flows between other namespaces may pass.
fn refresh(config: &Config, hz: u32) -> u32 {
    let tracked = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established");
    let seconds = tracked.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(u64::MAX);
    let allowed = config.refresh.as_millis() as u64;
    let third = seconds.saturating_mul(1000) / 3;
    u32::try_from(allowed.min(third).saturating_mul(u64::from(hz)) / 1000).unwrap_or(u32::MAX).max(1)
}
