//! Kernels in the Debian archive, through an apt of our own: its lists, its keys, its settings; the
//! machine's apt is only asked how it reaches the network.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::architecture::Architecture;
use crate::mirror::Mirror;
use crate::tools::{self, KEYRING};

/// The kernels made for virtual machines: small, with everything that a guest has. After it comes
/// the architecture.
const FLAVOUR: &str = "-cloud-";

/// The packages that together are a kernel. Until 6.18 the image has everything; later ones are
/// split, and what modules are built in is told by the base.
const PARTS: &[&str] = &["linux-base-", "linux-binary-", "linux-modules-", "linux-image-"];

/// A package that the archive has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
}

impl Offer {
    /// The kernel release in the name of an image or binary package, without those that only point
    /// to others (`linux-image-6.1-cloud-amd64`).
    fn release(&self) -> Option<&str> {
        let release = PARTS.iter().find_map(|part| self.package.strip_prefix(part))?;
        let (number, _) = release.split_once(FLAVOUR)?;
        (number.starts_with(|first: char| first.is_ascii_digit())
            && number.matches('.').count() >= 2)
            .then_some(release)
    }

    fn is_of(&self, series: &str) -> bool {
        self.version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// A kernel that the archive has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its release, as `uname -r` says it.
    pub release: String,
    /// Its packages.
    pub offers: Vec<Offer>,
}

/// An apt of our own.
#[derive(Debug)]
pub struct Apt {
    settings: PathBuf,
    architecture: Architecture,
}

impl Apt {
    /// Sets it up below `root` for these suites.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(
        root: &Path,
        mirror: &Mirror,
        suites: &[String],
        architecture: Architecture,
    ) -> Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("make {folder} in {}", root.display()))?;
        }
        let write = |name: &str, contents: &str| -> Result<PathBuf> {
            let path = root.join(name);
            fs::write(&path, contents).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        };
        // As if nothing were installed.
        let status = write("state/status", "")?;
        let lines = suites.iter().map(|suite| {
            format!(
                "deb [arch={} signed-by={KEYRING}] {} {suite} main\n",
                architecture.debian(),
                mirror.of_suite(suite)
            )
        });
        let sources = write("sources.list", &lines.collect::<String>())?;
        // Proxies and the like.
        let network = tools::run(tools::command("apt-config")?.args([
            "dump",
            "--format",
            "%F \"%v\";%n",
            "Acquire",
        ]))?;
        let settings = format!(
            "{network}\n\
             Dir::State \"{root}/state\";\n\
             Dir::State::status \"{status}\";\n\
             Dir::Cache \"{root}/cache\";\n\
             Dir::Etc::main \"/dev/null\";\n\
             Dir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::sourcelist \"{sources}\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Sandbox::User \"root\";\n\
             APT::Update::Error-Mode \"any\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n",
            root = root.display(),
            status = status.display(),
            sources = sources.display(),
            architecture = architecture.debian(),
        );
        Ok(Self { settings: write("apt.conf", &settings)?, architecture })
    }

    fn command(&self, program: &str) -> Result<Command> {
        let mut command = tools::command(program)?;
        command.env("APT_CONFIG", &self.settings);
        Ok(command)
    }

    /// Fetches the lists of what the suites have, and verifies their signatures.
    ///
    /// # Errors
    /// When a suite cannot be fetched or its signature is not Debian's.
    pub fn update(&self) -> Result<()> {
        tools::run(self.command("apt-get")?.args(["update", "--quiet"])).map(drop).context(
            "cannot fetch the lists of the Debian archive. A suite that has moved is taken out of vm-tests/kernels.toml \
             or fetched from a mirror that still has it (--mirror)",
        )
    }

    /// Every kernel package that the suites have.
    ///
    /// # Errors
    /// When apt-cache fails.
    pub fn offers(&self) -> Result<Vec<Offer>> {
        let names = tools::run(self.command("apt-cache")?.args(["pkgnames", "linux-"]))?;
        let flavour = format!("{FLAVOUR}{}", self.architecture.debian());
        let mut names: Vec<&str> = names
            .lines()
            .filter(|name| {
                name.ends_with(&flavour) && PARTS.iter().any(|part| name.starts_with(part))
            })
            .collect();
        // Given in the order of a hash table.
        names.sort_unstable();
        if names.is_empty() {
            return Ok(vec![]);
        }
        let stanzas =
            tools::run(self.command("apt-cache")?.args(["show", "--no-all-versions"]).args(names))?;
        Ok(offers_in(&stanzas))
    }

    /// Fetches a package into `folder` and returns the name of its file.
    ///
    /// # Errors
    /// When it cannot be fetched or is not what the signed list says.
    pub fn download(&self, offer: &Offer, folder: &Path) -> Result<String> {
        // In a folder of its own, so that there is no doubt which file it is.
        let arriving = tempfile::tempdir_in(folder).context("make a folder for the download")?;
        let wanted = format!("{}={}", offer.package, offer.version);
        tools::run(
            self.command("apt-get")?
                .args(["download", "--quiet", &wanted])
                .current_dir(arriving.path()),
        )?;
        let mut files = fs::read_dir(arriving.path()).context("look at the download")?;
        let Some(Ok(file)) = files.next() else { bail!("apt-get download {wanted} left no file") };
        let name = file
            .file_name()
            .into_string()
            .ok()
            .with_context(|| format!("{wanted} has a strange file name"))?;
        fs::rename(file.path(), folder.join(&name)).with_context(|| format!("keep {name}"))?;
        Ok(name)
    }
}

