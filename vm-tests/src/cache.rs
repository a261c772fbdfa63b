//! Kernels on this machine: fetched once, used by every run, carried to machines without a network.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::architecture::Architecture;
use crate::archive::{self, Apt, Found};
use crate::config::Config;
use crate::manifest::{self, Manifest, sha256};
use crate::mirror::Mirror;
use crate::modules::Modules;
use crate::tools;

/// The folder with the kernels.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

/// A kernel that is ready to boot. It stays in the cache as long as this value does.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// What `uname -r` will say.
    pub release: String,
    /// The compressed image.
    pub image: PathBuf,
    /// Its modules.
    pub modules: Arc<Modules>,
    _held: Arc<Flock<File>>,
}

/// A folder for what a run needs while it lasts.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    /// Tells a run that goes on from one that was killed.
    _held: Flock<File>,
}

impl Scratch {
    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Takes a folder's lock, which goes with the value or the process. None where another process has
/// it.
fn lock(folder: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let opened = File::open(folder).with_context(|| format!("open {}", folder.display()))?;
    match Flock::lock(opened, how) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", folder.display())),
    }
}

const MANIFEST: &str = "manifest.json";
const PACKAGES: &str = "packages";
const KERNELS: &str = "kernels";

/// Debian's archive, for machines that have no mirror configured.
const DEBIAN: &str = "http://deb.debian.org/debian";

/// How the folders of runs begin.
const RUN: &str = "run-";

impl Cache {
    /// The cache at `root`, or at its place in the user's home (XDG Base Directory Specification),
    /// one for each architecture.
    ///
    /// # Errors
    /// When there is no home, or the folder cannot be made.
    pub fn open(root: Option<PathBuf>, architecture: Architecture) -> Result<Self> {
        let name = match architecture {
            Architecture::Amd64 => "shunt-vm",
            Architecture::Arm64 => "shunt-vm-arm64",
        };
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let of_user = || {
            std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let root = root
            .or_else(|| of_user().or_else(home).map(|folder| folder.join(name)))
            .context(
            "no place for kernels: neither XDG_CACHE_HOME nor HOME is set; name one with --cache",
        )?;
        for folder in [PACKAGES, KERNELS] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let root = root.canonicalize().with_context(|| format!("find {}", root.display()))?;
        Ok(Self { root })
    }

    /// What it holds.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn manifest(&self) -> Result<Manifest> {
        let path = self.root.join(MANIFEST);
        if !path.exists() {
            return Ok(Manifest::default());
        }
        read_manifest(&path)
    }

    /// A new folder for a run. Those that killed runs left are removed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<Scratch> {
        // Nobody else looks for folders that were left between the making of this one and its lock.
        let _alone = self.changing()?;
        for entry in fs::read_dir(&self.root).context("look at the cache")? {
            let path = entry.context("look at the cache")?.path();
            let of_run =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(RUN));
            if of_run && lock(&path, FlockArg::LockExclusiveNonblock)?.is_some() {
                fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        let folder = tempfile::Builder::new()
            .prefix(RUN)
            .tempdir_in(&self.root)
            .context("make a folder in the cache")?;
        let held = lock(folder.path(), FlockArg::LockExclusiveNonblock)?
            .context("somebody else has a new folder")?;
        Ok(Scratch { folder, _held: held })
    }

    /// Keeps others from changing what the cache holds; waits while another process does.
    fn changing(&self) -> Result<Option<Flock<File>>> {
        lock(&self.root, FlockArg::LockExclusive)
    }

    /// Fetches the newest kernel of each series that the configuration names. What is there already
    /// is not fetched again, what is no longer wanted is removed.
    ///
    /// # Errors
    /// When something is missing on this machine, or a series is missing in the archive.
    pub fn fetch(&self, config: &Config, mirror: Option<&str>) -> Result<Manifest> {
        tools::check_for_fetching()?;
        let _alone = self.changing()?;
        let named = mirror.map(Mirror::at).or_else(|| Mirror::of_machine(Path::new("/etc/apt")));
        // Of other distributions, Ubuntu for one, apt knows other archives.
        let mirror = named.unwrap_or_else(|| Mirror::at(DEBIAN));
        eprintln!("reading what {} has", mirror.archive);
        let apt = Apt::new(
            &self.root.join("apt"),
            &mirror,
            &config.archive.suites,
            config.guest.architecture,
        )?;
        apt.update()?;
        let offers = apt.offers()?;
        let before = self.manifest()?;
        let mut manifest = Manifest::default();
        for kernel in &config.kernels {
            let found = archive::newest(&offers, &kernel.series, archive::compare)?.with_context(|| {
                let suites = config.archive.suites.join(", ");
                format!(
                    "no kernel {} in {suites} of {}: put a suite that has it into vm-tests/kernels.toml, name another \
                     mirror with --mirror, or take the kernel out",
                    kernel.series, mirror.archive
                )
            })?;
            let kernel = self.take(&apt, &kernel.series, &found, &before)?;
            self.unpack(&kernel, &before)?;
            manifest.kernels.push(kernel);
        }
        self.keep_only(&manifest)?;
        Ok(manifest)
    }

