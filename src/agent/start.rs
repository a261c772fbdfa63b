//! How an instance starts, in typed steps. Each step owns what it has created and is converted into
//! the next; if a step fails, dropping it removes what was created. Members are dropped in order of
//! declaration: open descriptors first, since removing pins needs descriptors, the folder last.
//!
//! ```text
//! Prepared   nothing has changed yet: privileges, cgroup, kernel, the datapath for it
//! Taken      this process owns the instance: its folder is locked
//! Loaded     maps and programs are in the kernel, not pinned
//! Pinned     other commands can open them
//! Attached   connections are accelerated
//! Agent      runs, and drains generations of other versions
//! ```

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use syscalls::{Attachment, Btf, Map, Prog};

use super::drain::{self, Drain};
use super::enrolment::Enrolment;
use super::refresh::refresh;
use super::refusals::Refusals;
use super::rules::Rules;
use super::signal::Signals;
use super::target::Target;
use super::{Agent, Config};
use crate::datapath::{ABI, About, Control, Datapath, ProgramName, Settings};
use crate::host::cgroup;
use crate::instance::{Generation, Instance, Lock, Pins, neighbours};
use crate::kernel;
use crate::kernel::load::{self, Maps, Programs};
use crate::policy::tables::Tables;
use crate::probe::{self, Kernel};

/// Nothing has been changed yet.
pub struct Prepared<'c> {
    config: &'c Config,
    signals: Signals,
    target: Target,
    kernel: Kernel,
    /// Each program that is loaded asks for the kernel's types: they are read once for the start.
    _types: Option<Arc<Btf>>,
    datapath: Datapath,
    pins: Pins,
}

/// This process owns the instance.
pub struct Taken<'c> {
    prepared: Prepared<'c>,
    /// The newest generation, if its maps are those that this version would make.
    reused: Option<(Generation, Maps)>,
    /// What was loaded before the running agent was asked to end, if one ran.
    rehearsed: Option<Material>,
    folder: Folder,
}

/// What is in the kernel, and goes with this value: nothing is pinned or attached yet.
struct Material {
    /// The generation whose maps these are; none for new ones.
    reused: Option<Generation>,
    maps: Maps,
    programs: Programs,
}

impl Material {
    /// The programs of a datapath on the maps of a generation, or on new ones.
    fn load(datapath: &Datapath, reused: Option<(Generation, Maps)>) -> Result<Material> {
        let (reused, maps) = match reused {
            Some((generation, maps)) => (Some(generation), maps),
            None => (None, load::maps(&datapath.maps.all())?),
        };
        let programs = load::programs(datapath, &maps)?;
        Ok(Material { reused, maps, programs })
    }

    /// Whether it is on these very maps, or on new ones if there are none.
    fn is_on(&self, reused: Option<&(Generation, Maps)>) -> bool {
        let ids = |maps: &Maps| -> syscalls::Result<Vec<u32>> {
            maps.iter().map(|(_, map)| Ok(map.info()?.id)).collect()
        };
        match (&self.reused, reused) {
            (None, None) => true,
            (Some(_), Some((_, maps))) => {
                matches!((ids(&self.maps), ids(maps)), (Ok(own), Ok(others)) if own == others)
            }
            _ => false,
        }
    }
}

/// Maps and programs are in the kernel.
pub struct Loaded<'c> {
    prepared: Prepared<'c>,
    programs: Programs,
    maps: Maps,
    /// Where they will be pinned; none for a new place.
    reused: Option<Generation>,
    fresh: Fresh,
    folder: Folder,
}

/// Commands see the instance.
pub struct Pinned<'c> {
    prepared: Prepared<'c>,
    programs: Programs,
    instance: Instance,
    fresh: Fresh,
    folder: Folder,
}

/// Connections are accelerated.
pub struct Attached<'c> {
    prepared: Prepared<'c>,
    rules: Rules,
    enrolment: Enrolment,
    instance: Instance,
    fresh: Fresh,
    folder: Folder,
}

