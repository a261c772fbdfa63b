//! An instance's folder in the BPF file system: what outlives the agent, and who may change it.
//!
//! ```text
//! <bpffs>/shunt/NAME/1/         rendezvous socks lanes counters control about …      the maps
//!                               establish send verdict options look …               the programs
//!                               link_establish link_send link_verdict link_options  the attachments
//!                    2/         see `generation`
//!                    successor/
//! ```
//!
//! Whoever runs, drains or removes an instance holds a lock on the folder. The kernel lets go of it
//! when that process dies, however it dies, and it holds across PID namespaces, where a stored
//! process number would mean nothing.
//!
//! Whoever wants to take over from a running agent holds a lock on `successor` and waits for that
//! on the folder. The agent looks there now and then, and ends when somebody waits; a successor
//! that dies takes its request with it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{Generation, Name};
use crate::host::bpffs;

/// The folder below the mount point that all instances share.
const FOLDER: &str = "shunt";

/// Whose lock asks the agent to hand over.
const SUCCESSOR: &str = "successor";

/// The folder of one instance.
#[derive(Clone, Debug)]
pub struct Pins {
    name: Name,
    dir: PathBuf,
}

/// Nothing of this name is pinned here.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no instance named '{0}': `shunt status` lists all instances; `shunt run` starts one")]
pub struct NoInstance(Name);

