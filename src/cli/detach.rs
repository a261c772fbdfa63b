//! `shunt detach`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{DONE, Instance, UNREAD, say};
use crate::agent::{self, Drained, Pins};

/// Remove what a killed instance left, without losing data
///
/// A killed agent's programs keep working: traffic goes on. This takes them out: every connection goes on by TCP, what was on its way
/// is read first, then everything is detached and unpinned.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt detach                              wait until every reader has read\n  \
    shunt detach --name pods --wait 30        give up after half a minute, with exit code 75")]
pub struct Detach {
    #[command(flatten)]
    instance: Instance,
    /// How long to wait for readers that do not read [default: until they have]
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

impl Detach {
    pub fn run(self) -> Result<ExitCode> {
        let name = self.instance.name;
        let pins = Pins::existing(&name, self.instance.bpffs.as_deref())?;
        let Some(_lock) = pins.lock()? else {
            bail!("instance '{name}' is running: stop it with SIGTERM, which detaches it without losing data");
        };
        let drained = agent::detach(&pins, self.wait.map(Duration::from_secs))
            .with_context(|| format!("cannot detach instance '{name}'"))?;
        match drained {
            Drained::Empty => {
                say(format_args!("instance '{name}' is gone\n"))?;
                Ok(DONE)
            }
            Drained::Unread(readers) => {
                eprintln!(
                    "shunt: {readers} sockets still hold bytes that their readers have not read; everything goes by TCP now. \
                     Run `shunt detach --name {name}` again later"
                );
                Ok(UNREAD.into())
            }
        }
    }
}
