//! Metrics of an instance in the text formats of Prometheus and OpenMetrics.
//!
//! A scrape reads a few counters. Per-socket figures, such as bytes sent directly on open flows,
//! need a pass over all sockets, which is made once in a few seconds at most, however often scrapes
//! come.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use syscalls::Prog;

use super::Summary;
use crate::datapath::{Counter, Kind, ProgramName};
use crate::instance::{Instance, Pins};

/// Maximum age of per-socket figures.
const MAX_AGE: Duration = Duration::from_secs(5);

/// Text format of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Every metric: name without the `_total` of counters, type, help text.
pub const METRICS: &[(&str, &str, &str)] = &[
    ("shunt_build_info", "gauge", "The version of the agent; always 1."),
    ("shunt_start_time_seconds", "gauge", "When the agent started, in seconds since 1970."),
    ("shunt_draining", "gauge", "1 while draining: every message goes by TCP."),
    (
        "shunt_flows",
        "gauge",
        "Open flows: connections with both ends on this node whose client is enrolled.",
    ),
    ("shunt_lanes", "gauge", "Lanes of open flows by the mode of their next message."),
    (
        "shunt_decisions",
        "counter",
        "How often each decision was taken; shunt stats explains each reason.",
    ),
    ("shunt_messages", "counter", "Messages of enrolled sockets, redirected or by TCP."),
    ("shunt_direct_bytes", "counter", "Bytes sent directly."),
    ("shunt_map_entries", "gauge", "Enrolled sockets in the socket map."),
    (
        "shunt_map_max_entries",
        "gauge",
        "Capacity of the socket map; further connections go by TCP.",
    ),
    (
        "shunt_program_runs",
        "counter",
        "Runs of each kernel program while sysctl kernel.bpf_stats_enabled was 1.",
    ),
    (
        "shunt_program_run_seconds",
        "counter",
        "Time spent in each kernel program while sysctl kernel.bpf_stats_enabled was 1.",
    ),
    ("shunt_look_seconds", "gauge", "Duration of the last pass over all enrolled sockets."),
];

/// Totals of the last pass over all sockets.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    at: Option<Instant>,
    took: Duration,
    sum: Summary,
}

/// Collects the metrics of one instance.
#[derive(Debug)]
pub struct Collector {
    instance: Instance,
    programs: Vec<(&'static str, Prog)>,
    totals: Mutex<Totals>,
}

impl Collector {
    /// Opens an instance by its pins.
    pub fn open(pins: Pins) -> Result<Collector> {
        let instance = Instance::open(pins)?;
        let mut programs = Vec::new();
        for name in [ProgramName::Establish, ProgramName::Send] {
            let program = instance.generation().program(name)?;
            programs.push((name.pin(), program.with_context(|| format!("no '{}'", name.pin()))?));
        }
        Ok(Collector { instance, programs, totals: Mutex::default() })
    }

    /// Whether the instance is draining.
    pub fn is_draining(&self) -> Result<bool> {
        Ok(self.instance.control()?.draining != 0)
    }

    /// Renders all metrics as text.
    pub fn render(&self, format: Format) -> Result<String> {
        let totals = self.totals()?;
        let about = self.instance.about()?;
        let mut text = Text { out: String::with_capacity(8192), format };

        text.metric("shunt_build_info", &[(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)]);
        text.metric("shunt_start_time_seconds", &[(&[], about.started as f64)]);
        text.metric("shunt_draining", &[(&[], f64::from(u8::from(self.is_draining()?)))]);
        text.metric("shunt_flows", &[(&[], totals.sum.flows as f64)]);
        let [tcp, direct, ended] = totals.sum.lanes.map(|lanes| lanes as f64);
        text.metric(
            "shunt_lanes",
            &[
                (&[("mode", "direct")], direct),
                (&[("mode", "tcp")], tcp),
                (&[("mode", "ended")], ended),
            ],
        );

        let mut by_tcp = 0;
        text.heading("shunt_decisions");
        for &reason in Counter::ALL {
            if matches!(reason, Counter::DirectMessages | Counter::DirectBytes) {
                continue;
            }
            let times = self.instance.counter(reason)?;
            if reason.kind() == Kind::Cause {
                by_tcp += times;
            }
            text.sample("shunt_decisions_total", &[("reason", reason.name())], times as f64);
        }
        text.metric(
            "shunt_messages",
            &[
                (&[("way", "direct")], totals.sum.direct_messages as f64),
                (&[("way", "tcp")], by_tcp as f64),
            ],
        );
        text.metric("shunt_direct_bytes", &[(&[], totals.sum.direct_bytes as f64)]);
        text.metric("shunt_map_entries", &[(&[("map", "socks")], totals.sum.sockets as f64)]);
        text.metric(
            "shunt_map_max_entries",
            &[(&[("map", "socks")], f64::from(self.instance.socks().max_entries()))],
        );

        let mut runs = Vec::new();
        for (program, prog) in &self.programs {
            let info = prog.info()?;
            runs.push((*program, info.run_cnt, info.run_time_ns));
        }
        text.heading("shunt_program_runs");
        for (program, runs, _) in &runs {
            text.sample("shunt_program_runs_total", &[("program", program)], *runs as f64);
        }
        text.heading("shunt_program_run_seconds");
        for (program, _, nanoseconds) in &runs {
            text.sample(
                "shunt_program_run_seconds_total",
                &[("program", program)],
                *nanoseconds as f64 / 1e9,
            );
        }
        text.metric("shunt_look_seconds", &[(&[], totals.took.as_secs_f64())]);
        Ok(text.finish())
    }

