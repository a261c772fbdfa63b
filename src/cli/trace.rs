//! `shunt trace`

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::{DONE, Instance, flows::bytes, print};
use crate::instance;
use crate::observe::{Change, Tracing};

/// Trace each change of a lane's mode with its reason, and each closed end
///
/// The kernel programs emit an event only when a lane changes, and only while a tracer runs:
/// messages sent like the one before cost nothing. Events that a slow reader misses are counted and
/// reported.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt trace                         everything, until Ctrl-C\n  \
    shunt trace --port 5432             only flows with this port\n  \
    shunt trace --comm nginx --json     JSON, one object a line\n\n\
    EVENT is direct, tcp, ended or closed; WHY is a reason that `shunt stats` explains.")]
pub struct Trace {
    #[command(flatten)]
    instance: Instance,
    /// Only flows with this port at either end
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only lanes whose sending socket this process holds
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Only lanes whose sender's process has this name
    #[arg(long, value_name = "NAME")]
    comm: Option<String>,
    /// Only lanes whose sender's cgroup path or container name contains this: a folder, a pod's
    /// uid, a container's id, NAMESPACE/POD
    #[arg(long, value_name = "TEXT")]
    cgroup: Option<String>,
    /// Stop after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    duration: Option<u32>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Trace {
    pub fn run(self) -> Result<ExitCode> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in
            [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, Arc::clone(&stop))
                .context("cannot take signals")?;
        }
        let mut tracing = Tracing::start(instance::Instance::open(self.instance.pins()?)?)?;
        let begun = Instant::now();
        let end = self.duration.map(|seconds| Duration::from_secs(seconds.into()));
        let mut first = None;
        eprintln!("tracing; Ctrl-C ends it");
        while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| begun.elapsed() < end) {
            let wait = end.map_or(Duration::MAX, |end| end.saturating_sub(begun.elapsed()));
            let changes = tracing.next(wait)?;
            for change in changes.iter().filter(|change| self.shows(change)) {
                let line = if self.json {
                    serde_json::to_string(change)?
                } else {
                    line(change, change.time - *first.get_or_insert(change.time))
                };
                print(format_args!("{line}\n"))?;
            }
        }
        let lost = tracing.lost()?;
        if lost > 0 {
            eprintln!("{lost} events were lost: they came faster than they could be read");
        }
        Ok(DONE)
    }

    fn shows(&self, change: &Change) -> bool {
        let process = change.process.as_ref();
        self.port.is_none_or(|port| change.local.port() == port || change.remote.port() == port)
            && self.pid.is_none_or(|pid| process.is_some_and(|process| process.pid == pid))
            && self
                .comm
                .as_ref()
                .is_none_or(|comm| process.is_some_and(|process| process.name == *comm))
            && self.cgroup.as_ref().is_none_or(|text| {
                change.workload.as_ref().is_some_and(|workload| workload.mentions(text))
            })
    }
}

/// Formats a change as text.
fn line(change: &Change, since: f64) -> String {
    let who = match &change.process {
        Some(process) => format!(" {}[{}]", process.name, process.pid),
        None => String::new(),
    };
    let where_ = change
        .workload
        .as_ref()
        .map(|workload| format!(" in {}", workload.short()))
        .unwrap_or_default();
    let what = format!("{:<6} {}", change.event, change.why.unwrap_or_default());
    let sent = match change.direct_messages {
        0 => String::new(),
        messages => format!("  {messages} direct, {}", bytes(change.direct_bytes)),
    };
    let (local, remote, role) = (change.local, change.remote, change.role);
    format!("{since:>11.6} {what:<20} {role} {local} > {remote}{who}{where_}{sent}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::host::Process;
    use crate::observe::Workload;
    use clap::{FromArgMatches, Parser};

    fn change() -> Change {
        Change {
            time: 10.0,
            event: "tcp",
            why: Some("memory_gate"),
            role: "client",
            local: ([127, 0, 0, 1], 4000).into(),
            remote: ([127, 0, 0, 1], 80).into(),
            cookie: 7,
            process: Some(Process { pid: 42, name: "curl".into() }.into()),
            workload: Some(
                Workload::of("/kubepods/pod8dbc5577-d0e2-4706-8787-57d52c03ddf2").into(),
            ),
            direct_messages: 3,
            direct_bytes: 2048,
        }
    }

    #[test]
    fn a_change_is_a_line() {
        let text = "   0.500000 tcp    memory_gate   client 127.0.0.1:4000 > 127.0.0.1:80 \
                    curl[42] in 8dbc5577-d0e  3 direct, 2.0 KiB";
        assert_eq!(line(&change(), 0.5), text);
    }

    #[test]
    fn each_filter_shows_only_what_it_names() {
        let shows = |arguments: &[&str]| {
            let mut command = <Trace as Args>::augment_args(clap::Command::new("trace"));
            let matches = command
                .try_get_matches_from_mut([&["trace"], arguments].concat())
                .expect("arguments");
            Trace::from_arg_matches(&matches).expect("arguments").shows(&change())
        };
        assert!(shows(&[]));
        for (option, right, wrong) in [
            ("--port", "80", "81"),
            ("--port", "4000", "4001"),
            ("--pid", "42", "4"),
            ("--comm", "curl", "cur"),
            ("--cgroup", "8dbc5577", "9dbc5577"),
            ("--cgroup", "/kubepods", "/system"),
        ] {
            assert!(shows(&[option, right]), "{option} {right}");
            assert!(!shows(&[option, wrong]), "{option} {wrong}");
        }
        assert!(!shows(&["--port", "80", "--pid", "4"]));
        assert!(Cli::try_parse_from(["shunt", "trace", "--for", "1"]).is_ok());
    }
}
