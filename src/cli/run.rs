//! `shunt run`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{DONE, log, print};
use crate::agent::{Agent, Config, Ended, privileges};
use crate::host::Endpoint;
use crate::instance::{self, Name};
use crate::observe::{Collector, Responder};
use crate::policy::Policy;
use crate::policy::file::{self, File, LogFormat, Settings};

/// Accelerate every connection with both ends in a cgroup, until stopped
///
/// Prints one line that begins with "ready" when everything is attached; logs go to stderr.
///
/// SIGTERM or Ctrl-C stops it without losing a byte: every connection continues by TCP.
///
/// Connections that are already open are accelerated too, see `shunt adopt --help`. A separate
/// process looks for them and keeps CAP_SYS_ADMIN to enter their network namespaces.
///
/// Starting needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and CAP_SYS_ADMIN if a BPF file system
/// has to be mounted. Once started it keeps the first three, and CAP_SYS_PTRACE if given: that lets
/// it examine the executables of other users' processes, which stay with TCP otherwise, and show
/// the names of processes. All other privileges are dropped for good.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt run                                              the whole node\n  \
    shunt run --cgroup /sys/fs/cgroup/kubepods.slice       Kubernetes pods\n  \
    shunt run --replace                                    upgrade in place, or after a crash\n  \
    shunt run --config /etc/shunt/shunt.toml               see shunt check-config --help\n  \
    shunt run --name a --cgroup … & shunt run --name b …   two instances on different cgroups")]
pub struct Run {
    /// Name of the instance; several can run side by side on different cgroups [default: shunt]
    #[arg(long)]
    name: Option<Name>,
    /// Where the BPF file system is mounted [default: found in the mount table]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Read settings and rules from this file, and the rules again on SIGHUP; options on the
    /// command line take precedence
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cgroup (v2) whose sockets, and those of its descendants, are accelerated [default: the
    /// root, found in the mount table]
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Maximum number of accelerated connections; more go by TCP [default: 262144]
    #[arg(long, value_name = "N", value_parser = within(file::MAX_FLOWS))]
    max_flows: Option<u32>,
    /// Longest time between two messages that each direction sends by TCP, so that connection
    /// tracking keeps its entry of a NAT hop [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = within(file::REFRESH))]
    refresh: Option<u32>,
    /// When stopped, leave the programs attached for the next agent. Otherwise a stop removes them,
    /// as `shunt detach` does
    #[arg(
        long,
        value_name = "true|false",
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    keep: Option<bool>,
    /// Serve metrics for Prometheus or OpenMetrics at /metrics, and probes at /livez and /healthz:
    /// ADDRESS:PORT or unix:PATH
    #[arg(long, value_name = "WHERE")]
    metrics: Option<Endpoint>,
    /// Take over from an agent of this name, running or dead: its flows continue, new ones are
    /// accelerated without interruption, and a running agent exits. Sockets that another version
    /// has enrolled go by TCP and leave the map one by one
    #[arg(long)]
    replace: bool,
    /// Format of the log on stderr [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

fn within(allowed: std::ops::RangeInclusive<u32>) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*allowed.start())..=i64::from(*allowed.end()))
}

impl Run {
    /// The command line takes precedence over the file.
    fn config(self) -> Result<(Config, Option<Endpoint>)> {
        const NAME: &str = "shunt";
        const FLOWS: u32 = 262_144;
        const REFRESH: u32 = 60;
        let path = self
            .config
            .as_deref()
            .map(std::path::absolute)
            .transpose()
            .context("cannot find the working directory")?;
        let (settings, policy) = match &path {
            Some(path) => {
                let File { settings, policy } = File::read(path)?;
                (settings, policy)
            }
            None => (Settings::default(), Policy::default()),
        };
        let name = match self.name.or(settings.name.clone()) {
            Some(name) => name,
            None => NAME.parse()?,
        };
        let refresh = self.refresh.or(settings.refresh).unwrap_or(REFRESH);
        let metrics = self.metrics.or(settings.metrics.clone());
        let log_format = self.log_format.or(settings.log_format).unwrap_or_default();
        let config = Config {
            name,
            bpffs: self.bpffs.or(settings.bpffs.clone()),
            cgroup: self.cgroup.or(settings.cgroup.clone()),
            flows: self.max_flows.or(settings.max_flows).unwrap_or(FLOWS),
            refresh: Duration::from_secs(refresh.into()),
            keep: self.keep.or(settings.keep).unwrap_or(false),
            replace: self.replace,
            settings,
            policy,
            file: path,
            log_format,
        };
        Ok((config, metrics))
    }

