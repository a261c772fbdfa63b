//! The results of the demo, as text (80 columns) and as JSON.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{MESSAGE, Measured, Outcome, picture};
use crate::bench::report::{quantity, three_digits};
use crate::bench::{Quartiles, Unit};
use crate::datapath::{Counter, Kind};

const HEADING: Style = Style::new().bold();
const BETTER: Style = AnsiColor::Green.on_default().bold();

/// Why messages went by TCP, each with its explanation.
fn causes() -> impl Iterator<Item = (&'static str, &'static str)> {
    const BEGINNING: &str = "Messages by TCP";
    let causes = Counter::ALL.iter().filter(|counter| counter.kind() == Kind::Cause);
    causes.map(|cause| {
        let meaning = cause.meaning();
        let rest = meaning.strip_prefix(BEGINNING).unwrap_or(meaning);
        (cause.name(), rest.trim_start_matches([':', ' ']).trim_end_matches('.'))
    })
}

/// The whole report, with colours.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    let Outcome { without, with, .. } = outcome;
    let _ = writeln!(
        text,
        "{HEADING}Two hosts, a sidecar between them{HEADING:#}\n\n  \
         client ── REDIRECT ──▶ proxy ────── veth ──────▶ server\n\n  \
         {} connections with requests and answers of {MESSAGE} bytes, then one bulk transfer\n",
        outcome.concurrent,
    );
    rows(&mut text, without, with);
    let _ = writeln!(
        text,
        "\n{HEADING}How long requests took{HEADING:#} (one logarithmic scale for both)\n"
    );
    text.push_str(&picture::draw(&without.latency, &with.latency));
    let _ = writeln!(
        text,
        "\n{HEADING}Which way the messages went{HEADING:#} (counted in the kernel)\n"
    );
    ways(&mut text, outcome);
    let _ = writeln!(text, "\n{}", closing(outcome));
    text
}

fn rows(text: &mut String, without: &Measured, with: &Measured) {
    use Better::{Higher, Lower};
    let sides = [without, with];
    let time = |ns: f64| quantity(ns, Unit::Nanoseconds);
    let size = |bytes: f64| quantity(bytes, Unit::Bytes);
    let _ = writeln!(text, "  {:<30}{:>15}{:>15}{:>14}", "", "without", "with shunt", "ratio");
    row(text, "request, median", Lower, sides.map(|side| side.latency.percentile(50.0)), time);
    row(
        text,
        "request, 99 of 100 within",
        Lower,
        sides.map(|side| side.latency.percentile(99.0)),
        time,
    );
    row(text, "requests per second", Higher, sides.map(Measured::rate), |rate| {
        grouped(rate.round() as u64)
    });
    row(text, "bulk transfer past the proxy", Higher, sides.map(Measured::throughput), |bytes| {
        format!("{}/s", size(bytes))
    });
    row(
        text,
        "packets per request",
        Lower,
        sides.map(|side| side.per_request(side.wire.packets)),
        three_digits,
    );
    row(
        text,
        "bytes on the wire per request",
        Lower,
        sides.map(|side| side.per_request(side.wire.bytes)),
        size,
    );
}

enum Better {
    Lower,
    Higher,
}

fn row(
    text: &mut String,
    name: &str,
    better: Better,
    [without, with]: [f64; 2],
    shown: impl Fn(f64) -> String,
) {
    // Smaller differences may be noise.
    let is_better = match better {
        Better::Lower => with < without * 0.95,
        Better::Higher => with > without * 1.05,
    };
    let style = if is_better { BETTER } else { Style::new() };
    let ratio = match with / without {
        ratio if !ratio.is_finite() => String::new(),
        ratio if ratio > 0.0 && ratio < 0.01 => {
            format!("÷ {}", grouped((1.0 / ratio).round() as u64))
        }
        ratio => format!("× {}", three_digits(ratio)),
    };
    let _ = writeln!(
        text,
        "  {name:<30}{:>15}{:>15}{style}{ratio:>14}{style:#}",
        shown(without),
        shown(with)
    );
}

fn ways(text: &mut String, outcome: &Outcome) {
    let counters = &outcome.counters;
    let mut line = |name: &str, count: u64, note: &str| {
        let _ = writeln!(text, "  {name:<18}{:>12}  {note}", grouped(count));
    };
    line(
        "flows paired",
        counters.get("paired"),
        &format!("of {} connections", outcome.connections),
    );
    let (direct, by_tcp) = outcome.messages();
    let bytes = quantity(counters.get("direct_bytes") as f64, Unit::Bytes);
    line("messages direct", direct, &format!("{} %, {bytes}", percent(outcome)));
    line("messages by TCP", by_tcp, if by_tcp == 0 { "" } else { "of these:" });
    for (cause, meaning) in causes() {
        let count = counters.get(cause);
        if count > 0 {
            line(&format!("  {cause}"), count, meaning);
        }
    }
}

fn closing(outcome: &Outcome) -> String {
    let [without, with] =
        [&outcome.without, &outcome.with].map(|side| side.latency.percentile(50.0));
    format!(
        "A request through the sidecar took {BETTER}{}{BETTER:#} of its time without shunt, \
         and {} %\n\
         of the messages bypassed the TCP/IP stack. The applications did not change.\n\
         `shunt run` does this for every connection with both ends on this node whose\n\
         sockets do not block, as those of proxies and of most servers.",
        three_digits(with / without.max(1.0)),
        percent(outcome),
    )
}

