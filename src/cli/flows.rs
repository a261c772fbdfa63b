//! `shunt flows`

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::table::Table;
use super::{DONE, Instance, print, print_json};
use crate::datapath::Counter;
use crate::instance;
use crate::observe::{self, Flow, FlowSide};

/// List open flows: client and server, mode, and bytes sent directly and by TCP
///
/// TO SERVER and TO CLIENT are the two lanes: the mode of the next message, with the reason if it
/// is not direct; then bytes sent directly and by TCP. `shunt stats` explains the reasons.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt flows                               clients and servers\n  \
    shunt flows --watch                       every two seconds\n  \
    shunt flows --name pods --json            JSON")]
pub struct Flows {
    #[command(flatten)]
    instance: Instance,
    /// Repeat every so many seconds, until Ctrl-C [without a value: 2]
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    watch: Option<u32>,
    /// Print JSON; with --watch one object a line
    #[arg(long)]
    json: bool,
}

/// The JSON output.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    flows: Vec<Flow>,
    /// Connections that rules have left to TCP since the start.
    excluded: u64,
}

impl Flows {
    pub fn run(self) -> Result<ExitCode> {
        let instance = instance::Instance::open(self.instance.pins()?)?;
        let Some(seconds) = self.watch else {
            self.show(&instance)?;
            return Ok(DONE);
        };
        loop {
            if std::io::stdout().is_terminal() && !self.json {
                print("\x1b[H\x1b[2J")?;
            }
            self.show(&instance)?;
            std::thread::sleep(Duration::from_secs(seconds.into()));
        }
    }

    fn show(&self, instance: &instance::Instance) -> Result<()> {
        let flows = observe::flows(instance)?;
        let excluded = instance.counter(Counter::Excluded)?;
        if self.json {
            let name = instance.pins().name().as_ref();
            return print_json(&Report { name, flows, excluded });
        }
        let mut table = Table::new(&["CLIENT", "SERVER", "TO SERVER", "TO CLIENT"]);
        for flow in &flows {
            let (client, server) = (flow.client.as_ref(), flow.server.as_ref());
            table.row([endpoint(client), endpoint(server), lane(client), lane(server)]);
        }
        print(format_args!(
            "{table}{} {}\n",
            flows.len(),
            if flows.len() == 1 { "flow" } else { "flows" }
        ))?;
        if excluded > 0 {
            print(format_args!("{excluded} left to TCP by rules since start\n"))?;
        }
        Ok(())
    }
}

fn endpoint(side: Option<&FlowSide>) -> String {
    match side {
        None => "-".into(),
        Some(side) => {
            let process =
                side.process.as_ref().map(|process| format!(" {}[{}]", process.name, process.pid));
            let pod = side
                .workload
                .as_ref()
                .filter(|workload| workload.pod.is_some() || workload.container.is_some());
            let pod = pod.map(|workload| format!(" in {}", workload.short()));
            format!("{}{}{}", side.local, process.unwrap_or_default(), pod.unwrap_or_default())
        }
    }
}

fn lane(side: Option<&FlowSide>) -> String {
    side.map_or("-".into(), |side| {
        let why = side.why.map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{}{why} {} / {}", side.mode, bytes(side.direct_bytes), bytes(side.tcp_bytes))
    })
}

/// Formats a number of bytes in at most six characters.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn byte_counts_are_short_and_in_the_unit_that_fits() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10 * 1024, "10 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }
}
