//! The results of the bench, as tables of 100 columns and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Cost, Goal, Latency, Measured, Metric, Quartiles, Scale, Shown, Transport, Unit};

/// One table for each case name. Ratios are followed by half their interquartile range, to show the
/// noise.
pub fn table(all: &[Measured]) -> String {
    let mut text = String::new();
    let mut headings = String::new();
    for group in all.chunk_by(|one, next| one.case.name == next.case.name) {
        let case = group[0].case;
        if !text.is_empty() {
            text.push('\n');
        }
        line(&mut text, &format!("{}: {}", case.name, case.about()));
        let mut table = String::new();
        let row = match case.metrics {
            [_] => {
                one_metric_headings(&mut table);
                one_metric
            }
            metrics => {
                several_metrics_headings(&mut table, metrics, case.goals);
                several_metrics
            }
        };
        // Headings equal to those of the table before are not repeated.
        if table != headings {
            text.push_str(&table);
            headings = table;
        }
        for measured in group {
            line(&mut text, &row(measured));
            if let Some(remark) = remark(measured) {
                line(&mut text, &format!("  {remark}"));
            }
        }
    }
    text
}

/// Results with many connections.
pub fn scale(measured: &Scale) -> String {
    const KIB: f64 = 1024.0;
    const MIB: f64 = 1024.0 * KIB;
    let Scale { flows, processes, enrolled, commands, .. } = measured;
    let Scale { idle_percent, tcp_bytes, shunt_bytes, map_bytes, agent_bytes, .. } = measured;
    let mut text = String::new();
    line(
        &mut text,
        &format!(
            "{flows} connections of {processes} processes, {enrolled} of {} ends enrolled",
            2 * flows
        ),
    );
    line(&mut text, &format!("{:<28}{:>10}{:>10}", "", "time", "CPU"));
    for Cost { what, seconds, processor } in commands {
        let processor = processor.map_or_else(String::new, |seconds| format!("{seconds:.3} s"));
        line(&mut text, &format!("{what:<28}{:>10}{processor:>10}", format!("{seconds:.3} s")));
    }
    line(
        &mut text,
        &format!("{:<28}{:>10}{:>10}", "the agent, idle", "", format!("{idle_percent:.1} %")),
    );
    for (what, bytes) in [
        ("kernel memory of a connection by TCP, both ends", tcp_bytes / KIB),
        ("kernel memory of a direct connection, both ends", shunt_bytes / KIB),
        ("more for being direct", (shunt_bytes - tcp_bytes) / KIB),
    ] {
        line(&mut text, &format!("{what:<50}{bytes:>6.1} KiB"));
    }
    for (what, bytes) in [
        ("kernel memory of the maps without connections", *map_bytes),
        ("memory of the agent", *agent_bytes),
    ] {
        let of_each = bytes as f64 / *flows as f64;
        line(
            &mut text,
            &format!("{what:<50}{:>6.1} MiB, {of_each:.0} B a connection", bytes as f64 / MIB),
        );
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Start of each row: the size, and the figures of a metric on each transport.
fn figures(measured: &Measured, metric: &Metric) -> String {
    let figure = |transport| {
        let stalled = if measured.stalled(transport) > 0 { "stalled" } else { "" };
        let figures = measured.summary(0, transport);
        figures.map_or_else(|| stalled.to_owned(), |f| quantity(f.median, metric.unit))
    };
    columns(measured.case.size, &ALL.map(figure))
}

const ALL: [Transport; 3] = [Transport::Tcp, Transport::Shunt, Transport::Unix];

fn columns(label: &str, figures: &[String; 3]) -> String {
    let [tcp, shunt, unix] = figures;
    format!("{label:<14}{tcp:>10}{shunt:>10}{unix:>10}")
}

fn one_metric_headings(table: &mut String) {
    let transports = columns("", &ALL.map(|transport| transport.to_string()));
    line(
        table,
        &format!("{transports}{:>11}{:>11}{:>8}  goal", "shunt/TCP", "shunt/Unix", "direct"),
    );
}

fn one_metric(measured: &Measured) -> String {
    let to = |other| measured.ratio_to(0, other).map_or_else(String::new, ratio);
    let mut row = figures(measured, &measured.case.metrics[0]);
    row +=
        &format!("{:>11}{:>11}{:>8}  ", to(Transport::Tcp), to(Transport::Unix), direct(measured));
    let goals = measured
        .case
        .goals
        .iter()
        .map(|goal| bound(measured.case.metrics, goal) + mark(measured, goal));
    row + &goals.collect::<Vec<_>>().join(" ")
}

/// The figures are those of the first metric; all cases of the table have the same goals.
fn several_metrics_headings(table: &mut String, metrics: &[Metric], goals: &[Goal]) {
    let mut first = columns("", &ALL.map(|transport| transport.to_string()));
    let mut second = columns("goal", &Default::default());
    for (number, metric) in metrics.iter().enumerate() {
        match metric.shown {
            Shown::Ratio => {
                let goal = goals.iter().find(|goal| goal.metric == number);
                first += &format!("{:>11}", metric.heading);
                second +=
                    &format!("{:>11}", goal.map_or_else(String::new, |goal| bound(metrics, goal)));
            }
            Shown::Largest => {
                first += &format!("{:>16}", metric.heading);
                second += &format!("{:>8}{:>8}", "TCP", "shunt");
            }
            Shown::Elsewhere => {}
        }
    }
    line(table, &(first + " direct"));
    line(table, &second);
}

fn several_metrics(measured: &Measured) -> String {
    let case = measured.case;
    let mut row = figures(measured, &case.metrics[0]);
    for (number, metric) in case.metrics.iter().enumerate() {
        match metric.shown {
            Shown::Ratio => {
                let goals = case.goals.iter().filter(|goal| goal.metric == number);
                let marks: String = goals.map(|goal| mark(measured, goal)).collect();
                let ratio =
                    measured.ratio_to(number, Transport::Tcp).map_or_else(String::new, ratio);
                row += &format!("{:>11}", ratio + &marks);
            }
            Shown::Largest => {
                for transport in [Transport::Tcp, Transport::Shunt] {
                    let largest = measured.largest(number, transport);
                    let largest =
                        largest.map_or_else(String::new, |figure| quantity(figure, metric.unit));
                    row += &format!("{largest:>8}");
                }
            }
            Shown::Elsewhere => {}
        }
    }
    row + &format!("{:>7}", direct(measured))
}

/// Remarks below a row.
fn remark(measured: &Measured) -> Option<String> {
    let rounds = measured.rounds(Transport::Shunt);
    let stalled = ALL.into_iter().filter(|transport| measured.stalled(*transport) > 0);
    let mut remarks: Vec<_> = stalled
        .map(|transport| {
            format!("{transport} stalled in {} of {rounds} rounds", measured.stalled(transport))
        })
        .collect();
    if measured.unsettled() > 0 {
        remarks.push(format!(
            "not direct at the start in {} of {rounds} rounds",
            measured.unsettled()
        ));
    }
    (!remarks.is_empty()).then(|| remarks.join("; "))
}

/// Formats with three digits and a unit.
pub fn quantity(figure: f64, unit: Unit) -> String {
    let (steps, base): (&[&str], f64) = match unit {
        Unit::Nanoseconds => (&["ns", "µs", "ms", "s"], 1000.0),
        Unit::Bytes => (&["B", "KiB", "MiB", "GiB"], 1024.0),
        Unit::BytesPerSecond => (&["B/s", "KB/s", "MB/s", "GB/s"], 1000.0),
        Unit::PerSecond => (&["/s", "k/s", "M/s"], 1000.0),
    };
    let mut figure = figure;
    let mut step = 0;
    // 999.5 would round to four digits.
    while figure >= 999.5 && step + 1 < steps.len() {
        figure /= base;
        step += 1;
    }
    format!("{} {}", three_digits(figure), steps[step])
}

/// Formats with three significant digits.
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

fn direct(measured: &Measured) -> String {
    measured.direct().map_or_else(String::new, |share| format!("{:.0}%", share.median * 100.0))
}

fn bound(metrics: &[Metric], goal: &Goal) -> String {
    match goal.to {
        Some(_) => goal.bound.to_string(),
        None => {
            let figure = quantity(goal.bound.figure(), metrics[goal.metric].unit);
            format!("{}{figure}", goal.bound.sign())
        }
    }
}

fn mark(measured: &Measured, goal: &Goal) -> &'static str {
    match measured.meets(goal) {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "",
    }
}

/// All figures, by case and metric. A ratio is shunt's figure relative to the other's; the figure
/// of a stalled round is null. Latencies are over all rounds, in ns.
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
        metrics: Vec<MetricOf<'a>>,
        /// The share of bytes that crossed no interface.
        direct: Option<Quartiles>,
        /// Rounds that began before the connection was direct.
        unsettled: usize,
        /// Stalled rounds.
        stalled: BTreeMap<Transport, usize>,
        latencies: BTreeMap<Transport, Percentiles>,
    }
    #[derive(Serialize)]
    struct MetricOf<'a> {
        metric: &'a str,
        unit: &'a str,
        tcp: Option<Figures>,
        shunt: Option<Figures>,
        unix: Option<Figures>,
        shunt_to_tcp: Option<Quartiles>,
        shunt_to_unix: Option<Quartiles>,
        goals: Vec<GoalMet>,
    }
    #[derive(Serialize)]
    struct Figures {
        #[serde(flatten)]
        quartiles: Quartiles,
        samples: Vec<Option<f64>>,
    }
    #[derive(Serialize)]
    struct GoalMet {
        ratio_to: Option<Transport>,
        #[serde(flatten)]
        bound: BTreeMap<&'static str, f64>,
        met: Option<bool>,
    }
    #[derive(Serialize)]
    struct Percentiles {
        count: u64,
        p50: f64,
        p90: f64,
        p99: f64,
        #[serde(rename = "p99.9")]
        p999: f64,
        longest: f64,
    }

    let percentiles = |latency: &Latency| Percentiles {
        count: latency.count(),
        p50: latency.percentile(50.0),
        p90: latency.percentile(90.0),
        p99: latency.percentile(99.0),
        p999: latency.percentile(99.9),
        longest: latency.percentile(100.0),
    };
    let cases = all.iter().map(|measured| {
        let metric = |(number, metric): (usize, &'static Metric)| {
            let figures = |transport| {
                let quartiles = measured.summary(number, transport)?;
                Some(Figures { quartiles, samples: measured.samples(number, transport).collect() })
            };
            let goal = |goal: &Goal| {
                let bound = match goal.bound {
                    super::Bound::AtMost(bound) => ("at_most", bound),
                    super::Bound::AtLeast(bound) => ("at_least", bound),
                };
                GoalMet { ratio_to: goal.to, bound: [bound].into(), met: measured.meets(goal) }
            };
            let goals = measured.case.goals.iter().filter(|goal| goal.metric == number);
            MetricOf {
                metric: metric.name,
                unit: match metric.unit {
                    Unit::Nanoseconds => "ns",
                    Unit::Bytes => "bytes",
                    Unit::BytesPerSecond => "bytes/s",
                    Unit::PerSecond => "1/s",
                },
                tcp: figures(Transport::Tcp),
                shunt: figures(Transport::Shunt),
                unix: figures(Transport::Unix),
                shunt_to_tcp: measured.ratio_to(number, Transport::Tcp),
                shunt_to_unix: measured.ratio_to(number, Transport::Unix),
                goals: goals.map(goal).collect(),
            }
        };
        let case = measured.case;
        Case {
            case: case.name,
            size: case.size,
            metrics: case.metrics.iter().enumerate().map(metric).collect(),
            direct: measured.direct(),
            unsettled: measured.unsettled(),
            stalled: case.transports.iter().map(|via| (*via, measured.stalled(*via))).collect(),
            latencies: measured
                .latencies()
                .iter()
                .map(|(via, times)| (*via, percentiles(times)))
                .collect(),
        }
    });
    serde_json::to_string_pretty(&Report { rounds, cases: cases.collect() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::CASES;
    use super::super::outcome::Outcome;
    use super::*;
    use Transport::{Shunt, Tcp, Unix};

    /// The given figure of each round is that of the first metric; each further metric is a
    /// thousandth of the one before.
    fn measured(key: &str, direct: f64, samples: &[(Transport, &[Option<f64>])]) -> Measured {
        let case = CASES.iter().find(|case| case.key() == key).expect("a case of that key");
        let mut measured = Measured::new(case);
        for (transport, figures) in samples {
            for figure in *figures {
                let figures = |first: f64| {
                    (0..case.metrics.len())
                        .map(|n| first / 1000f64.powi(n as i32))
                        .collect::<Vec<_>>()
                };
                let outcome = figure.map(|first| Outcome::of(figures(first)).with_direct(direct));
                measured.add(*transport, outcome);
            }
        }
        measured
    }

    fn sample() -> Vec<Measured> {
        let mut pending = measured("unread/16KiB", 0.98, &[(Tcp, &[Some(4_194_304.0)])]);
        let late = Outcome { settled: false, ..Outcome::of([6_291_456.0]).with_direct(0.98) };
        pending.add(Shunt, Some(late));
        let mut many = measured("many/16×1KiB", 1.0, &[(Tcp, &[Some(1e5)]), (Unix, &[Some(3e5)])]);
        let mut latency = Latency::default();
        latency.record(Duration::from_micros(40));
        many.add(Shunt, Some(Outcome::of([1.8e5, 40_000.0, 3000.0]).with_latency(latency)));
        vec![
            measured(
                "roundtrip/1KiB",
                1.0,
                &[
                    (Tcp, &[Some(10_000.0), Some(10_400.0), Some(9_900.0)]),
                    (Shunt, &[Some(4_100.0), Some(4_160.0), Some(4_059.0)]),
                    (Unix, &[Some(3_800.0), Some(3_952.0), Some(3_762.0)]),
                ],
            ),
            measured("connect/alone", 0.0, &[(Tcp, &[Some(41_000.0)]), (Shunt, &[Some(61_500.0)])]),
            pending,
            measured("program/1KiB", 1.0, &[(Shunt, &[Some(89.6)])]),
            many,
            measured("stream/16B", 0.634, &[(Tcp, &[Some(4e7)]), (Shunt, &[Some(2e7)])]),
            measured(
                "stream/64KiB/nodelay",
                1.0,
                &[(Tcp, &[Some(2e9), None]), (Shunt, &[None, None]), (Unix, &[Some(2e9); 2])],
            ),
        ]
    }

    #[test]
    fn the_tables_line_up_within_100_columns() {
        let table = table(&sample());
        assert_eq!(table, include_str!("report.txt"));
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
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
            (4_194_304.0, Unit::BytesPerSecond, "4.19 MB/s"),
            (123_456.0, Unit::PerSecond, "123 k/s"),
        ] {
            assert_eq!(quantity(figure, unit), expected);
        }
    }

    #[test]
    fn the_json_has_every_figure_and_whether_goals_are_met() {
        let text = json(3, &sample()).expect("JSON");
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(value["rounds"], 3);
        let first = &value["cases"][0]["metrics"][0];
        assert_eq!(first["tcp"]["samples"].as_array().map(Vec::len), Some(3));
        assert_eq!(first["shunt"]["median"], 4_100.0);
        assert_eq!(first["goals"][0]["met"], true);
        assert_eq!(first["goals"][1]["ratio_to"], "unix");
        assert_eq!(first["goals"][1]["met"], false);
        assert!(value["cases"][1]["metrics"][0]["unix"].is_null());
        assert_eq!(value["cases"][2]["unsettled"], 1);
        assert_eq!(value["cases"][3]["metrics"][0]["goals"][0]["at_most"], 90.0);
        assert_eq!(value["cases"][4]["metrics"][0]["goals"][0]["at_least"], 1.95);
        assert_eq!(value["cases"][4]["latencies"]["shunt"]["count"], 1);
        let stream = &value["cases"][6];
        assert_eq!(stream["metrics"].as_array().map(Vec::len), Some(5));
        assert_eq!(
            (&stream["stalled"]["shunt"], &stream["stalled"]["tcp"]),
            (&2.into(), &1.into())
        );
        assert!(stream["metrics"][0]["tcp"]["samples"][1].is_null());
    }
}
