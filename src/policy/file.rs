//! The configuration file. `deploy/shunt.toml` is an example that explains every setting.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::{Policy, Rules};
use crate::host::Endpoint;
use crate::instance::Name;

/// A parsed configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Options of `shunt run`, which take precedence over the file.
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
    /// `--keep`
    pub keep: Option<bool>,
    /// `--metrics`
    pub metrics: Option<Endpoint>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
}

/// The format of a log line.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize, serde::Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Time, level and message; without the time on a terminal and in the journal, which adds its
    /// own
    #[default]
    Text,
    /// One JSON object a line: time, level, message and fields
    Json,
}

impl Settings {
    /// Names of the settings that differ from `to`.
    pub fn changes(&self, to: &Settings) -> Vec<&'static str> {
        let changed = [
            ("name", self.name != to.name),
            ("bpffs", self.bpffs != to.bpffs),
            ("cgroup", self.cgroup != to.cgroup),
            ("max-flows", self.max_flows != to.max_flows),
            ("refresh", self.refresh != to.refresh),
            ("keep", self.keep != to.keep),
            ("metrics", self.metrics != to.metrics),
            ("log-format", self.log_format != to.log_format),
        ];
        changed.into_iter().filter_map(|(name, is)| is.then_some(name)).collect()
    }
}

/// The file as deserialized, before validation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: Option<toml::Spanned<String>>,
    bpffs: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    max_flows: Option<toml::Spanned<u32>>,
    refresh: Option<toml::Spanned<u32>>,
    keep: Option<bool>,
    metrics: Option<toml::Spanned<String>>,
    log_format: Option<LogFormat>,
    #[serde(default)]
    include: Rules,
    #[serde(default)]
    exclude: Rules,
}

fn as_text<S: serde::Serializer>(name: &Option<Name>, to: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(AsRef::as_ref).serialize(to)
}

/// Range of `--max-flows`.
pub const MAX_FLOWS: std::ops::RangeInclusive<u32> = 1..=8_388_608;
/// Range of `--refresh`, in seconds.
pub const REFRESH: std::ops::RangeInclusive<u32> = 1..=86_400;

impl File {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// With the file, the line, what is wrong there and what is allowed.
    pub fn read(path: &Path) -> Result<File> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        File::parse(&text)
            .with_context(|| format!("the configuration file {} is wrong", path.display()))
    }

    /// Parses the text of a file.
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
        let settings = Settings {
            name: parsed(text, "name", written.name)?,
            bpffs: written.bpffs,
            cgroup: written.cgroup,
            max_flows: within(written.max_flows, "max-flows", MAX_FLOWS)?,
            refresh: within(written.refresh, "refresh", REFRESH)?,
            keep: written.keep,
            metrics: parsed(text, "metrics", written.metrics)?,
            log_format: written.log_format,
        };
        let policy = Policy { include: written.include, exclude: written.exclude };
        policy.fits()?;
        Ok(File { settings, policy })
    }
}

/// Parses a string setting like the option on the command line.
fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: &str,
    setting: &str,
    written: Option<toml::Spanned<String>>,
) -> Result<Option<T>> {
    let Some(written) = written else { return Ok(None) };
    let value = written.get_ref().parse().with_context(|| {
        format!("line {}: {setting} = {:?}", line(text, written.span().start), written.get_ref())
    })?;
    Ok(Some(value))
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
        let Settings { name, bpffs, cgroup, max_flows, refresh, keep, metrics, log_format } =
            file.settings;
        assert!(name.is_some() && bpffs.is_some() && cgroup.is_some());
        assert!(max_flows.is_some() && refresh.is_some());
        assert!(keep.is_some() && metrics.is_some() && log_format.is_some());
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
    fn every_setting_that_another_file_changes_is_named_as_it_is_written() {
        let all = "name = \"a\"\nbpffs = \"/b\"\ncgroup = \"/c\"\nmax-flows = 1\nrefresh = 1\nkeep = true\n\
                   metrics = \"unix:/m\"\nlog-format = \"json\"\n";
        let settings = File::parse(all).expect("a file").settings;
        let written: Vec<&str> = all.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(Settings::default().changes(&settings), written);
        assert!(settings.changes(&settings).is_empty());
        // As `shunt check-config --json` shows it, so that no setting is forgotten here.
        let serde_json::Value::Object(shown) = serde_json::to_value(&settings).expect("JSON")
        else {
            panic!("an object");
        };
        let mut shown: Vec<String> = shown.keys().map(|name| name.replace('_', "-")).collect();
        let mut written = written;
        shown.sort();
        written.sort();
        assert_eq!(shown, written);
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
            ("keep = 1", &["line 1", "boolean"]),
            ("\nmetrics = \"9464\"", &["line 2", "metrics = \"9464\"", "ADDRESS:PORT", "unix:"]),
            ("log-format = \"xml\"", &["line 1", "xml", "text", "json"]),
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
