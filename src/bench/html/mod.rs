//! The results of the bench as one self-contained page: charts, and every figure in tables.

mod chart;

use std::fmt::Write;

use super::report::{quantity, three_digits};
use super::{Goal, Latency, Measured, Metric, Transport, Unit};
use chart::{Bar, Bars, Lines};

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Shunt, Transport::Unix];
/// Percentiles of the latency chart.
const PERCENTILES: [f64; 6] = [50.0, 75.0, 90.0, 99.0, 99.9, 99.99];

/// The environment of the measurement.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Processors available to the bench.
    pub processors: usize,
}

/// Renders the page.
pub fn page(machine: &Machine, rounds: usize, all: &[Measured]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>shunt \
         bench</title>\
         <style>\n{}</style></head>\n<body>\n<h1>TCP, shunt and a Unix socket</h1>\n\
         <p>The same messages over each of them, alternately on the same machine.</p>\n\
         <p class=\"facts\">Linux {}, {} processors, shunt {}; medians of {rounds} rounds.</p>\n",
        include_str!("style.css"),
        escape(&machine.kernel),
        machine.processors,
        env!("CARGO_PKG_VERSION"),
    );
    for part in
        [latency(all), throughput(all), connections(all), shares(all), rates(all), figures(all)]
    {
        page.push_str(&part);
    }
    page + "</body></html>\n"
}

fn section(heading: &str, caption: &str, svg: &str, table: &str) -> String {
    format!(
        "<section><h2>{heading}</h2>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>\n\
         <div class=\"scroll\" role=\"region\" aria-label=\"{heading}: figures\" \
         tabindex=\"0\">{table}</div></section>\n"
    )
}

fn latency(all: &[Measured]) -> String {
    let Some(measured) = all.iter().find(|m| m.case.name == "pingpong" && m.case.size == "1 KiB")
    else {
        return String::new();
    };
    let recorded: Vec<(Transport, &Latency)> =
        measured.latencies().iter().map(|(transport, latency)| (*transport, latency)).collect();
    let place = |index: usize| index as f64 / (PERCENTILES.len() - 1) as f64;
    let across: Vec<_> = PERCENTILES
        .iter()
        .enumerate()
        .map(|(at, percent)| (place(at), percent.to_string()))
        .collect();
    let points = |latency: &Latency| {
        PERCENTILES
            .iter()
            .enumerate()
            .map(|(at, percent)| (place(at), latency.percentile(*percent)))
            .collect()
    };
    let series: Vec<_> =
        recorded.iter().map(|(transport, latency)| (*transport, points(latency))).collect();
    let svg = Lines {
        id: "latency",
        title: "Latency by percentile",
        description: "The latency of each transport by percentile. The table below has the \
                      figures.",
        across: &across,
        across_is: "percent of the requests",
        unit: Unit::Nanoseconds,
        per: "",
        series: &series,
    }
    .svg();
    let head: Vec<_> = recorded.iter().map(|(transport, _)| transport.to_string()).collect();
    let mut rows: Vec<_> = PERCENTILES
        .iter()
        .map(|percent| {
            let cells = recorded
                .iter()
                .map(|(_, latency)| quantity(latency.percentile(*percent), Unit::Nanoseconds));
            (format!("{percent} %"), cells.collect())
        })
        .collect();
    rows.push((
        "requests".to_owned(),
        recorded.iter().map(|(_, latency)| latency.count().to_string()).collect(),
    ));
    section(
        "Latency of requests",
        "The time within which a share of the requests of 1 KiB was answered, between two threads \
         that wake each other. The scale of time is logarithmic; the right end is one request in \
         ten thousand.",
        &svg,
        &table("within", &head, &rows),
    )
}

