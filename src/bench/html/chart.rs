//! Charts as inline SVG. Each has a title and a description for screen readers, and distinguishes
//! transports by marks and dashes as well as by colour.

use std::fmt::Write;

use super::super::report::quantity;
use super::super::{Transport, Unit};
use super::escape;

/// Width in drawing units, which the page scales: about that of a phone, so that text stays
/// readable.
const WIDTH: f64 = 420.0;
/// Left margin, for the labels of the vertical axis.
const LEFT: f64 = 74.0;
/// Right margin: half a label of the horizontal axis.
const RIGHT: f64 = 24.0;
/// Distance between the ends of the grid and the first and last points, whose marks would overlap
/// the labels otherwise.
const INSET: f64 = 14.0;
/// Top margin, for the legend.
const TOP: f64 = 34.0;
/// Vertical position of the horizontal axis of a line chart.
const FLOOR: f64 = 250.0;

/// A line chart with a logarithmic vertical axis.
pub struct Lines<'a> {
    pub id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
    /// Labels of the horizontal axis: position from 0 to 1, and text.
    pub across: &'a [(f64, String)],
    /// Title of the horizontal axis.
    pub across_is: &'a str,
    /// Unit of the vertical axis; figures must be positive.
    pub unit: Unit,
    /// Suffix of the unit, for rates.
    pub per: &'a str,
    pub series: &'a [(Transport, Vec<(f64, f64)>)],
}

impl Lines<'_> {
    /// The drawing; empty without figures.
    pub fn svg(&self) -> String {
        let figures =
            || self.series.iter().flat_map(|(_, points)| points).map(|(_, figure)| *figure);
        let positive = || figures().filter(|figure| figure.is_finite() && *figure > 0.0);
        let (Some(low), Some(high)) =
            (positive().min_by(f64::total_cmp), positive().max_by(f64::total_cmp))
        else {
            return String::new();
        };
        let ticks = ticks(low, high, self.unit);
        let (bottom, top) =
            (ticks.first().map_or(low, |t| t.min(low)), ticks.last().map_or(high, |t| t.max(high)));
        let x = |place: f64| LEFT + INSET + place * (WIDTH - LEFT - RIGHT - INSET);
        let y = |figure: f64| {
            FLOOR - (figure / bottom).ln() / (top / bottom).ln().max(1e-9) * (FLOOR - TOP)
        };

        let mut svg = open(self.id, self.title, self.description, FLOOR + 46.0);
        legend(&mut svg, self.series.iter().map(|(transport, _)| *transport), mark);
        for tick in &ticks {
            let y = y(*tick);
            let label =
                quantity(*tick, self.unit).replace(".00 ", " ").replace(".0 ", " ") + self.per;
            put(
                &mut svg,
                format_args!(
                    r#"<line class="grid" x1="{LEFT}" x2="{}" y1="{y:.1}" y2="{y:.1}"/>"#,
                    x(1.0)
                ),
            );
            put(&mut svg, text(LEFT - 6.0, y + 4.0, "end", "tick", &label));
        }
        for (place, label) in self.across {
            put(&mut svg, text(x(*place), FLOOR + 18.0, "middle", "tick", label));
        }
        put(&mut svg, text(x(0.5), FLOOR + 38.0, "middle", "tick", self.across_is));
        for (transport, points) in self.series {
            let shown = points.iter().filter(|(_, figure)| figure.is_finite() && *figure > 0.0);
            let places: Vec<_> = shown.map(|(place, figure)| (x(*place), y(*figure))).collect();
            let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            put(
                &mut svg,
                format_args!(
                    r#"<polyline class="{}" points="{}"/>"#,
                    class(*transport),
                    path.join(" ")
                ),
            );
            for (x, y) in places {
                put(&mut svg, mark(*transport, x, y));
            }
        }
        svg + "</svg>"
    }
}

/// A bar of a bar chart.
pub struct Bar {
    pub transport: Transport,
    pub length: f64,
    /// The label at its end.
    pub figure: String,
}

/// A chart of grouped bars.
pub struct Bars<'a> {
    pub id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
    /// A length marked through all groups.
    pub marked: Option<f64>,
    pub groups: &'a [(String, Vec<Bar>)],
}

impl Bars<'_> {
    /// The drawing; empty without bars.
    pub fn svg(&self) -> String {
        const LABELS: f64 = 108.0;
        const FIGURES: f64 = 58.0;
        const THICK: f64 = 16.0;
        let bars = || self.groups.iter().flat_map(|(_, bars)| bars);
        let lengths = bars().map(|bar| bar.length).chain(self.marked);
        let Some(longest) = lengths.filter(|length| length.is_finite()).max_by(f64::total_cmp)
        else {
            return String::new();
        };
        let scale = (WIDTH - LABELS - FIGURES) / longest.max(f64::MIN_POSITIVE);
        let height =
            TOP + self.groups.iter().map(|(_, bars)| bars.len() as f64 * THICK + 10.0).sum::<f64>();

        let mut svg = open(self.id, self.title, self.description, height);
        let mut shown: Vec<_> = bars().map(|bar| bar.transport).collect();
        shown.sort();
        shown.dedup();
        legend(&mut svg, shown.into_iter(), |transport, x, y| {
            rect(transport, x - 6.0, y - 6.0, 12.0)
        });
        if let Some(marked) = self.marked {
            let x = LABELS + marked * scale;
            put(
                &mut svg,
                format_args!(
                    r#"<line class="one" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{height}"/>"#
                ),
            );
        }
        let mut y = TOP;
        for (label, bars) in self.groups {
            let middle = y + bars.len() as f64 * THICK / 2.0;
            put(&mut svg, text(LABELS - 8.0, middle + 3.0, "end", "tick", label));
            for bar in bars {
                let length =
                    if bar.length.is_finite() { (bar.length * scale).max(1.0) } else { 1.0 };
                put(&mut svg, rect(bar.transport, LABELS, y, length));
                put(&mut svg, text(LABELS + length + 5.0, y + 11.0, "start", "", &bar.figure));
                y += THICK;
            }
            y += 10.0;
        }
        svg + "</svg>"
    }
}