    /// Totals of all sockets, no older than [`MAX_AGE`].
    fn totals(&self) -> Result<Totals> {
        // The value stays valid when a thread panics.
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if totals.at.is_some_and(|at| at.elapsed() < MAX_AGE) {
            return Ok(*totals);
        }
        let begun = Instant::now();
        let mut sum = Summary::of(&self.instance)?;
        // The last pass may have counted a closing socket twice: a counter must not decrease.
        sum.direct_messages = sum.direct_messages.max(totals.sum.direct_messages);
        sum.direct_bytes = sum.direct_bytes.max(totals.sum.direct_bytes);
        let now = Totals { at: Some(begun), took: begun.elapsed(), sum };
        *totals = now;
        Ok(now)
    }
}

/// Metrics as text.
struct Text {
    out: String,
    format: Format,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    /// Writes a metric with its samples.
    fn metric(&mut self, name: &str, samples: &[(Labels<'_>, f64)]) {
        let kind = self.heading(name);
        let suffix = if kind == "counter" { "_total" } else { "" };
        for (labels, value) in samples {
            self.sample(&format!("{name}{suffix}"), labels, *value);
        }
    }

    /// Writes the header of a metric and returns its type.
    fn heading(&mut self, name: &str) -> &'static str {
        let known = METRICS.iter().find(|(known, ..)| *known == name);
        let (kind, help) = known.map_or(("gauge", ""), |(_, kind, help)| (*kind, *help));
        // Prometheus repeats the suffix of counters in the header, OpenMetrics does not.
        let suffix =
            if kind == "counter" && self.format == Format::Prometheus { "_total" } else { "" };
        // Writing to a string never fails.
        let _ = write!(self.out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        kind
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.out.push_str(name);
        for (index, (label, content)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{label}=\"{content}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut text = Text { out: String::new(), format };
        text.metric("shunt_messages", &[(&[("way", "direct")], 3.0)]);
        text.metric("shunt_start_time_seconds", &[(&[], 1_795_000_000.0)]);
        text.finish()
    }

    #[test]
    fn each_format_names_counters_in_its_own_way() {
        let help = "Messages of enrolled sockets, redirected or by TCP.";
        let start = "# HELP shunt_start_time_seconds When the agent started, in seconds since 1970.\n\
            # TYPE shunt_start_time_seconds gauge\nshunt_start_time_seconds 1795000000\n";
        let sample = "shunt_messages_total{way=\"direct\"} 3\n";
        assert_eq!(
            written(Format::Prometheus),
            format!(
                "# HELP shunt_messages_total {help}\n# TYPE shunt_messages_total counter\n{sample}{start}"
            )
        );
        assert_eq!(
            written(Format::OpenMetrics),
            format!(
                "# HELP shunt_messages {help}\n# TYPE shunt_messages counter\n{sample}{start}# EOF\n"
            )
        );
    }

    /// Every word of a text that looks like a metric name.
    fn names(text: &str) -> std::collections::BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("shunt_")).map(str::to_owned).collect()
    }

    fn exported() -> std::collections::BTreeSet<String> {
        let suffix = |kind: &str| if kind == "counter" { "_total" } else { "" };
        METRICS.iter().map(|(name, kind, _)| format!("{name}{}", suffix(kind))).collect()
    }

    #[test]
    fn the_reference_lists_exactly_the_exported_metrics_and_every_reason() {
        let reference = include_str!("../../docs/metrics.md");
        assert_eq!(names(reference), exported());
        for reason in Counter::ALL.iter().filter(|reason| !reason.name().starts_with("direct_")) {
            assert!(reference.contains(&format!("`{}`", reason.name())), "{reason:?} is missing");
        }
    }

    #[test]
    fn the_dashboard_and_the_alerts_query_only_exported_metrics() {
        let dashboard = include_str!("../../deploy/grafana/shunt.json");
        serde_json::from_str::<serde_json::Value>(dashboard).expect("the dashboard is JSON");
        for (what, text) in [
            ("dashboard", dashboard),
            ("alerts", include_str!("../../deploy/prometheus/rules.yml")),
        ] {
            let asked = names(text);
            assert!(asked.len() > 3, "{what}: {asked:?}");
            assert!(asked.is_subset(&exported()), "{what}: {:?}", asked.difference(&exported()));
        }
    }
}