fn throughput(all: &[Measured]) -> String {
    let cases: Vec<_> = all.iter().filter(|m| m.case.name == "roundtrip").collect();
    if cases.is_empty() {
        return String::new();
    }
    // A round trip carries the message twice.
    let rate = |measured: &Measured, transport| {
        let bytes = bytes(measured.case.size)?;
        Some(2.0 * bytes / measured.summary(0, transport)?.median * 1e9)
    };
    let place =
        |index: usize| if cases.len() < 2 { 0.5 } else { index as f64 / (cases.len() - 1) as f64 };
    let across: Vec<_> =
        cases.iter().enumerate().map(|(at, m)| (place(at), m.case.size.to_owned())).collect();
    let series: Vec<(Transport, Vec<(f64, f64)>)> = TRANSPORTS
        .iter()
        .map(|transport| {
            let points = cases
                .iter()
                .enumerate()
                .filter_map(|(at, m)| Some((place(at), rate(m, *transport)?)));
            (*transport, points.collect())
        })
        .collect();
    let svg = Lines {
        id: "throughput",
        title: "Throughput by message size",
        description: "The throughput of each transport by message size. The table below has the \
                      figures.",
        across: &across,
        across_is: "size of a message",
        unit: Unit::Bytes,
        per: "/s",
        series: &series,
    }
    .svg();
    let rows: Vec<_> = cases
        .iter()
        .map(|m| {
            let cell = |t: &Transport| {
                rate(m, *t).map_or_else(none, |rate| quantity(rate, Unit::Bytes) + "/s")
            };
            (m.case.size.to_owned(), TRANSPORTS.iter().map(cell).collect())
        })
        .collect();
    section(
        "Throughput by message size",
        "One thread that sends messages and reads them at the other end, and back. More is \
         better; the scale is logarithmic.",
        &svg,
        &table("message", &TRANSPORTS.map(|t| t.to_string()), &rows),
    )
}

fn connections(all: &[Measured]) -> String {
    let cases: Vec<_> = all.iter().filter(|m| m.case.name == "connect").collect();
    if cases.is_empty() {
        return String::new();
    }
    let label = |m: &Measured| match m.case.size {
        "alone" => "nothing sent".to_owned(),
        "+1 rt" => "one request".to_owned(),
        "+4 rt" => "four requests".to_owned(),
        "+16 rt" => "16 requests".to_owned(),
        other => other.to_owned(),
    };
    let bars = |m: &Measured| -> Vec<Bar> {
        let bar = |transport: &Transport| {
            let length = m.summary(0, *transport)?.median;
            let figure = quantity(length, m.case.metrics[0].unit);
            Some(Bar { transport: *transport, length, figure })
        };
        TRANSPORTS.iter().filter_map(bar).collect()
    };
    let groups: Vec<_> = cases.iter().map(|m| (label(m), bars(m))).collect();
    let svg = Bars {
        id: "connect",
        title: "Time of a whole connection",
        description: "Connecting, accepting, exchanging requests and closing, over TCP and through \
                      shunt. The table below has the figures.",
        marked: None,
        groups: &groups,
    }
    .svg();
    let rows: Vec<_> = cases
        .iter()
        .map(|m| {
            let row = [
                figure(m, 0, Transport::Tcp),
                figure(m, 0, Transport::Shunt),
                ratio(m, 0, Transport::Tcp),
            ];
            (label(m), row.to_vec())
        })
        .collect();
    section(
        "What a connection costs",
        "From connecting to closing. The overhead of observing a connection must be \
         compensated by its messages.",
        &svg,
        &table("connection", &["TCP", "shunt", "shunt/TCP"].map(str::to_owned), &rows),
    )
}

/// A bar for each case whose first figure is a rate, or is not.
fn to_tcp(all: &[Measured], is_rate: bool) -> Vec<(String, Vec<Bar>)> {
    let bar = |m: &Measured| {
        let length = m.ratio_to(0, Transport::Tcp)?.median;
        let bar = Bar {
            transport: Transport::Shunt,
            length,
            figure: format!("× {}", three_digits(length)),
        };
        Some((format!("{} {}", m.case.name, m.case.size), vec![bar]))
    };
    all.iter().filter(|m| m.case.metrics[0].unit.is_rate() == is_rate).filter_map(bar).collect()
}

fn shares(all: &[Measured]) -> String {
    let groups = to_tcp(all, false);
    if groups.is_empty() {
        return String::new();
    }
    let svg = Bars {
        id: "shares",
        title: "shunt's time as a share of TCP's",
        description: "One bar per case; a bar that ends before the dotted line is less than TCP. \
                      The table below has the figures.",
        marked: Some(1.0),
        groups: &groups,
    }
    .svg();
    format!(
        "<section><h2>Time as a share of TCP's</h2>\n<figure>{svg}<figcaption>The dotted line is \
         TCP. The cases <i>offnode</i> are connections that shunt leaves alone: they should end at \
         the line.</figcaption></figure></section>\n"
    )
}

