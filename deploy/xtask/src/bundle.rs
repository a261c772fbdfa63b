//! The offline bundle: everything that a node or a cluster without a network needs, in one file.
//!
//! ```text
//! shunt-VERSION/
//!   install.sh uninstall.sh   what they install is below root/, file by file, and the binary
//!   root/                     unit, configuration, manual pages, completions
//!   bin/x86_64/ bin/aarch64/  the binary for each kind of node
//!   image.tar                 the container image, for each kind of node
//!   kubernetes/               manifests for kubectl apply -k
//!   prometheus/ grafana/      scrape configuration and alerts; a dashboard
//!   docs/ ARCHITECTURE.md LICENSE THIRD-PARTY-LICENCES.txt sbom.cdx.json CHANGELOG.md
//!   SHA256SUMS                of all the others
//! ```

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::target::{Built, Target};
use crate::workspace::{self, VERSION};
use crate::{archive, dependencies, image, licences, sbom, shell};

/// The bundle's folder in its archive, and the archive's name without `.tar.gz`.
pub fn name() -> String {
    format!("shunt-{VERSION}")
}

/// Where what is installed goes below the root of the node.
const PREFIX: &str = "usr/local";

/// Puts the bundle together around binaries, each for its own kind of node, and writes it into
/// `folder`; returns its path.
///
/// # Errors
/// When a part of it is missing or cannot be written.
pub fn make(binaries: &[Built], folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let stage = folder.join(name());
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot remove {}", stage.display()))?;
    }
    fill(binaries, &stage)?;
    let path = folder.join(format!("{}.tar.gz", name()));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    archive::pack(&stage, &name(), BufWriter::new(file))?;
    fs::remove_dir_all(&stage).with_context(|| format!("cannot remove {}", stage.display()))?;
    Ok(path)
}

fn fill(binaries: &[Built], stage: &Path) -> Result<()> {
    let sources = workspace::root()?;
    let deploy = sources.join("deploy");
    let installed = stage.join("root").join(PREFIX);

    for binary in binaries {
        let to = stage.join("bin").join(binary.target.machine()).join("shunt");
        copy(&binary.path, &to, 0o755)?;
    }
    copy(
        &deploy.join("systemd/shunt.service"),
        &stage.join("root/etc/systemd/system/shunt.service"),
        0o644,
    )?;
    copy(&deploy.join("shunt.toml"), &stage.join("root/etc/shunt/shunt.toml"), 0o644)?;
    shell::manual(&installed.join("share/man/man1"))?;
    shell::completions(&installed)?;

    let to = stage.join("image.tar");
    image::write(
        binaries,
        BufWriter::new(
            File::create(&to).with_context(|| format!("cannot write {}", to.display()))?,
        ),
    )?;

    for script in ["install.sh", "uninstall.sh"] {
        copy(&deploy.join(script), &stage.join(script), 0o755)?;
    }
    for text in ["LICENSE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        copy(&sources.join(text), &stage.join(text), 0o644)?;
    }
    for (folder, to) in [
        (deploy.join("kubernetes"), "kubernetes"),
        (deploy.join("helm"), "helm"),
        (deploy.join("prometheus"), "prometheus"),
        (deploy.join("grafana"), "grafana"),
        (sources.join("docs"), "docs"),
    ] {
        for path in archive::below(&folder)? {
            if folder.join(&path).is_file() {
                let is_script = path.extension().is_some_and(|end| end == "sh");
                let mode = if is_script { 0o755 } else { 0o644 };
                copy(&folder.join(&path), &stage.join(to).join(&path), mode)?;
            }
        }
    }
    let targets: Vec<Target> = binaries.iter().map(|binary| binary.target).collect();
    let components = dependencies::linked(&targets)?;
    write(&stage.join("THIRD-PARTY-LICENCES.txt"), &licences::texts(&components)?)?;
    write(&stage.join("sbom.cdx.json"), &sbom::cyclonedx(&components)?)?;
    write(&stage.join("SHA256SUMS"), &checksums(stage)?)
}

/// In the form that `sha256sum --check` reads.
fn checksums(stage: &Path) -> Result<String> {
    let mut sums = String::new();
    for path in archive::below(stage)? {
        let full = stage.join(&path);
        if full.is_file() {
            let content =
                fs::read(&full).with_context(|| format!("cannot read {}", full.display()))?;
            sums += &format!("{}  {}\n", archive::digest(&content), archive::text(&path)?);
        }
    }
    Ok(sums)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, PermissionsExt::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