/// The instance's folder, locked. It is removed with this value if there is nothing in it.
struct Folder {
    pins: Pins,
    lock: Option<Lock>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.lock.is_some() && self.pins.generations().is_ok_and(|all| all.is_empty()) {
            // That the start failed is what has to be told.
            let _ = self.pins.remove();
        }
    }
}

/// A generation that has just been made, if one has. It is taken away with this value.
struct Fresh {
    pins: Pins,
    made: Option<Generation>,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(generation) = self.made.take() {
            // That the start failed is what has to be told, and what cannot be taken away now is
            // left to `shunt detach`.
            let _ = withdraw(&self.pins, generation);
        }
    }
}

impl Prepared<'_> {
    /// Checks everything that can be checked before anything is changed.
    pub fn new(config: &Config) -> Result<Prepared<'_>> {
        // Signals first, so that one that comes from here on ends in an orderly stop.
        let signals = Signals::block()?;
        // That there are none is said by the requirements.
        let _types = kernel::btf().ok();
        probe::require()?;
        let cgroup = config.cgroup.clone().map_or_else(whole_node, Ok)?;
        let target = Target::open(&cgroup)?;
        neighbours::expect_none(&config.name, target.path(), config.bpffs.as_deref())?;
        let kernel = Kernel::of_this_machine()?;
        tracing::info!("this kernel: {kernel} (`shunt doctor` tells what that means)");
        let datapath = datapath(config.flows, &kernel);
        let pins = Pins::new(&config.name, config.bpffs.as_deref())?;
        Ok(Prepared { config, signals, target, kernel, _types, datapath, pins })
    }
}

impl<'c> Prepared<'c> {
    /// Takes ownership of the instance: it has no agent, or its agent hands it over.
    pub fn take(self) -> Result<Taken<'c>> {
        /// Much longer than a running agent needs to hand over.
        const PATIENCE: Duration = Duration::from_secs(30);
        let Prepared { config, pins, .. } = &self;
        let (lock, rehearsed) = match pins.take()? {
            Some(lock) => (lock, None),
            None if config.replace => {
                let rehearsed =
                    self.reused().and_then(|reused| Material::load(&self.datapath, reused));
                let rehearsed = rehearsed.with_context(|| {
                    format!("the running agent of '{}' was not asked to end", config.name)
                })?;
                (pins.take_over(PATIENCE)?, Some(rehearsed))
            }
            None => bail!(
                "an instance named '{0}' is already running: `shunt status` shows it; take over from it with --replace, stop it with \
                 SIGTERM, or choose another name with --name",
                config.name
            ),
        };
        let folder = Folder { pins: pins.clone(), lock: Some(lock) };
        if !config.replace && !pins.generations()?.is_empty() {
            tracing::info!(name = %config.name, "removing the datapath that a killed agent left");
            drain::report(drain::all(pins)?);
        }
        let reused = self.reused()?;
        Ok(Taken { prepared: self, reused, rehearsed, folder })
    }

    /// The newest generation, if its maps are those that this datapath would make.
    fn reused(&self) -> Result<Option<(Generation, Maps)>> {
        let pins = &self.pins;
        let Some(newest) = pins.generations()?.pop().filter(Generation::is_complete) else {
            return Ok(None);
        };
        if Instance::open_generation(pins.clone(), newest.clone())?.about()?.abi != ABI {
            return Ok(None);
        }
        Ok(newest.maps(&self.datapath.maps.all())?.map(|maps| (newest, maps)))
    }
}

impl<'c> Taken<'c> {
    /// Whether the flows of an earlier agent continue if this start fails.
    pub fn takes_over(&self) -> bool {
        self.reused.is_some()
    }

