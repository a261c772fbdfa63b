//! The agent: assembles the datapath for this machine's kernel, attaches it to a cgroup, and takes it away without losing a byte.

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
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use syscalls::{AttachType, Attachment, Link, Map, Update};

pub use instance::{Drained, Instance, MapFill};
pub use name::{BadName, Name};
pub use pins::{Lock, Pins};

use crate::bed::cgroup;
use crate::datapath::{ABI, About, Control, Datapath, Settings};
use crate::policy::file::File as ConfigurationFile;
use crate::policy::tables::Tables;
use crate::policy::{Policy, guarded};
use crate::probe::{self, behaviour};
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
}

/// A running instance.
pub struct Agent {
    instance: Instance,
    config: Config,
    cgroup: PathBuf,
    hz: u32,
    signals: Signals,
    rules: Rules,
    /// Programs that this kernel would let notice.
    guarded: Vec<&'static str>,
    /// On kernels whose programs cannot wake readers.
    waker: Option<Waker>,
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
        let cgroup_dir = open_cgroup(&cgroup)?;
        let pins = Pins::new(&config.name, config.bpffs.as_deref())?;
        pins.create()?;
        let Some(lock) = pins.lock()? else {
            bail!(
                "an instance named '{0}' is already running: `shunt status` shows it; stop it with SIGTERM, or choose another \
                 name with --name",
                config.name
            );
        };
        if !pins.is_empty()? {
            // What a killed agent left. Its flows must not be cut off from bytes that wait for them.
            tracing::info!(name = %config.name, "taking out what a killed agent left");
            const PATIENCE: Duration = Duration::from_secs(10);
            match detach(pins.clone(), Some(PATIENCE))? {
                Drained::Empty => {}
                Drained::Unread(readers) => bail!(
                    "a killed agent left instance '{0}', and {readers} sockets still hold bytes that their readers have not read: \
                     run `shunt detach --name {0}` to wait for them, or start under another name",
                    config.name
                ),
            }
            drop(lock);
            return Agent::start(config);
        }

        let started = attach(&pins, config, &cgroup, &cgroup_dir);
        let (instance, hz, rules, guarded) = match started {
            Ok(started) => started,
            Err(error) => {
                // Nothing is enrolled yet or will be: the link, if there is one, goes with its pin.
                let _ = pins.remove();
                return Err(error);
            }
        };
        // After the programs are attached, so that each listener is seen by them or by this.
        rules.note_listeners()?;
        let waker = Waker::if_needed();
        Ok(Agent { instance, config: config.clone(), cgroup, hz, signals, rules, guarded, waker, _lock: lock })
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

    /// Runs until a signal asks it to stop, then takes everything away.
    pub fn run(mut self) -> Result<Ended> {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        /// How often the host's connection tracking is asked for its time-out.
        const LOOK: Duration = Duration::from_secs(15);
        let mut looked = Instant::now();
        loop {
            match self.signals.wait(self.period(LOOK))? {
                Some(Request::Reload) if self.config.file.is_some() => self.reload()?,
                Some(_) => break,
                None => {}
            }
            self.rules.find_cgroups()?;
            if let Some(waker) = &mut self.waker {
                waker.look(&self.instance)?;
            }
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            let refresh = refresh(&self.config, self.hz);
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
        let Agent { instance, mut signals, config, mut waker, .. } = self;
        // There is nothing to read again any more.
        let mut stop =
            || matches!(signals.pending(), Some(request) if request == Request::Stop || config.file.is_none());
        match instance.drain(None, waker.as_mut(), &mut stop)? {
            Drained::Empty => {
                instance.remove()?;
                Ok(Ended::Clean)
            }
            Drained::Unread(readers) => {
                tracing::warn!(
                    readers,
                    "stopped before every reader had read what was redirected to it; nothing is lost: run `shunt detach --name {}` later",
                    config.name
                );
                Ok(Ended::Unread)
            }
        }
    }
}

impl Agent {
    /// How long to wait for a signal, at most `longest`.
    fn period(&self, longest: Duration) -> Duration {
        /// How soon rules by cgroup follow one that is made again.
        const CGROUPS: Duration = Duration::from_secs(1);
        let mut period = longest;
        if self.rules.follow_cgroups() {
            period = period.min(CGROUPS);
        }
        if self.waker.is_some() {
            period = period.min(Waker::PERIOD);
        }
        period
    }

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
            self.guarded = guarded_here(policy);
        }
        self.rules.replace(&self.instance, Tables::new(policy, &self.guarded))?;
        self.rules.note_listeners()
    }
}