    fn take(
        &self,
        apt: &Apt,
        series: &str,
        found: &Found,
        before: &Manifest,
    ) -> Result<manifest::Kernel> {
        let mut packages = Vec::new();
        for offer in &found.offers {
            let known = before
                .packages()
                .find(|package| package.name == offer.package && package.version == offer.version)
                .filter(|package| self.holds(package));
            packages.push(match known {
                Some(package) => package.clone(),
                None => {
                    eprintln!("fetching {} {}", offer.package, offer.version);
                    let file = apt.download(offer, &self.root.join(PACKAGES))?;
                    let sha256 = sha256(&self.root.join(PACKAGES).join(&file))
                        .context("read the download")?;
                    manifest::Package {
                        name: offer.package.clone(),
                        version: offer.version.clone(),
                        file,
                        sha256,
                    }
                }
            });
        }
        Ok(manifest::Kernel { series: series.to_owned(), release: found.release.clone(), packages })
    }

    /// Whether the file of a package is there and what it was.
    fn holds(&self, package: &manifest::Package) -> bool {
        sha256(&self.root.join(PACKAGES).join(&package.file))
            .is_ok_and(|found| found == package.sha256)
    }

    /// Unpacks a kernel, unless it is there and `before` says that it was made of the same
    /// packages.
    fn unpack(&self, kernel: &manifest::Kernel, before: &Manifest) -> Result<()> {
        let tree = self.root.join(KERNELS).join(&kernel.release);
        if tree.exists() {
            if before.kernels.contains(kernel) && modules_in(&tree, &kernel.release).is_ok() {
                return Ok(());
            }
            // A run that uses it is waited for.
            let _unused = lock(&tree, FlockArg::LockExclusive)?;
            fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
        }
        eprintln!("unpacking {}", kernel.release);
        let unfinished = tempfile::tempdir_in(self.root.join(KERNELS))
            .context("make a folder for the kernel")?;
        for package in &kernel.packages {
            let file = self.root.join(PACKAGES).join(&package.file);
            tools::run(tools::command("dpkg-deb")?.arg("-x").arg(file).arg(unfinished.path()))?;
        }
        let modules = module_folder(unfinished.path(), &kernel.release)?;
        decompress(&modules)?;
        // .../lib/modules/RELEASE, for depmod, is below BASE/lib/modules.
        let base = modules.ancestors().nth(3).context("find the base of the modules")?;
        tools::run(tools::command("depmod")?.arg("-b").arg(base).arg(&kernel.release))?;
        fs::rename(unfinished.keep(), &tree).with_context(|| format!("keep {}", tree.display()))
    }

    /// Records the new contents, and removes the rest.
    fn keep_only(&self, manifest: &Manifest) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        let mut file =
            tempfile::NamedTempFile::new_in(&self.root).context("make a file in the cache")?;
        file.write_all(&text).context("write the manifest")?;
        file.persist(self.root.join(MANIFEST)).context("keep the manifest")?;

