//! `shunt status`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::table::Table;
use super::{DONE, say};
use crate::agent::{Instance, Pins};

/// What runs here: every instance, its cgroup and its state
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt status                              every instance\n  \
    shunt status --name pods --json           one, for machines")]
pub struct Status {
    /// Only this instance
    #[arg(long)]
    name: Option<crate::agent::Name>,
    /// Where the BPF file system is mounted [default: found in the mount table]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct InstanceStatus {
    name: String,
    /// Counts from 1; another one is made beside it only by `shunt run --replace` of a version whose records differ.
    generation: u32,
    /// `starting`, `running`, `draining`, `orphaned` when its agent is dead and its programs still work, or `incomplete` when it died
    /// while it started.
    state: &'static str,
    pid: u32,
    /// Seconds since 1970.
    started: u64,
    cgroup: String,
    pins: PathBuf,
    flow_ends: usize,
}

impl Status {
    pub fn run(self) -> Result<ExitCode> {
        let pins = match &self.name {
            Some(name) => vec![Pins::existing(name, self.bpffs.as_deref())?],
            None => Pins::all(self.bpffs.as_deref())?,
        };
        let mut all = Vec::new();
        for pins in pins {
            all.extend(status(&pins)?);
        }
        if self.json {
            say(format_args!("{}\n", serde_json::json!({ "instances": all })))?;
            return Ok(DONE);
        }
        if all.is_empty() {
            say("nothing runs here; `shunt run` starts it\n")?;
            return Ok(DONE);
        }
        let mut table = Table::new(&["NAME", "STATE", "PID", "SOCKETS", "CGROUP"]);
        for one in all {
            table.row([one.name, one.state.into(), one.pid.to_string(), one.flow_ends.to_string(), one.cgroup]);
        }
        say(table)?;
        Ok(DONE)
    }
}

/// A row for each generation.
fn status(pins: &Pins) -> Result<Vec<InstanceStatus>> {
    let alive = pins.is_kept()?;
    let mut rows = Vec::new();
    for generation in pins.generations()? {
        if generation.is_complete() {
            rows.push(complete(Instance::open_generation(pins.clone(), generation)?, alive)?);
        } else {
            rows.push(incomplete(pins, generation.number(), alive));
        }
    }
    if rows.is_empty() {
        rows.push(incomplete(pins, 0, alive));
    }
    Ok(rows)
}

fn incomplete(pins: &Pins, generation: u32, alive: bool) -> InstanceStatus {
    InstanceStatus {
        name: pins.name().to_string(),
        generation,
        state: if alive { "starting" } else { "incomplete" },
        pid: 0,
        started: 0,
        cgroup: String::new(),
        pins: pins.dir().to_owned(),
        flow_ends: 0,
    }
}

fn complete(instance: Instance, alive: bool) -> Result<InstanceStatus> {
    let about = instance.about()?;
    let draining = instance.control()?.draining != 0;
    Ok(InstanceStatus {
        name: instance.pins().name().to_string(),
        generation: instance.generation().number(),
        state: match (alive, draining) {
            (_, true) => "draining",
            (true, false) => "running",
            (false, false) => "orphaned",
        },
        pid: about.pid,
        started: about.started,
        cgroup: String::from_utf8_lossy(about.cgroup_path()).into_owned(),
        pins: instance.generation().dir().to_owned(),
        flow_ends: instance.ends()?.len(),
    })
}
