//! `shunt stats`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::table::Table;
use super::{DONE, Instance, print};
use crate::datapath::Counter;
use crate::instance;
use crate::observe;

/// Show how often each decision was taken: flows paired, messages direct and by TCP, and why
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt stats                               all counters, explained\n  \
    shunt stats --json | jq .counters.paired  flows since the start")]
pub struct Stats {
    #[command(flatten)]
    instance: Instance,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub fn run(self) -> Result<ExitCode> {
        let stats = observe::stats(&instance::Instance::open(self.instance.pins()?)?)?;
        if self.json {
            print(format_args!("{}\n", serde_json::to_string(&stats)?))?;
            return Ok(DONE);
        }
        let mut table = Table::new(&["COUNTER", "TIMES", "MEANING"]).right(1);
        for &reason in Counter::ALL {
            let times = stats.counters.get(reason.name()).copied().unwrap_or_default();
            table.row([reason.name().to_owned(), times.to_string(), meaning(reason)]);
        }
        let fill = stats.maps;
        print(format_args!(
            "{table}\nmaps: {} sockets enrolled, {} connections at the rendezvous\n",
            fill.socks, fill.rendezvous
        ))?;
        Ok(DONE)
    }
}

/// What a row means. [`observe::stats`] adds what sockets that are still enrolled have redirected.
fn meaning(counter: Counter) -> String {
    let meaning = counter.meaning();
    if counter.name().starts_with("direct_") {
        meaning.replace(" by sockets that have closed or left", "")
    } else {
        meaning.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_redirected_counts_for_all_sockets() {
        assert_eq!(meaning(Counter::DirectMessages), "Messages redirected.");
        assert_eq!(meaning(Counter::DirectBytes), "Bytes redirected.");
        assert_eq!(meaning(Counter::Closed), Counter::Closed.meaning());
    }
}
