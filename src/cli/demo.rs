use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;

use super::bench::INTERRUPTED;
use super::{DONE, print_coloured};
use crate::bench::Interrupt;
use crate::bench::interrupt::Interrupted;
use crate::demo::{self, Plan, Step, report};

/// See it work: the same traffic without and with shunt, side by side
///
/// Makes two hosts (network namespaces) joined by a veth pair, a client that reaches a server
/// through a sidecar proxy, and a cgroup; sends requests and a bulk transfer alternately without
/// and with shunt, and shows the difference. Needs root; does not touch the rest of the machine and
/// leaves nothing behind.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt demo                                about 10 seconds\n  \
    shunt demo --seconds 60 --json            longer, as JSON")]
pub struct Demo {
    /// Approximate duration in seconds
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(2..=3600)
    )]
    seconds: u16,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Columns of the progress bar.
const BAR: u32 = 20;

impl Demo {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let interrupt = Interrupt::on_signals()?;
        let shown = io::stderr().is_terminal();
        let progress = |Step { done, of, doing }: Step| {
            if shown {
                let full = (done * BAR / of.max(1)) as usize;
                let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR as usize - full));
                eprint!("\r\x1b[K{bar} {doing}");
            }
        };
        let outcome = demo::run(Plan::lasting(self.seconds), &interrupt, &progress);
        if shown {
            eprint!("\r\x1b[K");
        }
        let outcome = match outcome {
            Err(error) if error.is::<Interrupted>() => {
                eprintln!("shunt: interrupted; nothing is left behind");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            outcome => outcome?,
        };
        let report =
            if self.json { report::json(&outcome)? + "\n" } else { report::text(&outcome) };
        // Colours are stripped where there is no terminal or NO_COLOR is set.
        print_coloured(report)?;
        Ok(DONE)
    }
}
