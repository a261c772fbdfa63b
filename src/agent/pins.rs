//! An instance's folder in the BPF file system: what outlives the agent, and who may change it.
//!
//! ```text
//! <bpffs>/shunt/NAME/   rendezvous socks lanes fins counters control about      the maps
//!                       ports addresses processes cgroups listeners clients     the rules, and who is who
//!                       establish send options look                                    the programs
//!                       link_establish link_send link_options                          the attachments
//! ```
//!
//! Whoever runs, drains or removes an instance holds a lock on the folder. The kernel lets go of it when that process dies, however
//! it dies, and it holds across PID namespaces, where a stored process number would mean nothing.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::Name;
use crate::bed::bpffs;

/// The folder below the mount point that all instances share.
const FOLDER: &str = "shunt";

/// The folder of one instance.
#[derive(Clone, Debug)]
pub struct Pins {
    name: Name,
    dir: PathBuf,
}

/// The right to change an instance; held by a running agent for as long as it lives.
pub struct Lock(#[allow(dead_code, reason = "held for its lock")] Flock<File>);

impl Pins {
    /// The folder of `name` below `mount_point`, or below the bpffs of the mount table; one is mounted if there is none.
    pub fn new(name: &Name, mount_point: Option<&Path>) -> Result<Pins> {
        let mount_point = match mount_point {
            Some(dir) => dir.to_owned(),
            None => bpffs::find_or_mount()?,
        };
        Ok(Pins { name: name.clone(), dir: mount_point.join(FOLDER).join(name.as_ref()) })
    }

    /// The folder of `name`, which has to be there.
    pub fn existing(name: &Name, mount_point: Option<&Path>) -> Result<Pins> {
        let mount_point = match mount_point {
            Some(dir) => Some(dir.to_owned()),
            None => bpffs::find()?,
        };
        let pins = mount_point.map(|dir| Pins { name: name.clone(), dir: dir.join(FOLDER).join(name.as_ref()) });
        match pins {
            Some(pins) if pins.dir.is_dir() => Ok(pins),
            _ => bail!(
                "no instance named '{name}' here: `shunt status` lists what runs, `shunt run --name {name}` starts one"
            ),
        }
    }

    /// Every instance below `mount_point` or the bpffs of the mount table, by name.
    pub fn all(mount_point: Option<&Path>) -> Result<Vec<Pins>> {
        let mount_point = match mount_point {
            Some(dir) => Some(dir.to_owned()),
            None => bpffs::find()?,
        };
        let Some(folder) = mount_point.map(|dir| dir.join(FOLDER)) else { return Ok(Vec::new()) };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot list {}", folder.display())),
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

    /// Where `object` is pinned.
    pub fn path(&self, object: &str) -> PathBuf {
        self.dir.join(object)
    }

    /// Makes the folder, for root alone, if it is not there.
    pub fn create(&self) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("cannot create {} for the pins", self.dir.display()))
    }

    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> Result<bool> {
        let mut entries = fs::read_dir(&self.dir).with_context(|| format!("cannot list {}", self.dir.display()))?;
        Ok(entries.next().is_none())
    }

    /// Takes the instance, or says `None` when another process keeps it. `shunt status` holds it for a moment, so it is asked for
    /// more than once.
    pub fn lock(&self) -> Result<Option<Lock>> {
        for _ in 0..20 {
            if let Some(lock) = self.try_lock()? {
                return Ok(Some(lock));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(None)
    }

    /// Whether somebody keeps the instance: its agent, or a command that takes it away.
    pub fn is_kept(&self) -> Result<bool> {
        Ok(self.try_lock()?.is_none())
    }

    fn try_lock(&self) -> Result<Option<Lock>> {
        let dir = File::open(&self.dir).with_context(|| format!("cannot open {}", self.dir.display()))?;
        match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Lock(lock))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", self.dir.display())),
        }
    }

    /// Unpins everything and removes the folder, and the one above it if it was the last.
    pub fn remove(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot list {}", self.dir.display())),
        };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {}", self.dir.display()))?.path();
            fs::remove_file(&path).with_context(|| format!("cannot unpin {}", path.display()))?;
        }
        fs::remove_dir(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))?;
        if let Some(folder) = self.dir.parent() {
            // Another instance may live there, or be starting: then it stays.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}
