//! `shunt run`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::log::LogFormat;
use super::{DONE, say};
use crate::agent::{Agent, Config, Ended, privileges};
use crate::instance::{self, Name};
use crate::observe::{Collector, Endpoint, Responder};
use crate::policy::Policy;
use crate::policy::file::{self, File, Settings};

/// Accelerate every connection with both ends in a cgroup, until stopped
///
/// Prints one line that begins with "ready" when everything is attached; logs go to stderr.
///
/// SIGTERM or Ctrl-C stops it without losing a byte: every connection goes on by TCP.
///
/// Connections that are open already are accelerated as well, as `shunt adopt --help` describes. A
/// process of its own looks for them, which keeps CAP_SYS_ADMIN to enter their network namespaces.
///
/// Starting takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and CAP_SYS_ADMIN if a BPF file system
/// has to be mounted. Once started it keeps the first three, and CAP_SYS_PTRACE if it was given: by
/// that it looks at the executables of other users' processes, which stay with TCP otherwise, and
/// names processes in what it shows. Everything else is given up for good.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt run                                              the whole node\n  \
    shunt run --cgroup /sys/fs/cgroup/kubepods.slice       what Kubernetes runs\n  \
    shunt run --replace                                    upgrade in place, or go on after a crash\n  \
    shunt run --config /etc/shunt/shunt.toml               as a file says: shunt check-config --help\n  \
    shunt run --name a --cgroup … & shunt run --name b …   two instances on different cgroups")]
pub struct Run {
    /// Name of the instance; several can run side by side on different cgroups [default: shunt]
    #[arg(long)]
    name: Option<Name>,
    /// Where the BPF file system is mounted [default: found in the mount table]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Read settings and rules from this file, and the rules again on SIGHUP; options given here
    /// count before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cgroup (v2) whose sockets are accelerated, with all below it [default: the root, found
    /// in the mount table]
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// The most connections that can be accelerated at once; more go by TCP [default: 262144]
    #[arg(long, value_name = "N", value_parser = within(file::MAX_FLOWS))]
    max_flows: Option<u32>,
    /// The longest time between two messages that each direction sends by TCP, so that connection
    /// tracking does not forget a NAT hop [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = within(file::REFRESH))]
    refresh: Option<u32>,
    /// When stopped, leave the datapath at work for the next agent instead of taking it away;
    /// `shunt detach` does that
    #[arg(long)]
    keep: bool,
    /// Answer scrapes of Prometheus or OpenMetrics here, at /metrics, and probes at /livez and
    /// /healthz: ADDRESS:PORT or unix:PATH
    #[arg(long, value_name = "WHERE")]
    metrics: Option<Endpoint>,
    /// Take over from an agent of this name, running or dead: its flows go on, new ones are
    /// accelerated all the time, and a running agent ends. What another version has enrolled goes
    /// by TCP and leaves, connection by connection
    #[arg(long)]
    replace: bool,
    /// How the log is written, which goes to stderr
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
}

fn within(allowed: std::ops::RangeInclusive<u32>) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*allowed.start())..=i64::from(*allowed.end()))
}

impl Run {
    /// What is said on the command line counts before what the file says.
    fn config(self) -> Result<Config> {
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
        Ok(Config {
            name,
            bpffs: self.bpffs.or(settings.bpffs.clone()),
            cgroup: self.cgroup.or(settings.cgroup.clone()),
            flows: self.max_flows.or(settings.max_flows).unwrap_or(FLOWS),
            refresh: Duration::from_secs(refresh.into()),
            keep: self.keep,
            replace: self.replace,
            settings,
            policy,
            file: path,
            log_as_json: self.log_format == LogFormat::Json,
        })
    }

    pub fn run(self) -> Result<ExitCode> {
        let metrics = self.metrics.clone();
        let config = self.config()?;
        // A place that is taken is known before anything is attached, and before another agent
        // hands over.
        let predecessor = config
            .replace
            .then(|| instance::running(&config.name, config.bpffs.as_deref()))
            .flatten();
        let bound = |endpoint| Responder::bind_unless_taken_by(predecessor, endpoint);
        let responder = metrics.as_ref().map(bound).transpose()?.flatten();
        let mut agent = Agent::start(&config)?;
        agent.adopt();
        let responder = responder.or_else(|| after_another(metrics.as_ref()?));
        // Before any thread is started, since each has its own.
        match privileges::give_up() {
            Ok(kept) => {
                tracing::info!("keeps {} and gives up every other privilege", kept.join(", "))
            }
            Err(error) => return Err(agent.abandon(error)),
        }
        if let Some(responder) = &responder {
            let collector = Collector::open(agent.pins().clone());
            match collector.and_then(|collector| responder.serve(collector)) {
                Ok(()) => tracing::info!("metrics at {}", responder.endpoint()),
                Err(error) => return Err(agent.abandon(error)),
            }
        }
        // From here on it is at work, whether that can be said or not.
        if let Err(error) = say(format_args!("ready: {}\n", agent.summary())) {
            tracing::warn!("it is ready, but: {error:#}");
        }
        let _: Ended = agent.run()?;
        Ok(DONE)
    }
}

/// Takes the place of the metrics of an agent that has just handed over: if somebody else was
/// faster, the connections count for more.
fn after_another(endpoint: &Endpoint) -> Option<Responder> {
    Responder::bind_after_another(endpoint)
        .inspect_err(|error| tracing::error!("goes on without metrics: {error:#}"))
        .ok()
}
