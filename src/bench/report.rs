//! The figures of the bench, for people (a table of 80 columns) and for machines (JSON).

use serde::Serialize;

use super::{Goal, Measured, Quartiles, Transport, Unit};

/// The table. Ratios stand with half the distance between their quartiles, so that noise is seen. Goals are in the
/// order of the ratios.
pub fn table(all: &[Measured]) -> String {
    let mut table = String::new();
    line(&mut table, ["case", "", "TCP", "shunt", "Unix", "shunt/TCP", "shunt/Unix", "goal"]);
    for measured in all {
        let case = measured.case;
        let figure =
            |transport| measured.summary(transport).map_or_else(String::new, |f| quantity(f.median, case.unit));
        let to = |other| measured.ratio_to(other).map_or_else(String::new, ratio);
        line(
            &mut table,
            [
                case.name,
                case.size,
                &figure(Transport::Tcp),
                &figure(Transport::Shunt),
                &figure(Transport::Unix),
                &to(Transport::Tcp),
                &to(Transport::Unix),
                &goals(measured),
            ],
        );
    }
    table
}

fn line(table: &mut String, [case, size, tcp, shunt, unix, to_tcp, to_unix, goal]: [&str; 8]) {
    let line = format!("{case:<9} {size:<6}{tcp:>9}{shunt:>9}{unix:>9}{to_tcp:>11}{to_unix:>11}  {goal}");
    table.push_str(line.trim_end());
    table.push('\n');
}

/// Three digits and a unit.
pub fn quantity(figure: f64, unit: Unit) -> String {
    let (steps, base): (&[&str], f64) = match unit {
        Unit::Nanoseconds => (&["ns", "µs", "ms", "s"], 1000.0),
        Unit::Bytes => (&["B", "KiB", "MiB", "GiB"], 1024.0),
    };
    let mut figure = figure;
    let mut step = 0;
    // 999.5 would be rounded to four digits.
    while figure >= 999.5 && step + 1 < steps.len() {
        figure /= base;
        step += 1;
    }
    format!("{} {}", three_digits(figure), steps[step])
}

/// A figure with as many decimals as make three digits.
pub fn three_digits(figure: f64) -> String {
    let decimals = match figure {
        f if f < 9.995 => 2,
        f if f < 99.95 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}

fn ratio(ratio: Quartiles) -> String {
    format!("{} ±{:.0}%", three_digits(ratio.median), ratio.spread() * 100.0)
}

fn goals(measured: &Measured) -> String {
    let goals = measured.case.goals.iter().map(|goal| {
        let bound = match *goal {
            Goal::Ratio { at_most, .. } => format!("≤{at_most}"),
            Goal::Absolute { at_most } => format!("≤{}", quantity(at_most, measured.case.unit)),
        };
        let mark = match measured.meets(*goal) {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "",
        };
        format!("{bound}{mark}")
    });
    goals.collect::<Vec<_>>().join(" ")
}

/// All figures. Times are in ns per operation, `unread` in bytes; a ratio is shunt's share of what the other takes.
pub fn json(rounds: usize, all: &[Measured]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        rounds: usize,
        cases: Vec<Case<'a>>,
    }
    #[derive(Serialize)]
    struct Case<'a> {
        case: &'a str,
        size: &'a str,
        unit: &'a str,
        tcp: Option<Figures<'a>>,
        shunt: Option<Figures<'a>>,
        unix: Option<Figures<'a>>,
        shunt_to_tcp: Option<Quartiles>,
        shunt_to_unix: Option<Quartiles>,
        goals: Vec<GoalMet>,
    }
    #[derive(Serialize)]
    struct Figures<'a> {
        #[serde(flatten)]
        quartiles: Quartiles,
        samples: &'a [f64],
    }
    #[derive(Serialize)]
    struct GoalMet {
        ratio_to: Option<Transport>,
        at_most: f64,
        met: Option<bool>,
    }

    let cases = all.iter().map(|measured| {
        let figures = |transport| {
            let quartiles = measured.summary(transport)?;
            Some(Figures { quartiles, samples: measured.samples(transport) })
        };
        let goal = |goal: &Goal| {
            let (ratio_to, at_most) = match *goal {
                Goal::Ratio { to, at_most } => (Some(to), at_most),
                Goal::Absolute { at_most } => (None, at_most),
            };
            GoalMet { ratio_to, at_most, met: measured.meets(*goal) }
        };
        Case {
            case: measured.case.name,
            size: measured.case.size,
            unit: match measured.case.unit {
                Unit::Nanoseconds => "ns",
                Unit::Bytes => "bytes",
            },
            tcp: figures(Transport::Tcp),
            shunt: figures(Transport::Shunt),
            unix: figures(Transport::Unix),
            shunt_to_tcp: measured.ratio_to(Transport::Tcp),
            shunt_to_unix: measured.ratio_to(Transport::Unix),
            goals: measured.case.goals.iter().map(goal).collect(),
        }
    });
    serde_json::to_string_pretty(&Report { rounds, cases: cases.collect() })
}