    /// Loads the programs: on the maps that are there, or on new ones. What has been loaded to see
    /// whether it can be is used, so that nothing can fail now that could have before.
    pub fn load(self) -> Result<Loaded<'c>> {
        let Taken { prepared, reused, rehearsed, folder } = self;
        let rehearsed = rehearsed.filter(|rehearsed| rehearsed.is_on(reused.as_ref()));
        let Material { reused, maps, programs } = match rehearsed {
            Some(rehearsed) => rehearsed,
            None => Material::load(&prepared.datapath, reused)?,
        };
        for (name, error) in &programs.refused {
            tracing::warn!("{}: {error:#}", name.without().unwrap_or_default());
        }
        let fresh = Fresh { pins: prepared.pins.clone(), made: None };
        Ok(Loaded { prepared, programs, maps, reused, fresh, folder })
    }
}

impl<'c> Loaded<'c> {
    /// Pins everything, replacing existing pins.
    ///
    /// Sockets that are enrolled keep the programs that they were enrolled with, and the two share
    /// records of one version.
    pub fn pin(self) -> Result<Pinned<'c>> {
        // Dropped in the opposite order: as the steps are.
        let Loaded { folder, mut fresh, reused, maps, programs, prepared } = self;
        let pins = &prepared.pins;
        let generation = match reused {
            Some(generation) => generation,
            None => {
                let number = pins.generations()?.last().map_or(1, |newest| newest.number() + 1);
                let new = Generation::new(pins.dir(), number);
                new.create()?;
                fresh.made.insert(new).clone()
            }
        };
        for (name, program) in &programs.loaded {
            generation.pin_program(*name, program)?;
        }
        if fresh.made.is_some() {
            generation.pin_maps(&maps)?;
        }
        let instance = Instance::open_generation(pins.clone(), generation)?;
        Ok(Pinned { prepared, programs, instance, fresh, folder })
    }
}

impl<'c> Pinned<'c> {
    /// Writes the control record, and attaches the programs, replacing attached ones. The sock_ops
    /// link comes last: from then on connections are noticed.
    pub fn attach(self) -> Result<Attached<'c>> {
        // Dropped in the opposite order: as the steps are.
        let Pinned { folder, fresh, instance, mut programs, prepared } = self;
        let Prepared { config, target, datapath, pins, .. } = &prepared;
        instance.set_about(about(target.path()))?;
        let mut others = pins.generations()?.into_iter();
        instance.set_control(Control {
            draining: 0,
            refresh: refresh(config.refresh, datapath.settings.hz),
            older: u32::from(others.any(|other| other != *instance.generation())),
            // Its rules stay until others take their place.
            ..instance.control()?
        })?;
        let rules = Rules::install(&instance, Tables::new(&config.policy))?;
        for (name, attach) in TO_SOCKS {
            let program = programs.loaded.get(&name).context("it is not loaded");
            program
                .and_then(|program| attach_to_socks(&instance, name, program, attach))
                .with_context(|| format!("cannot attach the program '{}'", name.pin()))?;
        }
        target.attach(&instance)?;
        // After the programs are attached, so that each listener is seen by them or by this.
        rules.note_listeners()?;
        let reads = programs.loaded.remove(&ProgramName::Reads);
        let enrol = programs.loaded.remove(&ProgramName::Enrol);
        let enrol = enrol.context("the program 'enrol' is not loaded")?;
        let enrolment = Enrolment::new(&instance, enrol, datapath.settings.passes, reads)?;
        Ok(Attached { prepared, rules, enrolment, instance, fresh, folder })
    }
}

impl Attached<'_> {
    /// The agent, which begins to drain generations of other versions.
    pub fn into_agent(mut self) -> Result<Agent> {
        let pins = self.prepared.pins;
        let mut older = Vec::new();
        for generation in pins.generations()? {
            if generation == *self.instance.generation() {
                continue;
            } else if generation.is_complete() {
                older.push(Drain::begin(Instance::open_generation(pins.clone(), generation)?)?);
            } else {
                generation.remove()?;
            }
        }
        let mut agent = Agent {
            instance: self.instance,
            config: self.prepared.config.clone(),
            target: self.prepared.target,
            kernel: self.prepared.kernel,
            signals: self.prepared.signals,
            rules: self.rules,
            refusals: Refusals::default(),
            enrolment: self.enrolment,
            adopter: None,
            older,
            failed: None,
            _lock: None,
        };
        agent.tell_of_older()?;
        self.fresh.made = None;
        agent._lock = self.folder.lock.take();
        Ok(agent)
    }
}

