//! `shunt adopt`

use std::io::BufRead;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use super::log::LogFormat;
use super::{DONE, Instance, say};
use crate::agent::{self, Adopted, privileges};
use crate::instance;

/// Accelerate connections that were open before `shunt run`
///
/// `shunt run` does this when it starts, when it takes over and when its rules are read again, if
/// it may: by hand it is only needed where the agent has no CAP_SYS_ADMIN, which it takes to look
/// into the network namespaces of other pods.
///
/// A connection is marked if both of its ends are open here, in the instance's cgroup, and no rule
/// excludes it. Its next segments in each direction carry a random number in an option of their TCP
/// headers, which has to come out at the other end: then the connection is accelerated like one
/// that is new. Connections that are at rest stay as they are until they go on.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt adopt                               those of the instance 'shunt'\n  \
    shunt adopt --name pods --json            for machines")]
pub struct Adopt {
    #[command(flatten)]
    instance: Instance,
    /// For machines
    #[arg(long)]
    json: bool,
    /// Again for each line that is read from standard input, until that ends; for the agent
    #[arg(long, hide = true)]
    on_request: bool,
    /// That of the agent
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
            say(format_args!("{}\n", serde_json::to_string(&adopted)?))?;
        } else {
            say(told(&adopted))?;
        }
        Ok(DONE)
    }
}

/// Once, and again for each line of standard input. What the agent's log has to say of it is said
/// in a line.
fn on_request(instance: &instance::Instance) -> Result<ExitCode> {
    // It is started by a link that says nothing of it.
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
                "open connections in {closed} network namespaces stay with TCP: entering these takes CAP_SYS_ADMIN (restart their clients, \
                 or run `shunt adopt` with it)"
            );
        }
        if held > 0 {
            tracing::warn!(
                "open connections in {held} network namespaces stay with TCP: some process there is in a call that holds a socket and does \
                 not end (`shunt adopt` tries again)"
            );
        }
        if requests.next().is_none_or(|line| line.is_err()) {
            return Ok(DONE);
        }
    }
}

fn told(adopted: &Adopted) -> String {
    let Adopted { namespaces, closed, held, ends, local, excluded, marked } = adopted;
    let mut text = format!(
        "{marked} of {local} open connections with both ends here are marked; they are accelerated when they go on\n\
         {excluded} are excluded by rules\n\
         looked at {ends} ends in {namespaces} network namespaces\n"
    );
    if *closed > 0 {
        text += &format!(
            "{closed} network namespaces could not be entered: that takes CAP_SYS_ADMIN\n"
        );
    }
    if *held > 0 {
        text += &format!(
            "{held} were left out: some process there is in a call that holds a socket and does not end\n"
        );
    }
    text
}