        let packages: Vec<_> = manifest.packages().map(|package| package.file.as_str()).collect();
        let kernels: Vec<_> =
            manifest.kernels.iter().map(|kernel| kernel.release.as_str()).collect();
        for (folder, kept) in [(PACKAGES, packages), (KERNELS, kernels)] {
            for entry in fs::read_dir(self.root.join(folder)).context("look at the cache")? {
                let path = entry.context("look at the cache")?.path();
                if path.file_name().is_some_and(|name| kept.iter().any(|kept| name == *kept)) {
                    continue;
                }
                // What a run uses is left to the next fetch.
                if path.is_dir() && lock(&path, FlockArg::LockExclusiveNonblock)?.is_none() {
                    continue;
                }
                let removed =
                    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The kernel of a series, ready to boot.
    ///
    /// # Errors
    /// When it is not there; the message says how to get it.
    pub fn kernel(&self, manifest: &Manifest, series: &str) -> Result<Kernel> {
        let kernel = manifest.kernel(series).with_context(|| {
            format!(
                "no kernel {series} in {}: get it with `vm-tests fetch` or `vm-tests import`",
                self.root.display()
            )
        })?;
        let tree = self.root.join(KERNELS).join(&kernel.release);
        let modules = modules_in(&tree, &kernel.release)?;
        let held = lock(&tree, FlockArg::LockShared)?.context("somebody is changing the kernel")?;
        let places = [
            tree.join("boot").join(format!("vmlinuz-{}", kernel.release)),
            modules.join("vmlinuz"),
        ];
        let image = places.into_iter().find(|path| path.is_file());
        let image = image.with_context(|| format!("no kernel image in {}", tree.display()))?;
        Ok(Kernel {
            release: kernel.release.clone(),
            image,
            modules: Arc::new(Modules::of(&modules)?),
            _held: Arc::new(held),
        })
    }

    /// Whether there is a kernel of each series that the configuration names, ready to boot.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn is_complete(&self, config: &Config) -> Result<bool> {
        let manifest = self.manifest()?;
        Ok(config.kernels.iter().all(|kernel| self.kernel(&manifest, &kernel.series).is_ok()))
    }

    /// Writes everything that a run needs into one file.
    ///
    /// # Errors
    /// When the cache is empty or the file cannot be written.
    pub fn export(&self, file: &Path) -> Result<()> {
        let manifest = self.manifest()?;
        ensure!(!manifest.kernels.is_empty(), "the cache is empty: run `vm-tests fetch` first");
        let created = File::create(file).with_context(|| format!("create {}", file.display()))?;
        let mut archive = tar::Builder::new(BufWriter::new(created));
        let names = manifest.packages().map(|package| format!("{PACKAGES}/{}", package.file));
        for name in std::iter::once(MANIFEST.to_owned()).chain(names) {
            archive
                .append_path_with_name(self.root.join(&name), &name)
                .with_context(|| format!("export {name}"))?;
        }
        let done = archive.into_inner().and_then(|mut file| file.flush());
        done.with_context(|| format!("write {}", file.display()))
    }

    /// Reads what [`Cache::export`] wrote in place of what the cache held.
    ///
    /// # Errors
    /// When the file is not complete or not what it was.
    pub fn import(&self, file: &Path) -> Result<Manifest> {
        tools::check_for_fetching()?;
        let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let arrived = self.scratch()?;
        let _alone = self.changing()?;
        let mut archive = tar::Archive::new(BufReader::new(opened));
        archive.unpack(arrived.path()).with_context(|| format!("unpack {}", file.display()))?;
        let manifest = read_manifest(&arrived.path().join(MANIFEST))?;
        for package in manifest.packages() {
            let path = arrived.path().join(PACKAGES).join(&package.file);
            let found = sha256(&path)
                .with_context(|| format!("{} is not in {}", package.file, file.display()))?;
            ensure!(
                found == package.sha256,
                "{} was changed: it is {found}, not {}",
                package.file,
                package.sha256
            );
            fs::rename(&path, self.root.join(PACKAGES).join(&package.file))
                .context("move a package into the cache")?;
        }
        for kernel in &manifest.kernels {
            self.unpack(kernel, &Manifest::default())?;
        }
        self.keep_only(&manifest)?;
        Ok(manifest)
    }
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a manifest", path.display()))?;
    ensure!(manifest.stays_inside(), "{} has names that lead elsewhere", path.display());
    Ok(manifest)
}

/// Unpacks every module below `folder`: the initramfs that vng makes has no program that could.
fn decompress(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("look at {}", folder.display()))? {
        let entry = entry.with_context(|| format!("look at {}", folder.display()))?;
        if entry.file_type().with_context(|| format!("look at {}", folder.display()))?.is_dir() {
            decompress(&entry.path())?;
        } else if entry.file_name().to_string_lossy().ends_with(".ko.xz") {
            files.push(entry.path());
        }
    }
    if !files.is_empty() {
        tools::run(tools::command("xz")?.arg("--decompress").args(files))?;
    }
    Ok(())
}

/// Packages have their modules in `lib`, newer ones in `usr/lib`.
fn module_folder(tree: &Path, release: &str) -> Result<PathBuf> {
    let places = ["lib", "usr/lib"].map(|lib| tree.join(lib).join("modules").join(release));
    match places.into_iter().find(|path| path.is_dir()) {
        Some(path) => Ok(path),
        None => bail!("no modules of {release} in {}: fetch it again", tree.display()),
    }
}

