//! Kernel modules: the host finds their files, the guest gives them to the kernel. Neither needs
//! `modprobe`, which in a guest of another architecture could not be run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// What a kernel's `modules.dep` and `modules.builtin` say.
#[derive(Debug)]
pub struct Modules {
    folder: PathBuf,
    dependencies: String,
    builtin: String,
}

impl Modules {
    /// Of a kernel whose modules are in `folder`.
    ///
    /// # Errors
    /// When a list cannot be read.
    pub fn of(folder: &Path) -> Result<Self> {
        let read = |list: &str| {
            let path = folder.join(list);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Self {
            folder: folder.to_owned(),
            dependencies: read("modules.dep")?,
            builtin: read("modules.builtin")?,
        })
    }

    /// The files of this module and of what it needs, in the order in which they are loaded; none
    /// where it is a part of the kernel, nothing where there is no such module.
    pub fn files(&self, name: &str) -> Option<Vec<PathBuf>> {
        let is_it = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            same(file.split('.').next().unwrap_or(file), name)
        };
        let lists = self.dependencies.lines().filter_map(|line| line.split_once(':'));
        // A line names a module and then all that it needs, what is needed last first.
        if let Some((module, needed)) = lists.into_iter().find(|(module, _)| is_it(module)) {
            let needed = needed.split_whitespace().rev();
            return Some(needed.chain([module]).map(|path| self.folder.join(path)).collect());
        }
        self.builtin.lines().any(is_it).then(Vec::new)
    }
}

/// Names of modules have either of two signs where they mean the same.
fn same(one: &str, other: &str) -> bool {
    one.replace('-', "_") == other.replace('-', "_")
}

/// Loads the module in a file, unless it is loaded.
///
/// # Errors
/// When it cannot be read, or the kernel does not take it.
pub fn load(file: &Path) -> Result<()> {
    let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
    match finit_module(&opened, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("load {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_before_it_and_what_is_built_in_needs_no_file() {
        let folder = tempfile::tempdir().expect("make a folder");
        let write = |file: &str, text| fs::write(folder.path().join(file), text).expect("write");
        write("modules.dep", "k/a.ko: k/b-c.ko k/d.ko\nk/b-c.ko: k/d.ko\nk/d.ko:\n");
        write("modules.builtin", "kernel/net/built_in.ko\n");
        let modules = Modules::of(folder.path()).expect("read");
        let files = |name| {
            let files = modules.files(name)?.into_iter();
            let names = files.map(|file| file.strip_prefix(folder.path()).map(Path::to_owned));
            Some(names.collect::<Result<Vec<_>, _>>().expect("in the folder"))
        };
        assert_eq!(files("a"), Some(["k/d.ko", "k/b-c.ko", "k/a.ko"].map(PathBuf::from).into()));
        assert_eq!(files("b_c"), Some(["k/d.ko", "k/b-c.ko"].map(PathBuf::from).into()));
        assert_eq!(files("built-in"), Some(vec![]));
        assert_eq!(files("e"), None);
    }
}
