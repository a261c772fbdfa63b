//! `shunt detach`

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{DONE, Instance, print};
use crate::agent;
use crate::instance::Pins;

/// Remove what a killed instance left, without losing data
///
/// A killed agent's programs keep working. This sets every connection to TCP, detaches the programs
/// and removes the pins. Idle connections delay it by half a second and stay in the kernel's socket
/// map until they close.
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
                "instance '{name}' is running: stop it with SIGTERM, which detaches it without \
                 losing data"
            );
        };
        let remaining =
            agent::detach(&pins).with_context(|| format!("cannot detach instance '{name}'"))?;
        print(format_args!("instance '{name}' is removed\n"))?;
        if remaining > 0 {
            eprintln!(
                "shunt: {remaining} idle sockets stay in the kernel's socket map until they close; \
                 they send by TCP and lose nothing"
            );
        }
        Ok(DONE)
    }
}
