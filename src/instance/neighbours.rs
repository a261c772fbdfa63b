//! Instances side by side: on cgroups that lie in each other, both would see the same connections,
//! and take them from each other.

use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Instance, Name, Pins};

/// Another instance, and its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: Name,
    /// The folder of its cgroup, as its agent saw it.
    pub cgroup: PathBuf,
}

/// The other instances whose cgroup is this one, or lies in it or around it. Those that cannot be
/// opened are left out: one may end at any time.
pub fn neighbours(name: &Name, cgroup: &Path, bpffs: Option<&Path>) -> Result<Vec<Neighbour>> {
    let around = around(cgroup);
    let mut found = Vec::new();
    for pins in Pins::all(bpffs)?.into_iter().filter(|pins| pins.name() != name) {
        let name = pins.name().clone();
        let Ok((other, id)) = attached(pins) else { continue };
        if id != 0 && (around.contains(&id) || lies_below(cgroup, id)) {
            found.push(Neighbour { name, cgroup: other });
        }
    }
    Ok(found)
}

/// Fails if there is one.
pub fn expect_none(name: &Name, cgroup: &Path, bpffs: Option<&Path>) -> Result<()> {
    if let Some(Neighbour { name, cgroup: other }) = neighbours(name, cgroup, bpffs)?.first() {
        bail!(
            "instance '{name}' is at work on {}, and would see the same connections as one on {}: stop it first, or if its agent is \
             dead take it away with `shunt detach --name {name}`; `shunt status` shows it",
            other.display(),
            cgroup.display()
        );
    }
    Ok(())
}

/// The identities of a cgroup and of all around it, as far up as they can be seen.
fn around(cgroup: &Path) -> Vec<u64> {
    let (Ok(folder), Ok(about)) = (fs::canonicalize(cgroup), fs::metadata(cgroup)) else {
        return Vec::new();
    };
    let folders = folder.ancestors().map_while(|folder| fs::metadata(folder).ok());
    folders.take_while(|above| above.dev() == about.dev()).map(|above| above.ino()).collect()
}

/// The folder and the identity of an instance's cgroup.
fn attached(pins: Pins) -> Result<(PathBuf, u64)> {
    let instance = Instance::open(pins)?;
    Ok((instance.about()?.cgroup_path().to_owned(), instance.cgroup()?))
}

/// Whether a cgroup with this identity, the inode number of its folder, lies below another. Not by
/// its path: an agent in a container has another one for it.
fn lies_below(cgroup: &Path, id: u64) -> bool {
    let folders = fs::read_dir(cgroup).into_iter().flatten().flatten();
    let mut folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.any(|entry| entry.ino() == id || lies_below(&entry.path(), id))
}