/// The programs attached to the socket map, and how.
const TO_SOCKS: [(ProgramName, Attach); 2] = [
    (ProgramName::Send, Attachment::of_sk_msg),
    (ProgramName::Verdict, Attachment::of_sk_skb_verdict),
];

type Attach = fn(&Prog, &Map) -> syscalls::Result<Attachment>;

fn attach_to_socks(
    instance: &Instance,
    name: ProgramName,
    program: &Prog,
    attach: Attach,
) -> Result<()> {
    if let Some(attached) = instance.generation().link(name)? {
        return Ok(attached.update(program)?);
    }
    // Where there are no such links, this takes the place of the program before.
    if let Attachment::Link(attached) = attach(program, instance.socks())? {
        instance.generation().pin_link(name, &attached)?;
    }
    Ok(())
}

/// Removes a generation whose start failed.
fn withdraw(pins: &Pins, generation: Generation) -> Result<()> {
    if !generation.is_complete() {
        return generation.remove();
    }
    Drain::begin(Instance::open_generation(pins.clone(), generation)?)?.finish().map(drop)
}

/// The root of cgroup v2 as visible to this process.
fn whole_node() -> Result<PathBuf> {
    let root = cgroup::root()?;
    if !cgroup::is_whole_node(&root) {
        tracing::warn!(
            "{} is a part of this node's cgroups: connections outside it stay with TCP. In a container, mount the node's \
             /sys/fs/cgroup and name it with --cgroup",
            root.display()
        );
    }
    Ok(root)
}

/// The datapath for this number of flows.
fn datapath(flows: u32, kernel: &Kernel) -> Datapath {
    let settings = Settings { flows, hz: kernel.hz, passes: kernel.passes };
    Datapath::new(kernel.layout.clone(), settings)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bed::Cgroup;
    use crate::policy::Policy;
    use crate::policy::file;

    fn config(cgroup: &Path) -> Config {
        Config {
            name: format!("start-{}", std::process::id()).parse().expect("a name"),
            bpffs: None,
            cgroup: Some(cgroup.to_owned()),
            flows: 64,
            refresh: Duration::from_secs(60),
            keep: false,
            replace: false,
            policy: Policy::default(),
            settings: file::Settings::default(),
            file: None,
            log_format: file::LogFormat::default(),
        }
    }

    #[test]
    fn a_start_that_comes_no_further_than_a_step_leaves_nothing_behind() {
        let cgroup = Cgroup::new().expect("make a cgroup (as root)");
        let config = config(cgroup.path());
        let taken = || Prepared::new(&config).and_then(Prepared::take).expect("take (as root)");
        let is_gone = |dir: &Path| !dir.exists();
        let first = taken();
        let dir = first.folder.pins.dir().to_owned();
        assert!(dir.exists());
        drop(first);
        assert!(is_gone(&dir), "taken");

        let pinned = || taken().load().and_then(Loaded::pin).expect("load and pin");
        let second = pinned();
        assert!(second.folder.pins.newest().is_ok());
        drop(second);
        assert!(is_gone(&dir), "pinned");

        let incomplete = pinned();
        let options = incomplete.instance.generation().dir().join(ProgramName::Options.pin());
        std::fs::remove_file(options).expect("take away what is to be attached");
        assert!(incomplete.attach().is_err());
        assert!(is_gone(&dir), "attached in part");

        let third = pinned().attach().expect("attach");
        assert_ne!(third.instance.cgroup().expect("ask"), 0);
        drop(third);
        assert!(is_gone(&dir), "attached");

        let agent = pinned().attach().and_then(Attached::into_agent).expect("start");
        assert!(agent.pins().newest().is_ok(), "a start that came to its end is not taken away");
        agent.stop().expect("stop");
        assert!(is_gone(&dir), "stopped");
    }
}
