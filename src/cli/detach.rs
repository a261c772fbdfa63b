//! `shunt detach`

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{DONE, Instance, say};
use crate::agent;
use crate::instance::Pins;

/// Remove what a killed instance left, without losing data
///
/// A killed agent's programs keep working: traffic goes on. This takes them out: every connection
/// goes on by TCP, and everything is detached and unpinned. It takes half a second if connections
/// are at rest: these stay in the kernel's socket map until they close.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    shunt detach --name pods")]
pub struct Detach {
    #[command(flatten)]
    instance: Instance,
}

impl Detach {
    pub fn run(self) -> Result<ExitCode> {
        let name = self.instance.name;
        let pins = Pins::existing(&name, self.instance.bpffs.as_deref())?;
        let Some(_lock) = pins.lock()? else {
            bail!(
                "instance '{name}' is running: stop it with SIGTERM, which detaches it without losing data"
            );
        };
        let remaining =
            agent::detach(&pins).with_context(|| format!("cannot detach instance '{name}'"))?;
        say(format_args!("instance '{name}' is gone\n"))?;
        if remaining > 0 {
            eprintln!(
                "shunt: {remaining} sockets were at rest and stay in the kernel's socket map until they close: nothing is lost, they go \
                 by TCP"
            );
        }
        Ok(DONE)
    }
}