fn rates(all: &[Measured]) -> String {
    let groups = to_tcp(all, true);
    if groups.is_empty() {
        return String::new();
    }
    let svg = Bars {
        id: "rates",
        title: "shunt's throughput relative to TCP's",
        description: "One bar per case; a bar that ends behind the dotted line is more than TCP. \
                      The table below has the figures.",
        marked: Some(1.0),
        groups: &groups,
    }
    .svg();
    format!(
        "<section><h2>Throughput relative to TCP's</h2>\n<figure>{svg}<figcaption>The dotted line \
         is TCP; more is better. <i>stream</i> is writes of one size in one direction; \
         <i>echo</i> is maximum message size, bytes in flight and bytes per \
         read.</figcaption></figure></section>\n"
    )
}

fn figures(all: &[Measured]) -> String {
    let head =
        ["TCP", "shunt", "Unix", "shunt/TCP", "shunt/Unix", "direct", "goal"].map(str::to_owned);
    let mut rows = Vec::new();
    for m in all {
        for (number, metric) in m.case.metrics.iter().enumerate() {
            let mut cells: Vec<_> = TRANSPORTS.iter().map(|t| figure(m, number, *t)).collect();
            cells.extend([Transport::Tcp, Transport::Unix].map(|to| ratio(m, number, to)));
            cells.push(
                m.direct().map_or_else(none, |share| format!("{:.0} %", share.median * 100.0)),
            );
            cells.push(goals(m, number, metric));
            let what = if m.case.metrics.len() > 1 {
                format!(", {}", metric.heading)
            } else {
                String::new()
            };
            rows.push((format!("{} {}{what}", m.case.name, m.case.size), cells));
        }
    }
    format!(
        "<section><h2>All cases</h2>\n<p>Medians over the rounds; a ratio is followed by half its \
         interquartile range. CPU/byte is for 1 KiB; <i>direct</i> is the share of the bytes that \
         crossed no interface.</p>\n<div class=\"scroll\" role=\"region\" \
         aria-label=\"All cases: figures\" tabindex=\"0\">{}</div></section>\n",
        table("case", &head, &rows)
    )
}

fn figure(measured: &Measured, metric: usize, transport: Transport) -> String {
    let figure = measured.summary(metric, transport);
    let stalled = match measured.stalled(transport) {
        0 => String::new(),
        some => format!("stalled {some} ×"),
    };
    match figure {
        Some(figure) if stalled.is_empty() => {
            quantity(figure.median, measured.case.metrics[metric].unit)
        }
        Some(figure) => {
            format!("{} ({stalled})", quantity(figure.median, measured.case.metrics[metric].unit))
        }
        None if stalled.is_empty() => none(),
        None => stalled,
    }
}

fn ratio(measured: &Measured, metric: usize, to: Transport) -> String {
    let ratio = measured.ratio_to(metric, to);
    ratio.map_or_else(none, |r| format!("{} ± {:.0} %", three_digits(r.median), r.spread() * 100.0))
}

fn goals(measured: &Measured, number: usize, metric: &Metric) -> String {
    let goal = |goal: &Goal| {
        let sign = goal.bound.sign();
        let bound = match goal.to {
            Some(to) => format!("{sign} {} of {to}", goal.bound.figure()),
            None => format!("{sign} {}", quantity(goal.bound.figure(), metric.unit)),
        };
        let met = match measured.meets(goal) {
            Some(true) => " met",
            Some(false) => " missed",
            None => "",
        };
        bound + met
    };
    let goals = measured.case.goals.iter().filter(|goal| goal.metric == number);
    goals.map(goal).collect::<Vec<_>>().join(", ")
}

fn none() -> String {
    "–".to_owned()
}

