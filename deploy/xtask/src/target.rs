//! What the binary is compiled for.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

use crate::dependencies::said_by;

/// A kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// x86-64
    X86_64,
    /// arm64
    Aarch64,
}

impl Target {
    /// All that shunt is made for.
    pub const ALL: [Target; 2] = [Target::X86_64, Target::Aarch64];

    /// What this machine is.
    ///
    /// # Errors
    /// When shunt is not made for such.
    pub fn native() -> Result<Target> {
        let here = |target: &Target| target.machine() == std::env::consts::ARCH;
        Target::ALL.into_iter().find(here).with_context(|| {
            format!("shunt is not made for this machine, which is {}", std::env::consts::ARCH)
        })
    }

    /// As `uname -m` says it.
    pub fn machine(self) -> &'static str {
        match self {
            Target::X86_64 => "x86_64",
            Target::Aarch64 => "aarch64",
        }
    }

    /// As Go names it, which images follow.
    pub fn of_image(self) -> &'static str {
        match self {
            Target::X86_64 => "amd64",
            Target::Aarch64 => "arm64",
        }
    }

    /// As cargo names it.
    pub fn triple(self) -> &'static str {
        match self {
            Target::X86_64 => "x86_64-unknown-linux-gnu",
            Target::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The version of the C library that is linked in, from its headers.
    ///
    /// # Errors
    /// When the C compiler, which is also the linker, cannot be asked.
    pub fn c_library(self) -> Result<String> {
        let compiler = if self == Target::native()? {
            "cc".to_owned()
        } else {
            format!("{}-linux-gnu-gcc", self.machine())
        };
        let ask = ["-E", "-P", "-include", "features.h", "-x", "c", "/dev/null", "-dM"];
        let macros = said_by(Command::new(compiler).args(ask))?;
        let number = |name: &str| {
            let mut lines = macros.lines();
            lines.find_map(|line| {
                line.strip_prefix("#define ")?.strip_prefix(name)?.strip_prefix(' ')
            })
        };
        match (number("__GLIBC__"), number("__GLIBC_MINOR__")) {
            (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
            _ => bail!("the C library for {} is not glibc", self.triple()),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target> {
        let named = Target::ALL.into_iter().find(|target| target.triple() == text);
        named.with_context(|| {
            let known = Target::ALL.map(Target::triple).join(" and ");
            format!("shunt is made for {known}")
        })
    }
}

/// A binary, and what it runs on.
#[derive(Clone, Debug)]
pub struct Built {
    /// What it runs on.
    pub target: Target,
    /// Where it is.
    pub path: PathBuf,
}

impl Built {
    /// What it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_known_by_the_name_that_cargo_has_for_it() {
        for target in Target::ALL {
            assert_eq!(target.triple().parse::<Target>().expect("known"), target);
        }
        let error = "riscv64gc-unknown-linux-gnu".parse::<Target>().expect_err("not made for it");
        assert!(error.to_string().contains("aarch64-unknown-linux-gnu"), "{error}");
    }

    #[test]
    fn the_c_library_of_this_machine_is_the_one_that_getconf_names() {
        let named = said_by(Command::new("getconf").arg("GNU_LIBC_VERSION")).expect("ask");
        let version = Target::native().expect("one").c_library().expect("ask the compiler");
        assert_eq!(named.trim(), format!("glibc {version}"));
    }
}