/// Grid lines that enclose a range of figures: at 1, 2 and 5 of every power of ten or, for bytes,
/// at every fourth power of two.
fn ticks(low: f64, high: f64, unit: Unit) -> Vec<f64> {
    let (base, steps): (f64, &[f64]) = match unit {
        Unit::Bytes => (16.0, &[1.0, 4.0]),
        Unit::Nanoseconds | Unit::BytesPerSecond | Unit::PerSecond => (10.0, &[1.0, 2.0, 5.0]),
    };
    let from = low.log(base).floor().clamp(-20.0, 30.0) as i32;
    let to = high.log(base).ceil().clamp(-20.0, 30.0) as i32;
    let enclosing = |steps: &[f64]| -> Vec<f64> {
        let all: Vec<_> = (from..=to)
            .flat_map(|power| steps.iter().map(move |step| step * base.powi(power)))
            .collect();
        let first = all.iter().rposition(|tick| *tick <= low).unwrap_or(0);
        let last = all.iter().position(|tick| *tick >= high).unwrap_or(all.len());
        all.into_iter().take(last + 1).skip(first).collect()
    };
    let fine = enclosing(steps);
    // More lines than can be distinguished.
    if fine.len() > 9 { enclosing(&[1.0]) } else { fine }
}

fn open(id: &str, title: &str, description: &str, height: f64) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>"#,
        escape(title),
        escape(description)
    )
}

fn legend(
    svg: &mut String,
    transports: impl Iterator<Item = Transport>,
    mark: impl Fn(Transport, f64, f64) -> String,
) {
    for (place, transport) in transports.enumerate() {
        let x = LEFT + 8.0 + place as f64 * 80.0;
        put(svg, mark(transport, x, 12.0));
        put(svg, text(x + 12.0, 16.0, "start", "", &transport.to_string()));
    }
}

fn text(x: f64, y: f64, anchor: &str, class: &str, words: &str) -> String {
    format!(
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escape(words)
    )
}

fn rect(transport: Transport, x: f64, y: f64, length: f64) -> String {
    format!(
        r#"<rect class="{}" x="{x:.1}" y="{y:.1}" width="{length:.1}" height="13"/>"#,
        class(transport)
    )
}

/// A square, disc or diamond around a point.
fn mark(transport: Transport, x: f64, y: f64) -> String {
    let shape = match transport {
        Transport::Tcp => "m-4-4h8v8h-8z",
        Transport::Shunt => "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
        Transport::Unix => "m0-6l6 6l-6 6l-6-6z",
    };
    format!(r#"<path class="{}" d="M{x:.1} {y:.1}{shape}"/>"#, class(transport))
}

fn class(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Shunt => "shunt",
        Transport::Unix => "unix",
    }
}

fn put(svg: &mut String, part: impl std::fmt::Display) {
    // Writing to a string never fails.
    let _ = write!(svg, "{part}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_encloses_every_figure() {
        for (low, high, unit) in [
            (1_900.0, 11_400.0, Unit::Nanoseconds),
            (5_000.0, 5_000.0, Unit::Nanoseconds),
            (100.0, 9e9, Unit::Nanoseconds),
            (2.6e7, 1.4e10, Unit::Bytes),
        ] {
            let ticks = ticks(low, high, unit);
            assert!(ticks.first().is_some_and(|tick| *tick <= low), "{ticks:?}");
            assert!(ticks.last().is_some_and(|tick| *tick >= high), "{ticks:?}");
            assert!((1..=9).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.windows(2).all(|two| two[0] < two[1]), "{ticks:?}");
        }
        assert_eq!(
            ticks(1_900.0, 11_400.0, Unit::Nanoseconds),
            [1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0]
        );
    }

    #[test]
    fn figures_that_cannot_be_drawn_are_skipped() {
        let lines = Lines {
            id: "x",
            title: "",
            description: "",
            across: &[],
            across_is: "",
            unit: Unit::Nanoseconds,
            per: "",
            series: &[(Transport::Tcp, vec![(0.0, f64::NAN), (0.5, 0.0), (1.0, f64::INFINITY)])],
        };
        assert_eq!(lines.svg(), "");
        let some =
            Lines { series: &[(Transport::Tcp, vec![(0.0, f64::NAN), (0.5, 10.0)])], ..lines };
        let svg = some.svg();
        assert!(svg.contains("<polyline") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
