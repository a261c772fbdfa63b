//! The cgroup whose sockets are accelerated, and what is attached to it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use syscalls::{AttachType, Link};

use crate::datapath::ProgramName;
use crate::host::cgroup;
use crate::instance::{Instance, cgroup_of};

/// The attached programs and where. From the last one on, connections are noticed.
const ATTACHED: [(ProgramName, AttachType); 2] = [
    (ProgramName::Options, AttachType::CGROUP_SETSOCKOPT),
    (ProgramName::Establish, AttachType::CGROUP_SOCK_OPS),
];

/// A cgroup of version 2.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    dir: File,
    /// The last warning, which is not repeated.
    wrong: String,
}

impl Target {
    /// The cgroup with this folder.
    pub fn open(path: &Path) -> Result<Target> {
        let dir = File::open(path)
            .with_context(|| format!("cannot open the cgroup {}", path.display()))?;
        let about = fstatfs(&dir).with_context(|| format!("cannot look at {}", path.display()))?;
        if about.filesystem_type() != CGROUP2_SUPER_MAGIC {
            bail!(
                "{} is not a cgroup of version 2: leave --cgroup out for all of it, or give a folder below {}",
                path.display(),
                cgroup::root()
                    .map_or("its mount point".to_owned(), |root| root.display().to_string())
            );
        }
        Ok(Target { path: path.to_owned(), dir, wrong: String::new() })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Attaches the pinned programs, replacing attached ones.
    pub fn attach(&self, instance: &Instance) -> Result<()> {
        let id = self.dir.metadata()?.ino();
        let generation = instance.generation();
        for (name, attach_type) in ATTACHED {
            let what =
                || format!("cannot attach the program '{}' to {}", name.pin(), self.path.display());
            let program = generation.program(name).with_context(what)?;
            let program = program.context("it is not pinned").with_context(what)?;
            match generation.link(name).with_context(what)? {
                Some(link) if cgroup_of(&link)? == id => {
                    link.update(&program).with_context(what)?
                }
                // None yet, or one to another cgroup, or to one that is gone.
                _ => {
                    let link = Link::to_cgroup(&program, self.dir.as_fd(), attach_type)
                        .with_context(what)?;
                    generation.pin_link(name, &link)?;
                }
            }
        }
        Ok(())
    }

    /// Checks whether the folder has been recreated as another cgroup, and attaches the programs to
    /// that one. Returns whether it did; a failure is retried at the next call.
    pub fn follow(&mut self, instance: &Instance) -> Result<bool> {
        let Ok(there) = fs::metadata(&self.path) else {
            self.warn("is gone: nothing is accelerated until it is created again".into());
            return Ok(false);
        };
        if there.ino() == self.dir.metadata()?.ino() {
            return Ok(false);
        }
        let attached =
            Target::open(&self.path).and_then(|made| made.attach(instance).map(|()| made));
        match attached {
            Ok(made) => *self = made,
            Err(error) => {
                self.warn(format!(
                    "has been recreated, but nothing is accelerated in it: {error:#}"
                ));
                return Ok(false);
            }
        }
        tracing::info!("{} has been recreated: attached to the new one", self.path.display());
        Ok(true)
    }

    /// Logs a warning, unless it is the last one again.
    fn warn(&mut self, wrong: String) {
        if self.wrong != wrong {
            tracing::warn!("{} {wrong}", self.path.display());
            self.wrong = wrong;
        }
    }
}
