//! What to run on which kernels: `kernels.toml`, which documents every key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::architecture::Architecture;

/// The configuration that comes with this package.
const STANDARD: &str = include_str!("../kernels.toml");

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it has to be.
    #[error("the configuration is wrong: {0}")]
    Content(#[from] toml::de::Error),
    /// Two kernels or two test binaries are called the same.
    #[error("the configuration has {0:?} twice")]
    Twice(String),
    /// Nothing to do.
    #[error("the configuration names no {0}")]
    Nothing(&'static str),
}

/// The whole configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where kernels come from.
    pub archive: Archive,
    /// The kernels, in the order of the report's columns.
    #[serde(rename = "kernel")]
    pub kernels: Vec<Kernel>,
    /// What guests are made of.
    #[serde(default)]
    pub guest: Guest,
    /// What differs under emulation.
    #[serde(default)]
    pub emulation: Emulation,
    /// What runs in them.
    pub tests: Vec<Tests>,
}

/// Where kernels come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Suites of the Debian archive.
    pub suites: Vec<String>,
}

/// One kernel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The beginning of its version up to a dot, as in `6.12`, or `7` for any 7.x.
    pub series: String,
}

/// What a guest is made of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guest {
    /// The kind of its processors.
    pub architecture: Architecture,
    /// Number of processors.
    pub processors: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Guests at the same time, at most.
    pub at_once: usize,
    /// Time from start to first test, at most.
    pub boot_seconds: u64,
    /// Kernel modules to load.
    pub modules: Vec<String>,
    /// Kernel modules to load where the kernel has them.
    pub modules_if_there: Vec<String>,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            architecture: Architecture::default(),
            processors: 2,
            memory_mib: 2048,
            at_once: 2,
            boot_seconds: 300,
            modules: vec![],
            modules_if_there: vec![],
        }
    }
}

/// What differs under emulation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Emulation {
    /// Added to the environment of every test.
    pub environment: BTreeMap<String, String>,
}

/// A test binary of this workspace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// What reports call it.
    pub name: String,
    /// Its package.
    pub package: String,
    /// The name of the integration test in the package.
    pub target: String,
    /// Files of the workspace that its tests read and may write, relative to the workspace.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// The tests that the matrix runs, by how their names begin; all if there is none. One that is
    /// asked for by name runs in any case.
    #[serde(default)]
    pub only: Vec<String>,
    /// The tests that the matrix leaves out, likewise.
    #[serde(default)]
    pub except: Vec<String>,
    /// How long one test may take.
    #[serde(default = "Tests::default_seconds")]
    pub seconds: u64,
}

impl Tests {
    /// Whether the matrix runs this test of it.
    pub fn runs(&self, test: &str) -> bool {
        let begins = |with: &[String]| with.iter().any(|beginning| test.starts_with(beginning));
        (self.only.is_empty() || begins(&self.only)) && !begins(&self.except)
    }

    fn default_seconds() -> u64 {
        300
    }
}

impl Config {
    /// Reads `file`, or the configuration that comes with this package.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(file: Option<&Path>) -> Result<Self, Error> {
        match file {
            None => Self::parse(STANDARD),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| Error::Read { path: path.into(), source })?;
                Self::parse(&text)
            }
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let config: Self = toml::from_str(text)?;
        let series: Vec<_> = config.kernels.iter().map(|kernel| kernel.series.as_str()).collect();
        let tests: Vec<_> = config.tests.iter().map(|tests| tests.name.as_str()).collect();
        for (what, names) in [("kernel", series), ("tests", tests)] {
            if names.is_empty() {
                return Err(Error::Nothing(what));
            }
            if let Some((_, name)) =
                names.iter().enumerate().find(|(index, name)| names[..*index].contains(name))
            {
                return Err(Error::Twice((*name).to_owned()));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "archive.suites = ['sid']\n[[kernel]]\nseries = '6.12'\n";
    const TESTS: &str = "[[tests]]\nname = 'a'\npackage = 'b'\ntarget = 'c'\n";

    #[test]
    fn the_configuration_of_this_package_has_every_supported_series() {
        let config = Config::read(None).expect("valid");
        let series: Vec<_> = config.kernels.iter().map(|kernel| kernel.series.as_str()).collect();
        assert_eq!(series, ["6.12", "6.18", "7"]);
    }

    /// Keys that are commented out in kernels.toml are said to show defaults.
    #[test]
    fn documented_defaults_are_the_defaults() {
        let uncommented: String = STANDARD
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key) if key.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
                    format!("{key}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        assert_eq!(uncommented.matches("\nseconds =").count(), 1);
        let (spelled_out, left_out) = (Config::parse(&uncommented), Config::parse(STANDARD));
        assert_eq!(
            format!("{:?}", spelled_out.expect("valid")),
            format!("{:?}", left_out.expect("valid"))
        );
    }

    #[test]
    fn what_is_misspelt_doubled_or_empty_is_refused_with_its_name() {
        for (text, complaint) in [
            (format!("{SMALL}{TESTS}[guest]\nmemory = 1\n"), "unknown field `memory`"),
            (format!("{SMALL}[[kernel]]\nseries = '6.12'\n{TESTS}"), "\"6.12\" twice"),
            (format!("{SMALL}{TESTS}{TESTS}"), "\"a\" twice"),
            (format!("tests = []\n{SMALL}"), "names no tests"),
            (SMALL.to_owned(), "missing field `tests`"),
        ] {
            let error = Config::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
