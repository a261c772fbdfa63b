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

use crate::datapath::{Maps as MapNames, ProgramName};
use crate::kernel::load::Maps;

/// The maps by their names and types. How many entries they have is an instance's own matter.
pub const MAPS: MapNames = MapNames::new(0);

/// What the names of the attachments' pins begin with.
const LINK: &str = "link_";

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
    fn path(&self, object: &str) -> PathBuf {
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
        // The map that says who runs it is pinned last.
        self.path(MAPS.about.def().name).exists()
    }

    /// The map of this name, if this version has one.
    pub fn map(&self, def: &MapDef) -> Result<Option<Map>> {
        self.opened(def.name, Map::open_pinned)
    }

    /// The program of this name, if the kernel has not refused it.
    pub fn program(&self, name: ProgramName) -> Result<Option<Prog>> {
        self.opened(name.pin(), Prog::open_pinned)
    }

    /// What attaches the program of this name, if it is attached by a link.
    pub fn link(&self, of: ProgramName) -> Result<Option<Link>> {
        self.opened(&link_of(of), Link::open_pinned)
    }

    fn opened<T>(
        &self,
        name: &str,
        open: impl FnOnce(&Path) -> syscalls::Result<T>,
    ) -> Result<Option<T>> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(None);
        }
        open(&path).map(Some).with_context(|| format!("cannot open {}", path.display()))
    }

    /// Its maps, if they are what `defs` describe.
    pub fn maps(&self, defs: &[&MapDef]) -> Result<Option<Maps>> {
        let mut maps = Vec::new();
        for def in defs {
            let Some(map) = self.map(def)? else { return Ok(None) };
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
        let last = MAPS.about.def().name;
        let (about, others): (Vec<_>, Vec<_>) = maps.iter().partition(|(name, _)| *name == last);
        for (name, map) in others.into_iter().chain(about) {
            map.pin(&self.path(name))?;
        }
        Ok(())
    }

    /// Pins a program, in the place of one that is there.
    pub fn pin_program(&self, name: ProgramName, program: &Prog) -> Result<()> {
        self.put(name.pin(), |path| Ok(program.pin(path)?))
    }

    /// Pins what attaches a program, in the place of one that is there, which is detached by that.
    pub fn pin_link(&self, of: ProgramName, link: &Link) -> Result<()> {
        self.put(&link_of(of), |path| Ok(link.pin(path)?))
    }

    /// Every link, also those of programs that this version does not know.
    pub fn links(&self) -> Result<Vec<Link>> {
        let names = self.names()?;
        let links = names.iter().filter(|name| name.starts_with(LINK));
        links.filter_map(|name| self.opened(name, Link::open_pinned).transpose()).collect()
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

    /// Unpins everything and removes the folder. First what says that it is complete: whoever is
    /// killed halfway leaves a generation that nobody tries to open.
    pub fn remove(&self) -> Result<()> {
        let mut names = self.names()?;
        if let Some(about) = names.iter().position(|name| name == MAPS.about.def().name) {
            names.swap(0, about);
        }
        for name in names {
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

/// The name of the pin of what attaches a program.
fn link_of(program: ProgramName) -> String {
    format!("{LINK}{}", program.pin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_whose_removal_ends_halfway_is_not_complete() {
        let instance = tempfile::tempdir().expect("make a folder");
        let generation = Generation::new(instance.path(), 1);
        generation.create().expect("make its folder");
        let about = generation.path(MAPS.about.def().name);
        fs::write(&about, "").expect("make a pin");
        // A folder cannot be unlinked, whichever is listed first.
        for number in 0..8 {
            fs::create_dir(generation.path(&number.to_string())).expect("make a folder");
        }
        assert!(generation.is_complete());
        generation.remove().expect_err("a folder is left");
        assert!(!generation.is_complete());
    }
}