    pub fn run(self) -> Result<ExitCode> {
        let (config, metrics) = self.config()?;
        log::begin(config.log_format);
        raise_open_files();
        // An endpoint in use is detected before anything is attached or another agent hands over.
        let predecessor = config
            .replace
            .then(|| instance::running(&config.name, config.bpffs.as_deref()))
            .flatten();
        let bound = |endpoint| Responder::bind_unless_taken_by(predecessor, endpoint);
        let responder = metrics.as_ref().map(bound).transpose()?.flatten();
        let mut agent = Agent::start(&config)?;
        agent.adopt();
        let responder = responder.or_else(|| after_another(metrics.as_ref()?));
        // Privileges are per thread: drop them before starting any.
        match privileges::give_up() {
            Ok(kept) => {
                tracing::info!("keeps {} and gives up every other privilege", kept.join(", "))
            }
            Err(error) => return Err(agent.abandon(error)),
        }
        if let Some(responder) = &responder {
            let collector = Collector::open(agent.pins().clone());
            match collector.and_then(|collector| responder.serve(collector)) {
                Ok(()) => tracing::info!("metrics at {}", responder.url()),
                Err(error) => return Err(agent.abandon(error)),
            }
        }
        // The agent is working now, so a failure to print is only logged.
        if let Err(error) = print(format_args!("ready: {}\n", agent.summary())) {
            tracing::warn!("ready, but cannot say so: {error:#}");
        }
        let _: Ended = agent.run()?;
        Ok(DONE)
    }
}

/// Raises the limit of open files as far as it may be. Where enrolment goes by process, each process
/// with candidates takes a descriptor, and services begin with a limit of 1024.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
}

/// Binds the metrics endpoint of an agent that has just handed over. If another process took it,
/// connections matter more than metrics.
fn after_another(endpoint: &Endpoint) -> Option<Responder> {
    Responder::bind_after_another(endpoint)
        .inspect_err(|error| tracing::error!("continues without metrics: {error:#}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn told(options: &[&str]) -> (Config, Option<Endpoint>) {
        let line = [&["run"], options].concat();
        let line = Line::try_parse_from(&line).expect("arguments");
        line.run.config().expect("a configuration")
    }

    /// Whoever starts an agent decides these; a file that could say them would have to be found
    /// first, or would stop the agent that runs at each start.
    const COMMAND_LINE_ONLY: [&str; 2] = ["config", "replace"];

    #[test]
    fn every_option_can_stand_in_the_file_and_the_file_has_no_other() {
        let options: BTreeSet<String> = Line::command()
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .filter(|option| option != "help" && !COMMAND_LINE_ONLY.contains(&option.as_str()))
            .collect();
        let settings = serde_json::to_value(Settings::default()).expect("JSON");
        let settings = settings.as_object().expect("an object").keys();
        let settings: BTreeSet<String> = settings.map(|name| name.replace('_', "-")).collect();
        assert_eq!(options, settings);
    }

    #[test]
    fn a_setting_in_the_file_means_what_the_option_means_which_counts_before_it() {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        let path = file.path().to_str().expect("text");
        let cases = [
            ("name", "\"a\"", "a", "b"),
            ("bpffs", "\"/a\"", "/a", "/b"),
            ("cgroup", "\"/a\"", "/a", "/b"),
            ("max-flows", "7", "7", "8"),
            ("refresh", "7", "7", "8"),
            ("keep", "true", "true", "false"),
            ("metrics", "\"[::1]:7\"", "[::1]:7", "unix:/m"),
            ("log-format", "\"json\"", "json", "text"),
        ];
        let number = serde_json::to_value(Settings::default()).expect("JSON");
        assert_eq!(cases.len(), number.as_object().expect("an object").len());
        // What is told, without where it was read.
        let shown = |options: &[&str]| {
            let (config, metrics) = told(options);
            let config = Config { settings: Settings::default(), file: None, ..config };
            format!("{config:?} {metrics:?}")
        };
        for (setting, written, option, another) in cases {
            fs::write(path, format!("{setting} = {written}")).expect("write it");
            let option = format!("--{setting}={option}");
            let another = format!("--{setting}={another}");
            assert_ne!(shown(&[]), shown(&[&option]), "{setting}");
            assert_eq!(shown(&["--config", path]), shown(&[&option]), "{setting}");
            assert_eq!(shown(&["--config", path, &another]), shown(&[&another]), "{setting}");
        }
        assert!(told(&["--keep"]).0.keep);
    }
}