/// The right to change an instance; held by a running agent for as long as it lives.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl Pins {
    /// The folder of `name` below `mount_point`, or below the bpffs of the mount table; one is
    /// mounted if there is none.
    pub fn new(name: &Name, mount_point: Option<&Path>) -> Result<Pins> {
        let mount_point = match mount_point {
            Some(dir) => given(dir)?,
            None => bpffs::find_or_mount()?,
        };
        Ok(Pins { name: name.clone(), dir: mount_point.join(FOLDER).join(name.as_ref()) })
    }

    /// The folder of `name`, which has to be there.
    pub fn existing(name: &Name, mount_point: Option<&Path>) -> Result<Pins> {
        let Some(mount_point) = mounted(mount_point)? else {
            return Err(NoInstance(name.clone()).into());
        };
        let pins = Pins { name: name.clone(), dir: mount_point.join(FOLDER).join(name.as_ref()) };
        match fs::metadata(&pins.dir) {
            Ok(_) => Ok(pins),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(NoInstance(name.clone()).into())
            }
            Err(error) => Err(error).with_context(|| hidden(&pins.dir)),
        }
    }

    /// Every instance below `mount_point` or the bpffs of the mount table, by name.
    pub fn all(mount_point: Option<&Path>) -> Result<Vec<Pins>> {
        let Some(folder) = mounted(mount_point)?.map(|dir| dir.join(FOLDER)) else {
            return Ok(Vec::new());
        };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| hidden(&folder)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            if let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                all.push(Pins { name, dir: entry.path() });
            }
        }
        all.sort_by(|a, b| a.name.as_ref().cmp(b.name.as_ref()));
        Ok(all)
    }

    /// The instance's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every generation, the oldest first.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir)
            .with_context(|| format!("cannot list {}", self.dir.display()))?
        {
            let entry = entry.with_context(|| format!("cannot list {}", self.dir.display()))?;
            numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(|number| Generation::new(&self.dir, number)).collect())
    }

    /// The generation that pairs flows: the newest that is complete.
    pub fn newest(&self) -> Result<Generation> {
        self.generations()?.into_iter().rfind(Generation::is_complete).with_context(|| {
            format!(
                "instance '{0}' is starting, or was killed while it started: in the latter case `shunt detach --name {0}` removes it",
                self.name
            )
        })
    }

    fn create(&self) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.dir.join(SUCCESSOR))
            .with_context(|| format!("cannot create {} for the pins", self.dir.display()))
    }

    /// Takes the instance, making its folder if it is not there, or says `None` when another
    /// process keeps it.
    pub fn take(&self) -> Result<Option<Lock>> {
        loop {
            self.create()?;
            match self.lock() {
                // Whoever had it removed the folder. It is there again, or will be.
                Err(_) if !self.dir.exists() => {}
                outcome => return outcome,
            }
        }
    }

    /// Asks whoever keeps the instance to hand it over, and waits until that process has ended.
    pub fn take_over(&self, patience: Duration) -> Result<Lock> {
        let deadline = Instant::now() + patience;
        let successor = self.dir.join(SUCCESSOR);
        let mut asked = None;
        loop {
            // It may end for another reason and remove the folder, and with that the request.
            if asked.as_ref().is_none_or(|asked| !is_at(asked, &successor)) {
                self.create()?;
                asked = lock(&successor)?;
                if asked.is_none() {
                    bail!("another process waits to take over instance '{}' already", self.name);
                }
            }
            match self.take()? {
                Some(lock) => return Ok(lock),
                None if Instant::now() < deadline => {}
                None => bail!(
                    "the agent of instance '{0}' did not hand over within {patience:?}: end it (`shunt status` shows its process), and \
                     start this again",
                    self.name
                ),
            }
        }
    }

    /// Whether somebody waits to take over.
    pub fn has_successor(&self) -> bool {
        // Without the folder there is nothing to take over.
        try_lock(&self.dir.join(SUCCESSOR)).is_ok_and(|lock| lock.is_none())
    }

    /// Takes the instance, which has to be there, or says `None` when another process keeps it.
    pub fn lock(&self) -> Result<Option<Lock>> {
        lock(&self.dir)
    }

    /// Takes the right to adopt connections into a generation, or says `None` when another process
    /// does that.
    pub fn lock_adoption(&self, generation: &Generation) -> Result<Option<Lock>> {
        lock(generation.dir())
    }

    /// Whether somebody keeps the instance: its agent, or a command that takes it away.
    pub fn is_kept(&self) -> Result<bool> {
        Ok(try_lock(&self.dir)?.is_none())
    }

    /// Removes the folder, and the one above it if it was the last. Only when no generation is
    /// left.
    pub fn remove(&self) -> Result<()> {
        for dir in [&self.dir.join(SUCCESSOR), &self.dir] {
            match fs::remove_dir(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Somebody waits to start here.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
                }
            }
        }
        if let Some(folder) = self.dir.parent() {
            // Another instance may live there, or be starting: then it stays.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

/// The mount point that is given, or the one of the mount table, if there is one.
fn mounted(mount_point: Option<&Path>) -> Result<Option<PathBuf>> {
    match mount_point {
        Some(dir) => Ok(Some(given(dir)?)),
        None => Ok(bpffs::find()?),
    }
}

/// The mount point that the operator has given: a folder of anything else cannot hold pins.
fn given(dir: &Path) -> Result<PathBuf> {
    let about = statfs(dir)
        .with_context(|| format!("cannot look at {}, which --bpffs names", dir.display()))?;
    if about.filesystem_type() != BPF_FS_MAGIC {
        bail!(
            "{0} is no BPF file system: `findmnt -t bpf` shows where one is mounted; without \
             --bpffs shunt finds it, or `shunt run` mounts one",
            dir.display()
        );
    }
    Ok(dir.to_owned())
}

fn hidden(dir: &Path) -> String {
    format!("cannot look into {}; what runs here can be seen by root", dir.display())
}

/// Locks a folder. Others look at locks by taking them for a moment, so it is asked for more than
/// once.
fn lock(dir: &Path) -> Result<Option<Lock>> {
    for _ in 0..20 {
        if let Some(lock) = try_lock(dir)? {
            return Ok(Some(lock));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

fn try_lock(dir: &Path) -> Result<Option<Lock>> {
    let opened = File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?;
    match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => {
            let lock = Lock(lock);
            if !is_at(&lock, dir) {
                bail!("{} was removed just now", dir.display());
            }
            Ok(Some(lock))
        }
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", dir.display())),
    }
}

/// Whether what is locked is still the folder that is there.
fn is_at(lock: &Lock, dir: &Path) -> bool {
    let identity = |about: fs::Metadata| (about.dev(), about.ino());
    match (lock.0.metadata(), fs::metadata(dir)) {
        (Ok(locked), Ok(there)) => identity(locked) == identity(there),
        _ => false,
    }
}
