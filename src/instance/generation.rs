//! One generation of an instance: maps, the programs that share them, and what attaches those.
//!
//! Most instances only ever have their first. An agent that takes over keeps the maps and puts its
//! programs in the place of those that are there. Only where its maps would be others does it make
//! another generation, beside the older one: that one pairs no flow any more, and goes when its
//! last reader has read what was redirected to it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bpf_asm::MapDef;
use syscalls::{Link, Map, Prog};

use crate::kernel::load::Maps;

/// The map that says who runs a generation. It is pinned last, before anything is attached.
const ABOUT: &str = "about";

/// A generation's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    number: u32,
    dir: PathBuf,
}

impl Generation {
    /// The one with this number in an instance's folder.
    pub fn new(instance: &Path, number: u32) -> Generation {
        Generation { number, dir: instance.join(number.to_string()) }
    }

    /// Which one it is, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where `object` is pinned.
    pub fn path(&self, object: &str) -> PathBuf {
        self.dir.join(object)
    }

    /// Makes the folder, for root alone.
    pub fn create(&self) -> Result<()> {
        DirBuilder::new()
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("cannot create {} for the pins", self.dir.display()))
    }

    /// Whether everything but the attachments is pinned. What is not complete has never been
    /// attached.
    pub fn is_complete(&self) -> bool {
        self.path(ABOUT).exists()
    }

    /// Its maps, if they are what `defs` describe.
    pub fn maps(&self, defs: &[&MapDef]) -> Result<Option<Maps>> {
        let mut maps = Vec::new();
        for def in defs {
            let path = self.path(def.name);
            if !path.exists() {
                return Ok(None);
            }
            let map = Map::open_pinned(&path)?;
            let info = map.info()?;
            let sizes =
                (info.kind.raw(), info.key_size, info.value_size, info.max_entries, info.flags);
            if sizes
                != (def.kind.number(), def.key_size, def.value_size, def.max_entries, def.flags)
            {
                return Ok(None);
            }
            maps.push((def.name, map));
        }
        Ok(Some(maps))
    }

    /// Pins new maps.
    pub fn pin_maps(&self, maps: &Maps) -> Result<()> {
        let (about, others): (Vec<_>, Vec<_>) = maps.iter().partition(|(name, _)| *name == ABOUT);
        for (name, map) in others.into_iter().chain(about) {
            map.pin(&self.path(name))?;
        }
        Ok(())
    }

    /// Pins a program, in the place of one that is there.
    pub fn pin_program(&self, name: &str, program: &Prog) -> Result<()> {
        self.put(name, |path| Ok(program.pin(path)?))
    }

    /// Pins a link, in the place of one that is there, which is detached by that.
    pub fn pin_link(&self, name: &str, link: &Link) -> Result<()> {
        self.put(name, |path| Ok(link.pin(path)?))
    }

    /// The link that is pinned under `name`.
    pub fn link(&self, name: &str) -> Result<Option<Link>> {
        let path = self.path(name);
        Ok(if path.exists() { Some(Link::open_pinned(&path)?) } else { None })
    }

    /// Every link.
    pub fn links(&self) -> Result<Vec<Link>> {
        let names = self.names()?;
        names
            .iter()
            .filter(|name| name.starts_with("link_"))
            .filter_map(|name| self.link(name).transpose())
            .collect()
    }

    /// At no moment is there nothing under `name`.
    fn put(&self, name: &str, pin: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let (new, path) = (self.path(&format!("new_{name}")), self.path(name));
        // Whoever was killed half-way may have left one.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot unpin {}", new.display()));
            }
            _ => {}
        }
        pin(&new)?;
        fs::rename(&new, &path).with_context(|| format!("cannot pin {}", path.display()))
    }

    /// Unpins everything and removes the folder.
    pub fn remove(&self) -> Result<()> {
        for name in self.names()? {
            let path = self.path(&name);
            fs::remove_file(&path).with_context(|| format!("cannot unpin {}", path.display()))?;
        }
        fs::remove_dir(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }

    /// What is pinned.
    fn names(&self) -> Result<Vec<String>> {
        let what = || format!("cannot list {}", self.dir.display());
        let entries = fs::read_dir(&self.dir).with_context(what)?;
        entries
            .map(|entry| Ok(entry.with_context(what)?.file_name().to_string_lossy().into_owned()))
            .collect()
    }
}
