//! Connections left to TCP: how many ends, why, and of which programs.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use syscalls::TypedMap;

use crate::datapath::{Comm, Counter, Kind, Refusal};
use crate::instance::{Instance, MAPS};

/// A reason with its count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftToTcp {
    /// Name in `shunt stats`.
    pub reason: &'static str,
    /// Explanation.
    pub meaning: &'static str,
    /// Connections or ends of connections that it concerned since the instance was created.
    pub times: u64,
    /// The programs concerned, as far as recorded, the most frequent first.
    pub programs: Vec<Program>,
}

/// A program that a reason concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// The name of the process.
    pub name: String,
    /// How often.
    pub times: u64,
}

/// Reasons why connections were left to TCP, the most frequent first.
pub fn left_to_tcp(instance: &Instance) -> Result<Vec<LeftToTcp>> {
    let mut times = BTreeMap::new();
    for &counter in Counter::ALL.iter().filter(|&&counter| is_refusal(counter)) {
        times.insert(counter, instance.counter(counter)?);
    }
    Ok(sorted(&times, &refusals(instance)?))
}

/// Every pair of reason and program, with its count.
pub fn refusals(instance: &Instance) -> Result<Vec<(Refusal, u64)>> {
    // Another version may not record them.
    let Some(map) = instance.generation().map(MAPS.refusals.def())? else { return Ok(Vec::new()) };
    let map = TypedMap::<Refusal, u64>::new(map)?;
    let mut all = Vec::new();
    for key in map.map().keys() {
        let refusal = bytemuck::pod_read_unaligned(&key?);
        if let Some(times) = map.lookup(&refusal)? {
            all.push((refusal, times));
        }
    }
    Ok(all)
}

/// Whether the counter is a reason why a connection with both ends here is left to TCP.
fn is_refusal(counter: Counter) -> bool {
    use Counter::{Left, NoClient, NoHint, Paired, Reused};
    counter.kind() == Kind::Outcome
        && !matches!(counter, Paired | NoHint | NoClient | Left | Reused)
}

fn sorted(times: &BTreeMap<Counter, u64>, refusals: &[(Refusal, u64)]) -> Vec<LeftToTcp> {
    let mut all: Vec<LeftToTcp> = times
        .iter()
        .filter(|&(_, &times)| times > 0)
        .map(|(counter, &times)| {
            let of_this = refusals.iter().filter(|(refusal, _)| refusal.outcome == *counter as u32);
            let mut programs: Vec<_> = of_this
                .map(|(refusal, times)| Program { name: name(&refusal.program), times: *times })
                .collect();
            programs.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.name.cmp(&b.name)));
            LeftToTcp { reason: counter.name(), meaning: counter.meaning(), times, programs }
        })
        .collect();
    all.sort_by_key(|reason| std::cmp::Reverse(reason.times));
    all
}

/// Processes choose their own names: control characters are shown as `?`.
pub fn name(program: &Comm) -> String {
    let bytes = program.name.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_their_programs_are_sorted_by_frequency() {
        let times =
            BTreeMap::from([(Counter::Guarded, 3), (Counter::Foreign, 0), (Counter::Splices, 7)]);
        let of = |program: &str, counter: Counter| Refusal {
            program: Comm::of(program),
            outcome: counter as u32,
        };
        let refusals = [
            (of("nginx", Counter::Guarded), 3),
            (of("b", Counter::Splices), 2),
            (of("a", Counter::Splices), 2),
            (of("c", Counter::Splices), 3),
        ];
        let left = sorted(&times, &refusals);
        let names = |left: &LeftToTcp| {
            left.programs.iter().map(|program| program.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (left.len(), left[0].reason, left[0].times, left[1].reason),
            (2, "splices", 7, "guarded")
        );
        assert_eq!(
            (names(&left[0]), names(&left[1])),
            (vec!["c".into(), "a".into(), "b".into()], vec!["nginx".into()])
        );
    }

    #[test]
    fn control_characters_in_a_name_are_replaced() {
        assert_eq!(name(&Comm::of("\u{1b}[2Jbad\n")), "?[2Jbad?");
        assert_eq!(name(&Comm { name: [0xff; 16] }), "\u{fffd}".repeat(16));
    }

    #[test]
    fn a_connection_whose_peer_is_off_the_node_is_not_a_refusal() {
        let refusals: Vec<_> =
            Counter::ALL.iter().filter(|&&counter| is_refusal(counter)).map(|c| c.name()).collect();
        let expected = [
            "unsuitable",
            "excluded",
            "ambiguous",
            "guarded",
            "blocking_file",
            "splices",
            "foreign",
            "socks_full",
            "no_memory",
        ];
        assert_eq!(refusals, expected);
    }
}
