use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::{DONE, print};
use crate::bench::{self, CASES, Interrupt, Plan, html, report};

/// Exit code after Ctrl-C: 128 plus the signal's number, as in shells.
pub(super) const INTERRUPTED: u8 = 130;

/// Measure connections over TCP, through shunt and over a Unix socket
///
/// Runs in its own network namespace and cgroup. The two ends of a connection run on one processor
/// each, if there are two. Every figure is a median over rounds in which the transports alternate;
/// a ratio is followed by half its interquartile range. A longest gap is the longest of all rounds.
/// DIRECT is the share of bytes that crossed no interface. A round in which nothing moves for 5
/// seconds counts as stalled.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt bench --quick                       everything, in less than a minute\n  \
    shunt bench --only roundtrip,stream/16B   some cases, in full\n  \
    shunt bench --json > figures.json         all figures of every round\n  \
    shunt bench --flows 200000                with many open connections\n  \
    shunt bench --html report.html            also charts, as one HTML file")]
pub struct Bench {
    /// Number of rounds [default: 7, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Measure only these cases: NAME, or NAME/SIZE as in stream/16B, connect/+4rt and echo/300k/1M
    #[arg(
        long,
        visible_alias = "case",
        value_name = "NAME",
        num_args = 1..,
        value_delimiter = ',',
        value_parser = existing
    )]
    only: Vec<String>,
    /// Take less than a minute instead of five, with more noise
    #[arg(long)]
    quick: bool,
    /// Print all figures of every round as JSON
    #[arg(long)]
    json: bool,
    /// Instead measure what the commands, the agent and the kernel need with N open connections, in
    /// as many processes as their limit of open files asks for; 200000 take four minutes and 6 GiB
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        conflicts_with_all = ["rounds", "only", "quick", "html"]
    )]
    flows: Option<u32>,
    /// Hold N connections until standard input ends; used by --flows
    #[arg(long, value_name = "N", hide = true)]
    hold: Option<u32>,
    /// Use them until they are direct
    #[arg(long, hide = true, requires = "hold")]
    until_direct: bool,
    /// Also write charts and figures to a self-contained HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn existing(wanted: &str) -> Result<String, String> {
    if CASES.iter().any(|case| case.is_meant_by(wanted)) {
        return Ok(wanted.to_owned());
    }
    let name = wanted.split('/').next().unwrap_or_default();
    let sizes: Vec<_> =
        CASES.iter().filter(|case| case.name == name).map(bench::Case::key).collect();
    let known = if sizes.is_empty() {
        let mut names: Vec<_> = CASES.iter().map(|case| case.name.to_owned()).collect();
        names.dedup();
        names
    } else {
        sizes
    };
    Err(format!("expected one of {}", known.join(", ")))
}

impl Bench {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(flows) = self.hold {
            bench::hold(flows as usize, self.until_direct, |open| print(format_args!("{open}\n")))?;
            return Ok(DONE);
        }
        let interrupt = Interrupt::on_signals()?;
        let outcome = match self.flows {
            Some(flows) => self.scale(flows as usize, &interrupt),
            None => self.cases(&interrupt),
        };
        match outcome {
            Err(error) if error.is::<bench::interrupt::Interrupted>() => {
                eprintln!("shunt: interrupted; nothing is left behind");
                Ok(ExitCode::from(INTERRUPTED))
            }
            outcome => outcome.map(|()| DONE),
        }
    }

    fn scale(&self, flows: usize, interrupt: &Interrupt) -> anyhow::Result<()> {
        let line = Line::new();
        let measured = bench::scale(flows, interrupt, &|what| line.show(what));
        drop(line);
        let measured = measured?;
        print(if self.json {
            serde_json::to_string(&measured)? + "\n"
        } else {
            report::scale(&measured)
        })
    }

    fn cases(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let (rounds, slice) = if self.quick { (3, 50) } else { (7, 125) };
        let plan = Plan {
            rounds: self.rounds.map_or(rounds, usize::from),
            slice: Duration::from_millis(slice),
            only: self.only.clone(),
        };
        let line = Line::new();
        let progress = |round: usize, case: &bench::Case| {
            line.show(&format!(
                "round {} of {}: {} {}",
                round + 1,
                plan.rounds,
                case.name,
                case.size
            ));
        };
        let measured = bench::measure(&plan, interrupt, &progress);
        drop(line);
        let measured = measured?;
        let report = if self.json {
            report::json(plan.rounds, &measured)? + "\n"
        } else {
            report::table(&measured)
        };
        print(report)?;
        if let Some(path) = &self.html {
            let page = html::page(&machine()?, plan.rounds, &measured);
            fs::write(path, page).with_context(|| {
                format!("cannot write to {}: choose another file by --html", path.display())
            })?;
        }
        Ok(())
    }
}

/// A progress line on a terminal, erased when dropped.
struct Line {
    shown: bool,
}

impl Line {
    fn new() -> Line {
        Line { shown: io::stderr().is_terminal() }
    }

    fn show(&self, what: &str) {
        if self.shown {
            eprint!("\r\x1b[K{what}");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.show("");
    }
}

fn machine() -> anyhow::Result<html::Machine> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot read the kernel's release from /proc")?;
    Ok(html::Machine {
        kernel: kernel.trim().to_owned(),
        processors: thread::available_parallelism()?.get(),
    })
}
