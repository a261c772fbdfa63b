//! `shunt flows`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::table::Table;
use super::{DONE, Instance};
use crate::agent;
use crate::observe::{self, FlowSide};

/// Each open flow: who talks to whom, which way, and how much went directly and by TCP
///
/// TO SERVER and TO CLIENT are the two lanes: the way that the next message goes, then bytes sent directly and by TCP.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt flows                               who talks to whom\n  \
    shunt flows --name pods --json            for machines")]
pub struct Flows {
    #[command(flatten)]
    instance: Instance,
    /// For machines
    #[arg(long)]
    json: bool,
}

impl Flows {
    pub fn run(self) -> Result<ExitCode> {
        let instance = agent::Instance::open(self.instance.pins()?)?;
        let flows = observe::flows(&instance)?;
        if self.json {
            println!("{}", serde_json::json!({ "name": instance.pins().name().to_string(), "flows": flows }));
            return Ok(DONE);
        }
        let mut table = Table::new(&["CLIENT", "SERVER", "TO SERVER", "TO CLIENT"]);
        for flow in &flows {
            let (client, server) = (flow.client.as_ref(), flow.server.as_ref());
            table.row([who(client), who(server), lane(client), lane(server)]);
        }
        print!("{table}");
        println!("{} {}", flows.len(), if flows.len() == 1 { "flow" } else { "flows" });
        Ok(DONE)
    }
}

fn who(side: Option<&FlowSide>) -> String {
    match side {
        None => "-".into(),
        Some(side) => match &side.process {
            Some(process) => format!("{} {}[{}]", side.local, process.name, process.pid),
            None => side.local.to_string(),
        },
    }
}

fn lane(side: Option<&FlowSide>) -> String {
    side.map_or("-".into(), |side| format!("{} {} / {}", side.mode, bytes(side.direct_bytes), bytes(side.tcp_bytes)))
}

/// A number of bytes in at most six characters.
fn bytes(count: u64) -> String {
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
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
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
