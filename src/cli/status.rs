//! `shunt status`

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{DONE, NOT_RUNNING, print};
use crate::instance::neighbours::{Neighbour, neighbours};
use crate::instance::{Instance, NoInstance, Pins};
use crate::observe::{self, LeftToTcp, Summary};

/// Show running instances: what share is direct, what is left to TCP and why
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt status                              every instance\n  \
    shunt status --name pods --json           one, as JSON; with all reasons and programs\n  \
    shunt status --name pods --wait 30        wait until its agent works, for scripts\n  \
    shunt status --wait 0                     whether all agents work now: exit code 0, or 3")]
pub struct Status {
    /// Show only this instance
    #[arg(long)]
    name: Option<crate::instance::Name>,
    /// Where the BPF file system is mounted [default: found in the mount table]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Wait this long for a working agent: exit code 0 once it works, 3 at the time limit [without
    /// a value: 60]
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "60",
        value_parser = clap::value_parser!(u32).range(0..=86_400)
    )]
    wait: Option<u32>,
}

#[derive(Serialize)]
struct Report {
    /// Version of this command.
    version: &'static str,
    /// The kernel's release.
    kernel: String,
    instances: Vec<InstanceStatus>,
}

#[derive(Serialize)]
struct InstanceStatus {
    name: String,
    /// Counts from 1; `run --replace` of a version with other records makes another one.
    generation: u32,
    /// `starting`, `running`, `draining`, `orphaned` when its agent is dead and its programs still
    /// work, or `incomplete` when the agent died while starting.
    state: &'static str,
    pid: u32,
    /// Seconds since 1970.
    started: u64,
    cgroup: PathBuf,
    pins: PathBuf,
    /// Enrolled sockets.
    flow_ends: usize,
    /// Connections whose client is enrolled.
    flows: usize,
    /// The lanes of these flows by the mode of their next message.
    directions: Directions,
    /// Messages of enrolled sockets since the instance was made.
    messages: Messages,
    /// The most frequent reason first.
    left_to_tcp: Vec<LeftToTcp>,
    /// What the operator should know.
    warnings: Vec<String>,
    /// Its agent lives, and connections of its cgroup are accelerated.
    at_work: bool,
}

#[derive(Default, Serialize)]
struct Directions {
    direct: usize,
    tcp: usize,
    ended: usize,
}

#[derive(Default, Serialize)]
struct Messages {
    direct: u64,
    tcp: u64,
    /// From 0 to 1.
    direct_share: Option<f64>,
}