/// Parses a size as written in the cases.
fn bytes(size: &str) -> Option<f64> {
    let (number, unit) = size.split_once(' ')?;
    let factor = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

fn table(corner: &str, head: &[String], rows: &[(String, Vec<String>)]) -> String {
    let mut table = format!("<table><thead><tr><th scope=\"col\">{}</th>", escape(corner));
    for cell in head {
        let _ = write!(table, "<th scope=\"col\">{}</th>", escape(cell));
    }
    table.push_str("</tr></thead>\n<tbody>");
    for (label, cells) in rows {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", escape(label));
        for cell in cells {
            let _ = write!(table, "<td>{}</td>", escape(cell));
        }
        table.push_str("</tr>\n");
    }
    table + "</tbody></table>"
}

/// Escapes text for elements and attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::outcome::Outcome;
    use super::super::{CASES, Case};
    use super::*;

    /// Every case on each of its transports, the first one slowest.
    fn everything() -> Vec<Measured> {
        let case = |case: &'static Case| {
            let mut measured = Measured::new(case);
            for (place, transport) in case.transports.iter().enumerate() {
                let mut latency = Latency::default();
                latency.record(Duration::from_micros(11 - place as u64));
                let figures = vec![10_000.0 / (place + 1) as f64; case.metrics.len()];
                measured.add(*transport, Some(Outcome::of(figures).with_latency(latency)));
            }
            measured
        };
        CASES.iter().map(case).collect()
    }

    fn of(kernel: &str, all: &[Measured]) -> String {
        page(&Machine { kernel: kernel.to_owned(), processors: 2 }, 3, all)
    }

    fn parsed(page: &str) -> roxmltree::Document<'_> {
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        roxmltree::Document::parse_with_options(page, options).expect("a well-formed page")
    }

    #[test]
    fn the_page_is_well_formed_and_contains_every_case() {
        let page = of("6.18", &everything());
        let document = parsed(&page);
        let labels: Vec<_> = document
            .descendants()
            .filter(|n| n.has_tag_name("th"))
            .filter_map(|n| n.text())
            .collect();
        for case in CASES {
            let label = format!("{} {}", case.name, case.size);
            let metrics = match case.metrics {
                [_] => vec![label],
                several => several.iter().map(|m| format!("{label}, {}", m.heading)).collect(),
            };
            for metric in metrics {
                assert!(labels.contains(&metric.as_str()), "{metric} is missing");
            }
        }
    }

    #[test]
    fn every_chart_has_a_name_and_a_description_for_screen_readers() {
        let page = of("6.18", &everything());
        let document = parsed(&page);
        let charts: Vec<_> =
            document.descendants().filter(|n| n.tag_name().name() == "svg").collect();
        assert_eq!(charts.len(), 5);
        for chart in charts {
            let named = chart.attribute("aria-labelledby").expect("a name");
            for id in named.split(' ') {
                let found = document.descendants().find(|n| n.attribute("id") == Some(id));
                assert!(
                    found.and_then(|n| n.text()).is_some_and(|text| !text.is_empty()),
                    "{id} is empty"
                );
            }
        }
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = of("6.18", &everything());
        for forbidden in ["<script", "<link", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(forbidden), "{forbidden} would load something");
        }
    }

    #[test]
    fn text_from_the_machine_is_escaped() {
        let kernel = r#"6<script>&"x""#;
        let page = of(kernel, &everything());
        let document = parsed(&page);
        let facts = document
            .descendants()
            .find(|n| n.attribute("class") == Some("facts"))
            .and_then(|n| n.text());
        assert!(facts.is_some_and(|facts| facts.contains(kernel)), "{facts:?}");
    }

    #[test]
    fn a_case_that_was_not_measured_has_no_chart() {
        let page = of("6.18", &[]);
        assert_eq!(parsed(&page).descendants().filter(|n| n.tag_name().name() == "svg").count(), 0);
    }

    #[test]
    fn a_round_trip_carries_its_message_twice() {
        let mut all = everything();
        all.retain(|m| m.case.name == "roundtrip" && m.case.size == "1 KiB");
        // 2 KiB in 10, 5 and 3.3 µs.
        let section = throughput(&all);
        assert!(
            section.contains("<td>195 MiB/s</td><td>391 MiB/s</td><td>586 MiB/s</td>"),
            "{section}"
        );
    }
}
