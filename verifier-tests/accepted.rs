//! Every program in every variant is accepted, at the recorded cost.

use bpf_asm::Program;
use syscalls::LogLevel;
use tcp_shunt::datapath::ProgramName;
use tcp_shunt::kernel::load::{self, Maps};

use crate::cost::{self, Cost, Costs, Table};
use crate::variant::{self, Variant};
use crate::verifier;

/// The maximum number of processed instructions for any program.
const GOAL: u32 = 5000;

/// How often each program is loaded for the table, since the time of a single load is mostly noise.
const LOADS: usize = 5;

/// The costs of all variants, each the one with the shortest time of so many loads.
fn costs(loads: usize) -> Costs {
    let maps = load::maps(&variant::usual().maps.all()).expect("create the maps, as root");
    let mut costs = Costs::new();
    for Variant { name, program } in variant::all() {
        let fastest =
            (0..loads).map(|_| cost(&name, &program, &maps)).min_by_key(|cost| cost.micros);
        costs
            .entry(program.name().to_owned())
            .or_default()
            .extend(fastest.map(|cost| (name, cost)));
    }
    costs
}

fn cost(variant: &str, program: &Program, maps: &Maps) -> Cost {
    let what = format!("{} ({variant})", program.name());
    let (loaded, log) = verifier::load(program, maps, LogLevel::STATS)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let info = loaded.info().expect("read the program's info");
    let cost =
        Cost::of(&log, info.jited_prog_len).unwrap_or_else(|error| panic!("{what}: {error}"));
    // Kernels before 5.16 do not report the count.
    assert!(
        [0, cost.insns].contains(&info.verified_insns),
        "{what}: {} and {}",
        info.verified_insns,
        cost.insns
    );
    cost
}

#[test]
fn every_variant_is_accepted_at_the_recorded_costs() {
    let updates = std::env::var_os(cost::UPDATE).is_some();
    // Times are recorded, and not compared.
    let (series, costs) = (cost::series(), costs(if updates { LOADS } else { 1 }));
    assert_eq!(costs.len(), ProgramName::ALL.len(), "programs: {:?}", costs.keys());
    let over: Vec<String> = rows(&costs)
        .filter(|(_, _, cost)| cost.insns > GOAL)
        .map(|(program, variant, cost)| {
            format!("{program} ({variant}): {} instructions, goal {GOAL}", cost.insns)
        })
        .collect();
    assert!(over.is_empty(), "too much for the verifier:\n  {}", over.join("\n  "));

    let table = Table::read();
    if updates {
        return table.update(&series, costs);
    }
    let remedy = format!(
        "if that is intended: {0}=1 cargo test -p verifier-tests costs, or for kernels of the matrix: \
         cargo run -p vm-tests -- run --at-once 1 --env {0}=1 costs",
        cost::UPDATE
    );
    let differences = match table.of(&series) {
        Some(known) => differences(&costs, known),
        None => {
            assert!(!cost::is_of_the_matrix(), "cost.toml has no kernel {series}; {remedy}");
            unlike_any(&costs, &table)
        }
    };
    assert!(
        differences.is_empty(),
        "on kernel {series}:\n  {}\n{remedy}",
        differences.join("\n  ")
    );
}

/// The differences to the costs recorded for this kernel.
fn differences(costs: &Costs, known: &Costs) -> Vec<String> {
    let mut differences = Vec::new();
    for (program, variant, cost) in rows(costs) {
        match known.get(program).and_then(|variants| variants.get(variant)) {
            None => differences.push(format!("{program} ({variant}) is new: {cost:?}")),
            Some(known) => {
                differences.extend(
                    cost.moved(known).iter().map(|moved| format!("{program} ({variant}): {moved}")),
                );
            }
        }
    }
    for (program, variant, _) in rows(known) {
        if costs.get(program).is_none_or(|variants| !variants.contains_key(variant)) {
            differences.push(format!("{program} ({variant}) is recorded but no longer assembled"));
        }
    }
    differences
}

/// The costs that are far from those recorded for any kernel. The host's kernel may be built with
/// other options, and have other variants.
fn unlike_any(costs: &Costs, table: &Table) -> Vec<String> {
    let unlike = |(program, variant, cost): (&String, &String, &Cost)| match table.span(program) {
        None => vec![format!("{program} ({variant}) is not recorded for any kernel: {cost:?}")],
        Some(span) => cost
            .outside(&span)
            .iter()
            .map(|moved| format!("{program} ({variant}): {moved}"))
            .collect(),
    };
    rows(costs).flat_map(unlike).collect()
}

fn rows(costs: &Costs) -> impl Iterator<Item = (&String, &String, &Cost)> {
    costs.iter().flat_map(|(program, variants)| {
        variants.iter().map(move |(variant, cost)| (program, variant, cost))
    })
}

/// Loads each program for this machine as the agent does.
#[test]
fn programs_are_accepted_through_the_agents_loader() {
    let datapath = variant::usual();
    let maps = load::maps(&datapath.maps.all()).expect("create the maps, as root");
    for (_, program) in datapath.programs().expect("assemble") {
        let loaded = load::program(&program, &maps).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(
            loaded.info().expect("ask").name,
            program.name().chars().take(15).collect::<String>()
        );
    }
}
