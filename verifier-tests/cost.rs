//! Verification costs of programs, and the committed table of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Deserialize;

/// The variable that makes a run update the table for this kernel.
pub const UPDATE: &str = "UPDATE_COSTS";

/// The tolerance of a cost, in percent of the recorded one.
const TOLERANCE: u32 = 20;

/// The tolerance beyond the costs recorded for other kernels, in percent: this kernel may be built
/// with other options.
const TOLERANCE_OF_OTHERS: u32 = 50;

/// A row of the table.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Instructions processed over all paths.
    pub insns: u32,
    /// Bytes of stack, over the deepest call chain.
    pub stack: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// Microseconds of verification, the fastest of several; recorded for information and not
    /// compared, since it depends on the machine.
    pub micros: u32,
}

/// Program → variant → cost.
pub type Costs = BTreeMap<String, BTreeMap<String, Cost>>;

impl Cost {
    /// Parses the log of an accepted program (`print_verification_stats`, kernel/bpf/verifier.c).
    pub fn of(log: &str, jited: u32) -> Result<Cost, String> {
        let number = |before: &str| -> Result<u32, String> {
            let rest = log.split_once(before).map(|(_, rest)| rest);
            let digits = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            digits
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| format!("no number after '{before}' in:\n{log}"))
        };
        let stack = stack(log).ok_or_else(|| format!("no stack depth in:\n{log}"))?;
        Ok(Cost {
            insns: number("processed ")?,
            stack,
            jited,
            micros: number("verification time ")?,
        })
    }

    /// The numbers that differ too much from `known`.
    pub fn moved(&self, known: &Cost) -> Vec<String> {
        self.moved_by(TOLERANCE, known)
    }

    /// The numbers that are too far below `least` or above `most`.
    pub fn outside(&self, (least, most): &(Cost, Cost)) -> Vec<String> {
        let nearest = Cost {
            insns: self.insns.clamp(least.insns, most.insns),
            stack: self.stack.clamp(least.stack, most.stack),
            jited: self.jited.clamp(least.jited, most.jited),
            micros: self.micros,
        };
        self.moved_by(TOLERANCE_OF_OTHERS, &nearest)
    }

    fn moved_by(&self, percent: u32, known: &Cost) -> Vec<String> {
        [
            ("insns", self.insns, known.insns),
            ("stack", self.stack, known.stack),
            ("jited", self.jited, known.jited),
        ]
        .into_iter()
        .filter(|(_, now, before)| {
            u64::from(now.abs_diff(*before)) * 100 > u64::from(*before) * u64::from(percent)
        })
        .map(|(what, now, before)| {
            let percent = (f64::from(now) / f64::from(before.max(1)) - 1.0) * 100.0;
            format!("{what} {before} -> {now} ({percent:+.0} %)")
        })
        .collect()
    }
}

/// The stack of a program and its functions together. Most kernels log "stack depth 96+0+16"; 7.3
/// logs "stack depth max 112", and a line for each: "subprog 1 (name) global insns_self 3
/// insns_total 3 stack 16".
fn stack(log: &str) -> Option<u32> {
    let depths = log.split_once("stack depth ").and_then(|(_, rest)| rest.lines().next())?;
    if !depths.starts_with("max ") {
        return depths.trim().split('+').map(|depth| depth.parse::<u32>().ok()).sum();
    }
    let functions = log.lines().filter(|line| line.starts_with("subprog "));
    functions.map(|line| line.rsplit_once(" stack ")?.1.trim().parse::<u32>().ok()).sum()
}

/// The table: kernel series → costs.
pub struct Table(BTreeMap<String, Costs>);