/// The folder of a kernel's modules, all of which the initramfs can load.
fn modules_in(tree: &Path, release: &str) -> Result<PathBuf> {
    let folder = module_folder(tree, release)?;
    let list = folder.join("modules.dep");
    let modules = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    if let Some(packed) = modules.lines().find(|line| line.contains(".ko.")) {
        bail!("{release} has modules that are compressed, {packed} for one: fetch it again");
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Package;

    /// A cache with one package that says it is a kernel.
    fn cache(contents: &str, said: &str) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().expect("make a folder");
        let cache =
            Cache::open(Some(folder.path().join("cache")), Architecture::Amd64).expect("open");
        let file = "linux_1.deb".to_owned();
        fs::write(cache.root.join(PACKAGES).join(&file), contents).expect("write");
        let package =
            Package { name: "linux".into(), version: "1".into(), file, sha256: said.into() };
        let kernel = manifest::Kernel {
            series: "6.1".into(),
            release: "6.1.0".into(),
            packages: vec![package],
        };
        cache.keep_only(&Manifest { kernels: vec![kernel] }).expect("keep");
        (folder, cache)
    }

    #[test]
    fn what_is_no_longer_wanted_is_removed_from_the_cache() {
        let (_folder, cache) = cache("package", "");
        fs::create_dir_all(cache.root.join(KERNELS).join("5.4.0/boot")).expect("make");
        let manifest = cache.manifest().expect("read");
        cache.keep_only(&manifest).expect("keep");
        assert!(cache.root.join(PACKAGES).join("linux_1.deb").exists());
        assert!(!cache.root.join(KERNELS).join("5.4.0").exists());
        assert_eq!(cache.manifest().expect("read"), manifest);
    }

    #[test]
    fn what_runs_use_stays_and_what_killed_runs_left_goes() {
        let (_folder, cache) = cache("package", "");
        let tree = cache.root.join(KERNELS).join("5.4.0");
        fs::create_dir_all(&tree).expect("make");
        let used = lock(&tree, FlockArg::LockShared).expect("lock").expect("nobody else has it");
        let manifest = cache.manifest().expect("read");
        cache.keep_only(&manifest).expect("keep");
        assert!(tree.exists(), "a kernel went while it was used");
        drop(used);
        cache.keep_only(&manifest).expect("keep");
        assert!(!tree.exists());

        let left = cache.root.join(format!("{RUN}of-yesterday"));
        fs::create_dir(&left).expect("make");
        let first = cache.scratch().expect("a folder");
        let second = cache.scratch().expect("another");
        assert!(!left.exists() && first.path().exists() && second.path().exists());
        assert_ne!(first.path(), second.path());
    }

    #[test]
    fn a_package_that_was_changed_on_its_way_is_not_imported() {
        let (folder, cache) = cache("package", "the hash of something else");
        let file = folder.path().join("kernels.tar");
        cache.export(&file).expect("export");
        let elsewhere =
            Cache::open(Some(folder.path().join("elsewhere")), Architecture::Amd64).expect("open");
        let error = format!("{:#}", elsewhere.import(&file).expect_err("changed"));
        assert!(error.contains("linux_1.deb was changed"), "{error}");
        assert_eq!(elsewhere.manifest().expect("read"), Manifest::default());
    }

    #[test]
    fn modules_are_unpacked_and_a_kernel_with_compressed_ones_is_not_ready() {
        let (folder, cache) = cache("package", "");
        let modules = cache.root.join(KERNELS).join("6.1.0/lib/modules/6.1.0");
        fs::create_dir_all(modules.join("kernel/net")).expect("make");
        fs::write(modules.join("vmlinuz"), "").expect("write");
        fs::write(modules.join("modules.builtin"), "").expect("write");
        fs::write(modules.join("modules.dep"), "kernel/net/a.ko.xz: kernel/net/b.ko.xz\n")
            .expect("write");
        let manifest = cache.manifest().expect("read");
        let error = cache.kernel(&manifest, "6.1").expect_err("compressed").to_string();
        assert!(error.contains("a.ko.xz") && error.contains("fetch it again"), "{error}");

        let module = modules.join("kernel/net/a.ko");
        fs::write(&module, "a module").expect("write");
        tools::run(std::process::Command::new("xz").arg(&module)).expect("compress");
        assert!(!module.exists());
        decompress(&modules).expect("unpack");
        assert_eq!(fs::read_to_string(&module).expect("read"), "a module");
        fs::write(modules.join("modules.dep"), "kernel/net/a.ko: kernel/net/b.ko\n")
            .expect("write");
        cache.kernel(&manifest, "6.1").expect("ready");
        drop(folder);
    }

    #[test]
    fn a_kernel_that_was_not_fetched_is_missed_with_the_remedy() {
        let (_folder, cache) = cache("package", "");
        let manifest = cache.manifest().expect("read");
        let error = cache.kernel(&manifest, "5.10").expect_err("not there").to_string();
        assert!(error.contains("vm-tests fetch"), "{error}");
    }
}
