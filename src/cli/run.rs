//! `shunt run`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::{DONE, Instance, UNREAD};
use crate::agent::{Agent, Config, Ended};

/// Accelerate every connection with both ends in a cgroup, until stopped
///
/// Prints one line that begins with "ready" when everything is attached; logs go to stderr.
///
/// SIGTERM or Ctrl-C stops it without losing a byte: every connection goes on by TCP, and what was on its way is read first. A second
/// signal stops at once and leaves the connections as they are; `shunt detach` takes them out later.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt run                                              the whole node\n  \
    shunt run --cgroup /sys/fs/cgroup/kubepods.slice       what Kubernetes runs\n  \
    shunt run --replace                                    upgrade in place, or go on after a crash\n  \
    shunt run --name a --cgroup … & shunt run --name b …   two instances on different cgroups")]
pub struct Run {
    #[command(flatten)]
    instance: Instance,
    /// The cgroup (v2) whose sockets are accelerated, with all below it [default: the root, found in the mount table]
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// The most connections that can be accelerated at once; more go by TCP
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=8_388_608))]
    max_flows: u32,
    /// The longest time between two messages that each direction sends by TCP, so that connection tracking does not forget a NAT hop
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    refresh: u32,
    /// Accelerate sockets without O_NONBLOCK, too: a thread that sleeps in recv() on one is answered EAGAIN when a signal wakes it
    #[arg(long)]
    blocking_readers: bool,
    /// Take over from an agent of this name, running or dead: its flows go on, new ones are accelerated all the time, and a running agent
    /// ends. A part of another version goes on beside until its readers have read what was redirected to them
    #[arg(long)]
    replace: bool,
}

impl Run {
    pub fn run(self) -> Result<ExitCode> {
        let config = Config {
            name: self.instance.name,
            bpffs: self.instance.bpffs,
            cgroup: self.cgroup,
            flows: self.max_flows,
            refresh: Duration::from_secs(self.refresh.into()),
            blocking_readers: self.blocking_readers,
            replace: self.replace,
        };
        let agent = Agent::start(&config)?;
        {
            let mut out = std::io::stdout().lock();
            writeln!(out, "ready: {}", agent.summary())
                .and_then(|()| out.flush())
                .context("cannot write to standard output")?;
        }
        match agent.run()? {
            Ended::Clean | Ended::HandedOver => Ok(DONE),
            Ended::Unread => Ok(UNREAD.into()),
        }
    }
}
