//! The configuration file. `deploy/shunt.toml` is one, with everything explained.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::{Policy, Rules};
use crate::instance::Name;

/// What a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What `shunt run` takes as well, where it counts before this.
    pub settings: Settings,
    /// Whose connections are accelerated.
    pub policy: Policy,
}

/// Settings of an instance that stay as they are while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Settings {
    /// `--name`
    #[serde(serialize_with = "as_text")]
    pub name: Option<Name>,
    /// `--bpffs`
    pub bpffs: Option<PathBuf>,
    /// `--cgroup`
    pub cgroup: Option<PathBuf>,
    /// `--max-flows`
    pub max_flows: Option<u32>,
    /// `--refresh`, in seconds.
    pub refresh: Option<u32>,
}

impl Settings {
    /// What other settings change, by the names in the file.
    pub fn changes(&self, to: &Settings) -> Vec<&'static str> {
        let changed = [
            ("name", self.name != to.name),
            ("bpffs", self.bpffs != to.bpffs),
            ("cgroup", self.cgroup != to.cgroup),
            ("max-flows", self.max_flows != to.max_flows),
            ("refresh", self.refresh != to.refresh),
        ];
        changed.into_iter().filter_map(|(name, is)| is.then_some(name)).collect()
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: Option<toml::Spanned<String>>,
    bpffs: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    max_flows: Option<toml::Spanned<u32>>,
    refresh: Option<toml::Spanned<u32>>,
    #[serde(default)]
    include: Rules,
    #[serde(default)]
    exclude: Rules,
}

fn as_text<S: serde::Serializer>(name: &Option<Name>, to: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(AsRef::as_ref).serialize(to)
}

/// What `--max-flows` may be.
pub const MAX_FLOWS: std::ops::RangeInclusive<u32> = 1..=8_388_608;
/// What `--refresh` may be, in seconds.
pub const REFRESH: std::ops::RangeInclusive<u32> = 1..=86_400;

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// With the file, the line, what is wrong there and what is allowed.
    pub fn read(path: &Path) -> Result<File> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        File::parse(&text)
            .with_context(|| format!("the configuration file {} is wrong", path.display()))
    }

    /// Understands the text of a file.
    pub fn parse(text: &str) -> Result<File> {
        let written: Written =
            toml::from_str(text).map_err(|error| anyhow!("{}", error.to_string().trim_end()))?;
        let within = |value: Option<toml::Spanned<u32>>,
                      name: &str,
                      allowed: std::ops::RangeInclusive<u32>| match value {
            Some(value) if !allowed.contains(value.get_ref()) => Err(anyhow!(
                "line {}: {name} = {}: allowed are {} to {}",
                line(text, value.span().start),
                value.get_ref(),
                allowed.start(),
                allowed.end()
            )),
            value => Ok(value.map(toml::Spanned::into_inner)),
        };
        let name = match &written.name {
            Some(name) => Some(
                name.get_ref()
                    .parse()
                    .with_context(|| format!("line {}", line(text, name.span().start)))?,
            ),
            None => None,
        };
        let settings = Settings {
            name,
            bpffs: written.bpffs,
            cgroup: written.cgroup,
            max_flows: within(written.max_flows, "max-flows", MAX_FLOWS)?,
            refresh: within(written.refresh, "refresh", REFRESH)?,
        };
        let policy = Policy { include: written.include, exclude: written.exclude };
        policy.fits()?;
        Ok(File { settings, policy })
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/shunt.toml");

    #[test]
    fn the_example_is_what_shunt_does_without_a_file() {
        let file = File::parse(EXAMPLE).expect("the example");
        assert_eq!(file, File { settings: Settings::default(), policy: Policy::default() });
    }

    /// Every line of the example that is commented out and sets something.
    #[test]
    fn everything_that_the_example_shows_can_be_used() {
        let setting = |line: &&str| {
            let key: String =
                line.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            !key.is_empty() && line[key.len()..].starts_with(" =")
        };
        let text: Vec<&str> = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(setting).unwrap_or(line))
            .collect();
        let file = File::parse(&text.join("\n")).expect("the example with everything in it");
        let Settings { name, bpffs, cgroup, max_flows, refresh } = file.settings;
        assert!(name.is_some() && bpffs.is_some() && cgroup.is_some());
        assert!(max_flows.is_some() && refresh.is_some());
        for Rules { ports, addresses, processes, cgroups, namespaces, pods } in
            [file.policy.include, file.policy.exclude]
        {
            assert!(
                !ports.is_empty()
                    && !addresses.is_empty()
                    && !processes.is_empty()
                    && !cgroups.is_empty()
                    && !namespaces.is_empty()
                    && !pods.is_empty()
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_is_allowed() {
        let cases = [
            ("max-flow = 1", &["line 1", "max-flow", "max-flows"][..]),
            ("\nmax-flows = 0", &["line 2", "max-flows = 0", "1 to 8388608"]),
            ("refresh = 86401", &["line 1", "1 to 86400"]),
            ("refresh = \"a minute\"", &["line 1", "u32"]),
            ("[exclude]\nports = [80, 70000]", &["line 2", "70000", "1 to 65535"]),
            ("[exclude]\nports = [true]", &["line 2", "1 to 65535"]),
            ("[include]\naddresses = [\"10.0.0.1/8\"]", &["line 2", "10.0.0.1/8", "allowed are"]),
            ("[include]\naddresses = [10]", &["line 2", "10.0.0.0/8"]),
            ("[include]\nprocesses = [\"much-too-long-a-name\"]", &["line 2", "15 bytes"]),
            ("[include]\ncgroups = [\"pods\"]", &["line 2", "begin with"]),
            ("[include]\nnamespaces = [\"Shop\"]", &["line 2", "Shop", "kube-*"]),
            ("[include]\npods = [\"cart\"]", &["line 2", "NAMESPACE/NAME"]),
            ("[include]\nuser = [\"root\"]", &["line 2", "user", "processes"]),
            ("\nname = \"a/b\"", &["line 2", "a/b", "letters"]),
            ("[exclude", &["line 1"]),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", File::parse(text).expect_err(text));
            assert!(expected.iter().all(|words| error.contains(words)), "{text}: {error}");
        }
        let addresses = |first: u32, number: u32| {
            let all: Vec<String> = (first..first + number)
                .map(|n| format!("\"{}\"", std::net::Ipv4Addr::from(n)))
                .collect();
            all.join(",")
        };
        let text = |here: u32, there| {
            format!(
                "[include]\naddresses = [{}]\n[exclude]\naddresses = [{}]",
                addresses(1 << 24, here),
                addresses(2 << 24, there)
            )
        };
        assert!(File::parse(&text(4000, 96)).is_ok());
        let error = format!("{:#}", File::parse(&text(4000, 97)).expect_err("too many"));
        assert!(
            error.contains("4097 rules by addresses") && error.contains("room for 4096"),
            "{error}"
        );
        let error =
            format!("{:#}", File::read(Path::new("/nowhere/shunt.toml")).expect_err("no file"));
        assert!(error.contains("/nowhere/shunt.toml"), "{error}");
    }
}