/// The programs that this kernel would let notice. Nothing is tried out if none is to be guarded.
fn guarded_here(policy: &Policy) -> Vec<&'static str> {
    if policy.guarded.is_empty() {
        return Vec::new();
    }
    let all = guarded::applying(|statement| match behaviour::ALL.iter().find(|known| known.statement == statement) {
        Some(known) => known.try_out(),
        None => behaviour::Answer::Unknown(anyhow::anyhow!("there is no such behaviour")),
    });
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

/// Drains and removes what `pins` hold, which may be incomplete. The caller holds the lock.
pub fn detach(pins: Pins, wait: Option<Duration>) -> Result<Drained> {
    // An agent that was killed before it attached anything has enrolled nobody.
    if !pins.path("link_establish").exists() {
        pins.remove()?;
        return Ok(Drained::Empty);
    }
    let instance = Instance::open(pins)?;
    let drained = instance.drain(wait, Waker::if_needed().as_mut(), || false)?;
    if drained == Drained::Empty {
        instance.remove()?;
    }
    Ok(drained)
}

/// Makes, loads, pins and attaches everything. The sock_ops link comes last: from then on sockets are enrolled.
fn attach(
    pins: &Pins,
    config: &Config,
    cgroup: &Path,
    cgroup_dir: &File,
) -> Result<(Instance, u32, Rules, Vec<&'static str>)> {
    let kernel = Kernel::of_this_machine()?;
    let settings = Settings { flows: config.flows, meter: kernel.meter, hz: kernel.hz };
    let datapath = Datapath::new(kernel.layout, settings);
    let maps = load::maps(&datapath.maps.all())?;
    let establish = load::program(&datapath.establish()?, &maps)?;
    let send = load::program(&datapath.send()?, &maps)?;
    let options = load::program(&datapath.options()?, &maps)?;
    let look = load::program(&datapath.look()?, &maps)?;

    for (name, program) in [("establish", &establish), ("send", &send), ("options", &options), ("look", &look)] {
        program.pin(&pins.path(name))?;
    }
    // Who it is comes last, so that what has it is complete.
    let (about, others): (Vec<_>, Vec<_>) = maps.iter().partition(|(name, _)| *name == datapath.maps.about.def().name);
    for (name, map) in others {
        map.pin(&pins.path(name))?;
    }
    for (name, map) in about {
        map.update(&0u32.to_ne_bytes(), bytemuck::bytes_of(&self::about(cgroup, kernel.meter)), Update::ANY)?;
        map.pin(&pins.path(name))?;
    }
    let instance = Instance::open(pins.clone())?;
    instance.set_control(Control {
        draining: 0,
        refresh: refresh(config, kernel.hz),
        blocking_readers: config.blocking_readers.into(),
        rules: 0,
    })?;
    let guarded = guarded_here(&config.policy);
    let rules = Rules::install(pins, &instance, Tables::new(&config.policy, &guarded))?;

    let socks: &Map = instance.socks();
    if let Attachment::Link(link) = Attachment::of_sk_msg(&send, socks).context("cannot attach the sk_msg program")? {
        link.pin(&pins.path("link_send"))?;
    }
    let link = Link::to_cgroup(&options, cgroup_dir.as_fd(), AttachType::CGROUP_SETSOCKOPT)
        .with_context(|| format!("cannot attach the program for socket options to {}", cgroup.display()))?;
    link.pin(&pins.path("link_options"))?;
    let link = Link::to_cgroup(&establish, cgroup_dir.as_fd(), AttachType::CGROUP_SOCK_OPS)
        .with_context(|| format!("cannot attach the sock_ops program to {}", cgroup.display()))?;
    link.pin(&pins.path("link_establish"))?;
    Ok((instance, kernel.hz, rules, guarded))
}

fn open_cgroup(dir: &Path) -> Result<File> {
    let opened = File::open(dir).with_context(|| format!("cannot open the cgroup {}", dir.display()))?;
    let magic = nix::sys::statfs::fstatfs(&opened).with_context(|| format!("cannot look at {}", dir.display()))?;
    if magic.filesystem_type() != nix::sys::statfs::CGROUP2_SUPER_MAGIC {
        bail!(
            "{} is not a cgroup of version 2: leave --cgroup out for all of it, or give a folder below {}",
            dir.display(),
            cgroup::root().map_or("its mount point".to_owned(), |root| root.display().to_string())
        );
    }
    Ok(opened)
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