/// The share of messages that bypassed TCP, rounded down: 100 means all.
fn percent(outcome: &Outcome) -> String {
    let (direct, by_tcp) = outcome.messages();
    let thousandths = u128::from(direct) * 100_000 / u128::from((direct + by_tcp).max(1));
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// Formats with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The results as JSON: times in ns, throughput in bytes per second.
pub fn json(outcome: &Outcome) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        connections: u64,
        without: Side,
        with: Side,
        messages_direct: u64,
        messages_by_tcp: u64,
        counters: &'a crate::bench::agent::Counters,
    }
    #[derive(Serialize)]
    struct Side {
        requests: u64,
        p50_ns: f64,
        p99_ns: f64,
        requests_per_second: f64,
        bulk_bytes_per_second: f64,
        packets_per_request: f64,
        wire_bytes_per_request: f64,
    }
    let side = |side: &Measured| Side {
        requests: side.latency.count(),
        p50_ns: side.latency.percentile(50.0),
        p99_ns: side.latency.percentile(99.0),
        requests_per_second: side.rate(),
        bulk_bytes_per_second: side.throughput(),
        packets_per_request: side.per_request(side.wire.packets),
        wire_bytes_per_request: side.per_request(side.wire.bytes),
    };
    let (messages_direct, messages_by_tcp) = outcome.messages();
    serde_json::to_string_pretty(&Report {
        connections: outcome.connections,
        without: side(&outcome.without),
        with: side(&outcome.with),
        messages_direct,
        messages_by_tcp,
        counters: &outcome.counters,
    })
}

impl Measured {
    /// Requests per second; the median of the rounds.
    fn rate(&self) -> f64 {
        Quartiles::of(&self.rates).map_or(0.0, |rates| rates.median)
    }

    /// Bytes per second of the bulk transfer; the median of the rounds.
    fn throughput(&self) -> f64 {
        Quartiles::of(&self.throughputs).map_or(0.0, |throughputs| throughputs.median)
    }
}

impl Outcome {
    /// Messages of enrolled sockets that bypassed TCP, and those that did not.
    fn messages(&self) -> (u64, u64) {
        (
            self.counters.get("direct_messages"),
            causes().map(|(cause, _)| self.counters.get(cause)).sum(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Latency;
    use crate::bench::wire::Wire;
    use std::time::Duration;

    fn measured(micros: u64, factor: u64) -> Measured {
        let mut latency = Latency::default();
        for near in 0..100 {
            latency.record(Duration::from_micros(micros + near));
        }
        Measured {
            latency,
            rates: vec![20_000.0 * factor as f64; 3],
            throughputs: vec![1_500_000_000.0 * factor as f64; 3],
            wire: Wire { packets: 800 / factor.pow(6), bytes: 212_000 / factor.pow(6) },
        }
    }

    fn outcome() -> Outcome {
        let counters = serde_json::from_str(
            r#"{"paired": 50, "direct_messages": 1234567, "direct_bytes": 9876543210, "refresh": 100, "memory_gate": 23}"#,
        );
        Outcome {
            without: measured(150, 1),
            with: measured(60, 3),
            concurrent: 4,
            connections: 50,
            counters: counters.expect("counters"),
        }
    }

    #[test]
    fn the_report_fits_in_80_columns_and_is_as_expected() {
        let text = anstream::adapter::strip_str(&text(&outcome())).to_string();
        assert_eq!(text, include_str!("report.txt"));
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn only_improvements_are_highlighted() {
        let mut text = String::new();
        row(&mut text, "worse", Better::Lower, [1.0, 2.0], three_digits);
        row(&mut text, "worse", Better::Higher, [2.0, 1.0], three_digits);
        row(&mut text, "much the same", Better::Lower, [1.0, 0.97], three_digits);
        row(&mut text, "much the same", Better::Higher, [1.0, 1.03], three_digits);
        assert!(!text.contains('\x1b'), "{text:?}");
        row(&mut text, "better", Better::Higher, [1.0, 2.0], three_digits);
        assert!(text.contains('\x1b'), "{text:?}");
        row(&mut text, "none before", Better::Lower, [0.0, 2.0], three_digits);
        assert!(text.ends_with("2.00              \n"), "{text:?}");
    }

    #[test]
    fn a_share_is_100_percent_only_if_exact() {
        let with = |direct: u64, refresh: u64| {
            let json = format!(r#"{{"direct_messages": {direct}, "refresh": {refresh}}}"#);
            percent(&Outcome {
                counters: serde_json::from_str(&json).expect("counters"),
                ..outcome()
            })
        };
        assert_eq!(with(10, 0), "100");
        assert_eq!(with(9_999_999, 1), "99.999");
        assert_eq!(with(1, 1), "50");
        assert_eq!(with(0, 0), "0");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn the_json_has_both_sides_and_the_counters() {
        let json = json(&outcome()).expect("JSON");
        let value: serde_json::Value = serde_json::from_str(&json).expect("valid JSON");
        assert_eq!(value["without"]["requests"], 100);
        assert_eq!(value["with"]["requests_per_second"], 60_000.0);
        assert_eq!(value["messages_by_tcp"], 123);
        assert_eq!(value["counters"]["paired"], 50);
    }
}
