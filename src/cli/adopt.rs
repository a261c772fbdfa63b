//! `shunt adopt`

use std::io::BufRead;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use super::{DONE, Instance, print};
use crate::agent::{self, Adopted, privileges};
use crate::instance;
use crate::policy::file::LogFormat;

/// Accelerate connections that were open before `shunt run`
///
/// `shunt run` does this when it starts, takes over or reloads its rules, if it may. Run it by hand
/// only where the agent lacks CAP_SYS_ADMIN, which it needs to enter the network namespaces of
/// other pods.
///
/// A connection is marked if both ends are open here, in the instance's cgroup, and no rule
/// excludes it. Its next segments in each direction carry a random number in a TCP option; once
/// each end has received the other's number, the connection is treated like a new one. Idle
/// connections are left alone until they send again.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt adopt                               those of the instance 'shunt'\n  \
    shunt adopt --name pods --json            JSON")]
pub struct Adopt {
    #[command(flatten)]
    instance: Instance,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Repeat for each line of standard input, until end of file; used by the agent
    #[arg(long, hide = true)]
    on_request: bool,
    /// The agent's log format
    #[arg(long, hide = true, value_enum, default_value_t)]
    pub(super) log_format: LogFormat,
}

impl Adopt {
    pub fn run(self) -> Result<ExitCode> {
        let instance = instance::Instance::open(self.instance.pins()?)?;
        if self.on_request {
            return on_request(&instance);
        }
        let adopted = agent::adopt(&instance)?;
        if self.json {
            print(format_args!("{}\n", serde_json::to_string(&adopted)?))?;
        } else {
            print(summary(&adopted))?;
        }
        Ok(DONE)
    }
}

/// Runs once, and again for each line of standard input; logs each run as one event.
fn on_request(instance: &instance::Instance) -> Result<ExitCode> {
    // The agent executes /proc/self/exe, which would otherwise become the thread's name.
    let _ = rustix::thread::set_name(c"shunt-adopt");
    privileges::give_up_all_but_looking()?;
    let mut requests = std::io::stdin().lock().lines();
    loop {
        let Adopted { namespaces, closed, held, local, excluded, marked, .. } =
            agent::adopt(instance).context("connections that are open already stay with TCP")?;
        tracing::info!(
            local,
            excluded,
            marked,
            namespaces,
            "looked for open connections with both ends here"
        );
        if closed > 0 {
            tracing::warn!(
                "open connections in {closed} network namespaces stay with TCP: entering them \
                 needs CAP_SYS_ADMIN (restart their clients, or run `shunt adopt` with it)"
            );
        }
        if held > 0 {
            tracing::warn!(
                "open connections in {held} network namespaces stay with TCP: a system call there \
                 holds a socket lock and does not return (`shunt adopt` tries again)"
            );
        }
        if requests.next().is_none_or(|line| line.is_err()) {
            return Ok(DONE);
        }
    }
}

fn summary(adopted: &Adopted) -> String {
    let Adopted { namespaces, closed, held, ends, local, excluded, marked } = adopted;
    let mut text = format!(
        "{marked} of {local} open connections with both ends here are marked; they are \
         accelerated when they next send\n\
         {excluded} are excluded by rules\n\
         looked at {ends} ends in {namespaces} network namespaces\n"
    );
    if *closed > 0 {
        text += &format!(
            "{closed} network namespaces could not be entered: that needs CAP_SYS_ADMIN\n"
        );
    }
    if *held > 0 {
        text += &format!(
            "{held} were skipped: a system call there holds a socket lock and does not return\n"
        );
    }
    text
}