#[cfg(test)]
mod tests {
    use super::super::CASES;
    use super::*;

    fn measured(name: &str, size: &str, samples: &[(Transport, &[f64])]) -> Measured {
        let case = CASES.iter().find(|case| case.name == name && case.size == size).expect("a case of that name");
        let mut measured = Measured::new(case);
        for (transport, figures) in samples {
            measured.samples.insert(*transport, figures.to_vec());
        }
        measured
    }

    fn sample() -> Vec<Measured> {
        use Transport::{Shunt, Tcp, Unix};
        vec![
            measured(
                "roundtrip",
                "1 KiB",
                &[
                    (Tcp, &[10_000.0, 10_400.0, 9_900.0]),
                    (Shunt, &[4_100.0, 4_160.0, 4_059.0]),
                    (Unix, &[3_800.0, 3_952.0, 3_762.0]),
                ],
            ),
            measured("connect", "alone", &[(Tcp, &[41_000.0]), (Shunt, &[61_500.0])]),
            measured("unread", "16 KiB", &[(Tcp, &[4_194_304.0]), (Shunt, &[6_291_456.0])]),
            measured("program", "1 KiB", &[(Shunt, &[139.6])]),
        ]
    }

    #[test]
    fn the_table_lines_up_within_80_columns() {
        let table = table(&sample());
        let expected = "\
case                  TCP    shunt     Unix  shunt/TCP shunt/Unix  goal
roundtrip 1 KiB   10.0 µs  4.10 µs  3.80 µs   0.41 ±1%   1.08 ±1%  ≤0.45✓ ≤1.05✗
connect   alone   41.0 µs  61.5 µs            1.50 ±0%             ≤1.35✗
unread    16 KiB 4.00 MiB 6.00 MiB            1.50 ±0%             ≤2✓
program   1 KiB             140 ns                                 ≤160 ns✓
";
        assert_eq!(table, expected);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }

    #[test]
    fn a_quantity_has_three_digits_and_a_unit() {
        for (figure, unit, expected) in [
            (0.0, Unit::Nanoseconds, "0.00 ns"),
            (139.6, Unit::Nanoseconds, "140 ns"),
            (999.4, Unit::Nanoseconds, "999 ns"),
            (999.6, Unit::Nanoseconds, "1.00 µs"),
            (9_996.0, Unit::Nanoseconds, "10.0 µs"),
            (52_140.0, Unit::Nanoseconds, "52.1 µs"),
            (3e13, Unit::Nanoseconds, "30000 s"),
            (1023.0, Unit::Bytes, "1.00 KiB"),
            (4_194_304.0, Unit::Bytes, "4.00 MiB"),
        ] {
            assert_eq!(quantity(figure, unit), expected);
        }
    }

    #[test]
    fn the_json_has_every_figure_and_whether_goals_are_met() {
        let text = json(3, &sample()).expect("JSON");
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(value["rounds"], 3);
        let first = &value["cases"][0];
        assert_eq!(first["tcp"]["samples"].as_array().map(Vec::len), Some(3));
        assert_eq!(first["shunt"]["median"], 4_100.0);
        assert_eq!(first["goals"][0]["met"], true);
        assert_eq!(first["goals"][1]["ratio_to"], "unix");
        assert_eq!(first["goals"][1]["met"], false);
        assert!(value["cases"][1]["unix"].is_null());
        assert_eq!(value["cases"][3]["goals"][0]["at_most"], 160.0);
    }
}