impl Table {
    fn path() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cost.toml")
    }

    /// Reads the committed table.
    pub fn read() -> Table {
        let path = Table::path();
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Table(toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The costs of a kernel series.
    pub fn of(&self, series: &str) -> Option<&Costs> {
        self.0.get(series)
    }

    /// The minimum and maximum costs of all variants of a program on all recorded kernels.
    pub fn span(&self, program: &str) -> Option<(Cost, Cost)> {
        let mut costs =
            self.0.values().filter_map(|costs| costs.get(program)).flat_map(BTreeMap::values);
        let first = *costs.next()?;
        Some(costs.fold((first, first), |(least, most), cost| {
            let of = |choose: fn(u32, u32) -> u32, known: Cost| Cost {
                insns: choose(known.insns, cost.insns),
                stack: choose(known.stack, cost.stack),
                jited: choose(known.jited, cost.jited),
                micros: choose(known.micros, cost.micros),
            };
            (of(u32::min, least), of(u32::max, most))
        }))
    }

    /// Updates a series.
    pub fn update(mut self, series: &str, costs: Costs) {
        self.0.insert(series.to_owned(), costs);
        let (path, text) = (Table::path(), self.to_string());
        // In a virtual machine the host's files may be read-only: then the text is printed to be
        // copied.
        std::fs::write(&path, &text)
            .unwrap_or_else(|error| panic!("{}: {error}; put this there:\n{text}", path.display()));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "# What each program costs the verifier, by kernel series, program and variant:"
        )?;
        writeln!(f, "#   insns   instructions processed over all paths; at most 5000")?;
        writeln!(f, "#   stack   bytes of stack")?;
        writeln!(f, "#   jited   bytes of machine code")?;
        writeln!(f, "#   micros  microseconds of verification, not compared")?;
        writeln!(
            f,
            "# A change of more than {TOLERANCE} % fails. If it is intended, update this kernel, \
            as root, and the others by:"
        )?;
        writeln!(f, "#   {UPDATE}=1 cargo test -p verifier-tests costs")?;
        writeln!(f, "#   cargo run -p vm-tests -- run --at-once 1 --env {UPDATE}=1 costs")?;
        for (series, costs) in &self.0 {
            for (program, variants) in costs {
                f.write_char('\n')?;
                writeln!(f, "[\"{series}\".{program}]")?;
                for (variant, Cost { insns, stack, jited, micros }) in variants {
                    writeln!(
                        f,
                        "\"{variant}\" = {{ insns = {insns}, stack = {stack}, jited = {jited}, micros = {micros} }}"
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// The name of a kernel that the matrix has booted.
const SERIES: &str = "KERNEL_SERIES";

/// Whether the matrix has booted this kernel.
pub fn is_of_the_matrix() -> bool {
    std::env::var_os(SERIES).is_some()
}

/// The series of the running kernel: its name in the matrix, or `machine 6.18` for
/// `6.18.44-cloud-amd64`, which may be built with other options than the matrix' kernel of that
/// series, and need other variants.
pub fn series() -> String {
    if let Ok(series) = std::env::var(SERIES) {
        return series;
    }
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the kernel's release");
    format!("machine {}", release.trim().splitn(3, '.').take(2).collect::<Vec<_>>().join("."))
}

#[test]
fn a_cost_is_read_from_the_verifiers_statistics() {
    let log = "verification time 1234 usec\nstack depth 96+0+16\n\
               processed 345 insns (limit 1000000) max_states_per_insn 1 total_states 20 peak_states 20 mark_read 3\n";
    assert_eq!(Cost::of(log, 7), Ok(Cost { insns: 345, stack: 112, jited: 7, micros: 1234 }));
    let later = "verification time 1234 usec\nstack depth max 112\n\
                 subprog 0 (one) main insns_self 300 insns_total 345 stack 96\n\
                 subprog 1 (two) global insns_self 45 insns_total 45 stack 16\n\
                 processed 345 insns (limit 1000000) max_states_per_insn 1 total_states 20 peak_states 20 mark_read 0\n";
    assert_eq!(Cost::of(later, 7), Cost::of(log, 7));
    for broken in
        ["", "processed many insns\nstack depth 1\n", "verification time 1 usec\nprocessed 2 insns"]
    {
        assert!(Cost::of(broken, 0).is_err(), "{broken}");
    }
}

#[test]
fn a_cost_may_change_by_at_most_a_fifth() {
    let known = Cost { insns: 100, stack: 50, jited: 1000, micros: 10 };
    assert!(Cost { insns: 120, stack: 40, jited: 800, micros: 9999 }.moved(&known).is_empty());
    let moved = Cost { insns: 121, stack: 39, jited: 1201, micros: 10 }.moved(&known);
    assert_eq!(
        moved,
        ["insns 100 -> 121 (+21 %)", "stack 50 -> 39 (-22 %)", "jited 1000 -> 1201 (+20 %)"]
    );
}

#[test]
fn costs_on_a_kernel_that_is_not_recorded_may_exceed_those_of_others_by_at_most_half() {
    let cost = |insns, stack| Cost { insns, stack, jited: 1000, micros: 1 };
    let costs = |variant: &str, cost| {
        Costs::from([("send".into(), BTreeMap::from([(variant.into(), cost)]))])
    };
    let kernels =
        [("6.12", costs("usual", cost(100, 200))), ("7", costs("no IPv6", cost(200, 100)))];
    let table = Table(kernels.map(|(series, costs)| (series.to_owned(), costs)).into());
    let span = table.span("send").expect("it is recorded");
    assert_eq!(span, (cost(100, 100), cost(200, 200)));
    assert_eq!(table.span("verdict"), None);
    for inside in [cost(50, 150), cost(150, 300), cost(200, 50), cost(300, 200)] {
        assert_eq!(inside.outside(&span), Vec::<String>::new(), "{inside:?}");
    }
    assert_eq!(cost(302, 150).outside(&span), ["insns 200 -> 302 (+51 %)"]);
    assert_eq!(cost(49, 150).outside(&span), ["insns 100 -> 49 (-51 %)"]);
    assert_eq!(cost(150, 302).outside(&span), ["stack 200 -> 302 (+51 %)"]);
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let cost = Cost { insns: 1, stack: 2, jited: 3, micros: 4 };
    let costs = Costs::from([("send".into(), BTreeMap::from([("counted, 100 Hz".into(), cost)]))]);
    let written = Table(BTreeMap::from([("6.18".into(), costs)]));
    let read: BTreeMap<String, Costs> = toml::from_str(&written.to_string()).expect("parse");
    assert_eq!(read, written.0);
}