fn offers_in(stanzas: &str) -> Vec<Offer> {
    let field = |stanza: &str, name: &str| {
        stanza
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.trim().to_owned()))
    };
    stanzas
        .split("\n\n")
        .filter_map(|stanza| {
            Some(Offer { package: field(stanza, "Package")?, version: field(stanza, "Version")? })
        })
        .collect()
}

/// The newest kernel of a series, by `newer`, the order of Debian's versions.
///
/// # Errors
/// When versions cannot be compared.
pub fn newest(
    offers: &[Offer],
    series: &str,
    mut newer: impl FnMut(&str, &str) -> Result<Ordering>,
) -> Result<Option<Found>> {
    let mut best: Option<&Offer> = None;
    for offer in offers.iter().filter(|offer| offer.is_of(series) && offer.release().is_some()) {
        if best.is_none_or(|best| best.version != offer.version)
            && best
                .map_or(Ok(Ordering::Greater), |best| newer(&offer.version, &best.version))?
                .is_gt()
        {
            best = Some(offer);
        }
    }
    Ok(best.and_then(Offer::release).map(|release| Found {
        release: release.to_owned(),
        offers: offers.iter().filter(|offer| offer.release() == Some(release)).cloned().collect(),
    }))
}

/// The order of two versions, as dpkg has it.
///
/// # Errors
/// When dpkg cannot be run.
pub fn compare(one: &str, other: &str) -> Result<Ordering> {
    let status = tools::command("dpkg")?.args(["--compare-versions", one, "gt", other]).status();
    Ok(if status.context("run dpkg")?.success() { Ordering::Greater } else { Ordering::Less })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
        Package: linux-image-6.1-cloud-amd64\nVersion: 6.1.300-1\n\n\
        Package: linux-image-6.1.0-9-cloud-amd64\nVersion: 6.1.9-1\nDescription: a kernel\n Package: not this\n\n\
        Package: linux-image-6.1.0-56-cloud-amd64\nVersion: 6.1.192-2\n\n\
        Package: linux-image-6.12.1+deb13-cloud-amd64\nVersion: 6.12.1-1\n\n\
        Package: linux-base-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\n\
        Package: linux-base-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\n\
        Package: linux-binary-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\n\
        Package: linux-modules-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\n\
        Package: linux-binary-unsigned-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n";

    fn found(series: &str) -> Option<(String, Vec<String>)> {
        let found = newest(&offers_in(LIST), series, compare).expect("dpkg compares versions");
        found.map(|found| {
            (found.release, found.offers.into_iter().map(|offer| offer.package).collect())
        })
    }

    #[test]
    fn the_newest_kernel_of_a_series_is_found_with_all_its_packages() {
        let image = "linux-image-6.1.0-56-cloud-amd64".to_owned();
        assert_eq!(found("6.1"), Some(("6.1.0-56-cloud-amd64".into(), vec![image])));
        let parts = ["linux-base-", "linux-binary-", "linux-modules-"]
            .map(|part| format!("{part}7.3.4+deb13-cloud-amd64"));
        assert_eq!(found("7"), Some(("7.3.4+deb13-cloud-amd64".into(), parts.to_vec())));
        assert_eq!(found("5.10"), None);
    }
}