impl Status {
    pub fn run(self) -> Result<ExitCode> {
        let begun = Instant::now();
        let patience = self.wait.map(|seconds| Duration::from_secs(seconds.into()));
        let instances = loop {
            let instances = self.instances();
            let is_late = patience.is_none_or(|patience| begun.elapsed() >= patience);
            if is_late || instances.as_ref().is_ok_and(|instances| all_working(instances)) {
                break instances;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let instances = match instances {
            Err(error) if patience.is_some() && error.is::<NoInstance>() => {
                print(format_args!("{error}\n"))?;
                return Ok(NOT_RUNNING.into());
            }
            instances => instances?,
        };
        let kernel =
            fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let code =
            if patience.is_none() || all_working(&instances) { DONE } else { NOT_RUNNING.into() };
        let report = Report { version: env!("CARGO_PKG_VERSION"), kernel, instances };
        print(if self.json {
            serde_json::to_string(&report)? + "\n"
        } else {
            text(&report, SystemTime::now())
        })?;
        Ok(code)
    }

    fn instances(&self) -> Result<Vec<InstanceStatus>> {
        let pins = match &self.name {
            Some(name) => vec![Pins::existing(name, self.bpffs.as_deref())?],
            None => Pins::all(self.bpffs.as_deref())?,
        };
        let mut instances = Vec::new();
        for pins in pins {
            instances.extend(self.status(&pins)?);
        }
        Ok(instances)
    }

    /// One entry for each generation.
    fn status(&self, pins: &Pins) -> Result<Vec<InstanceStatus>> {
        let alive = pins.is_kept()?;
        let mut parts = Vec::new();
        for generation in pins.generations()? {
            if generation.is_complete() {
                parts.push(
                    self.complete(&Instance::open_generation(pins.clone(), generation)?, alive)?,
                );
            } else {
                parts.push(incomplete(pins, generation.number(), alive));
            }
        }
        if parts.is_empty() {
            parts.push(incomplete(pins, 0, alive));
        }
        Ok(parts)
    }

    fn complete(&self, instance: &Instance, alive: bool) -> Result<InstanceStatus> {
        let about = instance.about()?;
        let draining = instance.control()?.draining != 0;
        let sum = Summary::of(instance)?;
        let [tcp, direct, ended] = sum.lanes;
        let mut status = InstanceStatus {
            name: instance.pins().name().to_string(),
            generation: instance.generation().number(),
            state: match (alive, draining) {
                (_, true) => "draining",
                (true, false) => "running",
                (false, false) => "orphaned",
            },
            pid: about.pid,
            started: about.started,
            cgroup: about.cgroup_path().to_owned(),
            pins: instance.generation().dir().to_owned(),
            flow_ends: sum.sockets,
            flows: sum.flows,
            directions: Directions { direct, tcp, ended },
            messages: Messages {
                direct: sum.direct_messages,
                tcp: sum.tcp_messages,
                direct_share: sum.direct_share(),
            },
            left_to_tcp: observe::left_to_tcp(instance)?,
            warnings: Vec::new(),
            at_work: false,
        };
        if draining {
            return Ok(status);
        }
        if !alive {
            status.warnings.push(format!(
                "its agent is dead: direct flows stay direct, new connections go by TCP; `shunt \
                 run --name {0} --replace` resumes, `shunt detach --name {0}` removes it",
                status.name
            ));
        }
        let there = fs::metadata(&status.cgroup).map(|about| about.ino()).ok();
        let attached = instance.cgroup()?;
        status.at_work = alive && attached != 0;
        match (attached, there) {
            (0, None) => status.warnings.push(
                "its cgroup is gone: nothing is accelerated until it is created again".into(),
            ),
            (0, Some(_)) => {
                status.warnings.push(
                    "its cgroup was removed and created again: the new one is not accelerated yet"
                        .into(),
                );
            }
            _ => {}
        }
        for Neighbour { name, cgroup } in
            neighbours(instance.pins().name(), &status.cgroup, self.bpffs.as_deref())?
        {
            let cgroup = cgroup.display();
            status.warnings.push(format!(
                "instance '{name}' on {cgroup} handles the same connections: stop one of them"
            ));
        }
        Ok(status)
    }
}

fn incomplete(pins: &Pins, generation: u32, alive: bool) -> InstanceStatus {
    InstanceStatus {
        name: pins.name().to_string(),
        generation,
        state: if alive { "starting" } else { "incomplete" },
        pid: 0,
        started: 0,
        cgroup: PathBuf::new(),
        pins: pins.dir().to_owned(),
        flow_ends: 0,
        flows: 0,
        directions: Directions::default(),
        messages: Messages::default(),
        left_to_tcp: Vec::new(),
        warnings: Vec::new(),
        at_work: false,
    }
}

/// Whether there is an instance, and each has a working generation; older ones may drain.
fn all_working(instances: &[InstanceStatus]) -> bool {
    let of =
        |name: &str| instances.iter().any(|instance| instance.name == name && instance.at_work);
    !instances.is_empty() && instances.iter().all(|instance| of(&instance.name))
}

/// Formats the report for a terminal of 80 columns.
fn text(report: &Report, now: SystemTime) -> String {
    let mut text = format!("shunt {} on Linux {}\n", report.version, report.kernel);
    if report.instances.is_empty() {
        text += "no instance here; `shunt run` starts one\n";
    }
    for instance in &report.instances {
        // Writing to a string never fails.
        let _ = part(&mut text, instance, now);
    }
    text
}

fn part(text: &mut String, status: &InstanceStatus, now: SystemTime) -> std::fmt::Result {
    /// Limit of reasons, and of programs for each.
    const LIMIT: usize = 3;
    let name = &status.name;
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(status.started))
        .unwrap_or_default();
    match status.state {
        "starting" => return writeln!(text, "\n{name}: starting"),
        "incomplete" => {
            return writeln!(
                text,
                "\n{name}: was killed while starting; `shunt detach --name {name}` removes it"
            );
        }
        "draining" => writeln!(text, "\n{name}: draining, every connection goes by TCP")?,
        "orphaned" => {
            writeln!(text, "\n{name}: orphaned, its agent (process {}) is dead", status.pid)?
        }
        state => {
            writeln!(text, "\n{name}: {state} for {}, process {}", duration(since), status.pid)?
        }
    }
    let Directions { direct, tcp, ended } = status.directions;
    writeln!(text, "  cgroup       {}", status.cgroup.display())?;
    writeln!(
        text,
        "  flows        {} open; directions: {direct} direct, {tcp} by TCP, {ended} ended",
        status.flows
    )?;
    let Messages { direct, tcp, direct_share } = status.messages;
    match direct_share {
        Some(share) => {
            writeln!(text, "  messages     {:.1} % direct of {}", share * 100.0, direct + tcp)?
        }
        None => writeln!(text, "  messages     none yet")?,
    }
    for (index, reason) in status.left_to_tcp.iter().take(LIMIT).enumerate() {
        let heading = if index == 0 { "left to TCP" } else { "" };
        let programs: Vec<_> =
            reason.programs.iter().take(LIMIT).map(|p| format!("{} {}", p.name, p.times)).collect();
        let line = format!(
            "  {heading:<11}  {:>6} {:<13}  {}",
            reason.times,
            reason.reason,
            programs.join(", ")
        );
        writeln!(text, "{}", line.trim_end())?;
    }
    if status.left_to_tcp.len() > LIMIT {
        writeln!(
            text,
            "  {:<11}  {:>6} more: shunt stats",
            "and",
            status.left_to_tcp.len() - LIMIT
        )?;
    }
    for warning in &status.warnings {
        writeln!(text, "  warning      {warning}")?;
    }
    Ok(())
}

/// The two largest units.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> InstanceStatus {
        let program = |name: &str, times| observe::Program { name: name.into(), times };
        let left = |reason, times, programs| LeftToTcp { reason, meaning: "", times, programs };
        InstanceStatus {
            name: "pods".into(),
            generation: 1,
            state: "running",
            pid: 4711,
            started: 1_000,
            cgroup: "/sys/fs/cgroup/kubepods.slice".into(),
            pins: "/sys/fs/bpf/shunt/pods/1".into(),
            flow_ends: 12,
            flows: 6,
            directions: Directions { direct: 9, tcp: 2, ended: 1 },
            messages: Messages { direct: 982, tcp: 18, direct_share: Some(0.982) },
            left_to_tcp: vec![
                left("splices", 34, vec![program("docker-proxy", 30), program("etcd", 4)]),
                left(
                    "blocking_file",
                    12,
                    vec![program("curl", 9), program("a", 1), program("b", 1), program("c", 1)],
                ),
                left("excluded", 3, vec![]),
                left("foreign", 1, vec![]),
            ],
            warnings: vec!["something".into()],
            at_work: true,
        }
    }

    fn shown(instances: Vec<InstanceStatus>) -> String {
        let report = Report { version: "2.0.0", kernel: "6.18.15".into(), instances };
        text(&report, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + 3 * 3_600 + 12 * 60))
    }

    #[test]
    fn a_running_instance_fits_one_screen() {
        let expected = "shunt 2.0.0 on Linux 6.18.15\n\
            \n\
            pods: running for 3 h 12 min, process 4711\n\
            \x20 cgroup       /sys/fs/cgroup/kubepods.slice\n\
            \x20 flows        6 open; directions: 9 direct, 2 by TCP, 1 ended\n\
            \x20 messages     98.2 % direct of 1000\n\
            \x20 left to TCP      34 splices        docker-proxy 30, etcd 4\n\
            \x20                  12 blocking_file  curl 9, a 1, b 1\n\
            \x20                   3 excluded\n\
            \x20 and               1 more: shunt stats\n\
            \x20 warning      something\n";
        assert_eq!(shown(vec![running()]), expected);
    }

    #[test]
    fn every_state_says_what_to_do() {
        let state = |state| shown(vec![InstanceStatus { state, ..running() }]);
        assert!(state("incomplete").contains("shunt detach --name pods"));
        assert!(state("starting").ends_with("pods: starting\n"));
        assert!(state("draining").contains("every connection goes by TCP"));
        assert!(state("orphaned").contains("process 4711"));
        assert!(shown(Vec::new()).contains("`shunt run` starts one"));
    }

    #[test]
    fn every_instance_has_to_work_and_draining_generations_do_not_count() {
        let of = |name: &str, at_work| InstanceStatus { name: name.into(), at_work, ..running() };
        assert!(all_working(&[of("a", true), of("b", false), of("b", true)]));
        assert!(!all_working(&[of("a", true), of("b", false)]));
        assert!(!all_working(&[]));
    }

    #[test]
    fn a_duration_is_shown_in_its_two_largest_units() {
        let cases = [(0, "0 s"), (61, "1 min 1 s"), (7_199, "1 h 59 min"), (90_000, "1 d 1 h")];
        for (seconds, expected) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }
}
