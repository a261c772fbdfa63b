//! A service mesh on one node, with and without shunt: real sidecars, real clients, and what a
//! request takes.
//!
//! The set-up is the one of the talk *Accelerate Service Mesh Network with eBPF*: `testkit::mesh`
//! makes the pods and what a mesh puts between them, asks and counts; `report` tells.
//! docs/mesh.md says what came out. `.ci/install applications` installs the programs.
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

mod report;

use anyhow::Result;
use clap::Parser;
use tcp_shunt::bench::Interrupt;

use report::{Measured, Sample};
use testkit::mesh::load::{Bodies, Load};
use testkit::mesh::meter::Meter;
use testkit::mesh::{Kind, Mesh};

/// How long a load runs before it is measured, in seconds: until the sidecars have opened their
/// connections.
const WARM_UP: u64 = 1;

/// Measures a service mesh on one node by TCP and with shunt, in alternating rounds
///
/// Each round makes new pods and starts new sidecars. It takes root; `.ci/install
/// applications` installs Envoy, nginx and wrk.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench mesh --")]
struct Arguments {
    /// How often everything is measured by TCP and with shunt
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=40))]
    seconds: u64,
    /// What stands between client and service
    #[arg(long = "mesh", value_enum, value_delimiter = ',', default_values = ["mtls", "plain", "none"])]
    meshes: Vec<Kind>,
    /// Connections that ask again as soon as they are answered, a load for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Requests a second, a load for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1000])]
    rate: Vec<u32>,
    /// Sizes of answers, and over how many connections they are asked for
    #[arg(long, value_name = "SIZE@CONNECTIONS", value_delimiter = ',', default_values = ["100KiB@8", "10MiB@1"])]
    answers: Vec<Bodies>,
    /// Sizes of uploads, and over how many connections they come
    #[arg(long, value_name = "SIZE@CONNECTIONS", value_delimiter = ',', default_values = ["1MiB@1", "1MiB@4"])]
    uploads: Vec<Bodies>,
    /// Workers of each sidecar and of the service
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Print every sample as JSON
    #[arg(long)]
    json: bool,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let interrupt = Interrupt::on_signals()?;
    let connections = arguments.connections.iter().copied().map(Load::Connections);
    let rates = arguments.rate.iter().copied().map(Load::Rate);
    let answers = arguments.answers.iter().copied().map(Load::Answer);
    let uploads = arguments.uploads.iter().copied().map(Load::Upload);
    let loads: Vec<Load> = connections.chain(rates).chain(answers).chain(uploads).collect();
    let mut all = Vec::new();
    for &mesh in &arguments.meshes {
        all.extend(loads.iter().map(|&load| Measured {
            mesh,
            load,
            tcp: Vec::new(),
            shunt: Vec::new(),
        }));
    }
    for round in 0..arguments.rounds {
        for measured in all.chunks_mut(loads.len()) {
            // The second run finds a warmer machine: each is second in every other round.
            for accelerated in [round % 2 == 1, round % 2 == 0] {
                eprintln!(
                    "round {} of {}: {}, {}",
                    round + 1,
                    arguments.rounds,
                    measured[0].mesh.describe(),
                    if accelerated { "shunt" } else { "TCP" }
                );
                measure(measured, &arguments, accelerated, &interrupt)?;
            }
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}", report::table(&all));
    }
    Ok(())
}

/// All loads, one after the other, in one mesh.
fn measure(
    loads: &mut [Measured],
    arguments: &Arguments,
    accelerated: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let sizes: Vec<_> = arguments.answers.iter().map(|answer| answer.size).collect();
    let running = Mesh::start(loads[0].mesh, arguments.workers, accelerated, &sizes);
    for measured in loads {
        interrupt.check()?;
        measured.load.run(&running.stage, WARM_UP);
        let before = Meter::read(&running.stage);
        let answers = measured.load.run(&running.stage, arguments.seconds);
        let sample = Sample::new(answers, Meter::read(&running.stage) - before);
        if accelerated { measured.shunt.push(sample) } else { measured.tcp.push(sample) }
    }
    Ok(())
}
