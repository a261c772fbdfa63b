//! The command line: a file per command, which parses arguments and prints results of the other
//! modules.

use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::instance::{Name, Pins};
use crate::policy::file::LogFormat;

mod adopt;
mod asm;
mod bench;
mod check_config;
mod demo;
mod detach;
mod disasm;
mod doctor;
mod flows;
mod log;
mod programs;
mod report;
mod run;
mod stats;
mod status;
mod table;
mod terminal;
mod top;
mod trace;

/// Exit code of a command that succeeded.
const DONE: ExitCode = ExitCode::SUCCESS;
/// Exit code of `shunt doctor` when shunt cannot run here (`EX_UNAVAILABLE` of sysexits.h).
const UNAVAILABLE: u8 = 69;
/// Exit code of `shunt status --wait` when no agent runs in time, like `systemctl status`.
const NOT_RUNNING: u8 = 3;

#[derive(Parser)]
#[command(
    name = "shunt",
    version,
    about = "Takes the TCP/IP stack out of the path of connections whose two ends are on this node",
    long_about = "Takes the TCP/IP stack out of the path of connections whose two ends are on \
                  this node.\n\n\
    The bytes of such a connection go from the sender's send() straight into the receiver's socket \
    queue. Connections that leave the node are not touched, and whenever the shortcut could \
    reorder, lose or pile up bytes, they go by TCP instead.",
    after_help = "Examples:\n  \
        shunt demo                            see it work; no setup, no leftovers\n  \
        shunt run                             accelerate the whole node until Ctrl-C\n  \
        shunt run --cgroup /sys/fs/cgroup/kubepods.slice --name pods\n  \
        shunt flows                           clients and servers, and how their bytes go\n  \
        shunt top                             the same, live\n  \
        shunt trace --port 5432               each change between direct and TCP, and why\n  \
        shunt stats --json                    all counters as JSON\n\n\
        Exit codes: 0 success; 1 failure, with cause and remedy on stderr; 2 bad arguments; 3 no \
        agent runs (status --wait); 69 shunt cannot run here (doctor)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    CheckConfig(check_config::CheckConfig),
    Status(status::Status),
    Stats(stats::Stats),
    Flows(flows::Flows),
    Top(top::Top),
    Trace(trace::Trace),
    Adopt(adopt::Adopt),
    Detach(detach::Detach),
    Doctor(doctor::Doctor),
    Report(report::Report),
    Demo(demo::Demo),
    Bench(bench::Bench),
    Programs(programs::Programs),
    Asm(asm::Asm),
    Disasm(disasm::Disasm),
}

/// Selects an instance.
#[derive(Args, Clone, Debug)]
struct Instance {
    /// Name of the instance; several can run side by side on different cgroups
    #[arg(long, default_value = "shunt")]
    name: Name,
    /// Where the BPF file system is mounted [default: found in the mount table]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
}

impl Instance {
    /// Its existing pins.
    fn pins(&self) -> Result<Pins> {
        Pins::existing(&self.name, self.bpffs.as_deref())
    }
}

/// The command line definition, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments of this process and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        // Once it knows in which format: its configuration file may say it.
        Command::Run(_) => {}
        Command::Adopt(adopt) => log::begin(adopt.log_format),
        _ => log::begin(LogFormat::default()),
    }
    let done = match cli.command {
        Command::Run(command) => command.run(),
        Command::CheckConfig(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Stats(command) => command.run(),
        Command::Flows(command) => command.run(),
        Command::Top(command) => command.run(),
        Command::Trace(command) => command.run(),
        Command::Adopt(command) => command.run(),
        Command::Detach(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Programs(command) => command.run(),
        Command::Asm(command) => command.run(),
        Command::Disasm(command) => command.run(),
    };
    log::end();
    match done {
        Ok(code) => code,
        Err(error) if error.is::<OutputClosed>() => DONE,
        Err(error) => {
            // A full disk must not change the exit code.
            let _ = writeln!(std::io::stderr(), "shunt: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Standard output was closed, as by `head`: not a failure, but the command ends.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
struct OutputClosed;

/// Prints to standard output and flushes.
fn print(text: impl Display) -> Result<()> {
    checked(write_to(std::io::stdout().lock(), text))
}

/// Prints with colours, which are stripped where there is no terminal or `NO_COLOR` is set.
fn print_coloured(text: impl Display) -> Result<()> {
    checked(write_to(anstream::stdout().lock(), text))
}

/// Prints JSON that may be long, on one line.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    // Standard output itself looks for the end of a line in each part.
    let mut out = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
    let written = serde_json::to_writer(&mut out, value).map_err(std::io::Error::from);
    checked(written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

fn write_to(out: impl Write, text: impl Display) -> std::io::Result<()> {
    // Standard output itself flushes at each line.
    let mut out = BufWriter::with_capacity(1 << 16, out);
    write!(out, "{text}")?;
    out.flush()
}

fn checked(outcome: std::io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        outcome => outcome.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
