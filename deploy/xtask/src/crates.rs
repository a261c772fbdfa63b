//! The libraries as crates: what would be published compiles by itself, with its examples, from
//! nothing but the packed files and what the registry already has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use tar::Archive;

use crate::workspace::{self, VERSION};

/// Each after those that it needs.
const CRATES: [&str; 2] = ["bpf-asm", "bpf-syscalls"];

/// Packs the crates, which compiles each, unpacks them elsewhere, and checks their examples there.
///
/// # Errors
/// When one cannot be packed or does not compile; when a file is missing that a crate must have.
pub fn check() -> Result<()> {
    let root = workspace::root()?;
    let target = root.join("target/crates");
    let mut packing = cargo(&root);
    packing.args(["package", "--offline", "--locked", "--allow-dirty", "--quiet"]);
    packing.arg("--target-dir").arg(&target);
    for name in CRATES {
        packing.args(["-p", name]);
    }
    run(packing)?;
    let elsewhere = std::env::temp_dir().join(format!("shunt-crates-{}", std::process::id()));
    let checked = unpack(&target.join("package"), &elsewhere).and_then(|folders| {
        folders.iter().try_for_each(|folder| examples(folder, &folders, &target))
    });
    fs::remove_dir_all(&elsewhere)
        .with_context(|| format!("cannot remove {}", elsewhere.display()))?;
    checked
}

/// Unpacks the crates; where each is.
fn unpack(packed: &Path, into: &Path) -> Result<Vec<PathBuf>> {
    let unpacked = CRATES.iter().map(|name| {
        let name = format!("{name}-{VERSION}");
        let path = packed.join(format!("{name}.crate"));
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Archive::new(GzDecoder::new(file))
            .unpack(into)
            .with_context(|| format!("cannot unpack {}", path.display()))?;
        let folder = into.join(name);
        for file in ["Cargo.toml", "LICENSE", "README.md", "src/lib.rs"] {
            ensure!(folder.join(file).is_file(), "{} has no {file}", path.display());
        }
        Ok(folder)
    });
    unpacked.collect()
}

/// Compiles the examples of an unpacked crate. The other crates are taken from their folders: the
/// registry may not have them yet.
fn examples(folder: &Path, folders: &[PathBuf], target: &Path) -> Result<()> {
    let mut checking = cargo(folder);
    checking.args(["check", "--examples", "--all-features", "--offline", "--quiet"]);
    checking.arg("--target-dir").arg(target);
    for (name, path) in CRATES.iter().zip(folders).filter(|(_, path)| *path != folder) {
        checking.arg("--config");
        checking.arg(format!("patch.crates-io.{name}.path={:?}", path.display().to_string()));
    }
    run(checking)
}

fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder);
    cargo
}

fn run(mut command: Command) -> Result<()> {
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "{command:?} failed, see above");
    Ok(())
}
